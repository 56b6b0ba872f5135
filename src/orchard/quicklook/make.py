"""The quicklooks of a cube or a pre-ARD image."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date as Date  # noqa: N812 -- `date` is an argument's name here
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from orchard.errors import InputError

from .blocks import block_means
from .pictures import (
    Cell,
    Limits,
    contact_sheet,
    percentile_limits,
    picture,
    save_png,
    thumbnail,
)
from .sources import open_stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from .blocks import Blocks, Stack

__all__ = ["quicklook"]

Stretch = Literal["percentile"] | tuple[float, float] | None

# The pictures of one batch of dates take up no more bytes than this while they are made.
_BUDGET = 256 * 2**20
# Blocks per batch that the percentiles are taken of.
_SAMPLES = 300_000
_GREY_LEVELS = Limits(0.0, 255.0)


class Callback(Protocol):
    """The progress interface of the library."""

    def __call__(self, *, item: str, n_steps: float) -> object:
        """Take note of what was just done."""


def quicklook(
    source: str | Path | xr.Dataset,
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
    source : path or xarray.Dataset
        A cube (NetCDF file, Zarr folder, or an open dataset with variables ``(time, y, x)``), or a
        pre-ARD image: its metadata (JSON), or one of its GeoTIFFs with the metadata beside it.
    dest : path
        Folder of the pictures; made if absent. They are called ``NAME_YYYY-MM-DD.png``; a second
        acquisition of the same date gets ``_2`` after it.
    bands : sequence of str
        Three bands for red, green and blue, or one for grey.
    size : int
        The longer side of a picture has at most this many pixels. Pixels are averaged in square
        blocks, and never enlarged.
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
        Also write a contact sheet, all pictures on one labelled page, to this PNG file.
    callback : callable, optional
        Called as ``callback(item=file name, n_steps=1 / number of pictures)`` after each picture.

    Returns
    -------
    list of Path
        The pictures (not the sheet), in the order of time; none for an image without acquisitions.

    Raises
    ------
    InputError
        If the arguments cannot be meant, or a date is not there.
    CollectionError
        If a band is not there.
    NotFoundError, DataError
        If the source is not there or cannot be read.
    AccessError, StoreError
        If a picture cannot be written.
    """
    if len(bands) not in (1, 3) or size < 1:
        raise InputError(
            f"a picture has 1 or 3 bands and at least one pixel, not bands {list(bands)} and "
            f"size {size}"
        )
    fixed = _fixed_limits(stretch)
    with open_stack(source, bands) as stack:
        numbers = _chosen(stack.days, date, stack.name)
        if not numbers:
            return []
        maker = _Maker(stack, numbers, bands=len(bands), size=size)
        names = _file_names(name or stack.name, [stack.days[number] for number in numbers])
        limits = fixed or maker.limits()
        paths: list[Path] = []
        cells = []
        for number, blocks, at in maker.each():
            path = Path(dest) / names[len(paths)]
            image = picture(blocks, at, limits)
            save_png(image, path)
            paths.append(path)
            if sheet is not None:
                label = _label(stack.days[number], blocks, at)
                cells.append(Cell(thumbnail(image), label))
            if callback is not None:
                callback(item=path.name, n_steps=1 / len(numbers))
        if sheet is not None and cells:
            title = f"{name or stack.name}   {' '.join(bands)}"
            save_png(contact_sheet(cells, title=title), Path(sheet))
    return paths


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


def _chosen(
    days: Sequence[Date], wanted: Date | str | Sequence[Date | str] | None, name: str
) -> list[int]:
    """Return the numbers of the acquisitions to show, earliest first."""
    numbers = sorted(range(len(days)), key=lambda number: days[number])
    if wanted is None:
        return numbers
    chosen = set()
    for one in [wanted] if isinstance(wanted, Date | str) else wanted:
        try:
            day = Date.fromisoformat(one) if isinstance(one, str) else one
        except ValueError:
            raise InputError(f"{one!r} is not a date: write it as YYYY-MM-DD") from None
        if day not in days:
            has = ", ".join(str(day) for day in sorted(set(days))) or "none"
            raise InputError(f"{name} has no acquisition of {one}; its dates: {has}")
        chosen.add(day)
    return [number for number in numbers if days[number] in chosen]


def _file_names(name: str, days: Sequence[Date]) -> list[str]:
    """Return the pictures' names; one date can have several acquisitions."""
    count: Counter[Date] = Counter()
    names = []
    for day in days:
        count[day] += 1
        again = f"_{count[day]}" if count[day] > 1 else ""
        names.append(f"{name}_{day:%Y-%m-%d}{again}.png")
    return names


def _label(day: Date, blocks: Blocks, at: int) -> str:
    """Return the line under a picture on the sheet: its date, and how much of it is clear."""
    label = f"{day:%Y-%m-%d}"
    weight = blocks.seen[at]
    if blocks.clear is not None and weight.any():
        share = float((blocks.clear[at] * weight).sum() / weight.sum())
        label += f"   {share:.0%} clear"
    return label


class _Maker:
    """Reads a stack in batches of dates that fit the budget, and keeps a lone batch."""

    def __init__(self, stack: Stack, numbers: Sequence[int], *, bands: int, size: int) -> None:
        width, height = stack.size
        self._stack = stack
        self._factor = max(1, math.ceil(max(width, height) / size))
        pixels = math.ceil(width / self._factor) * math.ceil(height / self._factor)
        # Sums, means and counts in float32.
        step = max(1, int(_BUDGET / (pixels * 4 * (2 * bands + 3))))
        self._batches = [numbers[at : at + step] for at in range(0, len(numbers), step)]
        self._kept: Blocks | None = None

    def _read(self) -> Iterator[tuple[Sequence[int], Blocks]]:
        for batch in self._batches:
            blocks = self._kept or block_means(self._stack, batch, self._factor)
            if len(self._batches) == 1:
                self._kept = blocks
            yield batch, blocks

    def each(self) -> Iterator[tuple[int, Blocks, int]]:
        """Yield the number of each acquisition, the blocks that hold it, and where in them."""
        for batch, blocks in self._read():
            for at, number in enumerate(batch):
                yield number, blocks, at

    def limits(self) -> Limits:
        """Return the percentiles over all dates: of clear blocks, if there are any."""
        all_seen, all_clear = [], []
        for _, blocks in self._read():
            seen = blocks.seen > 0.5
            all_seen.append(_samples(blocks, seen))
            if blocks.clear is not None:
                all_clear.append(_samples(blocks, seen & (blocks.clear > 0.99)))
        samples = np.concatenate(all_seen, axis=1)
        if all_clear:
            clear = np.concatenate(all_clear, axis=1)
            # A handful of clear blocks says nothing about a landscape.
            if clear.shape[1] >= max(1, 0.01 * samples.shape[1]):
                samples = clear
        # Where nothing was ever seen, all is transparent, whatever the limits.
        return percentile_limits(samples) if samples.size else _GREY_LEVELS


def _samples(blocks: Blocks, where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the values of blocks, thinned evenly, shape (band, n)."""
    values: NDArray[np.float32] = blocks.values.swapaxes(0, 1)[:, where]
    return values[:, :: max(1, values.shape[1] // _SAMPLES)]
