"""One band of one acquisition: decode what contributes, once, and gather it into the window.

Scenes of one lattice that follow each other are laid into one frame of source pixels, each only
where the ones before it have no data, and gathered together: for nearest neighbours that is the
same as gathering each, and it costs one pass. A block is read only if a pixel of the window takes
one of its pixels and no scene before has data there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from .raster import READ_ERRORS
from .resample import margin, warp
from .values import Cast, is_nodata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .geo import Place
    from .mapping import Mapping, Piece
    from .raster import Block, Raster
    from .request import Source
    from .resample import Target

    Array = np.ndarray[Any, np.dtype[Any]]
    Box = tuple[slice, slice]

__all__ = ["Canvas", "Layer", "LayerError"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One band of one scene, ready to be read.

    Parameters
    ----------
    scene : str
        Id.
    source : Source
        Which file and band.
    raster : Raster
        The file.
    place : Place
        Of the file in its lattice.
    mapping : Mapping
        Of the window to the lattice.
    """

    scene: str
    source: Source
    raster: Raster
    place: Place
    mapping: Mapping

    def blocks(self, piece: Piece, taken: Array | None = None) -> list[Block]:
        """Blocks (row, column) of the file that a piece takes pixels of.

        Parameters
        ----------
        taken : ndarray of bool, optional
            (row, col) of the frame of the piece: only these; None: all that are needed.
        """
        if taken is None:
            # The same for every band.
            key = (self.place, self.raster.block)
            if key not in piece.blocks:
                piece.blocks[key] = self.blocks(piece, piece.needed)
            return piece.blocks[key]
        box = self.overlap(piece)
        top, left = piece.row + box[0].start, piece.col + box[1].start
        high, wide = self.raster.block
        part = taken[box]
        if not part.size:
            return []
        rows, row_starts = _edges(top - self.place.row, part.shape[0], high)
        cols, col_starts = _edges(left - self.place.col, part.shape[1], wide)
        some = np.logical_or.reduceat(part, row_starts, axis=0)
        some = np.logical_or.reduceat(some, col_starts, axis=1)
        return [(rows + int(r), cols + int(c)) for r, c in zip(*np.nonzero(some), strict=True)]

    def corner(self, block: Block) -> tuple[int, int]:
        """Lattice (row, col) of the first pixel of a block."""
        high, wide = self.raster.block
        return self.place.row + block[0] * high, self.place.col + block[1] * wide

    def view(self, block: Block, corner: tuple[int, int], shape: tuple[int, ...]) -> Box:
        """The part of a frame (its corner in the lattice, its shape) that a block covers."""
        high, wide = self.raster.block
        top, left = self.corner(block)
        high = min(high, self.place.row + self.place.height - top)
        wide = min(wide, self.place.col + self.place.width - left)
        return _clip(top - corner[0], high, shape[0]), _clip(left - corner[1], wide, shape[1])

    def overlap(self, piece: Piece) -> Box:
        """The part of a piece's frame that the file covers; empty slices where there is none."""
        rows = _clip(self.place.row - piece.row, self.place.height, piece.height)
        return rows, _clip(self.place.col - piece.col, self.place.width, piece.width)


class LayerError(Exception):
    """A layer that cannot be read; its cause is the reason."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer.scene)
        self.layer = layer


class Canvas:
    """Paints bands of acquisitions, one after the other, reusing its memory (one per thread).

    Parameters
    ----------
    target : Target
        The window.
    dtype, nodata
        Of the image.
    """

    def __init__(self, target: Target, dtype: np.dtype[Any], nodata: float) -> None:
        self._target = target
        self._nodata = nodata
        self._out = np.empty((target.height, target.width), dtype)
        self._frame = np.empty(0, dtype)

    def paint(self, layers: Sequence[Layer], method: str, ahead: Ahead | None = None) -> Array:
        """Mosaic layers: the first that has data at a pixel gives it.

        Parameters
        ----------
        layers : sequence of Layer
            In mosaic order.
        method : str
            ``nearest``, ``bilinear`` or ``cubic``.
        ahead : Ahead, optional
            Bytes that were fetched before.

        Returns
        -------
        ndarray
            (y, x) of the window; it is overwritten by the next call.

        Raises
        ------
        LayerError
            A layer cannot be read.
        """
        if method == "nearest" and layers:
            first = True
            for _, run in groupby(layers, key=lambda layer: id(layer.mapping)):
                self._gather(list(run), ahead if first else None, first=first)
                first = False
        else:
            self._out.fill(self._nodata)
            for layer in layers:
                self._resample(layer, method)
        return self._out

    def _gather(self, run: Sequence[Layer], ahead: Ahead | None, *, first: bool) -> None:
        for piece in run[0].mapping.pieces:
            part = self._out[piece.rows, piece.cols]
            over = [layer for layer in run if _area(layer.overlap(piece))]
            if first and not over:
                part.fill(self._nodata)
            hole = None if first else is_nodata(part, self._nodata)
            if not over or (hole is not None and not hole.any()):
                continue
            frame = self._fresh(piece, over[0])
            needed = None if hole is None else piece.take(piece.index[hole])
            for number, layer in enumerate(over):
                if number == 0 and ahead is not None and ahead.serves(layer, piece):
                    self._paste(layer, piece.corner, frame, ahead.blocks, ahead.data)
                    continue
                blocks = layer.blocks(piece, needed)
                if number == 0:
                    self._paste(layer, piece.corner, frame, blocks)
                else:
                    holes = self._holes(layer, piece, frame, blocks)
                    self._paste(layer, piece.corner, frame, list(holes), holes=holes)
            flat = self._frame[: piece.height * piece.width + 1]
            if hole is None:
                np.take(flat, piece.index, out=part, mode="clip")
            else:
                part[hole] = flat[piece.index[hole]]

    def _fresh(self, piece: Piece, first: Layer) -> Array:
        """A frame, (row, col), followed by one pixel without data.

        It has no data where its first layer has no pixels. What it holds elsewhere is undefined:
        the pixels that are needed are about to be pasted, and no others are looked at.
        """
        size = piece.height * piece.width
        if self._frame.size <= size:
            self._frame = np.empty(size + 1, self._out.dtype)
        self._frame[size] = self._nodata
        frame = self._frame[:size].reshape(piece.height, piece.width)
        rows, cols = first.overlap(piece)
        frame[: rows.start] = self._nodata
        frame[rows.stop :] = self._nodata
        frame[rows, : cols.start] = self._nodata
        frame[rows, cols.stop :] = self._nodata
        return frame

    def _holes(
        self, layer: Layer, piece: Piece, frame: Array, blocks: Sequence[Block]
    ) -> dict[Block, Array]:
        """Of the blocks in which a needed pixel has no data yet: which pixels those are."""
        holes = {}
        for block in blocks:
            view = layer.view(block, piece.corner, frame.shape)
            hole = is_nodata(frame[view], self._nodata)
            hole &= piece.needed[view]
            if hole.any():
                holes[block] = hole
        return holes

    def _paste(
        self,
        layer: Layer,
        corner: tuple[int, int],
        frame: Array,
        blocks: Sequence[Block],
        data: Sequence[Any] | None = None,
        holes: dict[Block, Array] | None = None,
    ) -> None:
        """Decode blocks into a frame whose first pixel is at `corner` of the lattice."""
        raster, band = layer.raster, layer.source.band
        try:
            if data is None:
                data = raster.fetch(blocks, band)
            cast = self._cast(layer)
            for block, part in zip(blocks, data, strict=True):
                values = cast(*raster.decode(block, part, band))
                rows, cols = layer.view(block, corner, frame.shape)
                top, left = layer.corner(block)
                top, left = rows.start + corner[0] - top, cols.start + corner[1] - left
                view = frame[rows, cols]
                values = values[top : top + view.shape[0], left : left + view.shape[1]]
                if holes is None:
                    view[...] = values
                else:
                    np.copyto(view, values, where=holes[block])
        except READ_ERRORS as exc:
            raise LayerError(layer) from exc

    def _cast(self, layer: Layer) -> Cast:
        raster, source = layer.raster, layer.source
        nodata = raster.nodata(source.band) if source.nodata is None else source.nodata
        return Cast(
            source=raster.dtype(source.band),
            source_nodata=nodata,
            dtype=self._out.dtype,
            nodata=self._nodata,
            shift=source.shift,
        )

    def _resample(self, layer: Layer, method: str) -> None:
        for piece in layer.mapping.pieces:
            part = self._out[piece.rows, piece.cols]
            hole = is_nodata(part, self._nodata)
            if not piece.height or not hole.any():
                continue
            wide = margin(layer.mapping, method)
            frame = np.full(
                (piece.height + 2 * wide, piece.width + 2 * wide), self._nodata, part.dtype
            )
            corner = (piece.row - wide, piece.col - wide)
            blocks = _all_blocks(layer, corner, frame.shape)
            if blocks:
                self._paste(layer, corner, frame, blocks)
                found = warp(
                    frame,
                    corner,
                    layer.mapping,
                    self._target.part(piece),
                    method,
                    self._nodata,
                )
                np.copyto(part, found, where=hole)


class Ahead:
    """Bytes of the blocks of one layer in one piece, fetched before they are needed.

    Raises
    ------
    LayerError
        They cannot be read.
    """

    def __init__(self, layer: Layer, piece: Piece) -> None:
        self._for = (layer, piece)
        self.blocks = layer.blocks(piece)
        try:
            self.data = layer.raster.fetch(self.blocks, layer.source.band)
        except READ_ERRORS as exc:
            raise LayerError(layer) from exc

    def serves(self, layer: Layer, piece: Piece) -> bool:
        """Whether these are the bytes of a layer in a piece."""
        return self._for[0] is layer and self._for[1] is piece


def _all_blocks(layer: Layer, corner: tuple[int, int], shape: tuple[int, ...]) -> list[Block]:
    ranges = []
    sizes = (layer.place.height, layer.place.width)
    starts = (corner[0] - layer.place.row, corner[1] - layer.place.col)
    for start, length, size, block in zip(starts, shape, sizes, layer.raster.block, strict=True):
        first, last = max(start, 0), min(start + length, size)
        ranges.append(range(first // block, -(-last // block)) if last > first else range(0))
    return [(row, col) for row in ranges[0] for col in ranges[1]]


def _clip(start: int, length: int, limit: int) -> slice:
    low = min(max(start, 0), limit)
    return slice(low, max(min(start + length, limit), low))


def _area(box: Box) -> int:
    return int((box[0].stop - box[0].start) * (box[1].stop - box[1].start))


def _edges(start: int, length: int, block: int) -> tuple[int, Array]:
    """Number of the first block of a range of pixels, and where its blocks start in it."""
    first = start // block
    starts = np.arange(first, (start + length - 1) // block + 1) * block - start
    return first, np.maximum(starts, 0)
