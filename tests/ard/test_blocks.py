"""Blocks read without GDAL are what GDAL reads; what we do not read is GDAL's."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window as RasterWindow

from orchard.ard import blocks, reader
from orchard.ard.blocks import BlockFile
from orchard.preard import Window
from orchard.tiff import Unsupported, lzw

BANDS, HEIGHT, WIDTH = 5, 150, 170
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 32}
WINDOWS = [(0, 0, HEIGHT, WIDTH), (10, 60, 100, 110), (149, 169, 1, 1), (32, 64, 32, 64)]


def write(path, dtype="int16", empty=False, **creation):
    rng = np.random.default_rng(5)
    values = rng.integers(0, 100, (BANDS, HEIGHT, WIDTH)).astype(dtype)
    values[:, 40:90, :100] = 7
    profile = {"driver": "GTiff", "count": BANDS, "height": HEIGHT, "width": WIDTH, "dtype": dtype}
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
