"""Earth Engine on loopback: the simulator, stores that it writes to, and orders to run."""

from __future__ import annotations

import sys
import uuid
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import shapely
from google.auth.credentials import AnonymousCredentials

from orchard.collections import load_collections
from orchard.engines.earthengine import EarthEngine
from orchard.grid import TileGrid
from orchard.stores import open_store
from orchard.testing.earthengine import (
    Archive,
    EarthEngineServer,
    Image,
    Interpreter,
    Service,
    catalog_archive,
    offline_client,
)
from orchard.tracker import Tracker

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


SIMPLE = "USER/SIMPLE"


@pytest.fixture(scope="session")
def simple():
    """Small things in great numbers: a grid of tiny tiles, a collection of one band."""
    grid = TileGrid(
        name="SIMPLE",
        crs="EPSG:3035",
        ul=(4000000, 3000000),
        res=(100, 100),
        size=(32, 32),
        limits=((0, 100), (0, 100)),
    )
    collections = load_collections(
        {
            SIMPLE: {
                "dtype": "int16",
                "nodata": -1,
                "bands": {"value": {"earthengine": "V"}, "other": {"earthengine": "O"}},
                "metadata": ["CLOUDS"],
            }
        }
    )
    return grid, collections


@pytest.fixture(scope="session")
def simple_archive():
    """Two scenes over all of it."""

    def reader(number):
        return lambda grid: (np.full(grid.shape, number), np.ones(grid.shape, bool))

    def scene(name, time, number):
        return Image(
            bands=(("V", reader(number)), ("O", reader(number + 1))),
            properties={"system:index": name, "system:time_start": time, "CLOUDS": number},
            footprint=shapely.box(-180, -90, 180, 90),
        )

    # 2022-06-01 and 2022-06-11, at noon
    scenes = [scene("S1", 1654084800000, 1), scene("S2", 1654948800000, 2)]
    return Archive(collections={SIMPLE: scenes})


@pytest.fixture
def order(simple, bucket):
    """Make trackers of the simple order: ``order(engine, …)``."""
    grid, collections = simple

    def tracker(engine, **options) -> Tracker:
        options = {"tracking_template": "SIMPLE", "store": bucket, **options}
        store = options.pop("store")
        return Tracker(grid, store, engine=engine, collections=collections, **options)

    return tracker


def tiles(count: int) -> list[tuple[int, int]]:
    """Return the indices of so many tiles."""
    return [(n // 100, n % 100) for n in range(count)]


PERIOD = ("2022-06-01", "2022-07-01")
