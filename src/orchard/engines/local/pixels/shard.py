"""Write one shard of a pre-ARD image, acquisition by acquisition, through GDAL alone."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from orchard.errors import InputError, SceneError

from .request import Creation, ShardCancelledError, fits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .request import ImageRequest, Scene, Source, Window

Array = np.ndarray[Any, np.dtype[Any]]

# A position so close to a pixel's left or upper edge that only rounding tells it from the edge.
EDGE = 1e-6


def write_shard(
    request: ImageRequest,
    window: Window,
    path: Path,
    *,
    threads: int = 1,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Write one shard of a pre-ARD image as a tiled GeoTIFF.

    Parameters
    ----------
    request : ImageRequest
        The image.
    window : Window
        The shard's pixels in the tile.
    path : Path
        Where to write; there is nothing at it before the file is complete.
    threads : int
        How many threads may work.
    cancelled : callable, optional
        Asked now and then; True stops the work.

    Raises
    ------
    SceneError
        Anything wrong with a source; it names the scene and the band.
    InputError
        A window that reaches outside the tile.
    ShardCancelledError
        ``cancelled`` said so.
    """
    if (
        window.col_off + window.width > request.tile.size[0]
        or window.row_off + window.height > request.tile.size[1]
    ):
        raise InputError(f"{window} reaches outside the tile of {request.tile.size} pixels")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with rasterio.Env(GDAL_NUM_THREADS=str(threads)):
            _write(request, window, part, cancelled)
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _write(
    request: ImageRequest, window: Window, part: Path, cancelled: Callable[[], bool] | None
) -> None:
    with rasterio.open(part, "w", **_profile(request, window)) as dst:
        index = 0
        names = request.descriptions()
        for acquisition in request.acquisitions:
            for band in request.bands:
                if cancelled and cancelled():
                    raise ShardCancelledError(f"cancelled while writing {part.name}")
                index += 1
                dst.write(mosaic(request, window, acquisition.scenes, band), index)
                dst.set_band_description(index, names[index - 1])


def _profile(request: ImageRequest, window: Window) -> dict[str, object]:
    creation = Creation.of(request.creation)
    predictor = creation.predictor and creation.codec != "none"
    integer = np.dtype(request.dtype).kind in "iu"
    return {
        "driver": "GTiff",
        "width": window.width,
        "height": window.height,
        "count": len(request.acquisitions) * len(request.bands),
        "dtype": request.dtype,
        "nodata": request.nodata,
        "crs": request.tile.crs.to_wkt(),
        "transform": request.tile.transform * Affine.translation(window.col_off, window.row_off),
        "tiled": True,
        "blockxsize": creation.blocksize,
        "blockysize": creation.blocksize,
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
        "compress": creation.codec,
        **({"predictor": 2 if integer else 3} if predictor else {}),
    }


def mosaic(request: ImageRequest, window: Window, scenes: tuple[Scene, ...], band: str) -> Array:
    """One band of one acquisition: the first scene that has data at a pixel gives it.

    Returns
    -------
    ndarray
        (y, x) of the window, in the image's dtype and nodata.
    """
    dtype = np.dtype(request.dtype)
    out = np.full((window.height, window.width), request.nodata, dtype)
    for scene in scenes:
        source = scene.bands.get(band)
        if source is None:
            if band in request.optional:
                continue
            raise SceneError(f"scene {scene.id} has no band {band}", scene=scene.id)
        try:
            values, valid = _project(request, window, source, request.resampling.get(band))
            fill = _is_nodata(out, request.nodata) & valid
            out[fill] = _cast(values[fill], source.shift, dtype, request.nodata)
        except (
            rasterio.errors.RasterioError,
            rasterio.errors.RasterioIOError,
            OSError,
            ValueError,
        ) as exc:
            message = f"band {band} of scene {scene.id} cannot be read ({source.href}): {exc}"
            raise SceneError(message, scene=scene.id) from exc
    return out


def _project(
    request: ImageRequest, window: Window, source: Source, method: str | None
) -> tuple[Array, Array]:
    with rasterio.open(source.href) as src:
        if source.band > src.count:
            raise ValueError(f"the file has {src.count} bands, not {source.band}")
        if src.crs is None:
            raise ValueError("the file has no coordinate reference system")
        nodata = src.nodatavals[source.band - 1] if source.nodata is None else source.nodata
        if method in (None, "nearest"):
            return _nearest(request, window, src, source.band, nodata)
        options = {
            "crs": request.tile.crs.to_wkt(),
            "transform": request.tile.transform
            * Affine.translation(window.col_off, window.row_off),
            "width": window.width,
            "height": window.height,
            "resampling": Resampling[method],
            "tolerance": 0.001,
            "dtype": "float64",
            "src_nodata": nodata,
            "nodata": float("nan"),
        }
        with WarpedVRT(src, **options) as vrt:
            values = vrt.read(source.band)
        return values, ~np.isnan(values)


def _nearest(
    request: ImageRequest, window: Window, src: Any, band: int, nodata: float | None
) -> tuple[Array, Array]:
    cols, rows = positions(request, window, src.crs, src.transform)
    inside = (cols >= 0) & (rows >= 0) & (cols < src.width) & (rows < src.height)
    shape = (window.height, window.width)
    values, valid = np.zeros(shape, src.dtypes[band - 1]), np.zeros(shape, bool)
    if not inside.any():
        return values, valid
    col, row = cols[inside].astype(int), rows[inside].astype(int)
    x0, y0 = col.min(), row.min()
    part = RasterWindow(x0, y0, col.max() + 1 - x0, row.max() + 1 - y0)
    found = src.read(band, window=part)[row - y0, col - x0]
    values[inside] = found
    valid[inside] = ~_is_nodata(found, nodata)
    if nodata is None:
        valid[inside] &= src.read_masks(band, window=part)[row - y0, col - x0] > 0
    return values, valid


def positions(
    request: ImageRequest, window: Window, crs: Any, transform: Affine
) -> tuple[Array, Array]:
    """Source pixels of the window's pixel centres.

    Returns
    -------
    cols, rows : ndarray of float
        (y, x) of the window: whole numbers, not finite where the projection is not defined.
    """
    x = window.col_off + np.arange(window.width) + 0.5
    y = window.row_off + np.arange(window.height) + 0.5
    xs, ys = request.tile.transform * np.meshgrid(x, y)
    source = pyproj.CRS.from_wkt(crs.to_wkt())
    if source != request.tile.crs:
        go = pyproj.Transformer.from_crs(request.tile.crs, source, always_xy=True)
        xs, ys = go.transform(xs, ys)
    cols, rows = ~transform * (xs, ys)
    if source.is_geographic:
        turn = 360 / abs(transform.a)
        cols = np.where(np.isfinite(cols), cols % turn, cols)
    return np.floor(cols + EDGE), np.floor(rows + EDGE)


def _is_nodata(values: Array, nodata: float | None) -> Array:
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    return missing if nodata is None else missing | (values == nodata)


def _cast(values: Array, shift: int, dtype: np.dtype[Any], nodata: float) -> Array:
    info = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    low, high = info.min, info.max
    if shift:
        low += nodata == low
        high -= nodata == high
        wide = values.astype("float64" if values.dtype.kind == "f" else "int64")
        values = np.clip(wide - shift, low, high)
    if dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(values)
    for value in (values.min(initial=0), values.max(initial=0)):
        if not fits(float(value), dtype):
            raise ValueError(f"value {value} does not fit the image's dtype {dtype}")
    return values.astype(dtype)
