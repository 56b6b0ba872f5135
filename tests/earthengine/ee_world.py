"""The simulator and its surroundings, as the tests of the Earth Engine engine use them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from google.auth.credentials import AnonymousCredentials

from orchard.engines.earthengine import EarthEngine
from orchard.stores import open_store
from orchard.testing.earthengine import Archive, EarthEngineServer, Interpreter, Service

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "test-project"
SIMPLE = "USER/SIMPLE"
PERIOD = ("2022-06-01", "2022-07-01")


class Bucket:
    """A memory store that says it is in Cloud Storage, and what writes there from outside."""

    def __init__(self, url: str = "gs://bucket/preard") -> None:
        self.url = url
        self._store = open_store(f"memory://{uuid.uuid4()}")

    def __getattr__(self, name):
        return getattr(self._store, name)

    def sink(self, destination, name, content):
        root = f"{destination['bucket']}/"
        key = f"{root}{name}".removeprefix(self.url.removeprefix("gs://")).lstrip("/")
        self._store.put(key, content)
        return f"https://console.cloud.google.com/storage/browser/{root}{name.rpartition('/')[0]}"


class World:
    """One simulator, and engines that speak to it."""

    def __init__(self, archive: Archive, sink, folder: Path, *, limits=None, live=True) -> None:
        self.service = Service(Interpreter(archive), sink, limits=limits, project=PROJECT)
        self.server = EarthEngineServer(self.service, live=live)
        self.folder = folder

    def engine(self, **options) -> EarthEngine:
        options = {
            "credentials": AnonymousCredentials(),
            "url": self.server.url,
            "ledger": self.folder / "ledger.sqlite",
            "interval": 0.001,
            "tries": 4,
            "sleep": lambda _: None,
            **options,
        }
        return EarthEngine(PROJECT, **options)


def tiles(count: int) -> list[tuple[int, int]]:
    """Return the indices of so many tiles."""
    return [(n // 100, n % 100) for n in range(count)]
