"""Blocks of TIFF files: bytes to pixels and back, without holding Python's lock."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import isal_zlib
from numcodecs import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["CODECS", "NUMBERS", "BlockFormat", "decode", "encode"]

CODECS = {1: "none", 8: "deflate", 32946: "deflate", 50000: "zstd"}
"""By number of TIFF's compression tag."""

NUMBERS = {"none": 1, "deflate": 8, "zstd": 50000}


@dataclass(frozen=True, kw_only=True)
class BlockFormat:
    """How one block of pixels is stored.

    Parameters
    ----------
    shape : tuple of int
        (rows, columns) of pixels.
    samples : int
        Bands that are interleaved by pixel.
    dtype : dtype
        With its byte order.
    codec : str
        ``none``, ``deflate`` or ``zstd``.
    predictor : int
        1 none, 2 horizontal differences, 3 differences of the bytes of floats.
    packed : bool
        One bit a pixel (masks), the most significant first.
    """

    shape: tuple[int, int]
    samples: int
    dtype: np.dtype[Any]
    codec: str
    predictor: int
    packed: bool = False


def decode(data: bytes, form: BlockFormat) -> Array:
    """Pixels of a block.

    Returns
    -------
    ndarray
        (row, column, sample), in native byte order; the last strip of an image has fewer rows.

    Raises
    ------
    ValueError
        Bytes that are not such a block.
    """
    try:
        raw = _DECODERS[form.codec](data)
    except (isal_zlib.error, RuntimeError, ValueError) as exc:  # type: ignore[misc]  # its stubs
        raise ValueError(f"a broken block: {exc}") from exc
    rows, columns = form.shape
    row_bytes = (
        -(-columns * form.samples // 8)
        if form.packed
        else columns * form.samples * form.dtype.itemsize
    )
    rows = min(rows, len(raw) // row_bytes)
    if rows == 0:
        raise ValueError("a broken block: it is too short")
    values: Array = np.frombuffer(raw, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    if form.packed:
        return np.unpackbits(values, axis=1, count=columns)[:, :, None]
    if form.predictor == 3:
        return _undo_float(values, form).reshape(rows, columns, form.samples)
    values = values.view(form.dtype).reshape(rows, columns, form.samples)
    if not form.dtype.isnative:
        values = values.astype(form.dtype.newbyteorder("="))
    if form.predictor == 2:
        values = values.view(f"u{form.dtype.itemsize}")
        summed = np.add.accumulate(values, axis=1, dtype=values.dtype)
        return summed.view(form.dtype.newbyteorder("="))
    return values


def _undo_float(values: Array, form: BlockFormat) -> Array:
    # Bytes are differenced across the row at a distance of the samples, after being sorted into
    # planes from the most to the least significant.
    rows = len(values)
    size = form.dtype.itemsize
    apart = values.reshape(rows, -1, form.samples)
    planes = np.add.accumulate(apart, axis=1, dtype=np.uint8).reshape(rows, size, -1)
    together = np.ascontiguousarray(planes.transpose(0, 2, 1))
    return together.view(f">f{size}").astype(f"=f{size}")


def encode(values: Array, codec: str, level: int | None, predictor: int) -> bytes:
    """Bytes of one block of one band.

    Parameters
    ----------
    values : ndarray
        (row, column), of the block's full size, in native byte order (a little-endian machine).
    codec, predictor
        As of `BlockFormat`.
    level : int, optional
        None: the fast one that was measured best (0006 in the design notes).
    """
    if predictor == 2:
        plain = values.view(f"u{values.itemsize}")
        values = np.empty_like(plain)
        values[:, 0] = plain[:, 0]
        np.subtract(plain[:, 1:], plain[:, :-1], out=values[:, 1:])
    elif predictor == 3:
        size = values.itemsize
        big = np.ascontiguousarray(values, f">f{size}").view(np.uint8)
        planes = big.reshape(len(values), -1, size).transpose(0, 2, 1).reshape(len(values), -1)
        values = np.empty_like(planes)
        values[:, 0] = planes[:, 0]
        np.subtract(planes[:, 1:], planes[:, :-1], out=values[:, 1:])
    data: Any = np.ascontiguousarray(values)
    if codec == "zstd":
        return bytes(zstd.compress(data, 1 if level is None else level))
    if codec == "deflate":
        return isal_zlib.compress(data, 1) if level is None else zlib.compress(data, level)
    return data.tobytes()


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "none": lambda data: data,
    "deflate": isal_zlib.decompress,
    "zstd": zstd.decompress,
}
