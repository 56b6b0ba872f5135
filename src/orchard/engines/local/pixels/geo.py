"""Where pixels are: georeferences of files, and the lattices that files of one CRS share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyproj
from affine import Affine
from rasterio.io import MemoryFile

from orchard.tiff import directory

from .writer import plain_tiff

if TYPE_CHECKING:
    from collections.abc import Mapping

    import rasterio

    from .writer import Tag

__all__ = ["Grid", "Lattice", "Place", "geo_tags", "georeference", "lattice_of", "parse_crs"]

# Two files lie on one lattice when their pixels coincide to this part of a pixel.
COINCIDE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The grid of one file.

    Parameters
    ----------
    crs : str
        WKT.
    transform : Affine
        Of pixel (col, row), from the corner of the first, to (x, y).
    height, width : int
        In pixels.
    """

    crs: str
    transform: Affine
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """The endless grid of pixels that a file's grid is a part of.

    Parameters
    ----------
    crs : str
        WKT.
    transform : Affine
        Of lattice (col, row) to (x, y); equal lattices have equal transforms.
    turn : float or None
        Columns in 360 degrees, where the CRS is geographic and its pixels not rotated.
    """

    crs: str
    transform: Affine
    turn: float | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a file lies in its lattice: (row, col) of its first pixel, and its size."""

    row: int
    col: int
    height: int
    width: int


@lru_cache(maxsize=64)
def parse_crs(wkt: str) -> pyproj.CRS:
    """Parse a coordinate reference system, once."""
    return pyproj.CRS.from_wkt(wkt)


def lattice_of(grid: Grid) -> tuple[Lattice, Place]:
    """Lattice and place of a file.

    Files of one CRS and pixel size whose pixels coincide share the lattice whatever their origins,
    as those of one UTM zone do. In a geographic CRS columns are counted from the file's own
    west edge, so that a file across the antimeridian is in one piece.
    """
    size = Affine(grid.transform.a, grid.transform.b, 0, grid.transform.d, grid.transform.e, 0)
    turn = None
    if grid.transform.b == grid.transform.d == 0 and parse_crs(grid.crs).is_geographic:
        turn = 2 * math.pi / parse_crs(grid.crs).axis_info[0].unit_conversion_factor / abs(size.a)
        lattice = Lattice(crs=grid.crs, transform=grid.transform, turn=turn)
        return lattice, Place(row=0, col=0, height=grid.height, width=grid.width)
    col, row = ~size @ (grid.transform.c, grid.transform.f)
    place = Place(row=round(row), col=round(col), height=grid.height, width=grid.width)
    rest = [round((value - round(value)) / COINCIDE) * COINCIDE for value in (col, row)]
    return Lattice(crs=grid.crs, transform=size @ Affine.translation(*rest), turn=None), place


def georeference(geo: Mapping[int, Tag]) -> tuple[str, Affine]:
    """CRS (WKT) and transform that GeoTIFF's tags mean, as GDAL reads them.

    Raises
    ------
    ValueError
        They do not say where the pixels are.
    """
    return _georeference(tuple(sorted(geo.items())))


@lru_cache(maxsize=1024)
def _georeference(geo: tuple[tuple[int, Tag], ...]) -> tuple[str, Affine]:
    data = plain_tiff(np.zeros((1, 1), np.uint8), dict(geo), None)
    with MemoryFile(data) as memory, memory.open() as file:
        return checked_georeference(file)


def checked_georeference(file: rasterio.DatasetReader) -> tuple[str, Affine]:
    """CRS (WKT) and transform of a file that is open in rasterio.

    Raises
    ------
    ValueError
        It has none.
    """
    if not file.crs:
        raise ValueError("the file has no coordinate reference system")
    area = file.transform.determinant
    if file.transform.is_identity or not area or not math.isfinite(area):
        raise ValueError("the file does not say where its pixels are")
    return file.crs.to_wkt(version="WKT2_2019"), file.transform


@lru_cache(maxsize=64)
def geo_tags(crs: str, transform: Affine) -> Mapping[int, Tag]:
    """GeoTIFF's tags of a grid, as GDAL writes them."""
    profile = {
        "driver": "GTiff",
        "height": 1,
        "width": 1,
        "count": 1,
        "dtype": "uint8",
        "crs": crs,
        "transform": transform,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(np.zeros((1, 1, 1), np.uint8))
        data = memory.read()
    return tags_of(next(directory.directories(lambda offset, size: data[offset : offset + size])))


def tags_of(image: directory.Directory) -> Mapping[int, Tag]:
    """GeoTIFF's tags of a directory, in little-endian order."""
    found = {}
    for tag in directory.GEO_TAGS:
        if tag in image:
            kind, count, _ = image.entries[tag]
            if kind == 2:
                found[tag] = (kind, count, image.raw(tag))
            else:
                values = image.array(tag)
                found[tag] = (kind, count, values.astype(values.dtype.newbyteorder("<")).tobytes())
    return found
