"""Blocks read without GDAL are what GDAL reads; what we do not read is GDAL's."""

from __future__ import annotations

import struct
from contextlib import closing

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window as RasterWindow

from orchard.ard import blocks, reader
from orchard.ard.blocks import BlockFile
from orchard.errors import ShardError
from orchard.preard import Window
from orchard.tiff import Unsupported, lzw

BANDS, HEIGHT, WIDTH = 5, 150, 170
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 32}
WINDOWS = [(0, 0, HEIGHT, WIDTH), (10, 60, 100, 110), (149, 169, 1, 1), (32, 64, 32, 64)]


def write(path, dtype="int16", empty=False, count=BANDS, **creation):
    rng = np.random.default_rng(5)
    values = rng.integers(0, 100, (count, HEIGHT, WIDTH)).astype(dtype)
    values[:, 40:90, :100] = 7
    profile = {"driver": "GTiff", "count": count, "height": HEIGHT, "width": WIDTH, "dtype": dtype}
    profile |= {"crs": "EPSG:32632", "transform": Affine(30, 0, 600_000, 0, -30, 5_000_000)}
    with rasterio.open(path, "w", nodata=7, **profile, **creation) as dataset:
        if not empty:
            dataset.write(values)
    return path


STORED = {
    "plain": {},
    "strips": {"compress": "lzw", "blockysize": 7},
    "lzw": {"compress": "lzw", **TILED},
    "lzw, differences": {"compress": "lzw", "predictor": 2, **TILED},
    "deflate": {"compress": "deflate", "predictor": 2, **TILED},
    "zstd": {"compress": "zstd", **TILED},
    "floats": {"compress": "deflate", "predictor": 3, "dtype": "float32", **TILED},
    "packbits": {"compress": "packbits", "dtype": "uint8", **TILED},
    "big-endian": {"compress": "lzw", "ENDIANNESS": "BIG", **TILED},
    "BigTIFF": {"compress": "deflate", "BIGTIFF": "YES", **TILED},
    "sparse": {"compress": "lzw", "SPARSE_OK": True, **TILED},
    "empty": {"compress": "lzw", "SPARSE_OK": True, "empty": True, **TILED},
    "one block": {"compress": "zstd", "tiled": True, "blockxsize": 256, "blockysize": 256},
}


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("how", STORED)
def test_it_reads_what_gdal_reads(tmp_path, how, interleave):
    if "lzw" in str(STORED[how]) and not lzw.is_compiled():
        pytest.skip("no C compiler: GDAL reads LZW")
    path = write(tmp_path / "a.tif", interleave=interleave, **STORED[how])
    file = BlockFile(path)
    with rasterio.open(path) as dataset:
        for row, col, height, width in WINDOWS:
            for bands in ([0, 1, 2, 3, 4], [1, 2], [4, 0, 2], [3]):
                out = np.zeros((len(bands), height + 2, width + 2), dataset.dtypes[0])
                file.read(bands, Window(row, col, height, width), out[:, 1:-1, 1:-1])
                window = RasterWindow(col, row, width, height)
                truth = dataset.read([band + 1 for band in bands], window=window)
                np.testing.assert_array_equal(out[:, 1:-1, 1:-1], truth)
                edge = out.copy()
                edge[:, 1:-1, 1:-1] = 0
                assert not edge.any()


@pytest.mark.parametrize(
    "creation", [{"compress": "lerc", **TILED}, {"nbits": 12, "dtype": "uint16"}]
)
def test_what_gdal_has_to_read(tmp_path, creation):
    path = write(tmp_path / "a.tif", **creation)
    with pytest.raises(Unsupported):
        BlockFile(path)
    image = reader.ImageReader(
        [reader.Shard(path=path, window=Window(0, 0, HEIGHT, WIDTH), dates=range(1))],
        dtype=creation.get("dtype", "int16"),
        bands=BANDS,
        fill=0,
        block=reader.BlockShape(height=32, width=64, pixel=True),
    )
    found = image.read([0], [3, 1], Window(20, 30, 50, 60))
    with rasterio.open(path) as dataset:
        truth = dataset.read([4, 2], window=RasterWindow(30, 20, 60, 50))
    np.testing.assert_array_equal(found[0], truth)


def test_what_a_thread_keeps_is_bounded(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", compress="zstd", interleave="band", **TILED)
    decoded = []
    decode = blocks.decode

    def counting(data, form):
        decoded.append(len(data))
        return decode(data, form)

    monkeypatch.setattr(blocks, "decode", counting)
    window, out = Window(0, 0, 64, 128), np.zeros((1, 64, 128), "int16")
    blocks.let_go()
    file = BlockFile(path)
    file.read([0], window, out)
    file.read([0], window, out)
    assert len(decoded) == 4  # each once
    BlockFile(path).read([0], window, out)
    assert len(decoded) == 8  # another reader's blocks are its own
    blocks.let_go()
    monkeypatch.setattr(blocks, "_KEPT_BYTES", 2 * 64 * 32 * 2)
    file.read([0], window, out)
    file.read([0], window, out)
    assert len(decoded) == 16  # two are kept, never those that are wanted next
    assert blocks._kept._nbytes == 2 * 64 * 32 * 2
    blocks.let_go()
    assert blocks._kept._nbytes == 0


def image(path, dtype, bands=BANDS):
    shard = reader.Shard(path=path, window=Window(0, 0, HEIGHT, WIDTH), dates=range(1))
    block = reader.BlockShape(height=32, width=64, pixel=True)
    return reader.ImageReader([shard], dtype=dtype, bands=bands, fill=0, block=block)


def check_as_gdal(path):
    """Whatever a file is: GDAL's pixels, or an error where GDAL has one."""
    dtype = "int16"
    try:
        with rasterio.open(path) as dataset:
            dtype, truth = dataset.dtypes[0], dataset.read()
    except rasterio.errors.RasterioError:
        truth = None
    bands = BANDS if truth is None else len(truth)
    with closing(image(path, dtype, bands)) as pixels:
        if truth is None:
            with pytest.raises(ShardError, match=path.name):
                pixels.read([0], range(bands), Window(0, 0, HEIGHT, WIDTH))
        else:
            found = pixels.read([0], range(bands), Window(0, 0, HEIGHT, WIDTH))
            np.testing.assert_array_equal(found[0], truth)


COLOUR, FILL_ORDER, STRIP_SIZES, PREDICTOR = 262, 266, 279, 317
OFFSETS, SIZES, SAMPLE_FORMAT, NODATA = 324, 325, 339, 42113
SHORT = 3


def edit(path, tag, *, to=None, kind=None, count=None, field=None, first=None):
    """Change an entry of the first directory (classic TIFF, little-endian), or its first number."""
    raw = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", raw, 4)
    (entries,) = struct.unpack_from("<H", raw, start)
    place = next(
        at
        for at in range(start + 2, start + 2 + 12 * entries, 12)
        if struct.unpack_from("<H", raw, at) == (tag,)
    )
    if first is not None:
        (old_kind, _, offset) = struct.unpack_from("<HII", raw, place + 2)
        struct.pack_into("<H" if old_kind == SHORT else "<I", raw, offset, first)
    for code, at, value in (("<H", 0, to), ("<H", 2, kind), ("<I", 4, count)):
        if value is not None:
            struct.pack_into(code, raw, place + at, value)
    if field is not None and len(field) <= 4:
        raw[place + 8 : place + 12] = field.ljust(4, b"\0")
    elif field is not None:
        struct.pack_into("<I", raw, place + 8, len(raw))
        raw += field
    path.write_bytes(raw)


ROW = 64 * 2
HEADERS = {
    "CMYK": ({"count": 4, "dtype": "uint8", "photometric": "cmyk"}, []),
    "bits in another order": ({}, [(COLOUR, {"to": FILL_ORDER, "field": b"\2"})]),
    "differences of what is not compressed": ({}, [(COLOUR, {"to": PREDICTOR, "field": b"\2"})]),
    "differences of floats, of integers": (
        {"compress": "lzw", "predictor": 2},
        [(PREDICTOR, {"field": b"\3"})],
    ),
    "two predictors": (
        {"compress": "deflate", "predictor": 2},
        [(COLOUR, {"to": PREDICTOR, "field": b"\1"})],
    ),
    "a predictor of an odd type": (
        {"compress": "zstd", "predictor": 2},
        [(PREDICTOR, {"kind": 7})],
    ),
    "sizes of strips, too": (
        {"interleave": "pixel"},
        [(SAMPLE_FORMAT, {"to": STRIP_SIZES})],
    ),
    "no sizes": ({}, [(SIZES, {"to": 65000})]),
    "sizes that are a text": ({}, [(SIZES, {"kind": 2})]),
    "no offsets": ({}, [(OFFSETS, {"count": 0})]),
    "more offsets than there are bytes": ({}, [(OFFSETS, {"count": 0xFFFFFFFF})]),
    "a block of one row": ({"interleave": "band"}, [(SIZES, {"first": ROW})]),
    "a block of three rows": ({"interleave": "pixel"}, [(SIZES, {"first": 3 * BANDS * ROW})]),
    "a block of half a row": ({"interleave": "pixel"}, [(SIZES, {"first": ROW})]),
    "a block behind the end": ({}, [(OFFSETS, {"first": 0xFFFFFFF0})]),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("how", HEADERS)
def test_odd_and_broken_headers(tmp_path, how):
    creation, edits = HEADERS[how]
    path = write(tmp_path / "a.tif", **TILED | creation)
    for tag, change in edits:
        edit(path, tag, **change)
    check_as_gdal(path)


@pytest.mark.parametrize("nodata", ["-9999", "nan", "70000", "1.5", "-1e300", "inf", "7.0"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int64", "uint64", "float32"])
def test_what_was_never_written_is_what_gdal_makes_of_the_nodata(tmp_path, dtype, nodata):
    path = write(tmp_path / "a.tif", dtype=dtype, SPARSE_OK=True, empty=True, **TILED)
    edit(path, NODATA, count=len(nodata) + 1, field=nodata.encode() + b"\0")
    check_as_gdal(path)


def test_nodata_that_gdal_keeps_beside_the_file(tmp_path):
    path = write(tmp_path / "a.tif", SPARSE_OK=True, empty=True, **TILED)
    edit(path, NODATA, to=65001)
    bands = "".join(
        f'<PAMRasterBand band="{band + 1}"><NoDataValue>-5</NoDataValue></PAMRasterBand>'
        for band in range(BANDS)
    )
    path.with_name("a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) == -5).all()
    check_as_gdal(path)


def test_a_file_that_is_replaced_is_not_read_by_the_header_of_another(tmp_path):
    path = write(tmp_path / "a.tif", **TILED)
    with closing(image(path, "int16")) as pixels:
        pixels.read([0], [0], Window(0, 0, 9, 9))
        write(tmp_path / "b.tif", empty=True, blockysize=1).replace(path)
        with pytest.raises(ShardError, match=r"a\.tif: was replaced"):
            pixels.read([0], [0], Window(90, 90, 9, 9))
