"""The same order through both engines: the same pixels, times and metadata, from GCS and Drive."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio

import orchard
from orchard.engines.local import LocalEngine
from orchard.grid import TileGrid
from orchard.stores import open_store
from orchard.tracker import Tracker

if TYPE_CHECKING:
    import xarray as xr

ESPA_GRID = TileGrid(
    name="ESPA",
    crs="EPSG:5070",
    ul=(1816000, 2516000),
    res=(60, 60),
    size=(128, 150),
    limits=((0, 3), (0, 3)),
)
ORDERS = {
    "s2": ("BOLZANO/S2_L2A", [(1, 1), (3, 3)], "2022-06-01", "2022-06-20", "SMS"),
    "espa": ("ESPA/LANDSAT_SR", [(0, 0), (0, 1)], "1987-01-01", "2016-01-01", "20YS"),
}


@pytest.fixture(scope="module")
def gcs():
    import servers

    with servers.gcs_server() as server:
        yield server


def _gcs(gcs, tmp_path):
    store = open_store(f"{gcs.url}/{re.sub(r'[^a-z0-9]', '-', tmp_path.name)}", **gcs.options)
    bucket = open_store(gcs.url, **gcs.options)

    def sink(destination, name, content):
        bucket.put(name, content)
        return f"gs://{destination['bucket']}"

    return store, sink


def _drive(pair, _):
    server, drive = pair
    store = open_store(server.url, **server.options, backoff=0.001)

    def sink(destination, name, content):
        # Any folder of the name will do; of several, that of the latest change.
        folders = [f for f in drive.files.values() if f.name == destination["folder"]]
        parent = folders[-1].id if folders else drive.add(destination["folder"], "the-root")
        drive.add(name, parent, content, "image/tiff")
        return f"https://drive.google.com/#folders/{parent}"

    return store, sink


@pytest.fixture
def target(request, tmp_path):
    """A store and what writes to it from outside."""
    if request.param == "gcs":
        yield _gcs(request.getfixturevalue("gcs"), tmp_path)
        return
    from drive_server import drive_server

    with drive_server() as pair:
        yield _drive(pair, tmp_path)


def _grid_of(name, bolzano_grid):
    return bolzano_grid if name == "s2" else ESPA_GRID


def _run(tracker, order, folder):
    name, _ = tracker.submit(*order)
    info = tracker.wait(name)
    assert info.complete, info.summary(tasks=True)
    tracker.download(name, folder / "down")
    cubes = orchard.convert(folder / "down", dest=folder / "ard")
    return info, {cube.stem: cube for cube in map(Path, cubes)}


@pytest.mark.parametrize(
    ("target", "name"), [("gcs", "s2"), ("gcs", "espa"), ("drive", "s2")], indirect=["target"]
)
def test_cubes_are_alike(
    target, name, world, real_archive, collections, bolzano_grid, scenes, tmp_path
):
    store, sink = target
    grid = _grid_of(name, bolzano_grid)
    order = ORDERS[name]
    options = {
        "collections": collections,
        "tracking_template": "ORDER",
        "export_image_kwds": {"fileDimensions": 64, "shardSize": 64},
        "filters": {"BOLZANO/S2_L2A": [_clouds(95)]},
    }
    there = world(real_archive, sink)
    remote = Tracker(grid, store, engine=there.engine(), **options)
    info, found = _run(remote, order, tmp_path / "remote")
    local_store = open_store(tmp_path / "preard")
    local = Tracker(grid, local_store, engine=LocalEngine(scenes / "catalog.json"), **options)
    expected_info, expected = _run(local, order, tmp_path / "local")

    assert info.states == expected_info.states
    assert found.keys() == expected.keys()
    assert found
    assert [len(s.files) for s in info.statuses] == [len(s.files) for s in expected_info.statuses]
    for stem, path in expected.items():
        with orchard.open_ard(path) as theirs, orchard.open_ard(found[stem]) as ours:
            _assert_same_cube(ours, theirs)
    for status, other in zip(info.statuses, expected_info.statuses, strict=True):
        assert status.state == other.state
        assert [f.name for f in status.files] == [f.name for f in other.files]


def _clouds(most):
    return {"function": "lte", "name": "CLOUDY_PIXEL_PERCENTAGE", "value": most}


def _assert_same_cube(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    assert set(ours.variables) == set(theirs.variables)
    assert list(ours.sizes.items()) == list(theirs.sizes.items())
    for name in set(theirs.variables) - {"provenance"}:
        np.testing.assert_array_equal(_values(ours[name]), _values(theirs[name]), err_msg=name)
        assert ours[name].dtype == theirs[name].dtype
        assert _attributes(ours[name]) == _attributes(theirs[name])
    assert _documents(ours) == _documents(theirs)
    assert not {
        key
        for key in ours.attrs.keys() | theirs.attrs.keys()
        if str(ours.attrs.get(key)) != str(theirs.attrs.get(key))
    } - {"history", "date_created", "id"}


def _values(variable):
    """Numbers as they are, JSON as what it says."""
    if variable.name != "scene_metadata":
        return variable.values
    return [json.dumps(json.loads(text), sort_keys=True) for text in variable.values]


def _attributes(variable):
    """Attributes as text; what belongs to flags by flag, as their order says nothing."""
    found = dict(variable.attrs)
    flags = found.pop("flag_meanings", "").split()
    for key in [key for key in found if key.startswith("flag_")]:
        found[key] = dict(sorted(zip(flags, list(found[key]), strict=True)))
    return {key: str(value) for key, value in found.items()} | {"flags": sorted(flags)}


def _documents(cube):
    """What the image metadata says of the image; the task and the files are each engine's own."""
    return [
        {part: document[part] for part in ("image", "collection", "tile")}
        for document in json.loads(str(cube["provenance"].values))["documents"]
    ]


def test_files_are_as_earth_engine_writes_them(
    world, bucket, real_archive, collections, bolzano_grid
):
    engine = world(real_archive).engine()
    tracker = Tracker(
        bolzano_grid,
        bucket,
        engine=engine,
        collections=collections,
        export_image_kwds={"fileDimensions": 64, "shardSize": 64},
    )
    name, _ = tracker.submit("BOLZANO/S2_L2A", (1, 1), "2022-06-01", "2022-06-08")
    info = tracker.wait(name)
    image = info.orders[0]["name"]
    names = [file.name for file in info.statuses[0].files]
    assert names == [f"{image}-{row:010d}-{col:010d}.tif" for row in (0, 64) for col in (0, 64)]
    data, _ = bucket.get(f"CEDAR_PREARD/{names[3]}")
    with rasterio.MemoryFile(data) as memory, memory.open() as file:
        assert file.interleaving is rasterio.enums.Interleaving.pixel
        assert file.compression is rasterio.enums.Compression.lzw
        assert file.block_shapes[0] == (64, 64)
        assert file.descriptions[0] == "2022-06-02_blue"
        tile = bolzano_grid[1, 1]
        assert file.transform == tile.transform @ rasterio.Affine.translation(64, 64)


def test_another_folder_of_the_same_name(world, real_archive, collections, bolzano_grid, tmp_path):
    """Drive knows folders by name: what lands in a wrong one is missed, and said so."""
    from drive_server import drive_server

    with drive_server() as pair:
        store, sink = _drive(pair, tmp_path)
        tracker = Tracker(
            bolzano_grid, store, engine=world(real_archive, sink).engine(), collections=collections
        )
        order = ("BOLZANO/S2_L2A", (1, 1), "2022-06-01", "2022-06-04")
        store.put("CEDAR_PREARD/x", b"the folder is there")
        wrong = pair[1].add("CEDAR_PREARD", "the-root")
        name, _ = tracker.submit(*order)
        info = tracker.wait(name)
        assert info.states == {"LOST": 1}
        (cause,) = info.failures()
        assert "if it is in another folder of this name, rename that one" in cause
        pair[1].files[wrong].name = "not that one"
        tracker.retry(name)
        assert tracker.wait(name).states == {"COMPLETED": 1}


@pytest.mark.parametrize("other", ["the same", "older", "newer"])
def test_files_that_drive_has_twice(
    world, real_archive, collections, bolzano_grid, tmp_path, other
):
    """A copy does no harm, an older attempt's file gives way; what cannot be told is an error."""
    from datetime import UTC, datetime

    from drive_server import drive_server

    with drive_server() as pair:
        store, plain = _drive(pair, tmp_path)
        drive = pair[1]

        def sink(destination, name, content):
            url = plain(destination, name, content)
            first = next(f for f in reversed(drive.files.values()) if f.name == name)
            if name.endswith("0000000064-0000000064.tif"):
                again = content if other == "the same" else b"another"
                twin = drive.files[drive.add(name, first.parents[0], again, "image/tiff")]
                if other == "older":
                    twin.modified = datetime(2023, 1, 1, tzinfo=UTC)
            return url

        tracker = Tracker(
            bolzano_grid,
            store,
            engine=world(real_archive, sink).engine(),
            collections=collections,
            export_image_kwds={"fileDimensions": 64, "shardSize": 64},
        )
        name, _ = tracker.submit("BOLZANO/S2_L2A", (1, 1), "2022-06-01", "2022-06-04")
        info = tracker.wait(name)
        if other == "newer":
            assert info.states == {"FAILED": 1}
            (cause,) = info.failures()
            assert "there are 2 files CEDAR_PREARD/" in cause
            assert "that differ (foreign-" in cause
            twin = max(f.id for f in drive.files.values() if f.content == b"another")
            del drive.files[twin]
            other = "the same"
            tracker.retry(name)
            info = tracker.wait(name)
        assert info.states == {"COMPLETED": 1}
        names = [f.name for f in drive.files.values() if f.name.endswith(".tif")]
        assert len(names) == len(set(names)) == 4
        assert len(tracker.download(name, tmp_path / "down")[info.statuses[0].id]) == 5


def test_a_retry_leaves_nothing_double_in_drive(
    world, real_archive, collections, bolzano_grid, tmp_path
):
    from drive_server import drive_server

    with drive_server() as pair:
        store, sink = _drive(pair, tmp_path)
        there = world(real_archive, sink)
        tracker = Tracker(
            bolzano_grid,
            store,
            engine=there.engine(),
            collections=collections,
            export_image_kwds={"fileDimensions": 64, "shardSize": 64},
        )
        there.service.lose("0000000064-0000000064")
        name, _ = tracker.submit("BOLZANO/S2_L2A", (1, 1), "2022-06-01", "2022-06-04")
        assert tracker.wait(name).states == {"LOST": 1}
        there.service._losing.clear()
        tracker.retry(name)
        assert tracker.wait(name).states == {"COMPLETED": 1}
        names = [f.name for f in pair[1].files.values() if f.name.endswith(".tif")]
        assert len(names) == len(set(names)) == 4
