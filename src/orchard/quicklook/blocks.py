"""Block means of a stack of dates, read window by window along its own chunks.

Every chunk is decoded once for all dates of a batch, and what is held is the small result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from numpy.typing import NDArray

__all__ = ["Blocks", "Part", "Rect", "Stack", "block_means", "tiling"]


class Rect(NamedTuple):
    """Pixels ``[top, bottom)`` x ``[left, right)`` of an image."""

    top: int
    left: int
    bottom: int
    right: int


class Part(NamedTuple):
    """Some dates of one window.

    values : array, shape (date, band, y, x)
        Physical values (scaled); whatever where nothing was seen.
    seen : array of bool, shape (date, y, x)
        True where every band has data.
    clear : array of bool, shape (date, y, x), or None
        True where the pixel is usable; None where nobody knows.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]
    clear: NDArray[np.bool_] | None


class Stack(Protocol):
    """What pictures are made of: dates of the same few bands on one raster."""

    @property
    def name(self) -> str:
        """How pictures of it are named."""

    @property
    def days(self) -> Sequence[date]:
        """Date of each acquisition, in the order of the stack."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    def windows(self) -> Iterator[Rect]:
        """Windows that cover the raster once and suit the way it is stored."""

    def read(self, window: Rect, numbers: Sequence[int]) -> Part:
        """Read some acquisitions, by their numbers, in a window."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Means of blocks of pixels of some dates.

    Parameters
    ----------
    values : array of float32, shape (date, band, y, x)
        Mean of what was seen in the block; 0 where nothing was.
    seen : array of float32, shape (date, y, x)
        Share of the block that was seen.
    clear : array of float32, shape (date, y, x), or None
        Share of what was seen that is clear; None where nobody knows.
    usable : array of float64, shape (date,), or None
        Share of all pixels that are clear, whether they were seen or masked: what cubes call
        ``clear_fraction``. None where nobody knows.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.float32]
    clear: NDArray[np.float32] | None
    usable: NDArray[np.float64] | None

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        clear = 0 if self.clear is None else self.clear.nbytes
        return self.values.nbytes + self.seen.nbytes + clear


def tiling(top: int, left: int, bottom: int, right: int, step: tuple[int, int]) -> Iterator[Rect]:
    """Cut a rectangle into windows of at most ``step = (rows, columns)``, row by row."""
    for row in range(top, bottom, step[0]):
        for col in range(left, right, step[1]):
            yield Rect(row, col, min(row + step[0], bottom), min(col + step[1], right))


def block_means(
    stack: Stack, numbers: Sequence[int], factor: int, *, tick: Callable[[], None] | None = None
) -> Blocks:
    """Average blocks of ``factor`` x ``factor`` pixels.

    Parameters
    ----------
    stack : Stack
        The source.
    numbers : sequence of int
        Which acquisitions.
    factor : int
        Side of a block; blocks at the right and the lower edge are what is left over.
    tick : callable, optional
        Called before each window is read; it may raise to end the work.
    """
    width, height = stack.size
    shape = (len(numbers), math.ceil(height / factor), math.ceil(width / factor))
    total: NDArray[np.float32] | None = None
    seen, clear = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    usable = np.zeros(len(numbers), np.int64)
    known = True
    for window in stack.windows():
        if tick is not None:
            tick()
        part = stack.read(window, numbers)
        if total is None:
            total = np.zeros((shape[0], part.values.shape[1], *shape[1:]), np.float32)
        rows, row_starts = _spans(window.top, window.bottom, factor)
        cols, col_starts = _spans(window.left, window.right, factor)

        def add(
            to: NDArray[np.float32],
            values: NDArray[np.float32],
            *,
            at: tuple[slice, slice] = (rows, cols),
            starts: tuple[NDArray[np.intp], NDArray[np.intp]] = (row_starts, col_starts),
        ) -> None:
            by_row = np.add.reduceat(values, starts[0], axis=-2)
            to[..., at[0], at[1]] += np.add.reduceat(by_row, starts[1], axis=-1)

        add(total, np.where(part.seen[:, None], part.values, np.float32(0)))
        add(seen, part.seen.astype(np.float32))
        if part.clear is None:
            known = False
        else:
            add(clear, (part.clear & part.seen).astype(np.float32))
            usable += part.clear.sum(axis=(1, 2))
    if total is None:
        total = np.zeros((shape[0], 0, *shape[1:]), np.float32)
    count = np.maximum(seen, np.float32(1))
    total /= count[:, None]
    clear /= count
    seen /= _areas(height, width, factor)
    return Blocks(
        values=total,
        seen=seen,
        clear=clear if known else None,
        usable=usable / (width * height) if known else None,
    )


def _spans(start: int, stop: int, factor: int) -> tuple[slice, NDArray[np.intp]]:
    """Return the blocks that pixels ``[start, stop)`` fall into, and where each begins in them."""
    first, last = start // factor, (stop - 1) // factor
    begins = np.maximum(np.arange(first, last + 1) * factor, start) - start
    return slice(first, last + 1), begins


def _areas(height: int, width: int, factor: int) -> NDArray[np.float32]:
    """Return the number of pixels of each block, shape (y, x)."""

    def sides(length: int) -> NDArray[np.float32]:
        edges = np.append(np.arange(0, length, factor), length)
        return np.diff(edges).astype(np.float32)

    return np.outer(sides(height), sides(width)).astype(np.float32)
