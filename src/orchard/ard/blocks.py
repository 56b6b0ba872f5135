"""Pixels of one GeoTIFF, block by block, without GDAL: what decoding costs is what it takes."""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import ShardError
from orchard.tiff import Unsupported, block_index, decode, directories, lzw
from orchard.tiff.interleave import turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from orchard.preard import Window

__all__ = ["BlockFile", "let_go"]

# Of the blocks that one thread keeps; the last one always is.
_KEPT_BYTES = 32 << 20


class BlockFile:
    """One file, open only while it is read; safe to use from many threads.

    Parameters
    ----------
    path : Path

    Raises
    ------
    Unsupported
        GDAL reads it, or reads it faster.
    ValueError, OSError
        It is broken.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, path.stat().st_size
        head = next(directories(self._read), None)
        if head is None:
            raise ValueError("a TIFF file without an image")
        self._index = block_index(head)
        form = self._index.format
        if form.packed or (form.codec == "lzw" and not lzw.is_compiled()):
            raise Unsupported("GDAL reads it faster")
        if not self._index.sizes.all() and Path(f"{path}.aux.xml").exists():
            raise Unsupported("GDAL may have kept beside it what nodata is")
        self._number = next(_numbers)

    def read(self, bands: Sequence[int], window: Window, out: NDArray[Any]) -> None:
        """Read a window.

        Parameters
        ----------
        bands : sequence of int
            Counted from 0.
        window : Window
            In pixels of the file, within it.
        out : array
            ``(len(bands), height, width)``, of the file's dtype.

        Raises
        ------
        ValueError, OSError
            A block is broken.
        ShardError
            The file is not the one that it was.
        """
        height, width = self._index.format.shape
        for row in range(window.row_off // height, -(-_bottom(window) // height)):
            for col in range(window.col_off // width, -(-_right(window) // width)):
                top, left = max(window.row_off, row * height), max(window.col_off, col * width)
                bottom = min(_bottom(window), (row + 1) * height)
                right = min(_right(window), (col + 1) * width)
                inside = (
                    slice(top - row * height, bottom - row * height),
                    slice(left - col * width, right - col * width),
                )
                part = out[
                    :,
                    top - window.row_off : bottom - window.row_off,
                    left - window.col_off : right - window.col_off,
                ]
                if self._index.planar:
                    for number, band in enumerate(bands):
                        part[number] = self._block(row, col, band)[inside][:, :, 0]
                else:
                    turn(_chosen(self._block(row, col, 0)[inside], bands), part)

    def _read(self, offset: int, size: int) -> bytes:
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            if os.fstat(descriptor).st_size != self._size:  # its blocks are elsewhere
                raise ShardError(f"{self._path}: was replaced while it was read: convert it again")
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def _block(self, row: int, col: int, band: int) -> NDArray[Any]:
        """Return ``(rows, columns, samples)``, all rows that the image has of it."""
        form = self._index.format
        block = _kept.get((self._number, row, col, band))
        if block is not None:
            return block
        _kept.make_room(form.shape[0] * form.shape[1] * form.samples * form.dtype.itemsize)
        offset, size = self._index.span(row, col, band + 1)
        if size:
            data = self._read(offset, size)
            if len(data) != size:
                raise ValueError("the file ends within a block")
            block = decode(data, form)
            if len(block) < min(form.shape[0], self._index.height - row * form.shape[0]):
                raise ValueError("a broken block: it is too short")
        else:  # never written
            native = form.dtype.newbyteorder("=")
            block = np.full((*form.shape, form.samples), self._index.fill, native)
        _kept.put((self._number, row, col, band), block)
        return block


class _Kept(threading.local):
    """Blocks that a thread decoded last: other dates and neighbouring windows want them again."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()
        self._nbytes = 0

    def get(self, key: tuple[int, ...]) -> NDArray[Any] | None:
        if key in self._blocks:
            self._blocks.move_to_end(key)
        return self._blocks.get(key)

    def put(self, key: tuple[int, ...], block: NDArray[Any]) -> None:
        self._blocks[key] = block
        self._nbytes += block.nbytes

    def make_room(self, nbytes: int) -> None:
        """Let go of the oldest, before a block of so many bytes is decoded."""
        while self._blocks and self._nbytes + nbytes > _KEPT_BYTES:
            _, block = self._blocks.popitem(last=False)
            self._nbytes -= block.nbytes


_kept = _Kept()
_numbers = itertools.count()


def let_go() -> None:
    """Let go of what this thread keeps."""
    _kept.make_room(_KEPT_BYTES)


def _bottom(window: Window) -> int:
    return window.row_off + window.height


def _right(window: Window) -> int:
    return window.col_off + window.width


def _chosen(values: NDArray[Any], bands: Sequence[int]) -> NDArray[Any]:
    """Return some samples; a view where they lie side by side, as those of a date do."""
    first = bands[0]
    if list(bands) == list(range(first, first + len(bands))):
        return values[:, :, first : first + len(bands)]
    return values[:, :, list(bands)]
