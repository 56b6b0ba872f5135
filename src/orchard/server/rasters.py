"""Composites and indices of cubes as Cloud Optimized GeoTIFFs, made by rows in bounded memory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.windows import Window

from orchard.composite import best_pixel, evaluate, median, rank_acquisitions
from orchard.errors import DataError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from orchard.grid import Tile

__all__ = ["Cube", "Raster", "composite", "index_of_cube", "index_of_raster"]

# Pixels of all dates of all bands that are held at a time, and of their working copies.
_BUDGET = 192 * 2**20
_BLOCK = 512
_COLOURS = ("red", "green", "blue")


def _go_on() -> None:
    """Let the work be done to its end."""


class Source(Protocol):
    """What an index can be made of: physical numbers of bands, by rows."""

    @property
    def tile(self) -> Tile: ...

    def rows(self, bands: Sequence[str]) -> Iterator[tuple[Window, Mapping[str, NDArray[Any]]]]:
        """Give bands as floats ``(y, x)``, NaN where there is nothing usable."""
        ...


class Cube:
    """A cube as `orchard.open_ard` gives it, read by rows.

    Parameters
    ----------
    dataset : xarray.Dataset
        Numbers as stored: ``(time, y, x)``, perhaps with a mask ``clear``.
    tile : Tile
    bands, quality : sequence of str
        Names of the bands that are numbers, and of those that are bits or classes.
    check : callable
        Called before each strip of a band is read; it may raise to end the work.
    """

    def __init__(
        self,
        dataset: xr.Dataset,
        tile: Tile,
        bands: Sequence[str],
        quality: Sequence[str],
        *,
        check: Callable[[], None] = _go_on,
    ) -> None:
        self.check = check
        self.dataset = dataset
        self.tile = tile
        self.quality = list(quality)
        shown = list(bands)
        first = [name for name in _COLOURS if name in shown]
        # Red, green, blue come first: what shows "bands 1, 2, 3" shows what the eye knows.
        self.bands = [*first, *(name for name in shown if name not in first)]
        self.count = dataset.sizes["time"]

    def nodata(self, band: str) -> float | None:
        """Return the number that stands for no data."""
        value = self.dataset[band].attrs.get("_FillValue")
        return None if value is None else float(value)

    def scale(self, band: str) -> tuple[float, float]:
        """Return scale and offset of a band: physical = stored * scale + offset."""
        about = self.dataset[band].attrs
        return float(about.get("scale_factor", 1)), float(about.get("add_offset", 0))

    def windows(self, bands: int, dates: int) -> Iterator[Window]:
        """Give strips of whole rows, as high as the budget has it."""
        width, height = self.tile.size
        # Stored numbers, a mask, and a sorted copy.
        row = width * dates * bands * 16
        step = max(1, min(height, _BUDGET // max(row, 1)))
        step = step // _BLOCK * _BLOCK or step
        for top in range(0, height, step):
            yield Window(0, top, width, min(step, height - top))

    def read(self, band: str, window: Window) -> NDArray[Any]:
        """Read a band in a window, as stored: ``(time, y, x)``."""
        self.check()
        rows = slice(int(window.row_off), int(window.row_off + window.height))
        return np.asarray(self.dataset[band].isel(y=rows).to_numpy())

    def usable(self, band: str, values: NDArray[Any], window: Window) -> NDArray[np.bool_]:
        """Return where a band has data that is clear."""
        nodata = self.nodata(band)
        if nodata is None:
            found = np.ones(values.shape, dtype=bool)
        else:
            found = ~np.isnan(values) if np.isnan(nodata) else values != nodata
        if "clear" in self.dataset.data_vars:
            found &= self.read("clear", window) == 1
        return found

    def clear_fraction(self) -> list[float]:
        """Return the part of the tile that is usable, of each acquisition."""
        counted = np.zeros(self.count)
        for window in self.windows(1, self.count):
            values = self.read(self.bands[0], window)
            counted += self.usable(self.bands[0], values, window).sum(axis=(1, 2))
        width, height = self.tile.size
        return [float(n) / (width * height) for n in counted]

    def date(self, number: int) -> Source:
        """Return one acquisition, to make an index of."""
        return _Date(self, number)


@dataclass(frozen=True)
class _Date:
    cube: Cube
    number: int

    @property
    def tile(self) -> Tile:
        return self.cube.tile

    def rows(self, bands: Sequence[str]) -> Iterator[tuple[Window, dict[str, NDArray[Any]]]]:
        dataset = self.cube.dataset.isel(time=[self.number])
        about = (self.cube.tile, self.cube.bands, self.cube.quality)
        one = Cube(dataset, *about, check=self.cube.check)
        for window in one.windows(len(bands), 1):
            found = {}
            for band in bands:
                values = one.read(band, window)
                usable = one.usable(band, values, window)
                found[band] = _physical(values, usable, one.scale(band))[0]
            yield window, found


@dataclass(frozen=True, kw_only=True)
class Raster:
    """A GeoTIFF whose bands have names, scales and offsets."""

    path: Path
    tile: Tile
    check: Callable[[], None] = _go_on

    @property
    def bands(self) -> list[str]:
        """Names of the bands."""
        with rasterio.open(self.path) as file:
            return [str(name) for name in file.descriptions]

    def rows(self, bands: Sequence[str]) -> Iterator[tuple[Window, dict[str, NDArray[Any]]]]:
        """Give bands as floats ``(y, x)``, NaN where there is no data."""
        with rasterio.open(self.path) as file:
            names = list(file.descriptions)
            for top in range(0, file.height, _BLOCK):
                window = Window(0, top, file.width, min(_BLOCK, file.height - top))
                found = {}
                for band in bands:
                    self.check()
                    number = names.index(band)
                    values = file.read(number + 1, window=window)
                    usable = file.read_masks(number + 1, window=window) != 0
                    scale = (file.scales[number], file.offsets[number])
                    found[band] = _physical(values, usable, scale)
                yield window, found


def _physical(
    values: NDArray[Any], usable: NDArray[np.bool_], scale: tuple[float, float]
) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.where(usable, values * scale[0] + scale[1], np.nan)
    return found


def composite(cube: Cube, method: str, path: Path) -> dict[str, Any]:
    """Write a composite: every band of the cube, quality bands only of the best pixel.

    Parameters
    ----------
    cube : Cube
    method : {"median", "best"}
        See `orchard.composite.median` and `orchard.composite.best_pixel`.
    path : Path
        The GeoTIFF to write.

    Returns
    -------
    dict
        What was found: ``clear_fraction`` of the acquisitions and ``covered``, the part of the
        tile that has a usable pixel.
    """
    fractions = cube.clear_fraction()
    days = cube.dataset["time"].values.astype("datetime64[s]").astype(np.int64) / 86400
    ranked = rank_acquisitions(fractions, list(days - (days.min() + days.max()) / 2))
    bands = cube.bands if method == "median" else [*cube.bands, *cube.quality]
    about = _about(cube, bands)
    covered = 0
    with _writing(path, cube.tile, about) as file:
        for window in cube.windows(1, cube.count):
            reference = cube.read(bands[0], window)
            usable = cube.usable(bands[0], reference, window)
            covered += int(usable.any(axis=0).sum())
            chosen = best_pixel(usable, ranked) if method == "best" else None
            for number, band in enumerate(bands, start=1):
                values = cube.read(band, window)
                nodata = about[number - 1].nodata
                if chosen is None:
                    seen = cube.usable(band, values, window)
                    picked = median(values, seen, nodata)
                else:
                    picked = _picked(values, chosen, nodata)
                file.write(picked, number, window=window)
    width, height = cube.tile.size
    return {"clear_fraction": fractions, "covered": covered / (width * height)}


def _picked(values: NDArray[Any], chosen: NDArray[np.intp], nodata: float) -> NDArray[Any]:
    found = np.take_along_axis(values, np.maximum(chosen, 0)[None], axis=0)[0]
    picked: NDArray[Any] = np.where(chosen >= 0, found, values.dtype.type(nodata))
    return picked


def index_of_cube(cube: Cube, number: int, formula: str, name: str, path: Path) -> None:
    """Write an index of one acquisition of a cube: float32, NaN where it is not clear."""
    _index(cube.date(number), cube.bands, formula, name, path)


def index_of_raster(raster: Raster, formula: str, name: str, path: Path) -> None:
    """Write an index of a composite: float32, NaN where there is no data."""
    _index(raster, raster.bands, formula, name, path)


def _index(source: Source, known: Sequence[str], formula: str, name: str, path: Path) -> None:
    from orchard.composite import check_formula, formula_bands

    used = formula_bands(check_formula(formula))
    wanted = [band for band in known if band in used]
    if used - set(wanted):
        # Says which band is missing, before anything is read.
        evaluate(formula, {band: np.zeros(1) for band in known})
    about = [_Band(name=name, dtype="float32", nodata=float("nan"))]
    with _writing(path, source.tile, about) as file:
        for window, bands in source.rows(wanted):
            file.write(evaluate(formula, bands), 1, window=window)


@dataclass(frozen=True, kw_only=True)
class _Band:
    name: str
    dtype: str
    nodata: float
    scale: float = 1.0
    offset: float = 0.0


def _about(cube: Cube, bands: Sequence[str]) -> list[_Band]:
    found = []
    for band in bands:
        scale, offset = cube.scale(band)
        dtype, nodata = str(cube.dataset[band].dtype), cube.nodata(band)
        if nodata is None:
            nodata = 0.0
        found.append(_Band(name=band, dtype=dtype, nodata=nodata, scale=scale, offset=offset))
    if not found:
        raise DataError("the cube has no bands to make a composite of")
    return found


@contextmanager
def _writing(path: Path, tile: Tile, bands: Sequence[_Band]) -> Iterator[Any]:
    """Give a tiled GeoTIFF to be written by rows; in the end it becomes a COG at `path`."""
    part = path.with_name(f".{path.name}.part")
    width, height = tile.size
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": len(bands),
        "dtype": bands[0].dtype,
        "nodata": bands[0].nodata,
        "crs": tile.crs.to_wkt(),
        "transform": tile.transform,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "zstd",
        "zstd_level": 1,
        "bigtiff": "if_safer",
        "interleave": "band",
    }
    try:
        with rasterio.open(part, "w", **profile) as file:
            yield file
            for number, band in enumerate(bands, start=1):
                file.set_band_description(number, band.name)
            file.scales = [band.scale for band in bands]
            file.offsets = [band.offset for band in bands]
        rasterio.shutil.copy(
            part,
            path,
            driver="COG",
            compress="DEFLATE",
            predictor="YES",
            blocksize=_BLOCK,
            overviews="IGNORE_EXISTING",
            resampling="NEAREST",
            bigtiff="IF_SAFER",
            num_threads="2",
        )
    except (RasterioError, OSError) as error:
        raise StoreError(f"{path} could not be written: {error}", key=str(path)) from error
    finally:
        part.unlink(missing_ok=True)
