"""One order's whole life in every store: submit, run, download, convert, clean."""

from __future__ import annotations

import hashlib

import pytest
import xarray as xr

import orchard
from orchard.grid import TileGrid
from orchard.stores import open_store

COLLECTION = "LANDSAT/LC08/C02/T1_L2"
# In the middle of the archive: where its two rows overlap.
GRID = TileGrid(
    name="MIDDLE",
    crs="EPSG:32615",
    ul=(589_050, 4_702_980),
    res=(30, 30),
    size=(32, 32),
    limits=((0, 1), (0, 1)),
)
TILES = [(0, 0), (0, 1)]
PERIOD = ("2023-04-01", "2023-07-01", "MS")  # none was taken in June: a task a tile is EMPTY


@pytest.fixture(scope="module")
def engine(archive):
    def open_engine():
        return orchard.open_engine("local", catalog=archive, executor="threads 2")

    return open_engine


@pytest.fixture
def tracker_of(engine):
    """Make the tracker of an order that is called like this, images and all."""

    def make(store, name: str) -> orchard.Tracker:
        return orchard.Tracker(
            GRID,
            store,
            name_template="{tile}_{date_start}" + name,
            prefix_template="PREARD",
            tracking_template=f"ORDER{name}",
            export_image_kwds={"fileDimensions": [16, 32]},
            engine=engine(),
            collections=orchard.load_collections({COLLECTION: {"bands": {"thermal": None}}}),
        )

    return make


def run(tracker, folder):
    """From submit to cubes; return the record, the files and the cubes by their names."""
    name, _ = tracker.submit(COLLECTION, TILES, *PERIOD)
    info = tracker.wait(name, timeout=120)
    assert info.states == {"COMPLETED": 4, "EMPTY": 2}, info.summary(tasks=True)
    files = tracker.download(info, folder / "down")
    cubes = orchard.convert(folder / "down", folder / "cubes", executor="synchronous")
    return info, files, {cube.name: cube for cube in cubes}


@pytest.fixture(scope="module")
def reference(engine, tmp_path_factory):
    """What it must come to: the same orders without any store but a plain folder."""
    folder = tmp_path_factory.mktemp("reference")
    tracker = orchard.Tracker(
        GRID,
        open_store(folder / "store"),
        name_template="{tile}_{date_start}",
        prefix_template="PREARD",
        tracking_template="ORDER",
        engine=engine(),
        collections=orchard.load_collections({COLLECTION: {"bands": {"thermal": None}}}),
    )
    _, _, cubes = run(tracker, folder)
    found = {}
    for name, path in cubes.items():
        with xr.open_dataset(path) as cube:
            found[name] = cube.drop_vars("provenance").load()  # that names the files
    return found


@pytest.fixture
def store(request, tmp_path, fresh):
    if request.param == "folder":
        return open_store(tmp_path / "store")
    if request.param == "memory":
        return open_store(f"memory://{tmp_path.name}")
    if request.param == "drive":
        server, _ = request.getfixturevalue("drive")
        return open_store(server.url, **server.options, backoff=0.001)
    return fresh(request.getfixturevalue(request.param))


def keys(store) -> set[str]:
    return {info.key for info in store.list()}


PLACES = ["folder", "memory", "s3", "gcs", "azure", "drive"]


@pytest.mark.parametrize("store", PLACES, indirect=True)
def test_the_whole_life_of_an_order(store, tracker_of, reference, tmp_path):
    store.put("PREARD/notes.txt", b"somebody's")
    # The names of the other order's images, and its own, begin with those of the first.
    mine, other = tracker_of(store, ""), tracker_of(store, "_2")
    info, files, cubes = run(mine, tmp_path / "mine")
    alone = keys(store)
    name, _ = other.submit(COLLECTION, TILES[0], *PERIOD)
    other_info = other.wait(name, timeout=120)
    others = keys(store) - alone

    shards = [file for status in info.statuses for file in status.files]
    assert len(shards) == 8
    for file in shards:
        content = (tmp_path / "mine" / "down" / file.name).read_bytes()
        assert (len(content), hashlib.md5(content).hexdigest()) == (file.size, file.md5)
    assert sorted(map(len, files.values())) == [1, 1, 3, 3, 3, 3]
    assert cubes.keys() == reference.keys()
    for name, path in cubes.items():
        with xr.open_dataset(path) as cube:
            xr.testing.assert_equal(cube.drop_vars("provenance"), reference[name])

    listed = mine.records.read(info.name).info["metadata"]
    assert set(listed) <= alone
    cleaned = mine.clean(info, info.name)
    assert {key for found in cleaned.values() for key in found} == {
        key for key in alone if key.startswith("PREARD/") and not key.endswith("notes.txt")
    }
    assert keys(store) == {"PREARD/notes.txt", *others}, "of the order nothing, of others all"
    assert mine.list() == ["ORDER_2"]
    assert not mine.engine.ledger(store).statuses([status.id for status in info.statuses])

    files = other.download(other_info, tmp_path / "other")
    assert sorted(map(len, files.values())) == [1, 3, 3]
    other.clean(other_info, other_info.name)
    assert keys(store) == {"PREARD/notes.txt"}
    assert other.list() == []
