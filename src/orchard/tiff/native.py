"""What `native/` is compiled to, where it was: functions that work without Python's lock."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["lzw_decode", "turn16"]

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t


@cache
def lzw_decode() -> Callable[[bytes, int, int, int], int] | None:
    """Return the decoder: (data, their size, place of the output, its size) gives bytes decoded.

    Negative for what is no LZW of the common kind.
    """
    arguments = (ctypes.c_char_p, _SIZE, _POINTER, _SIZE)
    return _function("orchard_lzw_decode", arguments, ctypes.c_ssize_t)


@cache
def turn16() -> Callable[[int, int, int, int, int, int], None] | None:
    """Return what puts samples of 16 bits band by band.

    Takes the place of the first sample, how many numbers lie from pixel to pixel, how many pixels
    and samples of each, the place of the output, how many numbers lie from band to band there.
    """
    arguments = (_POINTER, _SIZE, _SIZE, _SIZE, _POINTER, _SIZE)
    return _function("orchard_turn16", arguments, None)


def _function(name: str, arguments: tuple[type, ...], result: Any) -> Callable[..., Any] | None:
    try:
        function = ctypes.CDLL(str(Path(__file__).with_name("_native.so")))[name]
    except (OSError, AttributeError):  # not built, of another machine; of older sources
        return None
    function.argtypes, function.restype = arguments, result
    return function
