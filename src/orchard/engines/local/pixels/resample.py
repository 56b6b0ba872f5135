"""Bilinear and cubic: GDAL's warper over pixels that were decoded before.

GDAL leaves nodata out of the weights, and widens its kernel where the image's pixels are larger
than the source's, so that no source pixel between two of the image's is skipped. By how much is
said to it (its warp options XSCALE, YSCALE), from the centre of the tile: left alone it finds out
from the pixels at hand, and the shards of one tile would not fit together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from .geo import geo_tags
from .values import is_nodata
from .writer import plain_tiff

if TYPE_CHECKING:
    from .geo import Lattice
    from .mapping import Mapping, Piece, Positions

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Target", "margin", "shrinkage", "warp"]

RADIUS = {"bilinear": 1, "cubic": 2}
# GDAL's approximate transformer, at its tightest that rasterio takes without harm.
TOLERANCE = 0.001


@dataclass(frozen=True, kw_only=True)
class Target:
    """A window on the ground.

    Parameters
    ----------
    crs : str
        WKT.
    transform : Affine
        Of its pixels.
    height, width : int
        In pixels.
    """

    crs: str
    transform: Affine
    height: int
    width: int

    def part(self, piece: Piece) -> Target:
        """The part of the window that is a piece."""
        return Target(
            crs=self.crs,
            transform=self.transform @ Affine.translation(piece.cols.start, piece.rows.start),
            height=piece.rows.stop - piece.rows.start,
            width=piece.cols.stop - piece.cols.start,
        )


def shrinkage(exact: Positions, col: float, row: float) -> tuple[float, float]:
    """Source pixels in one pixel of the window, along its (x, y), at one of its positions."""
    cols, rows = exact(np.array([col, col + 1, col]), np.array([row, row, row + 1]))
    found = [math.hypot(cols[i] - cols[0], rows[i] - rows[0]) for i in (1, 2)]
    x, y = (_evened(value) if math.isfinite(value) else 1.0 for value in found)
    return x, y


def _evened(value: float) -> float:
    # A kernel of 1.9998 pixels is meant to be one of 2.
    whole = max(round(value), 1)
    return float(whole) if abs(value - whole) < 0.05 else value


def margin(mapping: Mapping, method: str) -> int:
    """How many pixels beyond a piece's frame its resampling looks at."""
    return math.ceil(RADIUS[method] * max(*mapping.shrink, 1)) + 2


def warp(
    frame: Array,
    corner: tuple[int, int],
    mapping: Mapping,
    target: Target,
    method: str,
    nodata: float,
) -> Array:
    """Resample a frame of source pixels to a target.

    Parameters
    ----------
    frame : ndarray
        (row, col) of the lattice, from its position `corner` on.
    corner : tuple of int
        (row, col).
    nodata : float
        Of the frame and of the result.

    Returns
    -------
    ndarray
        (y, x) of the target, in the frame's dtype.

    Raises
    ------
    ValueError
        GDAL cannot.
    """
    out = np.full((target.height, target.width), nodata, frame.dtype)
    lattice = mapping.lattice
    transform = lattice.transform @ Affine.translation(corner[1], corner[0])
    scales = {"XSCALE": 1 / mapping.shrink[0], "YSCALE": 1 / mapping.shrink[1]}
    for shift in _turns(lattice, corner[1], frame.shape[1]):
        moved = transform @ Affine.translation(shift, 0)
        try:
            found = _warp(frame, lattice.crs, moved, target, method, nodata, scales)
        except RasterioError as exc:
            raise ValueError(f"cannot be resampled: {exc}") from exc
        np.copyto(out, found, where=is_nodata(out, nodata))
    return out


def _turns(lattice: Lattice, col: int, width: int) -> list[float]:
    """Columns to shift a frame by, so that GDAL finds it at longitudes within half a turn of 0."""
    if lattice.turn is None:
        return [0]
    a, c, turn = lattice.transform.a, lattice.transform.c, lattice.turn
    half = abs(a) * turn / 2
    ends = sorted((c + a * col, c + a * (col + width)))
    degrees = [0.0, -2 * half, 2 * half]
    return [d / a for d in degrees if ends[0] + d < half and ends[1] + d > -half]


def _warp(
    frame: Array,
    crs: str,
    transform: Affine,
    target: Target,
    method: str,
    nodata: float,
    scales: dict[str, float],
) -> Array:
    data = plain_tiff(frame, geo_tags(crs, transform), nodata)
    with (
        MemoryFile(data) as memory,
        memory.open() as file,
        WarpedVRT(
            file,
            crs=target.crs,
            transform=target.transform,
            height=target.height,
            width=target.width,
            resampling=Resampling[method],
            src_nodata=nodata,
            nodata=nodata,
            tolerance=TOLERANCE,
            **scales,
        ) as warped,
    ):
        return np.asarray(warped.read(1))
