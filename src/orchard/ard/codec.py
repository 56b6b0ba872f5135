"""Chunks as they are stored: NetCDF-4's shuffle + deflate, Zarr's blosc (shuffle + zstd).

All work on one chunk is done by calls that let go of the interpreter lock, so that threads scale.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import isal_zlib

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Deflate", "is_fill", "padded", "shuffle", "unshuffle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """Shuffle, then deflate in zlib's format: the two HDF5 filters every NetCDF-4 reader has.

    Parameters
    ----------
    level : int or None
        1-9 as of zlib; None: ISA-L's, about ten times as fast as zlib for files about as large.
    """

    level: int | None = None

    def encode(self, chunk: NDArray[Any]) -> bytes:
        """Encode a whole chunk (C order)."""
        data = shuffle(chunk)
        return (
            isal_zlib.compress(data, 1) if self.level is None else zlib.compress(data, self.level)
        )

    @staticmethod
    def decode(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Decode what `encode` made, at any level."""
        return unshuffle(isal_zlib.decompress(data), dtype).reshape(shape)


def shuffle(chunk: NDArray[Any]) -> Any:
    """Put the first bytes of all numbers first, then all second bytes, … (HDF5's shuffle)."""
    size = chunk.dtype.itemsize
    if size == 1:
        return np.ascontiguousarray(chunk).view(np.uint8)
    out = np.empty((size, chunk.size), np.uint8)
    if size == 2:
        # Arithmetic is several times as fast here as gathering every other byte.
        words = np.ascontiguousarray(chunk).view(np.uint16).reshape(-1)
        np.copyto(out[0], words, casting="unsafe")
        np.copyto(out[1], words >> 8, casting="unsafe")
    else:
        np.copyto(out, np.ascontiguousarray(chunk).view(np.uint8).reshape(-1, size).T)
    return out


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
