"""Blocks of TIFF files: bytes to pixels and back, without holding Python's lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from . import lzw

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["CODECS", "NUMBERS", "BlockFormat", "decode", "encode"]

CODECS = {
    1: "none",
    5: "lzw",
    8: "deflate",
    32773: "packbits",
    32946: "deflate",
    50000: "zstd",
}
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
        A value of `CODECS`.
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
    rows, columns = form.shape
    row_bytes = (
        -(-columns * form.samples // 8)
        if form.packed
        else columns * form.samples * form.dtype.itemsize
    )
    try:
        raw = _DECODERS[form.codec](data, rows * row_bytes)
    except (RuntimeError, ValueError) as exc:
        raise ValueError(f"a broken block: {exc}") from exc
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
        return _summed(values.view(f"u{form.dtype.itemsize}")).view(values.dtype)
    return values


def _summed(values: Array) -> Array:
    """Running sums along axis 1 of (row, column, sample)."""
    if values.shape[2] == 1:
        values = values[:, :, 0]
    out: Array = imagecodecs.delta_decode(values, axis=1)
    return out if out.ndim == 3 else out[:, :, None]


def _undo_float(values: Array, form: BlockFormat) -> Array:
    # Bytes are differenced across the row at a distance of the samples, after being sorted into
    # planes from the most to the least significant.
    rows = len(values)
    size = form.dtype.itemsize
    apart = values.reshape(rows, -1, form.samples)
    planes = _summed(apart).reshape(rows, size, -1)
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
        values = imagecodecs.delta_encode(values.view(f"u{values.itemsize}"), axis=1)
    elif predictor == 3:
        size = values.itemsize
        big = np.ascontiguousarray(values, f">f{size}").view(np.uint8)
        planes = big.reshape(len(values), -1, size).transpose(0, 2, 1).reshape(len(values), -1)
        values = imagecodecs.delta_encode(planes, axis=1)
    if codec == "none":
        return values.tobytes()
    coded = _ENCODERS[codec](np.ascontiguousarray(values), level=1 if level is None else level)
    return bytes(coded)


_ENCODERS: dict[str, Callable[..., Any]] = {
    "deflate": imagecodecs.deflate_encode,
    "zstd": imagecodecs.zstd_encode,
}

_DECODERS: dict[str, Callable[[bytes, int], Any]] = {
    "none": lambda data, size: data[:size],
    "lzw": lzw.decode,
    "deflate": lambda data, size: imagecodecs.deflate_decode(data, out=size),
    "packbits": lambda data, size: imagecodecs.packbits_decode(data, out=size),
    "zstd": lambda data, size: imagecodecs.zstd_decode(data, out=size),
}
