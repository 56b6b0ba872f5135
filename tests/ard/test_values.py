"""Every pixel of a cube is the pixel that GDAL reads from the source."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import netCDF4
import numpy as np
import preard_files as pre
import pytest
import rasterio
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchard.ard import convert, open_ard

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


@st.composite
def images(draw):
    """A document and how its GeoTIFFs are written."""
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    side = st.integers(1, 80)
    dtype = draw(st.sampled_from(DTYPES))
    creation = {
        "interleave": draw(st.sampled_from(["pixel", "band"])),
        "compress": draw(st.sampled_from(["none", "lzw", "deflate", "zstd", "packbits"])),
    }
    if creation["compress"] in ("lzw", "deflate", "zstd") and dtype not in ("float32", "float64"):
        creation["predictor"] = draw(st.sampled_from([1, 2]))
    if draw(st.booleans()):
        creation |= {"tiled": True, "blockxsize": 16, "blockysize": draw(st.sampled_from([16, 32]))}
    bands = ["red", "nir", "swir"][: draw(st.integers(1, 3))]
    quality = dtype not in ("float32", "float64", "int8") and draw(st.booleans())
    doc = pre.document(
        size=(width, height),
        bands=tuple(bands + ["qa"] * quality),
        dates=draw(st.integers(1, 4)),
        dtype=dtype,
        nodata=draw(st.sampled_from([None, 0, 7])),
        shards=draw(
            st.none()
            | side
            | st.tuples(side, side).map(list)
            # One row or one column of shards, and shards of one row or one column.
            | st.sampled_from([[width, 1], [1, height], [width, 20], [20, height]])
        ),
    )
    count = -(-width // 1) * -(-height // 1)
    dimensions = doc["store"]["export_image_kwds"].get("fileDimensions")
    if dimensions:
        w, h = dimensions if isinstance(dimensions, list) else (dimensions, dimensions)
        count = -(-width // w) * -(-height // h)
        if count > 70:
            doc["store"]["export_image_kwds"]["fileDimensions"] = [max(w, 10), max(h, 10)]
    return doc, creation


chunkings = st.fixed_dictionaries(
    {},
    optional={
        "time": st.sampled_from([-1, 1, 2]),
        "y": st.sampled_from([-1, 5, 16]),
        "x": st.sampled_from([-1, 16, 25]),
    },
)


def check(data: np.ndarray, doc: dict, values) -> None:
    for number, band in enumerate(doc["image"]["bands"]):
        found = np.asarray(values(band))
        assert found.dtype == data.dtype
        np.testing.assert_array_equal(found, data[:, number])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images(), chunkings, st.booleans())
def test_netcdf_holds_what_gdal_reads(image, chunks, compressed):
    doc, creation = image
    with TemporaryDirectory() as place:
        folder = Path(place)
        pre.write(folder, doc, pre.pixels(doc), **creation)
        data = pre.read_gdal(folder, doc)
        encoding = {"chunks": chunks, "zlib": compressed}
        (cube,) = convert(folder, folder / "ard", encoding=encoding, executor="synchronous")
        with netCDF4.Dataset(cube) as file:
            file.set_auto_maskandscale(False)
            check(data, doc, lambda band: file[band][:])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images(), chunkings, st.booleans())
def test_zarr_holds_what_gdal_reads(image, chunks, compressed):
    doc, creation = image
    with TemporaryDirectory() as place:
        folder = Path(place)
        pre.write(folder, doc, pre.pixels(doc), **creation)
        data = pre.read_gdal(folder, doc)
        encoding = {"chunks": chunks, "zlib": compressed}
        (cube,) = convert(folder, folder / "ard", "zarr", encoding=encoding)
        group = zarr.open_group(cube, mode="r")
        check(data, doc, lambda band: group[band][:])


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images())
def test_geotiffs_hold_what_gdal_reads(image):
    doc, creation = image
    with TemporaryDirectory() as place:
        folder = Path(place)
        pre.write(folder, doc, pre.pixels(doc), **creation)
        data = pre.read_gdal(folder, doc)
        (cube,) = convert(folder, folder / "ard", "cog")
        for number, band in enumerate(doc["image"]["bands"]):
            for day, plane in zip(doc["image"]["dates"], data[:, number], strict=True):
                with rasterio.open(cube / f"{day}_{band}.tif") as dataset:
                    np.testing.assert_array_equal(dataset.read(1), plane)
                    assert dataset.crs.to_epsg() == 32632
                    assert dataset.transform.to_gdal()[:2] == (600000.0, 30.0)


@pytest.mark.parametrize("creation", [{"interleave": "pixel"}, {"interleave": "band"}])
def test_many_blocks_and_chunks_in_time(tmp_path, creation):
    """More dates than one chunk, units that are more than one block, blocks across chunks."""
    doc = pre.document(size=(600, 530), dates=7, shards=[300, 530])
    pre.write(tmp_path, doc, pre.pixels(doc), tiled=True, blockxsize=128, blockysize=64, **creation)
    data = pre.read_gdal(tmp_path, doc)
    for chunks in ({}, {"time": 3}, {"time": 3, "y": 100, "x": 150}):
        (cube,) = convert(tmp_path, tmp_path / "ard", encoding={"chunks": chunks}, overwrite=True)
        with xr.open_dataset(cube, mask_and_scale=False) as ds:
            check(data, doc, lambda band: ds[band].values)
            assert ds.clear.encoding["chunksizes"][0] == chunks.get("time", 7)


@pytest.mark.parametrize(
    ("kind", "others"), [("netcdf", ["threads"]), ("zarr", ["threads", "processes"])]
)
def test_executors_agree(tmp_path, kind, others):
    doc = pre.document(size=(300, 280), dates=3)
    pre.write(tmp_path, doc, pre.pixels(doc), tiled=True, blockxsize=64, blockysize=64)
    first, *rest = (
        open_ard(convert(tmp_path, tmp_path / executor, kind, executor=executor)[0]).load()
        for executor in ("synchronous", *others)
    )
    for cube in rest:
        assert cube.drop_attrs().identical(first.drop_attrs())


def test_a_chunk_of_nodata_is_not_stored_and_reads_as_nodata(tmp_path):
    doc = pre.document(size=(512, 256), bands=("red",), dates=1, nodata=9, dtype="uint8")
    data = np.full((1, 1, 256, 512), 9, "uint8")
    data[..., 300:] = 5
    pre.write(tmp_path, doc, data)
    (nc,) = convert(tmp_path, tmp_path / "ard", encoding={"chunks": {"x": 256, "y": 256}})
    (store,) = convert(tmp_path, tmp_path / "ard", "zarr", encoding={"chunks": {"x": 256}})
    for cube in (nc, store):
        np.testing.assert_array_equal(open_ard(cube).red.values, data[:, 0])
    with netCDF4.Dataset(nc) as file:
        assert file["red"][:].mask.sum() == 300 * 256
