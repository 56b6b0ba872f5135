"""An order that CEDAR 0.0.4 wrote: listed, updated, downloaded and converted."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
from affine import Affine

import orchard
from orchard.testing.earthengine import Archive, Operation
from orchard.tracker import Tracker

ID = "6XKXWIQNWYF6MKYXA2NA77O7"
SIZE, SHARD = 48, 32


@pytest.fixture
def cedar(scenes, bucket):
    """CEDAR's two documents in a store, with a smaller tile, and the image files of the task."""
    folder = scenes / "cedar"
    tracking = json.loads((folder / "example_metadata_tracking.json").read_text())
    image = json.loads((folder / "example_metadata_image.json").read_text())
    (task,) = tracking["orders"]
    task["status"].update(state="READY", output_url=[])
    image["task"].update(name=task["name"], prefix=task["prefix"])
    left, _, _, top = image["tile"]["bounds"]
    res = image["tile"]["res"][0]
    image["tile"].update(size=[SIZE, SIZE], bounds=[left, top - SIZE * res, left + SIZE * res, top])
    image["store"]["export_image_kwds"].update(fileDimensions=SHARD, shardSize=16)
    bucket.put(f"CEDAR_TRACKING/{tracking['tracking']['name']}.json", json.dumps(tracking).encode())
    bucket.put(f"{task['prefix']}/{task['name']}.json", json.dumps(image).encode())
    return tracking, image, lambda: _put_files(bucket, image, task)


def _put_files(bucket, image, task):
    count = len(image["image"]["bands"]) * len(image["image"]["images"])
    left, _, _, top = image["tile"]["bounds"]
    for row in (0, SHARD):
        for col in (0, SHARD):
            height, width = min(SHARD, SIZE - row), min(SHARD, SIZE - col)
            data = np.arange(count * height * width).reshape(count, height, width) % 9000 + col
            with rasterio.MemoryFile() as memory:
                with memory.open(
                    driver="GTiff",
                    count=count,
                    height=height,
                    width=width,
                    dtype="int16",
                    crs=image["tile"]["crs"],
                    transform=Affine(30, 0, left + 30 * col, 0, -30, top - 30 * row),
                ) as file:
                    file.write(data.astype("int16"))
                name = f"{task['name']}-{row:010d}-{col:010d}.tif"
                bucket.put(f"{task['prefix']}/{name}", bytes(memory.read()))


@pytest.mark.parametrize("remembered", [True, False])
def test_an_old_order(cedar, remembered, world, bucket, tmp_path):
    tracking, image, put_files = cedar
    there = world(Archive(collections={}), live=False)
    grid = orchard.TileGrid(**copy.deepcopy(tracking["submission"]["tile_grid"]))
    tracker = Tracker(grid, bucket, engine=there.engine())
    (name,) = tracker.list()
    assert name == tracking["tracking"]["name"]
    info = tracker.read(name)
    assert info.states == {"READY": 1}
    assert info["program"]["name"] == "cedar"

    if remembered:
        now = datetime(2019, 6, 19, 19, tzinfo=UTC)
        operation = Operation(id=ID, body={"description": name[:60]}, created=now, updated=now)
        there.service.operations[ID] = operation
        operation.state, operation.started = "RUNNING", now
        assert tracker.update(name).states == {"RUNNING": 1}
        put_files()
        operation.state, operation.uris = "SUCCEEDED", ["https://drive.google.com/#folders/1F9Z"]
    else:
        put_files()
    info = tracker.update(name)
    assert info.states == {"COMPLETED": 1}
    if remembered:
        assert info.statuses[0].output_url == ("https://drive.google.com/#folders/1F9Z",)

    files = tracker.download(name, tmp_path / "down")
    assert [len(found) for found in files.values()] == [5]
    (cube,) = orchard.convert(tmp_path / "down", dest=tmp_path / "ard")
    with orchard.open_ard(cube) as ds:
        assert ds.sizes == {"time": len(image["image"]["images"]), "y": SIZE, "x": SIZE}
        starts = [int(scenes[0]["system:time_start"]) for scenes in image["image"]["images"]]
        assert (ds["time"].values == np.array(starts, "datetime64[ms]")).all()
        assert list(image["image"]["bands"]) == [
            name for name in image["image"]["bands"] if name in ds
        ]


def test_an_old_order_is_lost_without_its_files(cedar, world, bucket):
    tracking, _, _ = cedar
    there = world(Archive(collections={}), live=False)
    grid = orchard.TileGrid(**copy.deepcopy(tracking["submission"]["tile_grid"]))
    tracker = Tracker(grid, bucket, engine=there.engine())
    info = tracker.update(tracker.list()[0])
    assert info.states == {"LOST": 1}
