"""How a task that is too large for one export is cut: by period, by quarters of its tile (pure).

The *generation* of a task tells how: ``10 * halvings + quarterings``. 0 is one export; 12 is half
the dates a file, in sixteenths of the tile. It stands in the ids of exports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchard.preard import date_groups, layout

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Limits",
    "dates_per_file",
    "expression_size",
    "first_generation",
    "n_parts",
    "next_generation",
    "quarterings",
    "split_dimensions",
]

_CORNER = 16
"""Shards of a quartered task begin at multiples of this, where the tile is large enough."""
_BASE = 10
# Bytes of an expression for each scene, date and band of an image, and for the rest; measured 393,
# 318, 24 and 7,000.
_PER_SCENE, _PER_DAY, _PER_BAND, _FIXED = 450, 400, 40, 20_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one image and one request may be.

    Parameters
    ----------
    bands : int
        Bands of an image (bands x acquisitions).
    expression : int
        Bytes of a serialised expression.
    places : int
        Tiles that one request asks about.
    """

    bands: int = 5000
    expression: int = 10_000_000
    places: int = 100


def quarterings(generation: int) -> int:
    """Return how often the tile was quartered."""
    return generation % _BASE


def dates_per_file(dates: int, generation: int) -> int:
    """Return how many of its dates go into one file."""
    return max(math.ceil(dates / 2.0 ** (generation // _BASE)), 1)


def split_dimensions(size: tuple[int, int], generation: int) -> tuple[int, int]:
    """Return width and height of the parts of a tile."""
    times = quarterings(generation)

    def side(pixels: int) -> int:
        part = math.ceil(pixels / 2.0**times)
        return math.ceil(part / _CORNER) * _CORNER if part >= _CORNER else part

    return side(size[0]), side(size[1])


def n_parts(size: tuple[int, int], dates: int, generation: int) -> int:
    """Return how many exports a task takes."""
    groups = date_groups(dates, dates_per_file(dates, generation))
    windows = layout(size, split_dimensions(size, generation)) if quarterings(generation) else [0]
    return len(groups) * len(windows)


def next_generation(generation: int, dates: int, most: int = 3) -> int | None:
    """Return how to cut a task that is still too large; None: it is cut enough.

    Quarters and halves of the period take turns. What is short of time needs the former. What is
    short of memory often needs the latter: Earth Engine works in blocks of 256 pixels, all bands
    at once.

    Parameters
    ----------
    generation : int
    dates : int
        Of the whole task.
    most : int
        How often it may be quartered, or its period halved, because of failures.
    """
    halvings, quarters = divmod(generation, _BASE)
    can_halve = halvings < most and dates_per_file(dates, generation) > 1
    if quarters < most and (quarters <= halvings or not can_halve):
        return generation + 1
    return generation + _BASE if can_halve else None


def first_generation(scenes: Sequence[int], bands: int, limits: Limits) -> int | None:
    """Return how to cut a task so that no export breaks a limit that is known beforehand.

    Parameters
    ----------
    scenes : sequence of int
        How many scenes each date has.
    bands : int
        Of a date.
    limits : Limits

    Returns
    -------
    int or None
        None: even the exports of single dates would break a limit.
    """
    generation = 0
    while True:
        step = dates_per_file(len(scenes), generation)
        if all(
            _fits(scenes[group.start : group.stop], bands, limits)
            for group in date_groups(len(scenes), step)
        ):
            return generation
        if step == 1:
            return None
        generation += _BASE


def _fits(scenes: Sequence[int], bands: int, limits: Limits) -> bool:
    size = expression_size(sum(scenes), len(scenes), bands)
    return bands * len(scenes) <= limits.bands and size <= limits.expression


def expression_size(n_scenes: int, n_days: int, n_bands: int) -> int:
    """Return about how many bytes the expression of an image has, rather too many than too few."""
    return _FIXED + _PER_SCENE * n_scenes + _PER_DAY * n_days + _PER_BAND * n_days * n_bands
