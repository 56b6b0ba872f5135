"""The slow truth: every pixel through PROJ on its own, every band read whole through GDAL."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

# A position this close to an edge is on it (see the note on pixels).
EDGE = 1e-6


def image(request, window, scale=1):
    """(band, y, x) of a window of an image; scale: image pixels in a source pixel, for GDAL."""
    bands = [
        mosaic(request, window, acquisition.scenes, band, scale)
        for acquisition in request.acquisitions
        for band in request.bands
    ]
    return np.stack(bands)


def mosaic(request, window, scenes, band, scale):
    """One band of one acquisition, (y, x)."""
    out = np.full((window.height, window.width), request.nodata, request.dtype)
    for scene in scenes:
        source = scene.bands.get(band)
        if source is None:
            continue
        method = request.resampling.get(band, "nearest")
        values, valid = project(request, window, source, method, scale)
        values = values.astype("float64")
        if source.shift:
            low = 1 if request.nodata == 0 else np.iinfo(request.dtype).min
            values = np.maximum(values - source.shift, low)
        fill = valid & missing(out, request.nodata)
        out[fill] = values[fill].astype(out.dtype)
    return out


def project(request, window, source, method, scale):
    """Values of a source at a window's pixels, and whether each is valid; both (y, x)."""
    with rasterio.open(source.href) as src:
        nodata = src.nodatavals[source.band - 1] if source.nodata is None else source.nodata
        if method != "nearest":
            corner = Affine.translation(window.col_off, window.row_off)
            with WarpedVRT(
                src,
                crs=request.tile.crs.to_wkt(),
                transform=request.tile.transform @ corner,
                width=window.width,
                height=window.height,
                resampling=Resampling[method],
                tolerance=0.001,
                dtype="float64",
                src_nodata=nodata,
                nodata=float("nan"),
                XSCALE=scale,
                YSCALE=scale,
            ) as vrt:
                values = vrt.read(source.band)
            return np.rint(np.nan_to_num(values)), ~np.isnan(values)
        cols, rows = positions(request, window, src.crs, src.transform)
        with np.errstate(invalid="ignore"):
            cols, rows = np.floor(cols + EDGE), np.floor(rows + EDGE)
            inside = (cols >= 0) & (rows >= 0) & (cols < src.width) & (rows < src.height)
        col, row = cols[inside].astype(int), rows[inside].astype(int)
        values = np.zeros(inside.shape, src.dtypes[source.band - 1])
        valid = np.zeros(inside.shape, bool)
        values[inside] = src.read(source.band)[row, col]
        valid[inside] = True if nodata is None else ~missing(values[inside], nodata)
        if nodata is None:
            valid[inside] &= src.read_masks(source.band)[row, col] > 0
        return values, valid


def positions(request, window, crs, transform):
    """Exact (col, row) in the source of each pixel's centre: two arrays of (y, x)."""
    tile = request.tile
    xs, ys = _projected(tile.crs.to_wkt(), tile.transform, window, crs.to_wkt())
    cols, rows = ~transform @ (xs, ys)
    if crs.is_geographic:
        # A file may count its longitudes on beyond 180 degrees.
        with np.errstate(invalid="ignore"):
            cols = np.mod(cols + EDGE, 360 / abs(transform.a)) - EDGE
    return cols, rows


@lru_cache(maxsize=8)
def _projected(crs, grid, window, source):
    x = window.col_off + np.arange(window.width) + 0.5
    y = window.row_off + np.arange(window.height) + 0.5
    xs, ys = grid * np.meshgrid(x, y)
    go = pyproj.Transformer.from_crs(crs, source, always_xy=True)
    return go.transform(xs, ys)


def edge_distance(request, window, href):
    """How far each pixel's exact position is from an edge of a source pixel, in source pixels."""
    with rasterio.open(href) as src:
        cols, rows = positions(request, window, src.crs, src.transform)
    return np.minimum(np.abs(cols - np.rint(cols)), np.abs(rows - np.rint(rows)))


def missing(values, nodata):
    """Whether each value is nodata."""
    if np.isnan(nodata):
        return np.isnan(values)
    return values == nodata
