"""The application: `create_app` puts platform, calls and middleware together."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from fastapi import FastAPI

import orchard
from orchard.config import Config, has_config, load_config
from orchard.engines import Works

from .api import (
    dashboard,
    downloads,
    errors,
    events,
    jobs,
    live,
    outputs,
    page,
    sessions,
    stream,
    tokens,
)
from .middleware import Around
from .platform import Platform, state_folder
from .workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["create_app"]

_READERS = 16
_ABOUT = (
    "Orders of analysis-ready data as jobs: each task of an order is a job, its workflow's blocks "
    "(preard, ard, composite, index) are its jobtasks."
)


def create_app(
    config: Config | None = None,
    *,
    in_process: bool = False,
    run: bool = True,
    folder: Path | None = None,
    token_seconds: int = 3600,
    link_seconds: int = 3600,
) -> FastAPI:
    """Make the job platform of a configuration, as an ASGI application.

    As long as there is no project, callers on this machine need no key and see the project
    ``local``; others are refused.

    Parameters
    ----------
    config : Config, optional
        By default what `orchard.load_config` finds; in process, where there is no file, a store in
        the user's state folder, without an engine.
    in_process : bool
        Whether it serves this process alone, without a socket: nobody needs a key; only jobs that
        are asked for are worked on.
    run : bool
        Whether it works on jobs itself. Without, another process must (``orchard run``), and it is
        recorded how far that is; blocks are not made then.
    folder : Path, optional
        Where the platform keeps its own files; by default beside the store.
    token_seconds, link_seconds : int
        How long tokens and download links hold.

    Raises
    ------
    ConfigError
        Without a configuration, unless it is `in_process`.

    Examples
    --------
    >>> app = create_app(orchard.load_config("orchard.yaml"))  # doctest: +SKIP
    """
    platform = Platform(
        config or (_default_config() if in_process and not has_config() else load_config()),
        in_process=in_process,
        folder=folder,
        token_seconds=token_seconds,
        link_seconds=link_seconds,
    )
    ending = threading.Event()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Threads of their own: slow disks under many downloads do not hold up the other calls.
        app.state.reading = anyio.CapacityLimiter(_READERS)
        workshop = Workshop(platform)
        if run:
            workshop.start()
        else:
            workshop.watch()
        try:
            yield
        finally:
            ending.set()
            workshop.stop()
            platform.close()

    app = FastAPI(
        title="Orchard",
        version=orchard.__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.platform = platform
    app.state.ending = ending
    # Whether somebody works on what is queued: this server, or an engine that needs no one for it.
    app.state.works = run or not isinstance(platform.engine, Works)
    for module in (
        tokens,
        jobs,
        outputs,
        downloads,
        events,
        page,
        sessions,
        dashboard,
        live,
        stream,
    ):
        app.include_router(module.router)
    errors.add_handlers(app)
    app.add_middleware(Around, is_open=lambda: platform.is_open)
    return app


def _default_config() -> Config:
    """Return the configuration of a process whose user has none: no order yet, and no engine."""
    store = state_folder() / "preard"
    return Config({"tile_grid": "LANDSAT_ARD_CU", "store": str(store)})
