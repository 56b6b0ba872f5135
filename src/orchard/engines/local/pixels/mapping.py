"""Which source pixel each pixel of a window takes: computed once, shared by bands and dates.

The exact position of a pixel's centre (PROJ, then the inverse of the source's affine) is computed
at a few places of every cell of `CELL` x `CELL` pixels only: the function in between is the
biquadratic through 3 x 3 of them. Its error is measured against exact positions at the quarter
points of the cell, where the error of a third-order term reaches 98.7 % of its maximum over the
cell; a cell with more than half of `BOUND` there is computed exactly, pixel by pixel. And so is
every pixel whose position is within `BOUND` of the edge of a source pixel. What is left takes the
same source pixel as by exact positions.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj

from .geo import parse_crs

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from affine import Affine

    from .geo import Lattice

    Array = np.ndarray[Any, np.dtype[Any]]
    Positions = Callable[[Array, Array], tuple[Array, Array]]

__all__ = ["BOUND", "EDGE", "Mapping", "Piece", "map_window", "positions"]

BOUND = 1e-3
"""Greatest error of an interpolated position that is used, in source pixels."""

EDGE = 1e-6
"""A position so close to a pixel's left or upper edge is on it: only rounding tells them apart."""

CELL = 64
# Frames larger than this (source pixels) are worked on in pieces, to bound memory.
FRAME_PIXELS = 64 << 20
# Lattice positions are packed as two 31-bit numbers around a centre.
HALF = 1 << 30
LOW = (1 << 32) - 1
NOWHERE = -1
# More points are transformed by the thread that asks, so that such threads share the work.
HERE = 200_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A part of a window, and the frame of source pixels that it is gathered from.

    Parameters
    ----------
    rows, cols : slice
        Of the window.
    row, col : int
        Lattice position of the frame's first pixel.
    height, width : int
        Of the frame; zero where the source's CRS does not reach the piece.
    index : ndarray of intp
        (y, x) of the piece: positions in the flattened frame. ``height * width``, one beyond its
        end, marks a pixel that has no position in the source's CRS.
    """

    rows: slice
    cols: slice
    row: int
    col: int
    height: int
    width: int
    index: Array
    blocks: dict[Hashable, list[tuple[int, int]]] = field(default_factory=dict)
    """What files need of the frame, remembered by those who found out."""

    @property
    def corner(self) -> tuple[int, int]:
        """Lattice (row, col) of the frame's first pixel."""
        return self.row, self.col

    @cached_property
    def needed(self) -> Array:
        """Whether each pixel of the frame is taken by any; (row, col)."""
        return self.take(self.index)

    def take(self, index: Array) -> Array:
        """Whether each pixel of the frame, (row, col), is among positions in it."""
        taken = np.zeros(self.height * self.width + 1, bool)
        taken[index] = True
        return taken[:-1].reshape(self.height, self.width)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """Of a window's pixels to a lattice's: the pieces cover the window once.

    Parameters
    ----------
    lattice : Lattice
        The source's.
    pieces : tuple of Piece
        One, unless the frame would be very large.
    shrink : tuple of float
        Source pixels in one pixel of the window, along its (x, y).
    """

    lattice: Lattice
    pieces: tuple[Piece, ...]
    shrink: tuple[float, float]


def positions(crs: pyproj.CRS, transform: Affine, lattice: Lattice) -> Positions:
    """The exact function from pixel to lattice positions.

    Parameters
    ----------
    crs, transform
        Of the window; pixel (0, 0) is its upper left corner.

    Returns
    -------
    callable
        ``f(cols, rows)`` of window positions gives lattice (cols, rows), not finite where there
        is none.
    """
    source = parse_crs(lattice.crs)
    go = None
    if not source.equals(crs, ignore_axis_order=True):
        go = _transformer(crs.to_wkt(), lattice.crs)
    back = ~lattice.transform

    def exact(cols: Array, rows: Array) -> tuple[Array, Array]:
        x = transform.a * cols + transform.b * rows + transform.c
        y = transform.d * cols + transform.e * rows + transform.f
        if go is not None:
            x, y = _transformed(go, x, y)
        with np.errstate(invalid="ignore"):
            col = back.a * x + back.b * y + back.c
            row = back.d * x + back.e * y + back.f
            if lattice.turn is not None:
                col = np.mod(col + EDGE, lattice.turn) - EDGE
        return col, row

    return exact


def _transformed(go: pyproj.Transformer, x: Array, y: Array) -> tuple[Array, Array]:
    if np.size(x) > HERE:
        return go.transform(x, y)
    return _proj_thread().submit(go.transform, x, y).result()


@lru_cache(maxsize=32)
def _transformer(crs: str, source: str) -> pyproj.Transformer:
    def make() -> pyproj.Transformer:
        return pyproj.Transformer.from_crs(parse_crs(crs), parse_crs(source), always_xy=True)

    return _proj_thread().submit(make).result()


@cache
def _proj_thread() -> ThreadPoolExecutor:
    """The thread that PROJ works in.

    pyproj makes a transformer anew for every thread that uses it, which takes as long as 150,000
    points do.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="proj")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_proj_thread.cache_clear)


def map_window(
    exact: Positions,
    lattice: Lattice,
    height: int,
    width: int,
    *,
    shrink: tuple[float, float] = (1, 1),
    threads: int = 1,
) -> Mapping:
    """Map a window of (height, width) pixels to a lattice.

    Parameters
    ----------
    exact : callable
        As of `positions`.
    lattice, shrink
        As of `Mapping`.
    """
    nodes = _Nodes(exact, height, width)
    packed = np.empty((height, width), np.int64)

    def strip(number: int) -> None:
        rows = slice(number * CELL, min((number + 1) * CELL, height))
        packed[rows] = nodes.strip(number, rows)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(strip, range(-(-height // CELL))))
    whole = (slice(0, height), slice(0, width))
    pieces = tuple(_pieces(packed, nodes.centre, whole))
    return Mapping(lattice=lattice, pieces=pieces, shrink=shrink)


class _Nodes:
    """Exact positions at the nodes of all cells, and what is interpolated between them."""

    def __init__(self, exact: Positions, height: int, width: int) -> None:
        self._exact = exact
        self._width = width
        down, across = -(-height // CELL), -(-width // CELL)
        y = np.arange(2 * down + 1) * (CELL / 2)
        x = np.arange(2 * across + 1) * (CELL / 2)
        self._values = [_finite(v) for v in exact(*np.meshgrid(x, y))]
        checks = exact(*np.meshgrid(x[:-1] + CELL / 4, y[:-1] + CELL / 4))
        error = np.zeros((down, across))
        for values, check in zip(self._values, checks, strict=True):
            quarter = np.array([0.25, 0.75])
            guess = _interpolate(values, quarter, quarter)
            off = np.abs(guess - check).reshape(down, 2, across, 2).max(axis=(1, 3))
            error = np.maximum(error, off)
        # Written so that what is not a number is bad.
        self.bad = ~(error <= BOUND / 2)
        found = [v[np.isfinite(v)] for v in self._values]
        self.centre = tuple(round(np.median(v)) if v.size else 0 for v in found)

    def strip(self, number: int, rows: slice) -> Array:
        """Packed lattice positions of one row of cells, (y, x)."""
        ys = (np.arange(rows.stop - rows.start) + 0.5) / CELL
        xs = (np.arange(CELL) + 0.5) / CELL
        part = slice(2 * number, 2 * number + 3)
        col, row = (_interpolate(v[part], ys, xs)[:, : self._width] for v in self._values)
        again = np.repeat(self.bad[number], CELL)[None, : self._width] | _near(col) | _near(row)
        at = np.nonzero(again)
        if at[0].size:
            col[at], row[at] = self._exact(at[1] + 0.5, at[0] + rows.start + 0.5)
        return _pack(col, row, self.centre)


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _interpolate(values: Array, ys: Array, xs: Array) -> Array:
    """Biquadratic values at (ys, xs) of each cell, in parts of the cell.

    Parameters
    ----------
    values : ndarray
        (2 * down + 1, 2 * across + 1) nodes.

    Returns
    -------
    ndarray
        (down * len(ys), across * len(xs)).
    """
    down = values.shape[0] // 2
    columns = _quadratic(values[:-1:2, None], values[1::2, None], values[2::2, None], ys[:, None])
    columns = columns.reshape(down * len(ys), -1)
    f0, f1, f2 = columns[:, :-1:2, None], columns[:, 1::2, None], columns[:, 2::2, None]
    return _quadratic(f0, f1, f2, xs).reshape(len(columns), -1)


def _quadratic(f0: Array, f1: Array, f2: Array, t: Array) -> Array:
    """Through f0, f1, f2 at t = 0, 1/2, 1."""
    linear = 4 * f1 - 3 * f0 - f2
    square = 2 * (f0 + f2) - 4 * f1
    out = square * t
    out += linear
    out *= t
    out += f0
    return out  # type: ignore[no-any-return]


def _near(values: Array) -> Array:
    """Whether a position is within the bound of a pixel's edge."""
    away = values - np.rint(values)
    np.abs(away, out=away)
    return away < BOUND + EDGE


def _pack(col: Array, row: Array, centre: tuple[int, ...]) -> Array:
    """Whole lattice positions, around a centre, as one number; `NOWHERE` where there is none."""
    col, row = np.floor(col + EDGE), np.floor(row + EDGE)
    col -= centre[0]
    row -= centre[1]
    with np.errstate(invalid="ignore"):
        fine = (np.abs(col) < HALF) & (np.abs(row) < HALF)
        packed = (row.astype(np.int64) + HALF << 32) + (col.astype(np.int64) + HALF)
    packed[~fine] = NOWHERE
    return packed


def _pieces(packed: Array, centre: tuple[int, ...], part: tuple[slice, slice]) -> Iterator[Piece]:
    """Split until the frames are small enough; packed positions become indices, in place."""
    rows, cols = part
    values = packed[part]
    top, bottom, left, right = _extent(values)
    height, width = max(bottom - top + 1, 0), max(right - left + 1, 0)
    high, wide = values.shape
    if height * width > FRAME_PIXELS and high * wide > 1:
        if high >= wide:
            middle = rows.start + high // 2
            halves = [(slice(rows.start, middle), cols), (slice(middle, rows.stop), cols)]
        else:
            middle = cols.start + wide // 2
            halves = [(rows, slice(cols.start, middle)), (rows, slice(middle, cols.stop))]
        for half in halves:
            yield from _pieces(packed, centre, half)
        return
    for lines in _strips(values):
        nowhere = lines == NOWHERE
        flat = ((lines >> 32) - top) * width + ((lines & LOW) - left)
        flat[nowhere] = height * width
        lines[...] = flat
    yield Piece(
        rows=rows,
        cols=cols,
        row=top - HALF + centre[1],
        col=left - HALF + centre[0],
        height=height,
        width=width,
        index=values.astype(np.intp, copy=False),
    )


def _extent(values: Array) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of packed positions, inclusive."""
    top, bottom, left, right = 2 * HALF, -1, 2 * HALF, -1
    for lines in _strips(values):
        found = lines[lines != NOWHERE] if (lines == NOWHERE).any() else lines
        if found.size:
            across = found & LOW
            top, bottom = min(top, int(found.min() >> 32)), max(bottom, int(found.max() >> 32))
            left, right = min(left, int(across.min())), max(right, int(across.max()))
    return (0, -1, 0, -1) if bottom < 0 else (top, bottom, left, right)


def _strips(values: Array) -> Iterator[Array]:
    """Views of a few rows each, which fit the processor's cache."""
    rows = max(1, (1 << 15) // values.shape[1])
    for i in range(0, len(values), rows):
        yield values[i : i + rows]
