"""Shards of a pre-ARD image: how they are named and where in the tile they lie.

The naming is Earth Engine's: an image of several files is ``NAME-YYYYYYYYYY-XXXXXXXXXX.tif``, with
the 10-digit pixel offsets of each file's upper-left corner; an image of one file is ``NAME.tif``.
Where an image had to be split by dates (Orchard's own addition), ``-TDDDDDDDDDD`` comes before the
offsets: the number of the file's first date in the image, counted from 0.
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
    "date_groups",
    "expected_files",
    "file_dimensions",
    "layout",
    "metadata_name",
    "parse_shard_name",
    "shard_name",
]

# The last groups of digits are the offsets: NAME itself may hold dashes and digits.
_SHARD = re.compile(r"(?P<name>.+)-(?P<row>\d{10})-(?P<col>\d{10})", re.DOTALL)
_PART = re.compile(r"(?P<name>.+)-T(?P<date>\d{10})", re.DOTALL)
_SUFFIX = ".tif"


class Window(NamedTuple):
    """A rectangle of a tile, in pixels; offsets count from the tile's upper-left corner."""

    row_off: int
    col_off: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardName:
    """What a file name says: the image's name and, for a shard, its offsets.

    ``offset`` is ``(row, col)``; ``date`` is the number of the first date that the file holds, None
    where it holds all.
    """

    name: str
    offset: tuple[int, int] | None = None
    date: int | None = None


def shard_name(name: str, offset: tuple[int, int] | None = None, date: int | None = None) -> str:
    """Name one file of a pre-ARD image.

    Parameters
    ----------
    name : str
        Name of the image; dashes and digits are fine.
    offset : tuple of int, optional
        ``(row, col)`` of the shard's upper-left pixel in the tile. None: the file holds the tile.
    date : int, optional
        Number of its first date, counted from 0. None: the file holds all dates.

    Raises
    ------
    InputError
        When the name is empty or would read as a shard of another image.
    """
    if not name or _SHARD.fullmatch(name) or _PART.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a pre-ARD image: it must not be empty nor end in "
            "-YYYYYYYYYY-XXXXXXXXXX or -TDDDDDDDDDD, which mark the shards"
        )
    if not all(0 <= number < 10**10 for number in (*(offset or ()), date or 0)):
        raise InputError(f"shard offset {offset}, {date} of {name!r} does not fit into ten digits")
    first = "" if date is None else f"-T{date:010d}"
    corner = "" if offset is None else f"-{offset[0]:010d}-{offset[1]:010d}"
    return f"{name}{first}{corner}{_SUFFIX}"


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
    corner = _SHARD.fullmatch(stem)
    offset = (int(corner["row"]), int(corner["col"])) if corner else None
    rest = corner["name"] if corner else stem
    part = _PART.fullmatch(rest)
    if part is None:
        return ShardName(name=rest, offset=offset)
    return ShardName(name=part["name"], offset=offset, date=int(part["date"]))


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


def date_groups(count: int, per_file: int | None) -> list[range]:
    """Return which dates of an image of `count` dates go into a file together, in time.

    ``per_file`` None, or `count` and more: all of them.
    """
    step = per_file or max(count, 1)
    return [range(first, min(first + step, count)) for first in range(0, max(count, 1), step)]


def expected_files(
    name: str,
    size: tuple[int, int],
    dimensions: int | tuple[int, int] | Sequence[int] | None = None,
    groups: Sequence[range] = (),
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
    groups : sequence of range, optional
        See `date_groups`; one group or none: every file holds all dates.

    Returns
    -------
    dict of str to Window
        File name to the window it holds, by date, then row by row: ``NAME.tif`` when one file is
        enough.
    """
    windows = layout(size, dimensions)
    firsts = [group.start for group in groups] if len(groups) > 1 else [None]
    return {
        shard_name(name, (w.row_off, w.col_off) if len(windows) > 1 else None, first): w
        for first in firsts
        for w in windows
    }
