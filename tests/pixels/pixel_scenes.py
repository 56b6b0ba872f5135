"""Small scenes, tiles and requests for the tests of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine

from orchard.engines.local.pixels import Acquisition, ImageRequest, Scene, Source

UTM, ALBERS = "EPSG:32618", "EPSG:5070"
DAY = date(2022, 6, 2)


@dataclass
class Ground:
    """A tile on any grid."""

    crs: Any
    transform: Affine
    size: tuple[int, int]


def ground(crs=UTM, left=500_000.0, top=4_500_000.0, res=30.0, size=(200, 150)):
    """A tile by its upper left corner."""
    return Ground(pyproj.CRS(crs), Affine(res, 0, left, 0, -res, top), size)


def noise(shape, dtype="uint16", seed=0, low=1, high=10_000):
    """Values without nodata (0); every pixel differs from its neighbours."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def write_scene(path, values, *, crs=UTM, transform=None, nodata=0, mask=None, **options):
    """A GeoTIFF of (y, x) or (band, y, x) values; a COG unless options say otherwise."""
    values = values if values.ndim == 3 else values[None]
    transform = transform or Affine(30, 0, 500_000, 0, -30, 4_500_000)
    profile = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": crs,
        "transform": transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
        "compress": "deflate",
        "predictor": 2 if values.dtype.kind in "iu" else 3,
    } | options
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
    return str(path)


def scene(name, **hrefs):
    """A scene of one band a file; a Source or None passes as it is."""
    bands = {b: Source(href=h) if isinstance(h, str) else h for b, h in hrefs.items()}
    return Scene(id=name, time=datetime(2022, 6, 2, 10, tzinfo=UTC), bands=bands)


def request(tile, *days, bands=("red",), dtype="uint16", nodata=0, **more):
    """An image of acquisitions, each a list of scenes."""
    acquisitions = tuple(
        Acquisition(day=DAY + timedelta(days=k), scenes=tuple(scenes))
        for k, scenes in enumerate(days)
    )
    more.setdefault("creation", {"blocksize": 64})
    return ImageRequest(
        tile=tile, bands=bands, acquisitions=acquisitions, dtype=dtype, nodata=nodata, **more
    )


def read(path):
    """(band, y, x) of a file."""
    with rasterio.open(path) as file:
        return file.read()
