"""Chunks as they are stored: NetCDF-4's shuffle + deflate, and what it takes to do that fast.

All work on one chunk is done by calls that let go of the interpreter lock, so that threads scale.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import isal_zlib
from zlib_ng import zlib_ng

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Deflate", "is_fill", "padded", "shuffle", "unshuffle"]

# A zlib stream (RFC 1950) of deflate, 32 kB window, default level; then deflate blocks (RFC 1951).
_HEADER = b"\x78\x9c"
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"
_STORED = 0xFFFF
_RAW = -15
_SAMPLE = 4096
_WORTH_IT = 0.985


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """Shuffle, then deflate in zlib's format: the two HDF5 filters every NetCDF-4 reader has.

    Parameters
    ----------
    level : int or None
        1-9 as of zlib. None: each plane of bytes that the shuffle makes is encoded by what suits
        it, found out on a sample: noise is stored, runs go to zlib-ng's run-length encoder, all
        else to zlib-ng's level 3. On imagery that is 3 to 10 times as fast as zlib's level 4, and
        no larger.
    """

    level: int | None = None

    def encode(self, chunk: NDArray[Any]) -> bytes:
        """Encode a whole chunk, of any strides, in C order."""
        data = shuffle(chunk)
        if self.level is not None:
            return zlib.compress(data.data, self.level)
        planes = data.reshape(chunk.dtype.itemsize, -1)
        parts = [part for plane in planes for part in _encoded(plane)]
        checksum = isal_zlib.adler32(data).to_bytes(4, "big")
        return b"".join([_HEADER, *parts, _LAST_BLOCK, checksum])

    @staticmethod
    def decode(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Decode what `encode` made, at any level."""
        return unshuffle(isal_zlib.decompress(data), dtype).reshape(shape)


def _encoded(plane: NDArray[np.uint8]) -> list[Any]:
    """Encode a plane of bytes as deflate blocks that end on a byte, none of them the last."""
    sample = _sample(plane)
    by_runs, by_patterns = len(_by_runs(sample)), len(_by_patterns(sample))
    if min(by_runs, by_patterns) > _WORTH_IT * len(sample):
        return _stored(plane)
    return [_by_patterns(plane) if by_patterns < by_runs else _by_runs(plane)]


def _sample(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return some pieces from all over a plane, or all of a short one."""
    if plane.size <= 4 * _SAMPLE:
        return plane
    places = [plane.size * part // 8 for part in (1, 3, 6)]
    return np.concatenate([plane[place : place + _SAMPLE] for place in places])


def _by_runs(data: NDArray[np.uint8]) -> bytes:
    packer = zlib_ng.compressobj(1, zlib_ng.DEFLATED, _RAW, 9, zlib_ng.Z_RLE)
    return bytes(packer.compress(data) + packer.flush(zlib_ng.Z_SYNC_FLUSH))


def _by_patterns(data: NDArray[np.uint8]) -> bytes:
    packer = zlib_ng.compressobj(3, zlib_ng.DEFLATED, _RAW, 9)
    return bytes(packer.compress(data) + packer.flush(zlib_ng.Z_SYNC_FLUSH))


def _stored(plane: NDArray[np.uint8]) -> list[Any]:
    """Return the plane as stored blocks: a header, the length, its complement, the bytes."""
    parts: list[Any] = []
    view = plane.data
    for start in range(0, len(view), _STORED):
        part = view[start : start + _STORED]
        parts += [struct.pack("<BHH", 0, len(part), len(part) ^ _STORED), part]
    return parts


def shuffle(chunk: NDArray[Any]) -> NDArray[np.uint8]:
    """Put the first bytes of all numbers first, then all second bytes, … (HDF5's shuffle)."""
    size = chunk.dtype.itemsize
    out = np.empty((size, *chunk.shape), np.uint8)
    if size == 2:
        # Arithmetic is several times as fast here as gathering every other byte, and takes chunks
        # of any strides; a step at a time stays in the cache.
        for step, words in enumerate(chunk.view(np.uint16)):
            np.copyto(out[0, step], words, casting="unsafe")
            np.copyto(out[1, step], words >> 8, casting="unsafe")
    else:
        pieces = np.ascontiguousarray(chunk).view(np.uint8).reshape(*chunk.shape, size)
        np.copyto(out, np.moveaxis(pieces, -1, 0))
    return out.reshape(size, -1)


def unshuffle(data: bytes, dtype: str) -> NDArray[Any]:
    """Undo `shuffle`."""
    size = np.dtype(dtype).itemsize
    planes = np.frombuffer(data, np.uint8).reshape(size, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def is_fill(chunk: NDArray[Any], fill: Any) -> bool:
    """Whether a chunk holds nothing but the fill value, so that it need not be stored."""
    if chunk.dtype.kind == "f" and np.isnan(fill):
        return bool(np.isnan(chunk.flat[0])) and bool(np.isnan(chunk).all())
    # Most chunks tell by their first number.
    return bool(chunk.flat[0] == fill) and bool((chunk == fill).all())


def padded(chunk: NDArray[Any], shape: tuple[int, ...], fill: Any) -> NDArray[Any]:
    """Fill a chunk at the edge up to its full shape."""
    if chunk.shape == shape:
        return chunk
    full = np.full(shape, fill, chunk.dtype)
    full[tuple(slice(n) for n in chunk.shape)] = chunk
    return full
