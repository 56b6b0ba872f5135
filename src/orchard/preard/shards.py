"""Shards of a pre-ARD image: how they are named and where in the tile they lie.

The naming is Earth Engine's: an image of several files is ``NAME-YYYYYYYYYY-XXXXXXXXXX.tif``, with
the 10-digit pixel offsets of each file's upper-left corner; an image of one file is ``NAME.tif``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from orchard.errors import InputError, ShardError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ShardName",
    "Window",
    "expected_files",
    "file_dimensions",
    "layout",
    "metadata_name",
    "parse_shard_name",
    "shard_name",
]

# The last two groups of digits are the offsets: NAME itself may hold dashes and digits.
_SHARD = re.compile(r"(?P<name>.+)-(?P<row>\d{10})-(?P<col>\d{10})", re.DOTALL)
_SUFFIX = ".tif"


class Window(NamedTuple):
    """A rectangle of a tile, in pixels; offsets count from the tile's upper-left corner."""

    row_off: int
    col_off: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardName:
    """What a file name says: the image's name and, for a shard, its offsets ``(row, col)``."""

    name: str
    offset: tuple[int, int] | None = None


def shard_name(name: str, offset: tuple[int, int] | None = None) -> str:
    """Name one file of a pre-ARD image.

    Parameters
    ----------
    name : str
        Name of the image; dashes and digits are fine.
    offset : tuple of int, optional
        ``(row, col)`` of the shard's upper-left pixel in the tile. None: the image is one file.

    Raises
    ------
    InputError
        When the name is empty or would read as a shard of another image.
    """
    if not name or _SHARD.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a pre-ARD image: it must not be empty nor end in "
            "-YYYYYYYYYY-XXXXXXXXXX, which marks the shards"
        )
    if offset is None:
        return f"{name}{_SUFFIX}"
    row, col = offset
    if not (0 <= row < 10**10 and 0 <= col < 10**10):
        raise InputError(f"shard offset {offset} of {name!r} does not fit into ten digits")
    return f"{name}-{row:010d}-{col:010d}{_SUFFIX}"


def metadata_name(name: str) -> str:
    """Name the image metadata document of an image."""
    return f"{name}.json"


def parse_shard_name(filename: str) -> ShardName:
    """Read a file name (without folders) of a pre-ARD image.

    Raises
    ------
    ShardError
        When it is not the name of a GeoTIFF (``.tif``).
    """
    stem = filename.removesuffix(_SUFFIX)
    if stem == filename or not stem:
        raise ShardError(f"{filename!r} is not the name of a pre-ARD file: it does not end in .tif")
    found = _SHARD.fullmatch(stem)
    if found is None:
        return ShardName(name=stem)
    return ShardName(name=found["name"], offset=(int(found["row"]), int(found["col"])))


def file_dimensions(value: object) -> tuple[int, int] | None:
    """Read Earth Engine's ``fileDimensions``: one number or a pair.

    Returns
    -------
    tuple of int or None
        ``(width, height)`` of a shard in pixels; None when nothing was asked for.

    Raises
    ------
    InputError
        When it is neither, or not positive.
    """
    if value is None:
        return None
    pair = list(value) if isinstance(value, list | tuple) else [value] * 2
    sides = [int(item) for item in pair if _is_whole(item) and item > 0]
    if len(pair) != 2 or len(sides) != 2:
        raise InputError(
            f"fileDimensions {value!r} is neither a positive number of pixels "
            "nor a pair (width, height)"
        )
    return sides[0], sides[1]


def _is_whole(value: object) -> TypeGuard[float]:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and value.is_integer()
    )


def layout(
    size: tuple[int, int], dimensions: int | tuple[int, int] | Sequence[int] | None = None
) -> list[Window]:
    """Cut a tile into shards, row by row from the upper-left corner.

    Parameters
    ----------
    size : tuple of int
        ``(width, height)`` of the tile in pixels.
    dimensions : int or pair of int, optional
        ``fileDimensions``: width and height of a shard. None: one shard. The shards at the right
        and the lower edge are what is left over.

    Returns
    -------
    list of Window
        They cover the tile exactly, without overlap.
    """
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"a tile of {width} x {height} pixels has no shards")
    step_x, step_y = file_dimensions(dimensions) or (width, height)
    return [
        Window(row, col, min(step_y, height - row), min(step_x, width - col))
        for row in range(0, height, step_y)
        for col in range(0, width, step_x)
    ]


def expected_files(
    name: str,
    size: tuple[int, int],
    dimensions: int | tuple[int, int] | Sequence[int] | None = None,
) -> dict[str, Window]:
    """Name the files that a task makes.

    Parameters
    ----------
    name : str
        Name of the image (the task).
    size : tuple of int
        ``(width, height)`` of the tile in pixels.
    dimensions : int or pair of int, optional
        ``fileDimensions``, see `layout`.

    Returns
    -------
    dict of str to Window
        File name to the window it holds, row by row: ``NAME.tif`` when one file is enough.
    """
    windows = layout(size, dimensions)
    if len(windows) == 1:
        return {shard_name(name): windows[0]}
    return {shard_name(name, (w.row_off, w.col_off)): w for w in windows}
