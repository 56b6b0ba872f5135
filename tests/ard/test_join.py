"""Cubes of several tasks: joined along time, added to, and opened together."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import preard_files as pre
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives datasets their `rio`
import xarray as xr

from orchard.ard import convert, info, open_ard
from orchard.errors import BulkError, DataError, InputError

KINDS = ["netcdf", "zarr", "cog"]
STEP = 5 * pre.DAY


def task(folder, name, *, first, seed=0, **keywords):
    """Write one task; return its pixels (dates, bands, y, x)."""
    doc = pre.document(name, first=first, **keywords)
    data = pre.pixels(doc, seed)
    pre.write(folder, doc, data, interleave="band" if seed % 2 else "pixel")
    return data


def fails(*arguments, **keywords) -> str:
    """Return what a conversion says of its one failure."""
    with pytest.raises(BulkError) as caught:
        convert(*arguments, **keywords)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_of_a_tile_become_one_cube_in_order_of_time(tmp_path, kind):
    late = task(tmp_path / "in", "a-late", first=pre.FIRST + 2 * STEP, seed=1)
    early = task(tmp_path / "in", "b-early", first=pre.FIRST, seed=2, start="2022-05-01")
    (cube,) = convert(tmp_path / "in", tmp_path / "ard", kind, join=True)
    assert cube.name.startswith("h003v002.")
    ds = open_ard(cube)
    assert (np.diff(ds.time.values) > np.timedelta64(0)).all()
    np.testing.assert_array_equal(ds.nir, np.concatenate([early, late])[:, 1])
    assert [step["tasks"] for step in info(cube)["steps"]] == [["b-early"]] * 2 + [["a-late"]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_new_periods_are_added_to_a_cube_without_the_old_images(tmp_path, kind):
    middle = task(tmp_path / "one", "m", first=pre.FIRST + 2 * STEP, seed=1)
    encoding = {"chunks": {"time": 2, "y": 8, "x": 8}}
    arguments = {"dest": tmp_path / "ard", "format": kind, "join": True, "encoding": encoding}
    convert(tmp_path / "one", **arguments)
    shutil.rmtree(tmp_path / "one")
    early = task(tmp_path / "two", "e", first=pre.FIRST, seed=2)
    late = task(tmp_path / "two", "l", first=pre.FIRST + 4 * STEP, seed=3)
    (cube,) = convert(tmp_path / "two", **arguments)
    ds = open_ard(cube)
    everything = np.concatenate([early, middle, late])
    for number, band in enumerate(("red", "nir", "qa")):
        np.testing.assert_array_equal(ds[band], everything[:, number])
    np.testing.assert_array_equal(ds.flag_snow, everything[:, 2] & pre.SNOW != 0)
    assert {source["task"] for source in info(cube)["sources"]} == {"e", "m", "l"}
    marks = [path.stat().st_mtime_ns for path in (cube, cube.with_name("h003v002.stac.json"))]
    assert convert(tmp_path / "two", **arguments) == [cube]
    again = [path.stat().st_mtime_ns for path in (cube, cube.with_name("h003v002.stac.json"))]
    assert again == marks


def test_an_image_made_anew_replaces_its_dates(tmp_path):
    task(tmp_path / "old", "a", first=pre.FIRST, seed=1)
    kept = task(tmp_path / "old", "b", first=pre.FIRST + 2 * STEP, seed=2)
    convert(tmp_path / "old", tmp_path / "ard", join=True)
    anew = task(tmp_path / "new", "a", first=pre.FIRST, seed=3, dates=1)
    (cube,) = convert(tmp_path / "new", tmp_path / "ard", join=True)
    np.testing.assert_array_equal(open_ard(cube).red, np.concatenate([anew, kept])[:, 0])


def test_two_collections_of_one_day_stay_apart(tmp_path):
    one = task(tmp_path / "in", "one", first=pre.FIRST, seed=1, collection="TEST/A")
    two = task(
        tmp_path / "in",
        "two",
        first=pre.FIRST + 60_000,
        seed=2,
        collection="TEST/B",
        bands=("red", "swir", "qa"),
    )
    (cube,) = convert(tmp_path / "in", tmp_path / "ard", join=True)
    ds = open_ard(cube)
    assert list(ds.collection.values) == ["TEST/A", "TEST/B"] * 2
    assert len(set(ds.solar_day.values)) == 2
    np.testing.assert_array_equal(ds.red[::2], one[:, 0])
    np.testing.assert_array_equal(ds.red[1::2], two[:, 0])
    np.testing.assert_array_equal(ds.swir[1::2], two[:, 1])
    # A band that a collection has not got is nodata.
    assert (ds.swir[::2] == 0).all()
    shutil.rmtree(tmp_path / "in")
    three = task(tmp_path / "in", "three", first=pre.FIRST + 2 * STEP, seed=3)
    (cube,) = convert(tmp_path / "in", tmp_path / "ard", join=True)
    np.testing.assert_array_equal(open_ard(cube).swir[1:4:2], two[:, 1])
    np.testing.assert_array_equal(open_ard(cube).nir[4:], three[:, 1])


@pytest.mark.parametrize("separately", [False, True])
def test_a_solar_day_cut_by_the_end_of_a_period_is_one_date(tmp_path, separately):
    """Its scenes are in two images: where the first has no data, the second fills."""
    doc = pre.document("a", dates=1)
    first = pre.pixels(doc, 1)
    later = pre.document("b", dates=1, first=pre.FIRST + 24_000)
    second = pre.pixels(later, 2)
    pre.write(tmp_path / "a", doc, first)
    pre.write(tmp_path / "b", later, second)
    if separately:
        # The later one first: the order of the scenes counts, not that of the conversions.
        convert(tmp_path / "b", tmp_path / "ard", join=True)
        (cube,) = convert(tmp_path / "a", tmp_path / "ard", join=True)
    else:
        (cube,) = convert([tmp_path / "a", tmp_path / "b"], tmp_path / "ard", join=True)
    ds = open_ard(cube)
    assert ds.sizes["time"] == 1
    np.testing.assert_array_equal(ds.nir, np.where(first == 0, second, first)[:, 1])
    assert info(cube)["steps"][0]["tasks"] == ["a", "b"]
    assert len(info(cube)["steps"][0]["scenes"]) == 2
    # One of the two is made anew: the other is needed, too.
    pre.write(tmp_path / "a", doc, first[:, ::-1])
    assert "give the pre-ARD of that" in fails(tmp_path / "a", tmp_path / "ard", join=True)


def test_overlapping_periods_give_each_date_once(tmp_path):
    whole = task(tmp_path / "in", "whole", first=pre.FIRST, seed=1, dates=3)
    for name, doc in (("part", pre.document("part", first=pre.FIRST + STEP, dates=2)),):
        pre.write(tmp_path / "in", doc, whole[1:])
        assert name
    (cube,) = convert(tmp_path / "in", tmp_path / "ard", join=True)
    np.testing.assert_array_equal(open_ard(cube).red, whole[:, 0])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"nodata": 5}, "differ in nodata"),
        ({"dtype": "int32"}, "differ in dtype"),
        ({"size": (20, 16)}, "differ in tile"),
        ({"bands": ("red", "nir"), "rules": {}}, "differ in quality band"),
    ],
)
def test_what_cannot_be_one_cube_is_named(tmp_path, other, message):
    task(tmp_path / "in", "one", first=pre.FIRST)
    task(tmp_path / "in", "two", first=pre.FIRST + 9 * STEP, collection="TEST/B", **other)
    assert message in fails(tmp_path / "in", tmp_path / "ard", join=True)
    assert len(convert(tmp_path / "in", str(tmp_path / "ard/{collection}"), join=True)) == 2


def test_a_masked_cube_is_not_added_to(tmp_path):
    task(tmp_path / "one", "one", first=pre.FIRST)
    convert(tmp_path / "one", tmp_path / "ard", join=True, mask=True)
    task(tmp_path / "two", "two", first=pre.FIRST + 9 * STEP)
    message = fails(tmp_path / "two", tmp_path / "ard", join=True, mask=True)
    assert "cannot be added to" in message


def test_a_cube_whose_item_was_never_written_keeps_its_dates(tmp_path):
    """As a run that was killed between the two leaves it."""
    old = task(tmp_path / "one", "one", first=pre.FIRST, seed=1)
    (cube,) = convert(tmp_path / "one", tmp_path / "ard", join=True)
    cube.with_name("h003v002.stac.json").unlink()
    with pytest.raises(DataError, match="was not finished"):
        open_ard(cube)
    new = task(tmp_path / "two", "two", first=pre.FIRST + 2 * STEP, seed=2)
    convert(tmp_path / "two", tmp_path / "ard", join=True)
    np.testing.assert_array_equal(open_ard(cube).red, np.concatenate([old, new])[:, 0])


# Opening several ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_cubes_of_a_tile_open_one_after_the_other(tmp_path, kind):
    late = task(tmp_path / "in", "a", first=pre.FIRST + 2 * STEP, seed=1)
    early = task(tmp_path / "in", "b", first=pre.FIRST, seed=2)
    convert(tmp_path / "in", tmp_path / "ard", kind)
    ds = open_ard(tmp_path / "ard")
    assert ds.red.chunks is not None
    np.testing.assert_array_equal(ds.red, np.concatenate([early, late])[:, 0])
    assert ds.scenes.values[0].startswith("TEST/A")
    one = open_ard(sorted((tmp_path / "ard").glob("a.*[cgr]")))
    assert one.sizes["time"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_open_side_by_side(tmp_path, kind):
    """The right tile has another date; both were seen on the first, half a minute apart."""
    left = task(tmp_path / "in", "left", first=pre.FIRST, seed=1)
    right = task(
        tmp_path / "in",
        "right",
        first=pre.FIRST + 30_000,
        step=7 * pre.DAY,
        seed=2,
        index=(2, 4),
        origin=(600600.0, 5100000.0),
    )
    convert(tmp_path / "in", tmp_path / "ard", kind)
    ds = open_ard(tmp_path / "ard")
    assert dict(ds.sizes) == {"time": 3, "y": 15, "x": 40}
    assert (np.diff(ds.x) == 30).all()
    assert (np.diff(ds.y) == -30).all()
    red = ds.red.values
    assert red.dtype == left.dtype
    np.testing.assert_array_equal(red[0], np.hstack([left[0, 0], right[0, 0]]))
    np.testing.assert_array_equal(red[1, :, :20], left[1, 0])
    assert (red[1, :, 20:] == 0).all()
    np.testing.assert_array_equal(red[2, :, 20:], right[1, 0])
    assert ds.clear.dtype == bool
    assert not ds.clear[1, :, 20:].any()


def test_several_cubes_say_what_all_of_them_are(tmp_path):
    """Combined: title, source, history. Kept for each acquisition: what its scenes tell."""
    task(tmp_path / "a", "first", first=pre.FIRST)
    task(tmp_path / "b", "second", first=pre.FIRST + 2 * STEP, collection="TEST/B")
    (one,) = convert(tmp_path / "a", tmp_path / "ard")
    (two,) = convert(tmp_path / "b", tmp_path / "ard", skip_metadata=True)
    first = open_ard(one)
    ds = open_ard([two, one])
    assert ds.attrs["title"] == "2 cubes: first, second"
    assert set(ds.attrs["source"].split(", ")) == {"TEST/A", "TEST/B"}
    *lines, last = ds.attrs["history"].splitlines()
    assert set(lines) == {cube.attrs["history"] for cube in (first, open_ard(two))}
    assert "2 cubes opened as one by Orchard" in last
    assert ds.attrs["Conventions"] == "CF-1.11"
    assert ds.red.attrs == first.red.attrs
    assert set(ds.coords) == set(first.coords) - {"provenance"}
    assert ds.scenes.values.tolist() == [*first.scenes.values, *open_ard(two).scenes.values]
    assert ds.tasks.values.tolist() == ["first"] * 2 + ["second"] * 2
    assert ds.platform.values.tolist() == ["sat-1"] * 2 + ["not recorded"] * 2
    np.testing.assert_array_equal(ds.cloud_cover, [10, 10, np.nan, np.nan])
    assert [json.loads(text) for text in ds.scene_metadata.values[2:]] == [[], []]
    assert np.isfinite(ds.clear_fraction).all()


def test_tiles_side_by_side_say_what_all_of_them_are(tmp_path):
    data = [
        task(tmp_path / "in", name, first=pre.FIRST, step=step, seed=seed, **place)
        for name, seed, step, place in (
            ("left", 1, STEP, {}),
            ("right", 2, 7 * pre.DAY, {"index": (2, 4), "origin": (600600.0, 5100000.0)}),
        )
    ]
    left, right = convert(tmp_path / "in", tmp_path / "ard")
    parts, ds = [open_ard(left), open_ard(right)], open_ard(tmp_path / "ard")
    assert ds.attrs["title"] == "2 cubes: left, right"
    # One scene is in both tiles on the first day: it counts once.
    assert ds.scenes.values[0] == parts[0].scenes.values[0] == parts[1].scenes.values[0]
    assert ds.tasks.values.tolist() == ["left/right", "left", "right"]
    assert len(json.loads(ds.scene_metadata.values[0])) == 1
    np.testing.assert_array_equal(ds.cloud_cover, [10, 10, 10])
    np.testing.assert_allclose(ds.sun_azimuth, [359] * 3)
    holes = [np.mean(one[:, 2] != 0, axis=(1, 2)) / 2 for one in data]
    shares = [holes[0][0] + holes[1][0], holes[0][1], holes[1][1]]
    np.testing.assert_allclose(ds.valid_fraction, shares)
    np.testing.assert_allclose(ds.clear_fraction, ds.clear.mean(["y", "x"]))
    assert ds.clear_fraction.attrs["long_name"] == "share of all tiles' pixels that are clear"
    assert "provenance" not in ds
    assert ds.rio.transform() == rasterio.Affine(30, 0, 600000, 0, -30, 5100000)
    assert ds.red.rio.nodata == 0
    # Turned round, the origin is still that of both.
    again = open_ard([right, left])
    assert again.rio.transform() == ds.rio.transform()


def test_cubes_of_other_scales_are_put_together_as_physical_numbers_only(tmp_path):
    task(tmp_path / "in", "a", first=pre.FIRST)
    doc = pre.document("b", first=pre.FIRST + 2 * STEP)
    doc["collection"]["bands"]["nir"]["scale"] = 0.001
    pre.write(tmp_path / "in", doc, pre.pixels(doc, 2))
    cubes = convert(tmp_path / "in", tmp_path / "ard")
    with pytest.raises(InputError, match="scale_factor of nir: open them with scaled=True"):
        open_ard(tmp_path / "ard")
    ds = open_ard(tmp_path / "ard", scaled=True)
    for part, cube in ((slice(0, 2), cubes[0]), (slice(2, 4), cubes[1])):
        np.testing.assert_array_equal(ds.nir[part], open_ard(cube, scaled=True).nir)


@pytest.mark.parametrize("scaled", [False, True])
def test_netcdf_is_opened_as_xarray_would(tmp_path, scaled):
    """Ours is several times as fast; what it gives is the same."""
    task(tmp_path / "in", "a", first=pre.FIRST)
    encoding = {"chunks": {"time": 1, "y": 8, "x": 8}}
    (cube,) = convert(tmp_path / "in", tmp_path / "ard", encoding=encoding)
    ours = open_ard(cube, scaled=scaled)
    with xr.open_dataset(cube, engine="h5netcdf", mask_and_scale=False) as raw:
        wanted = {n: scaled and "flag_meanings" not in v.attrs for n, v in raw.variables.items()}
    with xr.open_dataset(cube, engine="h5netcdf", mask_and_scale=wanted) as theirs:
        xr.testing.assert_identical(ours, theirs)
        assert {n: v.dtype for n, v in ours.items()} == {n: v.dtype for n, v in theirs.items()}
        np.testing.assert_array_equal(ours.red[::-1, [3, 1, 7], 5], theirs.red[::-1, [3, 1, 7], 5])
    assert pickle.loads(pickle.dumps(ours)).red.sum() == ours.red.sum()
    ours.close()


def test_a_cube_of_geotiffs_tells_what_the_netcdf_tells(tmp_path):
    task(tmp_path / "in", "a", first=pre.FIRST)
    (netcdf,) = convert(tmp_path / "in", tmp_path / "ard")
    (cog,) = convert(tmp_path / "in", tmp_path / "cog", "cog")
    one, other = open_ard(netcdf), open_ard(cog)
    assert set(other.coords) == set(one.coords) - {"provenance"}
    for name in other.coords:
        np.testing.assert_array_equal(other[name], one[name], err_msg=name)
    assert other.rio.transform() == one.rio.transform()
    assert other.rio.crs == one.rio.crs


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(InputError, match="no such"):
        open_ard(tmp_path / "a.nc")
    with pytest.raises(InputError, match="holds no cube"):
        open_ard(tmp_path)
    (tmp_path / "a.tif").touch()
    with pytest.raises(InputError, match="is not a cube"):
        open_ard(tmp_path / "a.tif")
    (tmp_path / "b.nc").write_bytes(b"rubbish")
    (tmp_path / "b.stac.json").write_text("{}")
    with pytest.raises(DataError, match=r"b\.nc"):
        open_ard(tmp_path / "b.nc")
    with pytest.raises(DataError, match=r"b\.nc"):
        info(tmp_path / "b.nc")


def test_one_date_in_two_cubes_is_refused(tmp_path):
    for name in ("a", "b"):
        task(tmp_path / "in", name, first=pre.FIRST)
    convert(tmp_path / "in", tmp_path / "ard")
    with pytest.raises(InputError, match=r"2022-06-02.* is in two of these cubes"):
        open_ard(tmp_path / "ard")


def test_cubes_of_other_bands_are_not_put_together(tmp_path):
    task(tmp_path / "in", "a", first=pre.FIRST)
    task(tmp_path / "in", "b", first=pre.FIRST + 9 * STEP, bands=("red", "swir", "qa"))
    convert(tmp_path / "in", tmp_path / "ard")
    with pytest.raises(InputError, match="only one has nir, swir"):
        open_ard(tmp_path / "ard")


def test_the_collection_lists_all_cubes(tmp_path):
    for name, first in (("a", pre.FIRST), ("b", pre.FIRST + 9 * STEP)):
        task(tmp_path / "in", name, first=first)
        convert(tmp_path / "in" / f"{name}.json", str(tmp_path / "ard/{name}"))
    document = json.loads((tmp_path / "ard/ard-collection.json").read_text())
    links = [link["href"] for link in document["links"] if link["rel"] == "item"]
    assert links == ["./a/a.stac.json", "./b/b.stac.json"]
