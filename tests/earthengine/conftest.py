"""Earth Engine on loopback: the simulator, stores that it writes to, and orders to run."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import shapely
from ee_world import SIMPLE, Bucket, World

from orchard.collections import load_collections
from orchard.grid import TileGrid
from orchard.testing.earthengine import (
    Archive,
    Image,
    catalog_archive,
    offline_client,
)
from orchard.tracker import Tracker

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))  # their servers


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
