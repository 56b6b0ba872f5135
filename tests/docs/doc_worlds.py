"""What a page finds when it is read: an archive, a simulator, a server, by page."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

__all__ = ["WORLDS", "archive_of", "close_session", "lay_demo"]

World = tuple[Path, dict[str, Any], dict[str, str]]
TESTS = Path(__file__).parents[1]


def archive_of(factory: pytest.TempPathFactory) -> Path:
    """Return the demo's archive; the workers of one run make it once."""
    from orchard.demo.archive import make_archive

    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "demo-archive"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "catalog.json").exists():
            make_archive(folder)
    return folder


def lay_demo(folder: Path, request: pytest.FixtureRequest) -> Path:
    """Make ``demo/`` as ``orchard demo --dest demo`` does, but for what comes of its order."""
    from orchard.demo import run

    archive = archive_of(request.getfixturevalue("tmp_path_factory"))
    demo = folder / "demo"
    shutil.copytree(archive, demo / "archive", copy_function=os.link)
    order = run._of_archive(demo, lambda _: None, run._silent)
    tile = order.config.tile_grid.roi_to_tiles(order.roi)[0]
    run._write_field(demo / "field.geojson", tile.center_lonlat)
    return demo


def close_session() -> None:
    """Forget which platform a page spoke to."""
    session = sys.modules.get("orchard.jobs.session")
    if session is not None and session._default is not None:
        session._default.client.close()
        session._default = None


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def demo(folder: Path, request: pytest.FixtureRequest, monkeypatch: Any) -> Iterator[World]:
    """The demo beside the page, and a free port."""
    lay_demo(folder, request)
    port = _free_port()
    monkeypatch.setenv("PORT", port)
    yield folder, {}, {"PORT": port}


@contextmanager
def drive(folder: Path, request: pytest.FixtureRequest, monkeypatch: Any) -> Iterator[World]:
    """A Google Drive on loopback."""
    sys.path.insert(0, str(TESTS / "stores"))
    from drive_server import drive_server

    # Somebody has logged in: the token of ``orchard auth gdrive``, as it is kept.
    token = folder / "config" / "orchard" / "gdrive-token.json"
    token.parent.mkdir(parents=True)
    told = {"client_id": "c", "client_secret": "s", "refresh_token": "r", "token": "t"}
    token.write_text(json.dumps({**told, "type": "authorized_user"}))
    token.chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    with drive_server() as (server, _):
        yield folder, {"options": {**server.options}}, {}


@contextmanager
def earthengine(folder: Path, request: pytest.FixtureRequest, monkeypatch: Any) -> Iterator[World]:
    """Earth Engine's simulator over the demo's archive, exporting to a bucket in memory."""
    sys.path.insert(0, str(TESTS / "earthengine"))
    from ee_world import Bucket
    from google.auth.credentials import AnonymousCredentials

    import orchard
    from orchard.engines.earthengine import EarthEngine
    from orchard.testing.earthengine import (
        EarthEngineServer,
        Interpreter,
        Service,
        catalog_archive,
        offline_client,
    )

    catalog = archive_of(request.getfixturevalue("tmp_path_factory")) / "catalog.json"
    landsat = orchard.load_collections()["LANDSAT/LC08/C02/T1_L2"]
    bucket = Bucket("gs://my-bucket/preard")
    service = Service(
        Interpreter(catalog_archive(catalog, [landsat])), bucket.sink, project="my-project"
    )
    with ExitStack() as stack:
        stack.enter_context(offline_client())
        server = stack.enter_context(EarthEngineServer(service, live=True))
        for name, value in {
            "url": server.url,
            "credentials": AnonymousCredentials(),
            "interval": 0.01,
        }.items():
            monkeypatch.setitem(EarthEngine.__init__.__kwdefaults__, name, value)
        monkeypatch.setattr(orchard, "open_store", lambda url: bucket)
        yield folder, {}, {}


WORLDS = {
    "*": demo,
    "docs/howto/gdrive.md": drive,
    "docs/howto/earthengine.md": earthengine,
}
