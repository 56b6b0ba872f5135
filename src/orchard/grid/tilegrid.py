"""A grid of equal tiles: lookup, searching, GeoJSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Self

from orchard.errors import GridError

from .checks import Limits, checked_limits, floats, ints, keys, positive
from .crs import LONLAT, crs_label, crs_wkt, parse_crs, same_crs, transformer
from .tile import Bounds, Tile, feature, plane

if TYPE_CHECKING:
    from os import PathLike

    from affine import Affine
    from pyproj import CRS
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, init=False, eq=False, repr=False)
class TileGrid(Mapping[tuple[int, int], Tile]):
    """A grid of equal tiles: a mapping of (row, col) to `Tile`.

    Parameters
    ----------
    ul : (float, float)
        x and y of the upper left corner of tile (0, 0).
    crs : pyproj.CRS or anything that pyproj understands
        The plane of the grid.
    res : (float, float)
        Width and height of a pixel in units of the CRS, both positive.
    size : (int, int)
        Width and height of a tile in pixels.
    limits : ((int, int), (int, int)), optional
        First and last row, first and last column, inclusive. A grid without limits has all the
        tiles of the plane: they can be looked up and searched for, but not counted.
    name : str, optional
        What the grid is called.

    Raises
    ------
    GridError
        If a value is not of its kind.
    """

    ul: tuple[float, float]
    crs: CRS
    res: tuple[float, float]
    size: tuple[int, int]
    limits: Limits | None
    name: str | None

    def __init__(
        self,
        ul: Sequence[float],
        crs: Any,
        res: Sequence[float],
        size: Sequence[int],
        limits: Sequence[Sequence[int]] | None = None,
        name: str | None = None,
    ) -> None:
        self._set(ul, res, size, limits, name)
        object.__setattr__(self, "crs", parse_crs(crs))

    def _set(
        self,
        ul: Sequence[float],
        res: Sequence[float],
        size: Sequence[int],
        limits: Sequence[Sequence[int]] | None,
        name: str | None,
    ) -> None:
        x, y = floats("ul", ul, 2)
        set_ = object.__setattr__
        set_(self, "ul", (x, y))
        set_(self, "res", positive("res", floats("res", res, 2)))
        set_(self, "size", positive("size", ints("size", size)))
        set_(self, "limits", None if limits is None else checked_limits(limits))
        if name is not None and not isinstance(name, str):
            raise GridError(f"name {name!r} is not a string")
        set_(self, "name", name)

    @classmethod
    def with_later_crs(cls, crs: str, **values: Any) -> Self:
        """A grid whose CRS, known to be good, is parsed when it is first asked for."""
        self = cls.__new__(cls)
        self._set(**values)
        object.__setattr__(self, "_later_crs", crs)
        return self

    def __getattr__(self, name: str) -> Any:
        # Reached only for what is not set: so named grids are listed without loading PROJ.
        if name == "crs" and "_later_crs" in self.__dict__:
            crs = parse_crs(self.__dict__["_later_crs"])
            object.__setattr__(self, "crs", crs)
            return crs
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # -- a mapping -----------------------------------------------------------------------------

    @property
    def rows(self) -> range:
        """The rows within the limits.

        Raises
        ------
        GridError
            If the grid has no limits.
        """
        first, last = self._limits[0]
        return range(first, last + 1)

    @property
    def cols(self) -> range:
        """The columns within the limits.

        Raises
        ------
        GridError
            If the grid has no limits.
        """
        first, last = self._limits[1]
        return range(first, last + 1)

    @property
    def _limits(self) -> Limits:
        if self.limits is None:
            raise GridError(
                f"{self._label} has no limits, so its tiles cannot be listed or counted: give it "
                "limits ((first row, last row), (first column, last column)), or search by bounds"
            )
        return self.limits

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(product(self.rows, self.cols))

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __bool__(self) -> bool:
        return True  # a grid without limits must not be counted for its truth

    def __contains__(self, index: object) -> bool:
        try:
            return self._within(*ints("tile index", index))
        except GridError:
            return False

    def __getitem__(self, index: tuple[int, int]) -> Tile:
        row, col = ints("tile index", index)
        if not self._within(row, col):
            raise GridError(f"{self._label} has no tile ({row}, {col}): {self._limits_label}")
        return self._tile(row, col)

    def get(self, index: Any, default: Any = None) -> Any:
        """The tile of an index, or the default if the grid has no such tile."""
        return self[index] if index in self else default  # noqa: SIM401  this is get

    def _within(self, row: int, col: int) -> bool:
        return self.limits is None or all(
            first <= value <= last
            for value, (first, last) in zip((row, col), self.limits, strict=True)
        )

    def _tile(self, row: int, col: int) -> Tile:
        return Tile((row, col), self.crs, self._bounds(row, row, col, col), self.res, self.size)

    def _bounds(self, first: int, last: int, left: int, right: int) -> Bounds:
        return Bounds(self._x(left), self._y(last + 1), self._x(right + 1), self._y(first))

    # One formula for either side of an edge: neighbours share it to the last bit.
    def _x(self, col: int) -> float:
        return self.ul[0] + col * self.size[0] * self.res[0]

    def _y(self, row: int) -> float:
        return self.ul[1] - row * self.size[1] * self.res[1]

    @property
    def transform(self) -> Affine:
        """From pixel (column, row) to (x, y); (0, 0) is the upper left corner of tile (0, 0)."""
        from affine import Affine

        return Affine(self.res[0], 0.0, self.ul[0], 0.0, -self.res[1], self.ul[1])

    # -- searching -----------------------------------------------------------------------------

    def point_to_tile(self, point: Sequence[float], *, crs: Any = None) -> Tile:
        """The tile that a point is in.

        Parameters
        ----------
        point : (float, float)
            x and y; of a geographic CRS, longitude and latitude.
        crs : optional
            Of the point, if not the grid's.

        Raises
        ------
        GridError
            If the point is outside the limits, or has no place in the grid's CRS.
        """
        x, y = floats("point", point, 2)
        if crs is not None:
            x, y = transformer(parse_crs(crs), self.crs).transform(x, y)
            if not (math.isfinite(x) and math.isfinite(y)):
                raise GridError(f"point {tuple(point)} has no place in {crs_label(self.crs)}")
        row, col = self._row(y), self._col(x)
        if not self._within(row, col):
            raise GridError(
                f"point {tuple(point)} would be in tile ({row}, {col}), which {self._label} does "
                f"not have: {self._limits_label}"
            )
        return self._tile(row, col)

    # The division may fall on the wrong side of an edge by rounding; the edges themselves decide.
    def _col(self, x: float) -> int:
        col = math.floor((x - self.ul[0]) / (self.size[0] * self.res[0]))
        return col - (x < self._x(col)) + (x >= self._x(col + 1))

    def _row(self, y: float) -> int:
        row = math.floor((self.ul[1] - y) / (self.size[1] * self.res[1]))
        return row - (y > self._y(row)) + (y <= self._y(row + 1))

    def bounds_to_tiles(self, bounds: Sequence[float], crs: Any = None) -> list[Tile]:
        """The tiles within the limits that share more than an edge with a rectangle.

        Parameters
        ----------
        bounds : (float, float, float, float)
            Left, bottom, right, top. In a geographic ``crs``, left may be greater than right: then
            the rectangle crosses the antimeridian. A rectangle without width or height is a line
            or a point; it is in the tiles that its points are in.
        crs : optional
            Of the bounds, if not the grid's; their edges are curves in the grid then.

        Returns
        -------
        list of Tile
            In order of row, then column.
        """
        left, bottom, right, top = floats("bounds", bounds, 4)
        other = None if crs is None else parse_crs(crs)
        across = left > right and other is not None and other.is_geographic
        if bottom > top or (left > right and not across):
            raise GridError(f"bounds {tuple(bounds)} are not (left, bottom, right, top)")
        if other is None or (same_crs(other, self.crs) and not across):
            return [self._tile(row, col) for row, col in product(*self._spans(*bounds))]
        import shapely

        spans = [(left, 180.0), (-180.0, right)] if across else [(left, right)]
        corners = [shapely.MultiPoint([(west, bottom), (east, top)]) for west, east in spans]
        shapes = [pair.envelope for pair in corners]
        return self.roi_to_tiles(shapely.GeometryCollection(shapes), other)

    def _spans(self, left: float, bottom: float, right: float, top: float) -> tuple[range, range]:
        """Rows and columns within the limits that a rectangle in the plane covers."""
        first_row, last_row = self._row(top), self._row(bottom)
        first_col, last_col = self._col(left), self._col(right)
        if last_row > first_row and bottom == self._y(last_row):
            last_row -= 1
        if last_col > first_col and right == self._x(last_col):
            last_col -= 1
        first_row, last_row, first_col, last_col = self._clipped(
            first_row, last_row, first_col, last_col
        )
        return range(first_row, last_row + 1), range(first_col, last_col + 1)

    def roi_to_tiles(
        self,
        roi: BaseGeometry | Mapping[str, Any] | str | PathLike[str],
        crs: Any = None,
    ) -> list[Tile]:
        """The tiles within the limits that a region of interest touches.

        A tile counts if it shares area with an areal region, length with a line or a point with a
        point; an areal region that only borders on a tile does not touch it. Edges are densified
        before they change the CRS, to within half a pixel.

        Parameters
        ----------
        roi : shapely geometry, dict or path
            A geometry in the grid's CRS (or in ``crs``), a GeoJSON geometry, Feature or
            FeatureCollection, or the path of such a file (``.geojson``, ``.json``). GeoJSON is
            always longitude and latitude on WGS 84.
        crs : optional
            Of a shapely geometry, if not the grid's.

        Returns
        -------
        list of Tile
            In order of row, then column.

        Raises
        ------
        GridError
            If the region cannot be read, is empty, or (in a grid without limits) leaves the area
            of the grid's CRS.
        """
        from . import roi as finder

        geometry, geojson = finder.read_roi(roi)
        if geojson and crs is not None:
            raise GridError("GeoJSON is always in longitude and latitude: leave out crs")
        source = parse_crs(LONLAT if geojson else self.crs if crs is None else crs)
        if same_crs(source, self.crs) and not geojson:
            parts = finder.parts_in_plane(geometry)
            root = self._around(*finder.plane_bounds(parts))
            found = finder.search(parts, root, self._bounds, finder.box, finder.box)
        else:
            parts = finder.parts_in_lonlat(geometry, plane(source, self.res, self.crs))
            if self.limits is None:
                root = self._around(*finder.projected_bounds(parts, self.crs))
            else:
                root = (*self.limits[0], *self.limits[1])
            way = plane(self.crs, self.res)
            found = finder.search(parts, root, self._bounds, way.box, way.box_on_earth)
        return [self._tile(row, col) for row, col in found]

    def _around(
        self, left: float, bottom: float, right: float, top: float
    ) -> tuple[int, int, int, int]:
        """First and last row and column around a rectangle: its edges may touch one tile more."""
        first, last = self._row(top) - 1, self._row(bottom) + 1
        left_col, right_col = self._col(left) - 1, self._col(right) + 1
        return self._clipped(first, last, left_col, right_col)

    def _clipped(self, first: int, last: int, left: int, right: int) -> tuple[int, int, int, int]:
        if self.limits is None:
            return first, last, left, right
        (top, bottom), (west, east) = self.limits
        return max(first, top), min(last, bottom), max(left, west), min(right, east)

    # -- documents -----------------------------------------------------------------------------

    def geojson(
        self, rows: Iterable[int] | None = None, cols: Iterable[int] | None = None
    ) -> dict[str, Any]:
        """The tiles as a GeoJSON FeatureCollection (see `Tile.geojson`).

        Parameters
        ----------
        rows, cols : iterable of int, optional
            Which ones; all within the limits by default.

        Raises
        ------
        GridError
            If the grid has no such tile, or no limits and rows or columns are not given.
        """
        chosen = product(
            self.rows if rows is None else rows, list(self.cols if cols is None else cols)
        )
        way = plane(self.crs, self.res)
        return {
            "type": "FeatureCollection",
            "features": [feature(self[index], way) for index in chosen],
        }

    def to_dict(self) -> dict[str, Any]:
        """The grid as JSON (the CRS as WKT)."""
        return {
            "ul": list(self.ul),
            "crs": crs_wkt(self.crs),
            "res": list(self.res),
            "size": list(self.size),
            "limits": None if self.limits is None else [list(pair) for pair in self.limits],
            "name": self.name,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote (or CEDAR)."""
        needed = ("ul", "crs", "res", "size")
        return cls(**keys("tile grid", document, needed, ("limits", "name")))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TileGrid):
            return NotImplemented
        return self._plain == other._plain and same_crs(self.crs, other.crs)

    def __hash__(self) -> int:
        return hash(self._plain)  # without the CRS, which may be equal under another spelling

    @property
    def _plain(self) -> tuple[Any, ...]:
        return (self.ul, self.res, self.size, self.limits, self.name)

    @property
    def _label(self) -> str:
        return f"tile grid {self.name}" if self.name else "this tile grid"

    @property
    def _limits_label(self) -> str:
        (first, last), (left, right) = self._limits
        return f"its rows are {first} to {last}, its columns {left} to {right}"

    def __repr__(self) -> str:
        return (
            f"TileGrid(ul={self.ul}, crs={crs_label(self.crs)!r}, res={self.res}, "
            f"size={self.size}, limits={self.limits}, name={self.name!r})"
        )
