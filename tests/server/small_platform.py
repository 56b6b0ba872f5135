"""A small platform: its configuration, an order, and how to serve it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from orchard.config import Config
from orchard.server.serve import listen, make_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

COLLECTION = "LANDSAT/LC08/C02/T1_L2"
# The archive's 128 pixels lie in these tiles of 64.
_CRS = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"


def make_config(folder: Path, archive: Path, **changes: Any) -> Config:
    data = {
        "tile_grid": {
            "name": "SMALL",
            "crs": _CRS,
            "ul": [-2565585.0, 3314805.0],
            "res": [30, 30],
            "size": [64, 64],
            "limits": [[0, 2000], [0, 3000]],
        },
        "store": f"{folder}/preard/",
        "engine": {"name": "local", "catalog": str(archive), "workers": 2},
        "collections": {COLLECTION: {"bands": {"thermal": None}}},
        **changes,
    }
    return Config(data)


def order(tiles: list[tuple[int, int]], **more: Any) -> dict[str, Any]:
    """An order over the whole of the archive."""
    return {
        "collections": COLLECTION,
        "tile_indices": [list(tile) for tile in tiles],
        "period_start": "2023-04-01",
        "period_end": "2023-08-01",
        **more,
    }


@contextmanager
def serving(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve an application on a (free) port of this machine; give its URL."""
    with listen("127.0.0.1", port) as opened:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        host, port = opened.getsockname()
        url = f"http://{host}:{port}"
        httpx.get(f"{url}/health", timeout=20).raise_for_status()
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def wait_for(client: httpx.Client, path: str, *, patience: int = 600) -> dict[str, Any]:
    """Ask for a job until it has ended."""
    for _ in range(patience):
        info = client.get(path).raise_for_status().json()["data"]
        if info["status"] not in ("PENDING", "RUNNING", "NOT STARTED", "CANCELLING"):
            return info
        threading.Event().wait(0.1)
    raise AssertionError(f"{path} does not end: {info}")
