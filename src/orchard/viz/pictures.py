"""Rasters read at the size of a screen, on their own grid or on that of a web map.

Overviews are used where a file has them; a 10,000 px raster becomes a picture of about 1,000 px.
"""

from __future__ import annotations

import io
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import reproject, transform_bounds

from orchard.errors import DataError, InputError
from orchard.viz.stretch import Stretch, percentiles, shades

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Bounds = tuple[float, float, float, float]

__all__ = ["Raster", "png", "read_for_map", "read_for_screen", "rgba"]

# The sphere of web maps (EPSG:3857), and the latitude at which its square world ends.
_RADIUS = 6378137.0
_LAST_LATITUDE = 85.06
_MERCATOR = f"+proj=merc +a={_RADIUS} +b={_RADIUS} +lon_0={{lon}} +units=m +nadgrids=@null +no_defs"


@dataclass(frozen=True, kw_only=True)
class Raster:
    """What was read of a file.

    Parameters
    ----------
    values : array (band, y, x)
        Three bands or one, in the file's data type.
    alpha : array (y, x)
        0 where there is no data in one of the bands, 255 where there is.
    transform : Affine
        Of the array as read.
    bounds : (left, bottom, right, top), optional
        In degrees, of a raster read for a map. Beyond 180 east of the antimeridian.
    palette : array (256, 4), optional
        Colours of the values of a one-band raster that has them.
    """

    values: NDArray[np.generic]
    alpha: NDArray[np.uint8]
    transform: Affine
    bounds: Bounds | None = None
    palette: NDArray[np.uint8] | None = None

    @property
    def single(self) -> bool:
        """Whether it is one band of values (and not of colours)."""
        return len(self.values) == 1 and self.palette is None


def read_for_screen(path: Path, bands: Sequence[int], size: int) -> Raster:
    """Read a raster on its own grid, with at most `size` pixels on its longer side.

    Parameters
    ----------
    path : Path
        Any raster.
    bands : sequence of int
        One band or three, counted from 1. Of a file with fewer than three bands, of which three
        are asked for by the default (1, 2, 3), the first is read.
    size : int
        Pixels.

    Raises
    ------
    DataError
        The file cannot be read.
    InputError
        It has no such bands.
    """
    with _opened(path) as source:
        chosen = _chosen(source, bands, path)
        scale = max(1.0, max(source.shape) / size)
        shape = tuple(max(1, round(length / scale)) for length in source.shape)
        # One band may hold classes or bits, which have no average.
        how = Resampling.average if len(chosen) == 3 and scale > 1 else Resampling.nearest
        values = source.read(chosen, out_shape=(len(chosen), *shape), resampling=how)
        masks = source.read_masks(chosen, out_shape=(len(chosen), *shape))
        if _mislabelled(source):
            masks[...] = 255
        if np.iscomplexobj(values):  # radar: the amplitude is the picture
            values = np.abs(values)
        wide, high = source.width / shape[1], source.height / shape[0]
        t = source.transform
        return Raster(
            values=values,
            alpha=_alpha(values, masks),
            transform=Affine(t.a * wide, t.b * high, t.c, t.d * wide, t.e * high, t.f),
            palette=_palette(source, chosen),
        )


def read_for_map(
    path: Path, bands: Sequence[int], size: int, outline: Bounds | None = None
) -> Raster:
    """Read a raster on the grid of a web map (Mercator), at most `size` pixels on its longer side.

    Parameters
    ----------
    path, bands, size
        See `read_for_screen`.
    outline : (left, bottom, right, top), optional
        In degrees: where a picture without a georeference of its own lies.

    Raises
    ------
    DataError
        The file cannot be read, or nobody says where it lies.
    """
    with _opened(path) as source:
        points, crs = source.gcps
        crs, points = (source.crs, []) if source.crs is not None else (crs, points)
        bounds = _degrees(crs, points, source.bounds) if crs is not None else outline
        shape = source.shape
    if bounds is None:
        raise DataError(f"{path} has no georeference, and no feature says where it lies")
    # Somewhat more than what is shown in the end, so that the second resampling loses nothing.
    picture = read_for_screen(path, bands, size + size // 4)
    if crs is None:
        return replace(picture, bounds=bounds)
    high, wide = (length / read for length, read in zip(shape, picture.alpha.shape, strict=True))
    scaled = [GroundControlPoint(p.row / high, p.col / wide, p.x, p.y) for p in points]
    return _warped(picture, crs, scaled, bounds, size)


def rgba(
    raster: Raster,
    *,
    stretch: Stretch = (2.0, 98.0),
    cmap: str = "viridis",
    limits: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return a raster as colours (y, x, 4); transparent where there is no data.

    Parameters
    ----------
    raster : Raster
        Three bands or one.
    stretch : (lower, upper) or None
        Percentiles that become darkest and lightest, per band; 8-bit values stay as they are.
    cmap : str
        matplotlib's name of the colours of one band.
    limits : (low, high), optional
        Values of one band that become darkest and lightest, instead of `stretch`.
    """
    if raster.palette is not None:
        index = raster.values[0].astype("uint8")
        colours = np.moveaxis(raster.palette[index][..., :3], -1, 0)
    else:
        shade = shades(
            raster.values,
            [limits or percentiles(band, raster.alpha, stretch) for band in raster.values],
        )
        colours = _coloured(shade[0], cmap) if raster.single else shade
    return np.dstack([*colours, raster.alpha])


def png(picture: NDArray[np.uint8]) -> bytes:
    """Encode colours (y, x, 4) as PNG; without the alpha channel where all is opaque."""
    opaque = bool((picture[..., 3] == 255).all())
    buffer = io.BytesIO()
    Image.fromarray(picture[..., :3] if opaque else picture).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            # A quicklook has no georeference; that is no news.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                yield source
    except (RasterioError, OSError) as exc:
        # GDAL's own words are the cause of what rasterio says.
        raise DataError(f"cannot look at {path}: {exc.__cause__ or exc}") from exc


def _chosen(source: Any, bands: Sequence[int], path: Path) -> list[int]:
    chosen = [int(band) for band in bands]
    if len(chosen) not in (1, 3):
        raise InputError(f"bands={chosen}: three bands (red, green, blue) or one")
    if chosen == [1, 2, 3] and source.count < 3:
        return [1]
    wrong = [band for band in chosen if not 1 <= band <= source.count]
    if wrong:
        raise InputError(f"{path} has bands 1 to {source.count}, not {wrong[0]}")
    return chosen


def _mislabelled(source: Any) -> bool:
    """Whether a band is called alpha and is none: GDAL calls the fourth of four 8-bit bands so.

    A mask holds two values; a near-infrared band, say, many. An alpha with shades in between is
    taken for a band of data as well, and the picture is opaque then.
    """
    if source.nodata is not None or ColorInterp.alpha not in source.colorinterp:
        return False
    band = source.colorinterp.index(ColorInterp.alpha) + 1
    scale = max(1.0, max(source.shape) / 512)
    shape = tuple(max(1, round(length / scale)) for length in source.shape)
    found = np.unique(source.read(band, out_shape=shape, resampling=Resampling.nearest))
    return not set(found.tolist()) <= {0, np.iinfo(found.dtype).max}


def _alpha(values: NDArray[np.generic], masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha: NDArray[np.uint8] = masks.min(axis=0)
    if np.issubdtype(values.dtype, np.floating):
        alpha = np.where(np.isfinite(values).all(axis=0), alpha, np.uint8(0))
    return alpha


def _palette(source: Any, chosen: Sequence[int]) -> NDArray[np.uint8] | None:
    if len(chosen) != 1 or source.colorinterp[chosen[0] - 1] != ColorInterp.palette:
        return None
    colours = np.zeros((256, 4), np.uint8)
    for value, colour in source.colormap(chosen[0]).items():
        if value < 256:
            colours[value] = colour
    return colours


def _warped(
    picture: Raster, crs: Any, points: list[GroundControlPoint], bounds: Bounds, size: int
) -> Raster:
    """Warp to the Mercator grid of web maps, which is what a map stretches a picture on.

    Values and transparency are warped apart: GDAL itself makes a usable alpha band of some data
    types only.
    """
    left, bottom, right, top = bounds
    lon = 180.0 if right > 180 else 0.0
    west, east = (math.radians(x - lon) * _RADIUS for x in (left, right))
    south, north = (_RADIUS * math.asinh(math.tan(math.radians(y))) for y in (bottom, top))
    # Twice the raster's own size keeps the shape of its pixels; more than `size` nobody sees.
    longest = min(size, max(256, 2 * max(picture.alpha.shape)))
    res = max(east - west, north - south) / longest
    width, height = (max(1, round(length / res)) for length in (east - west, north - south))
    grid = Affine((east - west) / width, 0, west, 0, -(north - south) / height, north)
    options: dict[str, Any] = {
        "src_crs": crs,
        "dst_crs": _MERCATOR.format(lon=lon),
        "dst_transform": grid,
        "resampling": Resampling.nearest,
    }
    options |= {"gcps": points} if points else {"src_transform": picture.transform}
    values = np.zeros((len(picture.values), height, width), picture.values.dtype)
    alpha = np.zeros((height, width), np.uint8)
    reproject(picture.values, values, **options)
    reproject(picture.alpha, alpha, **options)
    return replace(picture, values=values, alpha=alpha, transform=grid, bounds=bounds)


def _degrees(crs: Any, points: Sequence[GroundControlPoint], box: Bounds) -> Bounds:
    """Return the bounds in degrees, within a web map's world; beyond 180 where they cross it."""
    if points:
        xs, ys = [p.x for p in points], [p.y for p in points]
        box = (min(xs), min(ys), max(xs), max(ys))
    left, bottom, right, top = transform_bounds(crs, "EPSG:4326", *box)
    if left > right:  # the antimeridian lies in between
        right += 360
    return (left, max(bottom, -_LAST_LATITUDE), right, min(top, _LAST_LATITUDE))


def _coloured(shade: NDArray[np.uint8], cmap: str) -> NDArray[np.uint8]:
    """Return one band of shades (y, x) in the colours of a map (3, y, x)."""
    try:
        table = (mpl.colormaps[cmap](np.arange(256))[:, :3] * 255).round().astype("uint8")
    except KeyError as exc:
        raise InputError(f"matplotlib knows no colours named {cmap!r}") from exc
    return np.moveaxis(table[shade], -1, 0)
