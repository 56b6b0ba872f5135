"""Samples that lie pixel by pixel, put band by band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import native

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["turn"]

# Pixels of all bands that numpy turns at once: they fit into the nearest cache.
_TURNED_BYTES = 64 << 10


def turn(values: NDArray[Any], out: NDArray[Any]) -> None:
    """Put samples into bands.

    Parameters
    ----------
    values : array
        ``(rows, columns, samples)``, of any strides.
    out : array
        ``(samples, rows, columns)``, of the same dtype; any strides.

    Raises
    ------
    ValueError
        Their shapes differ.
    """
    rows, columns, samples = values.shape
    if out.shape != (samples, rows, columns):
        raise ValueError(f"samples of {values.shape} do not fit into bands of {out.shape}")
    function = native.turn16()
    if function is not None and _is_simple(values, out):
        step, apart = values.strides[1] // 2, out.strides[0] // 2
        if values.strides[0] == columns * values.strides[1] and out.strides[1] == 2 * columns:
            rows, columns = 1, rows * columns
        for row in range(rows):
            place = values.ctypes.data + row * values.strides[0]
            into = out.ctypes.data + row * out.strides[1]
            function(place, step, columns, samples, into, apart)
        return
    some = max(1, _TURNED_BYTES // max(1, columns * samples * values.itemsize))
    for row in range(0, rows, some):
        out[:, row : row + some] = values[row : row + some].transpose(2, 0, 1)


def _is_simple(values: NDArray[Any], out: NDArray[Any]) -> bool:
    """Whether both lie as they do in blocks and images of 16 bits, numbers in their places."""
    return (
        values.dtype == out.dtype
        and values.itemsize == 2
        and values.size > 0
        and values.flags.aligned
        and out.flags.aligned
        and out.flags.writeable
        and values.strides[2] == out.strides[2] == 2
        and values.strides[1] > 0
        and out.strides[0] > 0
        and not np.may_share_memory(values, out)
    )
