"""A collection of floats whose nodata is NaN: from the catalogue to the cube."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import yaml
from numpy.lib.stride_tricks import sliding_window_view
from tiny_world import COLLECTION, CRS, RES, SIDE, UL, World, description

import orchard
from orchard.collections import Collection, load_collections

CONFIG = yaml.safe_load("{dtype: float32, nodata: .nan, bands: {ndvi: {asset: ndvi}}}")
KNOWN = load_collections({COLLECTION: description(**CONFIG)})
TRANSFORM = rasterio.Affine(RES, 0, UL[0], 0, -RES, UL[1])
HOLE = (slice(0, 8), slice(4, 20))
"""Where the first tile has no data on the first day."""


@pytest.fixture
def values(world):
    """What the scenes hold, (time, y, x); the files of the second day do not say their nodata."""
    rows, cols = world.tiles
    shape = (2, rows * SIDE, cols * SIDE)
    values = np.random.default_rng(7).uniform(-1, 1, shape).astype("float32")
    values[(0, *HOLE)] = np.nan
    values[1, 40] = np.nan
    for number, nodata in enumerate((np.nan, None)):
        path = world.scenes / f"ndvi{number}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", dtype="float32", count=1, crs=CRS, nodata=nodata,
            height=shape[1], width=shape[2], transform=TRANSFORM,
        ) as target:  # fmt: skip
            target.write(values[number], 1)
        world.items[number]["assets"] = {"ndvi": {"href": str(path)}}
    world.save()
    return values


@pytest.fixture
def downloads(world: World, values, tmp_path):
    tracker = orchard.Tracker(
        world.grid, orchard.open_store(tmp_path / "store"), engine=world.engine(), collections=KNOWN
    )
    name, _ = tracker.submit(*world.order())
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 4}, info.failures()
    tracker.download(info, tmp_path / "got")
    return tmp_path / "got"


def test_a_description_is_json_and_the_same_again():
    known = KNOWN[COLLECTION]
    text = json.dumps(known.describe(), allow_nan=False)
    assert json.loads(text)["nodata"] == "nan"
    assert Collection.from_description(json.loads(text)).describe() == known.describe()
    shown = yaml.safe_load(yaml.safe_dump(known.model_dump(mode="json", exclude_defaults=True)))
    assert load_collections({shown.pop("id"): shown})[COLLECTION] == known


def test_images_say_that_nan_is_nodata(downloads, values):
    documents = [json.loads(path.read_bytes()) for path in downloads.glob("*.json")]
    assert [document["image"]["nodata"] for document in documents] == ["nan"] * 4
    found = np.full_like(values, 0)
    for path in downloads.glob("*.tif"):
        with rasterio.open(path) as image:
            assert np.isnan(image.nodatavals).all()
            col, row = (round(x) for x in ~TRANSFORM * image.bounds[::3])
            found[:, row : row + SIDE, col : col + SIDE] = image.read()
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("format_", ["netcdf", "zarr", "cog"])
def test_cubes_hold_nan(downloads, values, tmp_path, format_):
    cubes = orchard.convert(downloads, tmp_path / "ard", format_)
    with orchard.open_ard(cubes) as cube:
        assert np.isnan(cube.ndvi.attrs["_FillValue"])
        np.testing.assert_array_equal(cube.ndvi, values)
        shares = np.isfinite(values).mean(axis=(1, 2))
        np.testing.assert_allclose(cube.valid_fraction, shares, atol=1e-6)
    with orchard.open_ard(cubes, scaled=True) as cube:
        np.testing.assert_array_equal(cube.ndvi, values)


@pytest.mark.parametrize("format_", ["netcdf", "zarr"])
def test_a_cube_is_added_to(world, values, tmp_path, format_):
    for number, end in enumerate(("2022-06-02", "2022-06-03")):
        tracker = orchard.Tracker(
            world.grid, orchard.open_store(tmp_path / f"store{number}"), engine=world.engine(),
            collections=KNOWN,
        )  # fmt: skip
        name, _ = tracker.submit(COLLECTION, (0, 0), f"2022-06-0{number + 1}", end)
        tracker.download(tracker.wait(name), tmp_path / f"got{number}")
        (path,) = orchard.convert(tmp_path / f"got{number}", tmp_path / "ard", format_, join=True)
    with orchard.open_ard(path) as cube:
        np.testing.assert_array_equal(cube.ndvi, values[:, :SIDE, :SIDE])


QUALITY = yaml.safe_load("""
bands: {ndvi: {}, q: {qa: true}}
clear: {band: q, bits: {cloud: 0, 8: 1}}
flags: {cloud: {bits: 3}, none: {bits: 30}}
""")


@pytest.mark.parametrize("dilate", [0, 2])
@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_a_quality_band_among_floats(world, values, tmp_path, kind, dilate):
    words = np.random.default_rng(8).choice([256, 264, 0], values.shape[1:], p=[0.9, 0.05, 0.05])
    hole = np.zeros_like(words, bool)
    hole[4:9, 2:6] = True
    words[hole] = 65535
    with rasterio.open(
        world.scenes / "q.tif", "w", driver="GTiff", dtype=kind, count=1, crs=CRS, nodata=65535,
        height=words.shape[0], width=words.shape[1], transform=TRANSFORM,
    ) as target:  # fmt: skip
        target.write(words.astype(kind), 1)
    for item in world.items:
        item["assets"]["q"] = {"href": str(world.scenes / "q.tif")}
    world.save()
    tracker = orchard.Tracker(
        world.grid, orchard.open_store(tmp_path / "store"), engine=world.engine(),
        collections=load_collections({COLLECTION: description(**CONFIG | QUALITY)}),
    )  # fmt: skip
    name, _ = tracker.submit(COLLECTION, (0, 0), "2022-06-01", "2022-06-03")
    tracker.download(tracker.wait(name), tmp_path / "got")
    here = (slice(0, SIDE), slice(0, SIDE))
    clear = (words[here] == 256) & ~hole[here]
    near = np.pad(~clear & ~hole[here], dilate)
    clear &= ~sliding_window_view(near, (2 * dilate + 1,) * 2).any(axis=(-2, -1))
    paths = orchard.convert(tmp_path / "got", tmp_path / "ard", mask=True, dilate=dilate)
    with orchard.open_ard(paths) as cube:
        np.testing.assert_array_equal(cube.clear[1], clear)
        np.testing.assert_array_equal(cube.flag_cloud[1], (words[here] == 264) & ~hole[here])
        assert not cube.flag_none.any()
        np.testing.assert_array_equal(cube.q[1], np.where(hole, np.nan, words)[here])
        np.testing.assert_array_equal(cube.ndvi[1], np.where(clear, values[1][here], np.nan))
