"""What a cube carries: CF metadata, coordinates, masks, provenance, STAC."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
import zlib
from datetime import datetime
from pathlib import Path

import netCDF4
import numpy as np
import preard_files as pre
import pytest
import rasterio
import xarray as xr
import zarr

from orchard.ard import convert, info, open_ard
from orchard.errors import BulkError, InputError, TemplateError

DATA = Path(__file__).parents[3] / "shared/data"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One image in all formats: folder, document, pixels, cubes by format."""
    folder = tmp_path_factory.mktemp("cube")
    doc = pre.document(size=(64, 50), dates=3, scenes=2)
    data = pre.pixels(doc)
    pre.write(folder, doc, data)
    kinds = ("netcdf", "zarr", "cog")
    cubes = {kind: convert(folder, folder / "ard" / kind, kind)[0] for kind in kinds}
    return folder, doc, data, cubes


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_coordinates_tell_of_each_acquisition(made, kind):
    _, doc, data, cubes = made
    ds = open_ard(cubes[kind])
    times = [scenes[0]["system:time_start"] for scenes in doc["image"]["images"]]
    np.testing.assert_array_equal(ds.time.values, np.array(times, "M8[ms]").astype("M8[ns]"))
    assert ds.time.attrs["standard_name"] == "time"
    assert [str(day)[:10] for day in ds.solar_day.values] == doc["image"]["dates"]
    assert set(ds.collection.values) == {"TEST/A"}
    assert ds.scenes.values[0] == " ".join(s["id"] for s in doc["image"]["images"][0])
    assert ds.tasks.values[0] == doc["task"]["name"]
    assert set(ds.platform.values) == {"sat-1"}
    np.testing.assert_allclose(ds.cloud_cover, 15)
    np.testing.assert_allclose(ds.sun_elevation, 50)
    # 359 and 1 degree: the mean direction is north.
    np.testing.assert_allclose((ds.sun_azimuth + 180) % 360, 180)
    assert json.loads(str(ds.scene_metadata.values[1])) == doc["image"]["images"][1]
    qa = data[:, 2]
    np.testing.assert_allclose(ds.valid_fraction, (qa != 0).mean(axis=(1, 2)))
    np.testing.assert_allclose(ds.clear_fraction, clear_of(qa).mean(axis=(1, 2)))


def clear_of(qa: np.ndarray) -> np.ndarray:
    return (qa != pre.NODATA) & (qa & (pre.CLOUD | pre.SHADOW) == 0)


@pytest.mark.parametrize("kind", ["netcdf", "zarr", "cog"])
def test_quality_is_decoded(made, kind):
    _, _, data, cubes = made
    qa = data[:, 2]
    ds = open_ard(cubes[kind])
    assert ds.clear.dtype == bool
    np.testing.assert_array_equal(ds.clear, clear_of(qa))
    for name, bit in (("cloud", pre.CLOUD), ("shadow", pre.SHADOW), ("snow", pre.SNOW)):
        np.testing.assert_array_equal(ds[f"flag_{name}"], qa & bit != 0)


def test_clear_is_the_word_of_the_quality_band_alone(tmp_path):
    """A band without data at a clear pixel says so itself; other bands stay usable there."""
    doc = pre.document()
    data = pre.pixels(doc)
    data[:, 2, :5] = 64  # clear
    data[:, 1, :5] = 7
    data[:, 0, :5, :10] = pre.NODATA
    pre.write(tmp_path / "in", doc, data)
    (cube,) = convert(tmp_path / "in", tmp_path / "ard")
    hole = {"y": slice(5), "x": slice(10)}
    stored, scaled = open_ard(cube).isel(hole), open_ard(cube, scaled=True).isel(hole)
    assert stored.clear.all()
    assert (stored.red == pre.NODATA).all()
    assert scaled.red.isnull().all()
    assert scaled.nir.notnull().all()
    (masked,) = convert(tmp_path / "in", tmp_path / "masked", mask=True)
    assert (open_ard(masked).isel(hole).red == pre.NODATA).all()
    assert (open_ard(masked).isel(hole).nir == 7).all()


def test_attributes_of_bands(made):
    _, _doc, _, cubes = made
    with netCDF4.Dataset(cubes["netcdf"]) as file:
        red, qa = file["red"], file["qa"]
        assert (red.scale_factor, red.add_offset, red._FillValue) == (0.0001, -0.1, 0)
        assert (red.units, red.long_name, red.grid_mapping) == (
            "1",
            "reflectance red",
            "spatial_ref",
        )
        assert qa.flag_meanings.split() == ["cloud", "shadow", "snow"]
        assert list(qa.flag_masks) == list(qa.flag_values) == [8, 16, 32]
        assert qa.flag_masks.dtype == qa.dtype
        assert file["clear"].flag_meanings == "not_clear clear"
        assert file.Conventions == "CF-1.11"
        assert "scale_factor" not in qa.ncattrs()


@pytest.mark.parametrize("kind", ["netcdf", "zarr", "cog"])
def test_numbers_are_stored_ones_or_physical_ones_as_asked(made, kind):
    _, _, data, cubes = made
    stored, scaled = open_ard(cubes[kind]), open_ard(cubes[kind], scaled=True)
    np.testing.assert_array_equal(stored.red, data[:, 0])
    wanted = np.where(data[:, 0] == 0, np.nan, data[:, 0] * 0.0001 - 0.1)
    np.testing.assert_allclose(scaled.red, wanted, rtol=1e-5, atol=1e-6)
    assert scaled.qa.dtype == stored.qa.dtype == data.dtype


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_rioxarray_finds_crs_transform_and_nodata(made, kind):
    import odc.geo.xr
    import rioxarray  # noqa: F401 - registers the accessor

    ds = open_ard(made[3][kind])
    assert odc.geo.xr.xr_coords  # registers the other
    assert ds.odc.geobox.crs.epsg == 32632
    assert ds.red.rio.crs.to_epsg() == 32632
    assert ds.red.rio.transform().to_gdal() == (600000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0)
    assert ds.red.rio.nodata == 0


def test_gdal_opens_the_netcdf(made):
    _, _, data, cubes = made
    with rasterio.open(f"netcdf:{cubes['netcdf']}:red") as dataset:
        assert dataset.crs.to_epsg() == 32632
        assert dataset.transform.to_gdal() == (600000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0)
        assert dataset.nodata == 0
        np.testing.assert_array_equal(dataset.read(), data[:, 0])


def test_other_readers_open_the_cubes(made):
    _, _, data, cubes = made
    for engine in ("netcdf4", "h5netcdf"):
        with xr.open_dataset(cubes["netcdf"], engine=engine, mask_and_scale=False) as ds:
            np.testing.assert_array_equal(ds.nir, data[:, 1])
            assert ds.clear.dtype == bool
    with xr.open_zarr(cubes["zarr"], mask_and_scale=False) as ds:
        np.testing.assert_array_equal(ds.nir, data[:, 1])
        assert ds.nir.encoding["shards"][0] == 3


# odc-geo still calls a function that shapely 2.2 has deprecated.
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform")
def test_odc_stac_loads_the_geotiffs(made):
    import odc.stac
    import pystac

    _, _, data, cubes = made
    items = [pystac.Item.from_file(path) for path in sorted(cubes["cog"].glob("????-??-??.json"))]
    ds = odc.stac.load(items, bands=["red", "clear"], groupby="id")
    np.testing.assert_array_equal(ds.red, data[:, 0])
    np.testing.assert_array_equal(ds.clear, clear_of(data[:, 2]))


def test_zarr_says_where_it_is_as_geozarr_does(made):
    attributes = zarr.open_group(made[3]["zarr"], mode="r").attrs
    assert attributes["proj:code"] == "EPSG:32632"
    assert attributes["spatial:transform"] == [30.0, 0.0, 600000.0, 0.0, -30.0, 5100000.0]
    assert {c["name"] for c in attributes["zarr_conventions"]} == {"proj:", "spatial:"}
    assert zarr.open_consolidated(made[3]["zarr"])["red"].shape == (3, 50, 64)


def test_the_netcdf_complies_with_cf(made):
    """Checked by IOOS's compliance checker, in a process of its own for the warnings it makes."""
    script = """
import sys
from compliance_checker.runner import CheckSuite, ComplianceChecker
CheckSuite.load_all_available_checkers()
ok, _ = ComplianceChecker.run_checker(sys.argv[1], ["cf:1.11"], 0, "normal",
    output_filename=sys.argv[2], output_format="json")
"""
    report = made[0] / "cf.json"
    command = [sys.executable, "-W", "ignore", "-c", script, str(made[3]["netcdf"]), str(report)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    result = json.loads(report.read_text())["cf:1.11"]
    problems = [
        (check["name"], check["msgs"])
        for level in ("high_priorities", "medium_priorities", "low_priorities")
        for check in result[level]
        if check["value"][0] < check["value"][1]
    ]
    # CF has unsigned packed data since 1.9 (section 8.1); the checker knows the signed ones only.
    known = "Variable is not of type byte, short, or int as required"
    assert [p for p in problems if not all(m.startswith(known) for m in p[1])] == []


@pytest.mark.parametrize("kind", ["netcdf", "zarr", "cog"])
def test_the_stac_item_is_valid_and_true(made, kind):
    import pystac
    from pystac.extensions.projection import ProjectionExtension
    from pystac.extensions.raster import RasterExtension

    folder, doc, _, _cubes = made
    path = folder / "ard" / kind / f"{doc['task']['name']}.stac.json"
    item = pystac.Item.from_file(path)
    validate(item)
    assert ProjectionExtension.ext(item).epsg == 32632
    assert ProjectionExtension.ext(item).shape == [50, 64]
    assert RasterExtension.has_extension(item)
    assert item.properties["start_datetime"] == "2022-06-02T10:30:24.000Z"
    (source,) = item.properties["orchard:sources"]
    crc = zlib.crc32((folder / source["files"][0]["name"]).read_bytes())
    assert source["files"][0]["checksum"] == f"crc32:{crc:08x}"
    for asset in item.get_assets().values():
        file = Path(asset.get_absolute_href())
        assert file.exists()
        if file.is_file():
            assert asset.extra_fields["file:size"] == file.stat().st_size
    bands = {b["name"]: b for a in item.to_dict()["assets"].values() for b in a["bands"]}
    assert bands["red"]["raster:scale"] == 0.0001
    assert bands["red"]["data_type"] == "uint16"
    west, south, east, north = item.bbox
    assert 10 < west < east < 11
    assert 45 < south < north < 47
    collection = item.get_collection()
    validate(collection)
    assert item.id in {i.id for i in collection.get_items()}


def validate(thing) -> None:
    """Validate against the core schemas that pystac brings; extensions have no schemas offline."""
    from pystac.validation import stac_validator

    validator = stac_validator.JsonSchemaSTACValidator()
    validator.validate_core(
        thing.to_dict(), type(thing).STAC_OBJECT_TYPE, "1.1.0", href=thing.get_self_href()
    )


@pytest.mark.parametrize("kind", ["netcdf", "zarr", "cog"])
def test_info_tells_what_is_in_a_cube(made, kind):
    _, doc, data, cubes = made
    found = info(cubes[kind])
    assert json.loads(json.dumps(found)) == found
    assert found["format"] == kind
    assert found["shape"] == [3, 50, 64]
    assert found["tile"] == [2, 3]
    assert [b["name"] for b in found["bands"]][:3] == ["red", "nir", "qa"]
    step = found["steps"][2]
    assert step["solar_day"] == doc["image"]["dates"][2]
    assert datetime.fromisoformat(step["time"]).utcoffset().total_seconds() == 0
    assert step["clear_fraction"] == pytest.approx(clear_of(data[2, 2]).mean())
    assert found["sources"][0]["task"] == doc["task"]["name"]


# Options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("dilate", [0, 2])
def test_masked_numbers_are_nodata_where_not_clear(tmp_path, interleave, dilate):
    doc = pre.document(size=(70, 40), dates=2)
    data = pre.pixels(doc)
    data[:, 2][data[:, 2] != 0] = 1
    data[0, 2, 10, 10:40] = pre.CLOUD
    pre.write(tmp_path, doc, data, interleave=interleave, tiled=True, blockxsize=16, blockysize=16)
    encoding = {"chunks": {"y": 16, "x": 16}}
    (cube,) = convert(tmp_path, tmp_path / "a", mask=True, dilate=dilate, encoding=encoding)
    ds = open_ard(cube)
    cloud = data[:, 2] == pre.CLOUD
    near = np.zeros_like(cloud)
    for date, row, col in np.argwhere(cloud):
        rows, cols = (
            slice(max(0, row - dilate), row + dilate + 1),
            slice(col - dilate, col + dilate + 1),
        )
        near[date, rows, cols] = True
    clear = (data[:, 2] == 1) & ~near
    np.testing.assert_array_equal(ds.clear, clear)
    np.testing.assert_array_equal(ds.red, np.where(clear, data[:, 0], 0))
    np.testing.assert_array_equal(ds.qa, data[:, 2])
    np.testing.assert_array_equal(ds.flag_cloud, cloud)


def test_numbers_may_be_masked_by_flags_and_scaled(tmp_path):
    doc = pre.document()
    data = pre.pixels(doc)
    pre.write(tmp_path, doc, data, interleave="band")
    (cube,) = convert(tmp_path, tmp_path / "a", "zarr", mask=["snow", "cloud"], scale=True)
    ds = open_ard(cube)
    gone = (data[:, 2] & (pre.SNOW | pre.CLOUD) != 0) | (data[:, 1] == 0)
    wanted = np.where(gone, np.nan, data[:, 1] * 0.0001 - 0.1).astype("float32")
    np.testing.assert_array_equal(ds.nir, wanted)
    assert "scale_factor" not in ds.nir.attrs
    np.testing.assert_array_equal(open_ard(cube, scaled=True).nir, wanted)


def test_metadata_may_be_left_out(tmp_path):
    doc = pre.document()
    pre.write(tmp_path, doc, pre.pixels(doc))
    ds = open_ard(convert(tmp_path, tmp_path / "a", skip_metadata=True)[0])
    assert not {"platform", "cloud_cover", "scene_metadata", "sun_azimuth"} & set(ds.coords)
    assert "sat-1" not in str(ds.provenance.values)
    assert ds.scenes.values[0]


def test_an_image_without_rules_has_no_masks(tmp_path):
    doc = pre.document(bands=("red", "nir"))
    pre.write(tmp_path, doc, pre.pixels(doc))
    ds = open_ard(convert(tmp_path, tmp_path / "a")[0])
    assert set(ds.data_vars) == {"red", "nir"}
    assert "clear" not in ds.attrs["comment"]
    assert "clear_fraction" not in ds.coords
    with pytest.raises(InputError, match="TEST/A did not say what is clear"):
        convert(tmp_path, tmp_path / "b", mask=True)
    with pytest.raises(InputError, match="nothing can be masked by 'cloud': the flags are none"):
        convert(tmp_path, tmp_path / "b", mask=["cloud"])
    assert not (tmp_path / "b").exists()
    # Of which one image alone can be masked: that is.
    other = pre.document("B", collection="TEST/B", index=(2, 4))
    pre.write(tmp_path, other, pre.pixels(other))
    with pytest.raises(BulkError) as caught:
        convert(tmp_path, tmp_path / "b", mask=True)
    assert caught.value.partly
    title, cause = str(caught.value).splitlines()
    assert title == "not all could be converted (1 failed)"
    assert cause.endswith("its collection does not say what is clear")


def test_a_flag_that_no_image_has_is_told_before_anything_is_made(tmp_path):
    doc = pre.document()
    pre.write(tmp_path, doc, pre.pixels(doc))
    (tmp_path / next(tmp_path.glob("*.tif")).name).unlink()
    flag = next(iter(doc["collection"]["flags"]))
    with pytest.raises(InputError) as caught:
        convert(tmp_path, tmp_path / "a", mask=[flag, flag[:-1]])
    text = f"nothing can be masked by {flag[:-1]!r}: did you mean {flag}? The flags are {flag}"
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("gone", ["json", "tif"])
def test_a_cause_of_many_is_told_once(tmp_path, gone):
    names = [f"A_h003v{row:03d}_2022" for row in range(3)]
    for row, name in enumerate(names):
        doc = pre.document(name, index=(row, 3))
        pre.write(tmp_path, doc, pre.pixels(doc)).with_suffix(f".{gone}").unlink()
    with pytest.raises(BulkError) as caught:
        convert(tmp_path, tmp_path / "a")
    title, cause, *rest = str(caught.value).splitlines()
    assert title == "nothing could be converted (3 failed)"
    assert cause.endswith(" (3)")
    if gone == "json":
        names = [str(tmp_path / f"{name}.tif") for name in names]
    assert rest == [f"    {name}" for name in names]
    assert not any(name in cause for name in names)
    assert not caught.value.partly
    assert list(caught.value.by_cause().values()) == [names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tiff"}, "format 'tiff' is unknown"),
        ({"executor": "magic"}, "unknown executor 'magic'"),
        ({"workers": 0}, "workers must be"),
        ({"dilate": -1}, "dilate must be"),
        ({"encoding": {"zip": 1}}, "unknown key 'zip'"),
        ({"encoding": {"chunks": 5}}, "chunks must be"),
        ({"encoding": {"complevel": 50}}, "complevel"),
        ({"dest": "{mood}"}, "unknown key 'mood'"),
        ({"dest": "{tile.mood}"}, "cannot be filled in"),
        ({"dest": "{0}"}, "unknown key"),
        ({"dest": "$ORCHARD_NOT_SET/x"}, "ORCHARD_NOT_SET is not set"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(tmp_path, arguments, message):
    doc = pre.document()
    pre.write(tmp_path / "in", doc, pre.pixels(doc))
    given = {"dest": str(tmp_path / "out"), **arguments}
    with pytest.raises(InputError, match=message):
        convert(tmp_path / "in", **given)
    assert not (tmp_path / "out").exists()


def test_the_destination_is_a_template(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHARD_TEST", str(tmp_path / "x"))
    doc = pre.document()
    pre.write(tmp_path / "in", doc, pre.pixels(doc))
    template = (
        "${ORCHARD_TEST}/{collection}/h{tile.horizontal:03d}v{tile.vertical:03d}/{date_start:%Y}"
    )
    (cube,) = convert(tmp_path / "in", template)
    assert cube.parent == tmp_path / "x/TEST_A/h003v002/2022"
    assert (tmp_path / "x/ard-collection.json").exists()


def test_two_images_of_one_name_need_two_places(tmp_path):
    for prefix in ("a", "b"):
        doc = pre.document()
        pre.write(tmp_path / prefix, doc, pre.pixels(doc))
    with pytest.raises(TemplateError, match="two images would become"):
        convert(tmp_path, tmp_path / "ard")


def test_empty_tasks_are_passed_over(tmp_path):
    pre.write(tmp_path, pre.document("EMPTY", dates=0), np.empty((0, 3, 15, 20)))
    assert convert(tmp_path, tmp_path / "ard") == []
    assert not (tmp_path / "ard").exists()


def test_progress_adds_up_to_the_tasks(tmp_path):
    for name in ("one", "two"):
        doc = pre.document(name, size=(600, 300))
        pre.write(tmp_path, doc, pre.pixels(doc))
    seen: dict[str, float] = {}

    def callback(*, item: str, n_steps: float) -> None:
        seen[item] = seen.get(item, 0) + n_steps

    convert(tmp_path, tmp_path / "ard", callback=callback)
    assert seen == pytest.approx({"one": 1, "two": 1})


def test_what_is_done_is_not_done_again(tmp_path):
    doc = pre.document()
    data = pre.pixels(doc)
    path = pre.write(tmp_path, doc, data)
    (cube,) = convert(path, tmp_path / "ard")
    before = cube.stat().st_ino
    doc["task"]["status"]["state"] = "LOST"
    path.write_text(json.dumps(doc))
    assert convert(path, tmp_path / "ard") == [cube]
    assert cube.stat().st_ino == before
    convert(path, tmp_path / "ard", overwrite=True)
    again = cube.stat().st_ino
    assert again != before
    with pytest.raises(BulkError) as caught:
        convert(path, tmp_path / "ard", scale=True)
    assert "was made with" in str(caught.value)
    # The task was made anew, with other pixels.
    pre.write(tmp_path, doc, data[::-1])
    convert(path, tmp_path / "ard")
    np.testing.assert_array_equal(open_ard(cube).red, data[::-1, 0])


def test_other_sources_are_found(tmp_path):
    from orchard.stores import open_store

    doc = pre.document(shards=[20, 8])
    data = pre.pixels(doc)
    pre.write(tmp_path / "PRE", doc, data)
    store = open_store(str(tmp_path))
    (cube,) = convert("PRE", tmp_path / "a", store=store)
    np.testing.assert_array_equal(open_ard(cube).red, data[:, 0])
    memory = open_store("memory://")
    for file in (tmp_path / "PRE").iterdir():
        memory.put(f"far/PRE/{file.name}", file)
    memory.put("far/other.json", b'{"orders": []}')
    (cube,) = convert("far", tmp_path / "b", "zarr", store=memory)
    np.testing.assert_array_equal(open_ard(cube).red, data[:, 0])
    assert [p.name for p in (tmp_path / "b").iterdir() if p.name.startswith(".")] == []


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not beside the project")
def test_a_document_of_cedar_becomes_a_cube(tmp_path):
    """Its collection is in the registry; its image is made here, smaller than it says."""
    doc = json.loads((DATA / "cedar/example_metadata_image.json").read_text())
    doc["tile"] |= {"size": [40, 30], "bounds": [3016330.0, -2724435.0, 3017530.0, -2723535.0]}
    doc["store"]["export_image_kwds"]["fileDimensions"] = 16
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2**9, (1, 8, 30, 40)).astype("int16")
    pre.write(tmp_path, doc, data)
    (cube,) = convert(tmp_path, tmp_path / "ard")
    ds = open_ard(cube)
    np.testing.assert_array_equal(ds.swir1, data[:, 4])
    assert str(ds.time.values[0]) == "2007-01-15T14:52:47.610000000"
    assert ds.clear.dtype == bool
    assert ds.red.attrs["scale_factor"] == 0.0001
    assert float(ds.sun_elevation[0]) == pytest.approx(90 - 48.971226)
    assert "Lambert Azimuthal Equal Area" in ds.spatial_ref.attrs["crs_wkt"]


def test_a_geographic_grid(tmp_path):
    doc = pre.document(crs="EPSG:4326", origin=(179.9, 10.0), res=(0.01, 0.01))
    pre.write(tmp_path, doc, pre.pixels(doc))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (cube,) = convert(tmp_path, tmp_path / "ard")
    ds = open_ard(cube)
    assert ds.x.attrs["units"] == "degrees_east"
    item = json.loads((tmp_path / "ard" / f"{doc['task']['name']}.stac.json").read_text())
    assert item["geometry"]["type"] == "MultiPolygon"
