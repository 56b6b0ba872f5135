"""How a cube is cut: into chunks as it is stored, and into units as it is worked on (pure).

A unit is a rectangle of whole chunks, over all dates, that is decoded, encoded and written as one.
Where the blocks of the source and the chunks of the cube fit into each other, every block is
decoded once, whatever the number of dates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchard.errors import InputError
from orchard.preard import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .reader import BlockShape

__all__ = ["Chunks", "choose_chunks", "unit_size", "units"]

_TIME = 50
_SIDE = 256
_UNIT_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """Shape of a chunk: dates, rows, columns."""

    time: int
    y: int
    x: int


def choose_chunks(
    shape: tuple[int, int, int], block: BlockShape, wanted: Mapping[str, int] | None = None
) -> Chunks:
    """Choose the chunks of a cube: for time series, in step with the blocks of the source.

    Parameters
    ----------
    shape : tuple of int
        ``(time, y, x)`` of the cube.
    block : BlockShape
        Of the source.
    wanted : mapping, optional
        ``time``, ``y``, ``x`` as asked for; -1 means all.

    Raises
    ------
    InputError
        For a size that is neither positive nor -1, or an unknown dimension.
    """
    wanted = dict(wanted or {})
    unknown = set(wanted) - {"time", "y", "x"}
    if unknown:
        raise InputError(f"chunks: unknown dimension {min(unknown)!r}: use time, y and x")
    sides = dict(zip(("time", "y", "x"), shape, strict=True))
    usual = {
        "time": _TIME,
        "y": _usual(block.height, sides["y"]),
        "x": _usual(block.width, sides["x"]),
    }
    return Chunks(
        **{name: _side(name, wanted.get(name), usual[name], sides[name]) for name in sides}
    )


def _usual(block: int, size: int) -> int:
    side = block if 64 <= block <= 4096 and block < size else _SIDE
    while side > _SIDE and side % 2 == 0:
        side //= 2
    # A chunk that sticks out of the image by half would store nothing but fill.
    return size if size < 1.5 * side else side


def _side(name: str, wanted: int | None, usual: int, size: int) -> int:
    if wanted is None:
        return min(usual, size)
    if isinstance(wanted, bool) or wanted != int(wanted) or (wanted < 1 and wanted != -1):
        raise InputError(f"chunks: {name} must be a positive number or -1 (all), not {wanted!r}")
    return size if wanted == -1 else min(wanted, size)


def unit_size(
    size: tuple[int, int],
    chunks: Chunks,
    block: BlockShape,
    pixel_bytes: int,
    *,
    grow: bool = False,
) -> tuple[int, int]:
    """Choose the height and width of a unit.

    Parameters
    ----------
    size : tuple of int
        ``(width, height)`` of the tile.
    chunks : Chunks
    block : BlockShape
    pixel_bytes : int
        Bytes of a pixel that are decoded together: of all bands and dates for a pixel-interleaved
        source, else of the dates of one chunk of one band.
    grow : bool
        Take as many chunks as memory allows, not as few as possible.

    Returns
    -------
    tuple of int
        ``(height, width)``, multiples of the chunk; may stick out of the tile.
    """
    width, height = size
    unit_y, fits_y = _unit_side(block.height, chunks.y)
    unit_x, fits_x = _unit_side(block.width, chunks.x)
    # A block as wide as the image is a strip: cut across, it would be decoded again for each cut.
    grow_x = grow or not fits_x or block.width >= width > unit_x
    grow_y = grow or not fits_y
    while grow_x or grow_y:
        grow_x = grow_x and unit_x < width and _fits(2 * unit_x * unit_y, pixel_bytes)
        unit_x *= 2 if grow_x else 1
        grow_y = grow_y and unit_y < height and _fits(2 * unit_x * unit_y, pixel_bytes)
        unit_y *= 2 if grow_y else 1
    return (
        min(unit_y, chunks.y * math.ceil(height / chunks.y)),
        min(unit_x, chunks.x * math.ceil(width / chunks.x)),
    )


def _fits(pixels: int, pixel_bytes: int) -> bool:
    return pixels * pixel_bytes <= _UNIT_BYTES


def _unit_side(block: int, chunk: int) -> tuple[int, bool]:
    """Return a side of the unit, and whether blocks and chunks end together in it."""
    if block % chunk == 0:
        return block, True
    return chunk, chunk % block == 0


def units(size: tuple[int, int], unit: tuple[int, int]) -> Iterator[Window]:
    """Give the units of a tile, row by row.

    Parameters
    ----------
    size : tuple of int
        ``(width, height)`` of the tile.
    unit : tuple of int
        ``(height, width)``.
    """
    width, height = size
    for row in range(0, height, unit[0]):
        for col in range(0, width, unit[1]):
            yield Window(row, col, min(unit[0], height - row), min(unit[1], width - col))
