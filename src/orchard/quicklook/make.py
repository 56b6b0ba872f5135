"""The quicklooks of cubes or pre-ARD images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date as Date  # noqa: N812 -- `date` is an argument's name here
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from orchard.errors import InputError

from .blocks import block_means
from .pictures import Cell, Limits, contact_sheet, percentile_limits, picture, save_png, thumbnail
from .sources import open_stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

    from .blocks import Blocks

    Source = str | Path | xr.Dataset

__all__ = ["quicklook"]

Stretch = Literal["percentile"] | tuple[float, float] | None

# One batch of dates takes up about this many bytes at most, and so does what is kept of batches
# between finding the stretch and drawing.
_BUDGET = 256 * 2**20
# Blocks per batch that the percentiles are taken of.
_SAMPLES = 300_000
_GREY_LEVELS = Limits(0.0, 255.0)


class Callback(Protocol):
    """The progress interface of the library."""

    def __call__(self, *, item: str, n_steps: float) -> object:
        """Take note of what was just done."""


def quicklook(
    source: Source | Sequence[Source],
    dest: str | Path,
    *,
    bands: Sequence[str] = ("red", "green", "blue"),
    size: int = 768,
    stretch: Stretch = "percentile",
    date: Date | str | Sequence[Date | str] | None = None,
    name: str | None = None,
    sheet: str | Path | None = None,
    callback: Callback | None = None,
) -> list[Path]:
    """Make one PNG per date.

    Parameters
    ----------
    source : path, xarray.Dataset, or a sequence of them
        A cube (NetCDF file, Zarr folder, or an open dataset with variables ``(time, y, x)``), or a
        pre-ARD image: its metadata (JSON), or one of its GeoTIFFs with the metadata beside it.
        Several, as the periods of an order, are stretched together.
    dest : path
        Folder of the pictures; made if absent. They are called ``NAME_YYYY-MM-DD.png``; where that
        is taken by another picture of this call, ``_2`` follows the date.
    bands : sequence of str
        Three bands for red, green and blue, or one for grey.
    size : int
        The longer side of a picture has at most this many pixels: pixels are averaged, and never
        enlarged.
    stretch : "percentile", (low, high) or None
        What becomes black and white. "percentile": the 1st and the 99.5th percentile, over all
        chosen dates and bands together so that pictures compare and colours stay what they are,
        and over clear pixels only where the source tells clear from not clear; darks are opened
        up by an exponent of 1 / 1.4. ``(low, high)``: these values, in the bands' units
        (scaled: reflectance, for instance). None: values are grey levels from 0 to 255 already.
    date : date, str ("YYYY-MM-DD") or a sequence of them, optional
        Only these dates.
    name : str, optional
        NAME of the pictures, if not that of the source.
    sheet : path, optional
        Also write a contact sheet, all pictures on one page, to this PNG file. Under each is its
        date and, where that is known, the share of all its pixels that are clear: the
        ``clear_fraction`` of a cube.
    callback : callable, optional
        Called as ``callback(item=file name, n_steps=part)`` after each picture; the parts of each
        source's pictures add up to 1. Before that, while pixels are read, with the name of the
        source and 0.

    Returns
    -------
    list of Path
        The pictures (not the sheet), source by source, in the order of time; none for an image
        without acquisitions.

    Raises
    ------
    InputError
        If the arguments cannot be meant, or a date is in none of the sources.
    CollectionError
        If a band is not there.
    NotFoundError, DataError
        If a source is not there or cannot be read.
    AccessError, StoreError
        If a picture cannot be written.
    """
    if len(bands) not in (1, 3) or size < 1:
        raise InputError(
            f"a picture has 1 or 3 bands and at least one pixel, not bands {list(bands)} and "
            f"size {size}"
        )
    limits = _fixed_limits(stretch)
    jobs = _only([_plan(one, bands, size, name) for one in _listed(source)], date)
    reader = _Reader(bands, callback)
    limits = limits or _percentile_limits(reader, jobs)
    cells: list[Cell] | None = None if sheet is None else []
    paths = _draw(reader, jobs, limits, Path(dest), cells, callback)
    if sheet is not None and cells:
        of = {job.name for job in jobs if job.numbers}
        title = "   ".join([*(of if len(of) == 1 else ()), " ".join(bands)])
        save_png(contact_sheet(cells, title=title), Path(sheet))
    return paths


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What to draw of one source: acquisitions, side of the blocks and of the picture, batches."""

    source: Source
    name: str
    days: Sequence[Date]
    numbers: Sequence[int]
    factor: int
    size: int
    batch: int

    def batches(self) -> Iterator[Sequence[int]]:
        """Numbers of acquisitions, as many at a time as fit the budget."""
        for at in range(0, len(self.numbers), self.batch):
            yield self.numbers[at : at + self.batch]


def _listed(source: Source | Sequence[Source]) -> Sequence[Source]:
    return source if isinstance(source, Sequence) and not isinstance(source, str) else [source]


def _plan(source: Source, bands: Sequence[str], size: int, name: str | None) -> _Job:
    with open_stack(source, bands) as stack:
        days = list(stack.days)
        # Whole blocks first; the picture is brought to its size from at most twice of it.
        factor = max(1, max(stack.size) // size)
        width, height = (math.ceil(side / factor) for side in stack.size)
        # Sums, means and counts in float32.
        one = width * height * 4 * (2 * len(bands) + 3)
        return _Job(
            source=source,
            name=name or stack.name,
            days=days,
            numbers=sorted(range(len(days)), key=days.__getitem__),
            factor=factor,
            size=size,
            batch=max(1, _BUDGET // one),
        )


class _Reader:
    """Reads batches of blocks, and keeps as many as there is room for to give them again."""

    def __init__(self, bands: Sequence[str], callback: Callback | None) -> None:
        self._bands = bands
        self._callback = callback
        self._kept: dict[tuple[int, int], Blocks] = {}
        self._room = _BUDGET

    def batches(self, job: _Job) -> Iterator[tuple[Sequence[int], Blocks]]:
        """Yield numbers of acquisitions of a source and the blocks of them."""
        with ExitStack() as files:
            stack = None
            for batch in job.batches():
                key = (id(job), batch[0])
                blocks = self._kept.get(key)
                if blocks is None:
                    stack = stack or files.enter_context(open_stack(job.source, self._bands))
                    tick = partial(self._tick, job.name)
                    blocks = block_means(stack, batch, job.factor, tick=tick)
                    if blocks.nbytes <= self._room:
                        self._room -= blocks.nbytes
                        self._kept[key] = blocks
                yield batch, blocks

    def _tick(self, name: str) -> None:
        if self._callback is not None:
            self._callback(item=name, n_steps=0)

    def pictures(self, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, int, Blocks, int]]:
        """Yield each acquisition's job and number, the blocks that hold it, and where in them."""
        for job in jobs:
            for batch, blocks in self.batches(job):
                for at, number in enumerate(batch):
                    yield job, number, blocks, at


def _draw(
    reader: _Reader,
    jobs: Sequence[_Job],
    limits: Limits,
    dest: Path,
    cells: list[Cell] | None,
    callback: Callback | None,
) -> list[Path]:
    """Write the pictures, and collect what a contact sheet needs where one is wanted."""
    paths: list[Path] = []
    names = _file_names(jobs)
    same_day = max(Counter(day for job in jobs for day in set(job.days)).values(), default=0) > 1
    for job, number, blocks, at in reader.pictures(jobs):
        path = dest / names[len(paths)]
        image = picture(blocks, at, limits, size=job.size)
        save_png(image, path)
        paths.append(path)
        if cells is not None:
            label = _label(job.days[number], blocks, at)
            # Pictures of several tiles look alike but for their names.
            cells.append(Cell(thumbnail(image), f"{job.name}\n{label}" if same_day else label))
        if callback is not None:
            callback(item=path.name, n_steps=1 / len(job.numbers))
    return paths


def _percentile_limits(reader: _Reader, jobs: Sequence[_Job]) -> Limits:
    """Return the percentiles over all dates: of clear blocks, where enough of them are known."""
    all_seen, all_clear = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for job in jobs:
        for _, blocks in reader.batches(job):
            seen = blocks.seen > 0.5
            all_seen.append(_samples(blocks, seen))
            if blocks.clear is not None:
                all_clear.append(_samples(blocks, seen & (blocks.clear > 0.99)))
    samples, clear = np.concatenate(all_seen), np.concatenate(all_clear)
    # A handful of clear blocks says nothing about a landscape.
    if clear.size >= max(1, 0.01 * samples.size):
        samples = clear
    # Where nothing was ever seen, all is transparent, whatever the limits.
    return percentile_limits(samples) if samples.size else _GREY_LEVELS


def _samples(blocks: Blocks, where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the values of blocks of all bands, thinned evenly, flat."""
    values: NDArray[np.float32] = blocks.values.swapaxes(0, 1)[:, where]
    return values[:, :: max(1, values.shape[1] // _SAMPLES)].ravel()


def _fixed_limits(stretch: Stretch) -> Limits | None:
    """Return the limits that the caller gave; None where they are to be found in the data."""
    if stretch is None:
        return _GREY_LEVELS
    if stretch == "percentile":
        return None
    try:
        low, high = (float(value) for value in stretch)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low < high:
        raise InputError(f'stretch is "percentile", (low, high) or None, not {stretch!r}')
    return Limits(low, high)


def _only(jobs: Sequence[_Job], wanted: Date | str | Sequence[Date | str] | None) -> Sequence[_Job]:
    """Leave only some dates."""
    if wanted is None:
        return jobs
    known = {day for job in jobs for day in job.days}
    chosen = set()
    for one in [wanted] if isinstance(wanted, Date | str) else wanted:
        try:
            day = Date.fromisoformat(one) if isinstance(one, str) else one
        except ValueError:
            raise InputError(f"{one!r} is not a date: write it as YYYY-MM-DD") from None
        if day not in known:
            has = ", ".join(str(day) for day in sorted(known)) or "none"
            raise InputError(f"there is no acquisition of {one}; the dates are: {has}")
        chosen.add(day)
    return [
        replace(job, numbers=[number for number in job.numbers if job.days[number] in chosen])
        for job in jobs
    ]


def _file_names(jobs: Sequence[_Job]) -> list[str]:
    """Return the pictures' names in their order; one date can have several acquisitions."""
    count: Counter[str] = Counter()
    names = []
    for job in jobs:
        for number in job.numbers:
            stem = f"{job.name}_{job.days[number]:%Y-%m-%d}"
            count[stem] += 1
            names.append(f"{stem}_{count[stem]}.png" if count[stem] > 1 else f"{stem}.png")
    return names


def _label(day: Date, blocks: Blocks, at: int) -> str:
    """Return the line under a picture on the sheet: its date, and how much of it is clear."""
    label = f"{day:%Y-%m-%d}"
    return label if blocks.usable is None else f"{label}   {blocks.usable[at]:.0%} clear"
