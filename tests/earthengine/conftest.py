"""Earth Engine on loopback: the simulator, stores that it writes to, and orders to run."""

from __future__ import annotations

import sys
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials

from orchard.collections import load_collections
from orchard.engines.earthengine import EarthEngine
from orchard.grid import TileGrid
from orchard.stores import open_store
from orchard.testing.earthengine import (
    Archive,
    EarthEngineServer,
    Interpreter,
    Service,
    catalog_archive,
    offline_client,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))  # their servers

PROJECT = "test-project"


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


@pytest.fixture(autouse=True)
def _offline():
    with offline_client():
        yield


@pytest.fixture
def bucket():
    return Bucket()


@pytest.fixture
def world(tmp_path, bucket):
    """Start simulators: ``world(archive, sink=…, limits=…, live=…)``."""
    with ExitStack() as stack:

        def start(archive, sink=None, **options) -> World:
            made = World(archive, sink or bucket.sink, tmp_path, **options)
            stack.enter_context(made.server)
            return made

        yield start


@pytest.fixture(scope="session")
def collections(user_collections):
    """The registry and the two real scene sets."""
    return load_collections(user_collections)


@pytest.fixture(scope="session")
def real_archive(scenes, collections):
    """The real scenes as Earth Engine would have them."""
    names = ("BOLZANO/S2_L2A", "ESPA/LANDSAT_SR")
    return catalog_archive(scenes / "catalog.json", [collections[name] for name in names])


@pytest.fixture(scope="session")
def bolzano_grid():
    return TileGrid(
        name="BOLZANO",
        crs="EPSG:3035",
        ul=(4415000, 2605000),
        res=(40, 40),
        size=(128, 128),
        limits=((0, 3), (0, 3)),
    )
