"""One tile of a grid: its edges, its pixels and its footprint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from orchard.errors import GridError

from .checks import floats, ints, keys, positive
from .crs import LONLAT, crs_label, crs_wkt, parse_crs, same_crs, transformer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from affine import Affine
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from pyproj import CRS
    from shapely.geometry import Polygon

    from .lonlat import LonLat


class Bounds(NamedTuple):
    """The edges of a rectangle in the plane of its CRS."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Tile:
    """One tile of a grid.

    Parameters
    ----------
    index : (int, int)
        Row and column in the grid.
    crs : pyproj.CRS or anything that pyproj understands
        The plane of the bounds.
    bounds : (float, float, float, float)
        Left, bottom, right and top edge.
    res : (float, float)
        Width and height of a pixel, both positive.
    size : (int, int)
        Width and height in pixels.

    Raises
    ------
    GridError
        If a value is not of its kind, or the bounds are not size times resolution.
    """

    index: tuple[int, int]
    crs: CRS
    bounds: Bounds
    res: tuple[float, float]
    size: tuple[int, int]

    def __init__(
        self,
        index: Sequence[int],
        crs: Any,
        bounds: Sequence[float],
        res: Sequence[float],
        size: Sequence[int],
    ) -> None:
        set_ = object.__setattr__
        set_(self, "index", ints("tile index", index))
        set_(self, "crs", parse_crs(crs))
        set_(self, "bounds", Bounds(*floats("tile bounds", bounds, 4)))
        set_(self, "res", positive("tile res", floats("tile res", res, 2)))
        set_(self, "size", positive("tile size", ints("tile size", size)))
        extent = (self.bounds.right - self.bounds.left, self.bounds.top - self.bounds.bottom)
        for length, res_, pixels in zip(extent, self.res, self.size, strict=True):
            if abs(length - res_ * pixels) > 1e-3 * res_:
                raise GridError(
                    f"tile {self.index}: bounds {tuple(self.bounds)} are not size {self.size} "
                    f"times res {self.res}"
                )

    @property
    def vertical(self) -> int:
        """The row."""
        return self.index[0]

    @property
    def horizontal(self) -> int:
        """The column."""
        return self.index[1]

    @property
    def width(self) -> int:
        """Number of pixels along x."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Number of pixels along y."""
        return self.size[1]

    @property
    def transform(self) -> Affine:
        """From pixel (column, row) to (x, y); (0, 0) is the tile's upper left corner."""
        from affine import Affine

        return Affine(self.res[0], 0.0, self.bounds.left, 0.0, -self.res[1], self.bounds.top)

    @property
    def bbox(self) -> Polygon:
        """The rectangle, in the tile's CRS."""
        import shapely

        return shapely.box(*self.bounds)

    @property
    def geobox(self) -> GeoBox:
        """The pixels as odc-geo sees them: shape (height, width), transform and CRS."""
        from odc.geo.geobox import GeoBox

        return GeoBox((self.height, self.width), self.transform, self.crs)

    @property
    def center_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude (degrees, WGS 84) of the centre."""
        x = (self.bounds.left + self.bounds.right) / 2
        y = (self.bounds.bottom + self.bounds.top) / 2
        lon, lat = transformer(self.crs, LONLAT).transform(x, y)
        return float(lon), float(lat)

    def coords(self, center: bool = True) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates of the pixels.

        Parameters
        ----------
        center : bool
            Of the pixels' centres, or else of their upper left corners.

        Returns
        -------
        y, x : numpy.ndarray
            Of shape (height,), falling, and (width,), rising.
        """
        import numpy as np

        shift = 0.5 if center else 0.0
        y = self.bounds.top - (np.arange(self.height) + shift) * self.res[1]
        x = self.bounds.left + (np.arange(self.width) + shift) * self.res[0]
        return y.astype(np.float64, copy=False), x.astype(np.float64, copy=False)

    def geojson(self) -> dict[str, Any]:
        """The tile as a GeoJSON Feature (RFC 7946: longitude and latitude on WGS 84).

        Edges are densified to within half a pixel. A tile across the antimeridian is a
        MultiPolygon, one with a pole in it reaches latitude 90 at all longitudes. The geometry is
        None if no part of the tile is on Earth.
        """
        return feature(self, plane(self.crs, self.res))

    def to_dict(self) -> dict[str, Any]:
        """The tile as JSON (the CRS as WKT)."""
        return {
            "index": list(self.index),
            "crs": crs_wkt(self.crs),
            "bounds": list(self.bounds),
            "res": list(self.res),
            "size": list(self.size),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote (or CEDAR)."""
        return cls(**keys("tile", document, ("index", "crs", "bounds", "res", "size")))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tile):
            return NotImplemented
        return self._plain == other._plain and same_crs(self.crs, other.crs)

    def __hash__(self) -> int:
        return hash(self._plain)  # without the CRS, which may be equal under another spelling

    @property
    def _plain(self) -> tuple[Any, ...]:
        return (self.index, self.bounds, self.res, self.size)

    def __repr__(self) -> str:
        return (
            f"Tile(index={self.index}, crs={crs_label(self.crs)!r}, bounds={tuple(self.bounds)}, "
            f"res={self.res}, size={self.size})"
        )


def plane(crs: CRS, res: tuple[float, float], grid_crs: CRS | None = None) -> LonLat:
    """The way from a CRS to longitude and latitude, as exact as the pixels of a grid ask for.

    Parameters
    ----------
    crs : pyproj.CRS
        Of the coordinates to be converted.
    res : (float, float)
        Width and height of the grid's pixels.
    grid_crs : pyproj.CRS, optional
        Of the grid, if another one.
    """
    from .lonlat import LonLat, metres_per_unit

    pixel = min(res) * metres_per_unit(crs if grid_crs is None else grid_crs)
    return LonLat(crs, min(pixel / 2, 100.0))  # 100 m: coarse grids get smooth edges too


def feature(tile: Tile, way: LonLat) -> dict[str, Any]:
    """A tile as a GeoJSON Feature."""
    import shapely

    footprint = way.box_on_earth(tile.bounds)
    row, col = tile.index
    return {
        "type": "Feature",
        "properties": {"row": row, "col": col, "horizontal": col, "vertical": row},
        "geometry": None if footprint is None else shapely.geometry.mapping(footprint),
    }
