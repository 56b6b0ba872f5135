"""How cubes are cut: chunks, units, encoded chunks (pure)."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard import checksums
from orchard.ard.codec import Deflate, is_fill, padded, shuffle, unshuffle
from orchard.ard.reader import BlockShape
from orchard.ard.units import Chunks, choose_chunks, unit_size, units
from orchard.ard.zarr import crc32c
from orchard.errors import InputError

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
blocks = st.builds(
    BlockShape,
    height=st.sampled_from([1, 7, 64, 100, 256, 512, 1024]),
    width=st.sampled_from([64, 100, 256, 512, 3000]),
    pixel=st.booleans(),
)


@given(sizes, blocks, st.integers(1, 300), st.booleans())
def test_units_are_whole_chunks_and_cover_the_tile(size, block, dates, grow):
    width, height = size
    chunks = choose_chunks((dates, height, width), block)
    assert 1 <= chunks.time <= 50
    assert chunks.y <= height
    assert chunks.x <= width
    unit = unit_size(size, chunks, block, 8 * dates, grow=grow)
    assert unit[0] % chunks.y == 0
    assert unit[1] % chunks.x == 0
    windows = list(units(size, unit))
    assert sum(w.height * w.width for w in windows) == width * height
    assert len({(w.row_off, w.col_off) for w in windows}) == len(windows)


@given(sizes, st.sampled_from([256, 512]), st.booleans())
def test_blocks_are_decoded_once_where_chunks_fit(size, side, pixel):
    block = BlockShape(height=side, width=side, pixel=pixel)
    chunks = choose_chunks((12, size[1], size[0]), block)
    unit = unit_size(size, chunks, block, 200)
    if chunks.y < size[1]:
        assert unit[0] % side == 0 or unit[0] >= size[1]


def test_default_chunks_are_for_time_series():
    big = BlockShape(height=512, width=512, pixel=False)
    assert choose_chunks((200, 5000, 5000), big) == Chunks(time=50, y=256, x=256)
    odd = BlockShape(height=1, width=5000, pixel=True)
    assert choose_chunks((12, 5000, 300), odd) == Chunks(time=12, y=256, x=300)
    asked = {"time": -1, "x": 100}
    assert choose_chunks((200, 5000, 5000), big, asked) == Chunks(time=200, y=256, x=100)


@pytest.mark.parametrize("wanted", [{"z": 1}, {"x": 0}, {"y": -2}, {"time": 1.5}, {"x": True}])
def test_wrong_chunks_are_refused(wanted):
    with pytest.raises(InputError, match="chunks"):
        choose_chunks((1, 9, 9), BlockShape(height=1, width=9, pixel=True), wanted)


def kinds_of_bytes(kind: str, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (9, 90, 200)
    if kind == "noise":
        return rng.integers(0, 2**15, shape).astype(dtype)
    if kind == "runs":
        return np.repeat(rng.integers(0, 9, (9, 90, 20)), 10, axis=2).astype(dtype)
    if kind == "patterns":
        return np.tile(rng.integers(0, 200, (9, 90, 8)), 25).astype(dtype)
    return np.zeros((1, 1, 1), dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "int32", "float64"])
@pytest.mark.parametrize("kind", ["noise", "runs", "patterns", "tiny"])
@pytest.mark.parametrize("level", [None, 1, 9])
def test_deflate_is_what_zlib_and_hdf5_know(dtype, kind, level):
    chunk = kinds_of_bytes(kind, dtype)
    data = Deflate(level=level).encode(chunk)
    planes = np.frombuffer(zlib.decompress(data), "u1").reshape(chunk.dtype.itemsize, -1)
    np.testing.assert_array_equal(planes.T.ravel(), np.frombuffer(chunk.tobytes(), "u1"))
    np.testing.assert_array_equal(Deflate.decode(data, dtype, chunk.shape), chunk)


@pytest.mark.parametrize("kind", ["noise", "runs", "patterns"])
def test_the_fast_way_is_hardly_larger_than_zlib(kind):
    chunk = kinds_of_bytes(kind, "int16")
    assert len(Deflate().encode(chunk)) < 1.03 * len(Deflate(level=4).encode(chunk)) + 100


def test_shuffle_of_a_view_with_strides():
    whole = np.arange(4 * 6 * 8, dtype="int16").reshape(4, 6, 8)
    part = whole[1:3, ::2, 3:7]
    back = unshuffle(bytes(shuffle(part).data), "int16").reshape(part.shape)
    np.testing.assert_array_equal(back, part)


def test_fill_and_padding():
    chunk = np.full((2, 3), 7, "int16")
    assert is_fill(chunk, 7)
    assert not is_fill(chunk, 0)
    assert is_fill(np.full(3, np.nan), np.nan)
    assert not is_fill(np.array([np.nan, 1]), np.nan)
    assert padded(chunk, (2, 3), 0) is chunk
    np.testing.assert_array_equal(padded(chunk, (3, 4), 1), [[7, 7, 7, 1], [7, 7, 7, 1], [1] * 4])


def test_crc32c_of_the_standards_example():
    # RFC 3720, B.4: 32 bytes of zeros, of ones, and rising.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_checksums_of_pieces_are_those_of_whole_files(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "_PIECE", 1000)
    monkeypatch.setattr(checksums, "_PART", 300)
    files = {}
    for size in (0, 1, 999, 1000, 1001, 4321):
        files[str(size)] = tmp_path / str(size)
        files[str(size)].write_bytes(np.random.default_rng(size).bytes(size))
    truth = {path: f"{zlib.crc32(path.read_bytes()):08x}" for path in files.values()}
    assert checksums.crc32_of_all(list(files.values()), workers=2) == truth
    assert {path: checksums.crc32_of(path) for path in truth} == truth
