"""Images of the simulator: lazy, evaluated band by band on the grid that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS, Transformer

if TYPE_CHECKING:
    from affine import Affine

__all__ = [
    "EvaluationError",
    "Grid",
    "Image",
    "Pixels",
    "cast",
    "combine",
    "constant",
    "file_pixels",
    "mosaic",
]

# A position this close to a pixel's edge is on it: only rounding tells them apart.
_EDGE = 1e-6


class EvaluationError(Exception):
    """The expression cannot be evaluated; the message is what the service would say."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Pixels to be computed: CRS, transform from (column, row) to (x, y), and size."""

    crs: CRS
    transform: Affine
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``."""
        return self.height, self.width


Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values and mask (True = valid), both (y, x) of a grid."""

Reader = Callable[[Grid], Pixels]


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image: named bands in order, properties, and the projection it was forced into."""

    bands: tuple[tuple[str, Reader], ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    crs: CRS | None = None
    transform: Affine | None = None
    size: tuple[int, int] | None = None
    offset: tuple[int, int] = (0, 0)
    footprint: Any = None
    dtype: str = "float64"

    @property
    def names(self) -> list[str]:
        """The names of the bands."""
        return [name for name, _ in self.bands]

    def select(self, selectors: Sequence[Any], names: Sequence[str] | None) -> Image:
        """Pick bands by name or position, and perhaps rename them."""
        known = dict(self.bands)
        picked = []
        for selector in selectors:
            name = self.names[selector] if isinstance(selector, int) else selector
            if name not in known:
                raise EvaluationError(
                    f"Image.select: Band pattern '{name}' did not match any bands. "
                    f"Available bands: {self.names}"
                )
            picked.append((name, known[name]))
        image = replace(self, bands=tuple(picked))
        return image if names is None else image.rename(names)

    def rename(self, names: Sequence[str]) -> Image:
        """Give all bands new names."""
        if len(names) != len(self.bands):
            raise EvaluationError(
                f"Image.rename: got {len(names)} names for {len(self.bands)} bands"
            )
        if len(set(names)) < len(names):
            raise EvaluationError("Image.rename: a band name is given twice")
        renamed = tuple((n, r) for n, (_, r) in zip(names, self.bands, strict=True))
        return replace(self, bands=renamed)

    def add_bands(self, other: Image, names: Sequence[str] | None, *, overwrite: bool) -> Image:
        """Add bands; one of the same name takes its place, or gets a number at its end."""
        added = other if names is None else other.select(names, None)
        bands = dict(self.bands)
        for name, reader in added.bands:
            free, number = name, 0
            while not overwrite and free in bands:
                number += 1
                free = f"{name}_{number}"
            bands[free] = reader
        return replace(self, bands=tuple(bands.items()))

    def each(self, change: Callable[[Pixels], Pixels], dtype: str | None = None) -> Image:
        """Change the pixels of every band."""

        def bound(reader: Reader) -> Reader:
            return lambda grid: change(reader(grid))

        bands = tuple((name, bound(reader)) for name, reader in self.bands)
        return replace(self, bands=bands, dtype=dtype or self.dtype)


def combine(
    left: Image, right: Image, change: Callable[[Pixels, Pixels], Pixels], *, keep: bool = False
) -> Image:
    """Combine bands in pairs; a single band goes with all of the other image.

    ``keep``: the properties of the left image stay, as they do for masks but not for arithmetic.
    """
    count = max(len(left.bands), len(right.bands))
    if {len(left.bands), len(right.bands)} - {1, count}:
        raise EvaluationError(
            f"images of {len(left.bands)} and {len(right.bands)} bands do not go together"
        )
    ours = left.bands * (count if len(left.bands) == 1 else 1)
    theirs = right.bands * (count if len(right.bands) == 1 else 1)

    def bound(one: Reader, other: Reader) -> Reader:
        return lambda grid: change(one(grid), other(grid))

    names = left.names if len(left.bands) == count else right.names
    bands = tuple(
        (name, bound(a, b)) for name, (_, a), (_, b) in zip(names, ours, theirs, strict=True)
    )
    return replace(left, bands=bands) if keep else Image(bands=bands)


def constant(values: Sequence[float]) -> Image:
    """Make an image of the same numbers everywhere, one band a number."""

    def reader(value: float) -> Reader:
        return lambda grid: (np.full(grid.shape, value), np.ones(grid.shape, bool))

    if len(values) == 1:
        return Image(bands=(("constant", reader(values[0])),))
    return Image(bands=tuple((f"constant_{i}", reader(v)) for i, v in enumerate(values)))


def mosaic(images: Sequence[Image]) -> Image:
    """Composite images by their masks: at each pixel, and for each band, the last valid one."""
    if not images:
        return Image()
    names = list(dict.fromkeys(name for image in images for name in image.names))

    def bound(name: str) -> Reader:
        readers = [dict(image.bands)[name] for image in images if name in image.names]

        def read(grid: Grid) -> Pixels:
            out, valid = None, np.zeros(grid.shape, bool)
            for reader in readers:
                values, mask = reader(grid)
                out = values.copy() if out is None else np.where(mask, values, out)
                valid |= mask
            assert out is not None
            return out, valid

        return read

    return Image(bands=tuple((name, bound(name)) for name in names))


def cast(image: Image, dtype: str) -> Image:
    """Change the type of the pixels.

    What does not fit is an error here, though the service would say nothing: nothing that Orchard
    builds may depend on what becomes of such values.
    """
    kind = np.dtype(dtype)

    def change(pixels: Pixels) -> Pixels:
        values, mask = pixels
        if kind.kind in "iu":
            info = np.iinfo(kind)
            bad = mask & ((values < info.min) | (values > info.max))
            if bad.any():
                raise EvaluationError(f"the value {values[bad][0]} does not fit into {dtype}")
            values = np.where(mask, values, 0)
        return values.astype(kind), mask

    return image.each(change, dtype)


def file_pixels(
    href: str, *, nodata: float | None, subtract: float, scale: float, offset: float
) -> Reader:
    """Return the reader of a GeoTIFF's first band: nearest pixel, masked by nodata or by the file.

    The value is ``(number - subtract - offset) / scale``.
    """
    return lambda grid: _sample(grid, href, nodata, subtract, scale, offset)


@lru_cache(maxsize=64)
def _sample(
    grid: Grid, href: str, nodata: float | None, subtract: float, scale: float, offset: float
) -> Pixels:
    """Sample a file; kept for a while, as an expression asks for the same band several times."""
    with rasterio.open(href) as source:
        cols, rows = _positions(grid, CRS.from_wkt(source.crs.to_wkt()), source.transform)
        inside = (cols >= 0) & (rows >= 0) & (cols < source.width) & (rows < source.height)
        numbers, valid = _whole(source, nodata)
    values, mask = np.zeros(grid.shape), np.zeros(grid.shape, bool)
    at = rows[inside].astype(int), cols[inside].astype(int)
    values[inside] = (numbers[at].astype("float64") - subtract - offset) / scale
    mask[inside] = valid[at]
    values.flags.writeable = mask.flags.writeable = False
    return values, mask


def _whole(source: Any, nodata: float | None) -> Pixels:
    numbers = source.read(1)
    if nodata is not None:
        return numbers, numbers != nodata
    return numbers, source.read_masks(1) > 0


@lru_cache(maxsize=8)
def _positions(grid: Grid, crs: CRS, transform: Affine) -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns and rows of a file under the centres of a grid's pixels."""
    x, y = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    xs, ys = grid.transform @ (x, y)
    if crs != grid.crs:
        xs, ys = Transformer.from_crs(grid.crs, crs, always_xy=True).transform(xs, ys)
    cols, rows = ~transform @ (xs, ys)
    cols, rows = np.floor(cols + _EDGE), np.floor(rows + _EDGE)
    nowhere = ~(np.isfinite(cols) & np.isfinite(rows))
    cols[nowhere] = rows[nowhere] = -1
    return cols, rows
