"""The work on one unit of a cube: read, mask, scale, decode quality, hand over to be stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from orchard.memory import keep_freed_memory
from orchard.preard import Window

from .plan import CLEAR, FLAG, BandPlan, CubePlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .reader import BlockShape
    from .timeline import Step

__all__ = ["Encoder", "PixelSource", "UnitResult", "UnitWorker", "grown"]


class PixelSource(Protocol):
    """Where pixels come from: a pre-ARD image, or a cube made earlier."""

    dtype: str
    block: BlockShape

    def read(
        self,
        dates: Sequence[int],
        bands: Sequence[int],
        window: Window,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Return ``(len(dates), len(bands), height, width)``."""

    def close(self) -> None:
        """Close all files."""


class Encoder(Protocol):
    """The part of a writer that works beside others, maybe in another process."""

    def encode(self, name: str, span: tuple[int, int], window: Window, data: NDArray[Any]) -> Any:
        """Encode (or store) the steps of a span of a window of a variable.

        Parameters
        ----------
        name : str
            Of the variable.
        span : tuple of int
            First step and the one after the last: whole chunks.
        window : Window
            Whole chunks, but at the edges of the tile.
        data : array
            ``(steps, height, width)``, of the variable's dtype; any strides.

        Returns
        -------
        object
            What the writer takes; can be pickled.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResult:
    """What became of a unit.

    Attributes
    ----------
    payloads : list
        For the writer, where the worker has not handed them over itself.
    clear, valid : array
        Number of pixels per step.
    """

    payloads: list[Any]
    clear: NDArray[np.int64]
    valid: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Some bands of a span of steps, ``(steps, bands, height, width)``, and the span's masks."""

    span: tuple[int, int]
    bands: tuple[BandPlan, ...]
    data: NDArray[Any]
    masks: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class UnitWorker:
    """Works on units; safe to call from many threads, and to send to a process.

    Parameters
    ----------
    plan : CubePlan
    sources : sequence of PixelSource
    bands : sequence of tuple of (int or None)
        For each source, the number of each band of the cube in it; None where it has not got it.
    encoder : Encoder
    accept : callable, optional
        Takes what the encoder gives, at once: a unit is never in memory as a whole. Without it, as
        in another process, the payloads come with the result.
    """

    plan: CubePlan
    sources: Sequence[PixelSource]
    bands: Sequence[tuple[int | None, ...]]
    encoder: Encoder
    accept: Callable[[Any], None] | None = None
    _index: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = {band.name: number for number, band in enumerate(self.plan.bands)}
        object.__setattr__(self, "_index", names)

    def __call__(self, window: Window) -> UnitResult:
        """Work on one unit."""
        keep_freed_memory()
        steps = len(self.plan.steps)
        result = UnitResult(
            payloads=[], clear=np.zeros(steps, np.int64), valid=np.zeros(steps, np.int64)
        )
        for spans in self._reads(window):
            for block in self._blocks(spans, window):
                self._work(block, window, result)
        return result

    # Reading -------------------------------------------------------------------------------------

    @property
    def _pixel(self) -> bool:
        return any(source.block.pixel for source in self.sources)

    def _reads(self, window: Window) -> list[list[tuple[int, int]]]:
        """Which spans to read at once.

        The block that was decoded last is kept. Where that is all of the unit, each span is taken
        out of it in turn; else all spans are read together, and no block is decoded twice.
        """
        spans = self.plan.spans
        if not self._pixel or all(_one_block(source.block, window) for source in self.sources):
            return [[span] for span in spans]
        return [spans]

    def _blocks(self, spans: Sequence[tuple[int, int]], window: Window) -> Iterator[_Block]:
        """Read some spans: all bands of a span at once, or, where they lie apart, one by one."""
        start, stop = spans[0][0], spans[-1][1]
        if self._pixel:
            data = self._read(start, stop, range(len(self.plan.bands)), window)
            for a, b in spans:
                part = data[a - start : b - start]
                masks = self._masks((a, b), window, self._quality(a, b, window, part))
                yield _Block(span=(a, b), bands=self.plan.bands, data=part, masks=masks)
            return
        quality = self._quality(start, stop, window, None)
        masks = self._masks((start, stop), window, quality)
        for number, band in enumerate(self.plan.bands):
            known = None if self.plan.options.dilate else quality.pop(band.name, None)
            part = self._read(start, stop, [number], window) if known is None else known[:, None]
            yield _Block(span=(start, stop), bands=(band,), data=part, masks=masks)

    def _quality(
        self, start: int, stop: int, window: Window, data: NDArray[Any] | None
    ) -> dict[str, NDArray[Any]]:
        """Return the quality bands, with a margin for the dilation."""
        names = self.plan.flag_bands
        if not names:
            return {}
        if data is not None and not self.plan.options.dilate:
            return {name: data[:, self._index[name]] for name in names}
        wide = self._widened(window)
        numbers = [self._index[name] for name in names]
        read = self._read(start, stop, numbers, wide)
        return {name: read[:, i] for i, name in enumerate(names)}

    def _widened(self, window: Window) -> Window:
        margin = self.plan.options.dilate
        row, col = max(0, window.row_off - margin), max(0, window.col_off - margin)
        bottom = min(self.plan.tile.height, window.row_off + window.height + margin)
        right = min(self.plan.tile.width, window.col_off + window.width + margin)
        return Window(row, col, bottom - row, right - col)

    def _read(self, start: int, stop: int, bands: Sequence[int], window: Window) -> NDArray[Any]:
        """Read the steps ``[start, stop)``: ``(steps, bands, height, width)``."""
        shape = (stop - start, len(bands), window.height, window.width)
        out: NDArray[Any] = np.empty(shape, self.plan.dtype)
        for first, last, source in _runs(self.plan.steps, start, stop):
            dates = [self.plan.steps[i].parts[0].date for i in range(first, last)]
            self._read_source(source, dates, bands, window, out[first - start : last - start])
        for i in range(start, stop):
            for part in self.plan.steps[i].parts[1:]:
                other = np.empty_like(out[i - start : i - start + 1])
                self._read_source(part.source, [part.date], bands, window, other)
                self._fill_holes(out[i - start], other[0])
        return out

    def _read_source(
        self,
        source: int,
        dates: Sequence[int],
        bands: Sequence[int],
        window: Window,
        out: NDArray[Any],
    ) -> None:
        numbers = [self.bands[source][band] for band in bands]
        have = [number for number in numbers if number is not None]
        if len(have) == len(numbers):
            self.sources[source].read(dates, have, window, out)
            return
        out[...] = 0 if self.plan.nodata is None else self.plan.nodata
        if have:
            places = [i for i, number in enumerate(numbers) if number is not None]
            out[:, places] = self.sources[source].read(dates, have, window)

    def _fill_holes(self, first: NDArray[Any], other: NDArray[Any]) -> None:
        """Where the first scene of a day has no data, take the other's."""
        if self.plan.nodata is not None:
            np.copyto(first, other, where=_equals(first, self.plan.nodata))

    # Work ----------------------------------------------------------------------------------------

    def _work(self, block: _Block, window: Window, result: UnitResult) -> None:
        span = slice(*block.span)
        usable = self._usable(block.masks)
        for i, band in enumerate(block.bands):
            pixels = block.data[:, i]
            if band.name == self.plan.reference:
                result.valid[span] += self._count_valid(pixels)
            stored = self._pixels(band, pixels, usable)
            self._store(band.name, block.span, window, stored, result)
        if block.bands[0] is not self.plan.bands[0]:
            return
        for name, mask in block.masks.items():
            if name == CLEAR:
                result.clear[span] += mask.sum(axis=(1, 2))
            self._store(name, block.span, window, mask.view(np.int8), result)

    def _store(
        self,
        name: str,
        span: tuple[int, int],
        window: Window,
        data: NDArray[Any],
        result: UnitResult,
    ) -> None:
        payload = self.encoder.encode(name, span, window, data)
        if self.accept is not None:
            self.accept(payload)
        else:
            result.payloads.append(payload)

    def _count_valid(self, pixels: NDArray[Any]) -> NDArray[np.int64]:
        if self.plan.nodata is None:
            return np.full(len(pixels), pixels[0].size, np.int64)
        holes = np.count_nonzero(_equals(pixels, self.plan.nodata), axis=(1, 2))
        return np.asarray(pixels[0].size - holes, np.int64)

    def _pixels(
        self, band: BandPlan, pixels: NDArray[Any], usable: NDArray[np.bool_] | None
    ) -> NDArray[Any]:
        """Mask and scale the pixels of a band, as asked for."""
        options, nodata = self.plan.options, self.plan.nodata
        if band.qa:
            return pixels
        if not options.scale:
            return pixels if usable is None else np.where(usable, pixels, pixels.dtype.type(nodata))
        dtype = np.dtype(self.plan.scaled_dtype).type
        # In double precision, then rounded once.
        scaled = (pixels * np.float64(band.scale) + np.float64(band.offset)).astype(dtype)
        if nodata is not None:
            scaled[_equals(pixels, nodata)] = np.nan
        if usable is not None:
            scaled[~usable] = np.nan
        return scaled

    # Masks ---------------------------------------------------------------------------------------

    def _masks(
        self, span: tuple[int, int], window: Window, quality: dict[str, NDArray[Any]]
    ) -> dict[str, NDArray[np.bool_]]:
        """Return the clear mask and the flags of a span, by variable name."""
        plan = self.plan
        if not quality:
            return {}
        wide = self._widened(window)
        inside = (
            slice(None),
            slice(window.row_off - wide.row_off, window.row_off - wide.row_off + window.height),
            slice(window.col_off - wide.col_off, window.col_off - wide.col_off + window.width),
        )
        shape = (span[1] - span[0], wide.height, wide.width)
        names = [CLEAR] * (plan.quality is not None) + [FLAG + flag for flag in plan.flags]
        masks = {name: np.zeros(shape, bool) for name in names}
        for steps, collection in self._by_collection(span):
            nodata = plan.nodata
            for band, pixels in quality.items():
                words = pixels if steps is None else pixels[steps]
                where = slice(None) if steps is None else steps
                if band == plan.quality:
                    clear = collection.clear_mask(words, nodata)
                    masks[CLEAR][where] = self._dilated(clear, words)
                for flag, mask in collection.decode_flags(words, nodata, band=band).items():
                    masks[FLAG + flag][where] = mask
        return {name: np.ascontiguousarray(mask[inside]) for name, mask in masks.items()}

    def _by_collection(self, span: tuple[int, int]) -> Iterator[tuple[list[int] | None, Any]]:
        """Give the steps of a span of each collection, counted from its start; None: all."""
        ids = [step.collection for step in self.plan.steps[span[0] : span[1]]]
        for name in dict.fromkeys(ids):
            steps = [i for i, other in enumerate(ids) if other == name]
            yield None if len(steps) == len(ids) else steps, self.plan.collections[name]

    def _dilated(self, clear: NDArray[np.bool_], words: NDArray[Any]) -> NDArray[np.bool_]:
        """Let what has data and is not clear grow; nodata does not grow."""
        margin = self.plan.options.dilate
        if not margin:
            return clear
        unclear = ~clear
        if self.plan.nodata is not None:
            unclear &= ~_equals(words, self.plan.nodata)
        return np.logical_and(clear, ~grown(unclear, margin))

    def _usable(self, masks: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_] | None:
        mask = self.plan.options.mask
        if isinstance(mask, tuple):
            flagged = [masks[FLAG + flag] for flag in mask]
            return ~cast("NDArray[np.bool_]", np.stack(flagged).any(axis=0))
        return masks[CLEAR] if mask else None


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Grow a mask ``(…, y, x)`` by a square of ``2 * pixels + 1``."""
    for axis in (-1, -2):
        result: NDArray[np.bool_] = mask.copy()
        for shift in range(1, min(pixels, mask.shape[axis] - 1) + 1):
            near, far = _slices(mask.ndim, axis, shift)
            result[near] |= mask[far]
            result[far] |= mask[near]
        mask = result
    return mask


def _slices(ndim: int, axis: int, shift: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    near, far = [slice(None)] * ndim, [slice(None)] * ndim
    near[axis], far[axis] = slice(None, -shift), slice(shift, None)
    return tuple(near), tuple(far)


def _equals(pixels: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    if pixels.dtype.kind == "f" and np.isnan(nodata):
        return np.asarray(np.isnan(pixels))
    return np.asarray(pixels == nodata)


def _one_block(block: BlockShape, window: Window) -> bool:
    return (
        window.row_off // block.height == (window.row_off + window.height - 1) // block.height
        and window.col_off // block.width == (window.col_off + window.width - 1) // block.width
    )


def _runs(steps: Sequence[Step], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Give the runs of steps whose first part is of one source: first, one after last, source."""
    first = start
    for i in range(start + 1, stop + 1):
        source = steps[first].parts[0].source
        if i == stop or steps[i].parts[0].source != source:
            yield first, i, source
            first = i
