"""Geometries of a grid's plane as longitude and latitude (WGS 84), as RFC 7946 wants them.

Edges are densified until a straight line in longitude and latitude follows the projected one within
a tolerance, polygons and lines are cut at the antimeridian, and a pole inside a polygon becomes an
edge at latitude 90 that spans all longitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import GridError

from .crs import LONLAT, crs_label, parse_crs, same_crs, transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from pyproj import CRS
    from shapely.geometry import MultiPolygon, Polygon
    from shapely.geometry.base import BaseGeometry

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

_METRES_PER_DEGREE = 111_320.0  # along a meridian, near enough for a tolerance
_PIECES = 4  # every edge is cut at least so often: no step reaches half the globe
_HALVINGS = 14
_POLE = 90 - 1e-8  # about a millimetre from it
_DIGITS = 9  # of a degree: a tenth of a millimetre
_SLIVER = 1e-12  # square degrees
_QUARTERINGS = 5


@dataclass(frozen=True)
class LonLat:
    """The way from a CRS to longitude and latitude.

    Parameters
    ----------
    crs : pyproj.CRS
        Of the coordinates to be converted.
    tolerance : float
        How far, in metres, an edge may stray.
    """

    crs: CRS
    tolerance: float

    @cached_property
    def identity(self) -> bool:
        """Whether the coordinates are longitude and latitude on WGS 84 already."""
        return same_crs(self.crs, parse_crs(LONLAT)) or same_crs(self.crs, parse_crs("EPSG:4326"))

    @cached_property
    def _wraps(self) -> bool:
        # Geographic and (non-transverse) cylindrical planes repeat themselves to the east and
        # west, and longitude has a meaning even at their pole lines.
        if self.crs.is_geographic:
            return True
        operation = self.crs.coordinate_operation
        method = operation.method_name.lower() if operation else ""
        straight = not any(word in method for word in ("transverse", "oblique", "swiss"))
        return straight and ("mercator" in method or "cylindrical" in method)

    @cached_property
    def _inverse(self) -> Callable[[Floats], Floats]:
        if self.identity:
            return lambda xy: xy
        transform = transformer(self.crs, LONLAT).transform
        return lambda xy: np.column_stack(transform(xy[:, 0], xy[:, 1])).astype(np.float64)

    @cached_property
    def _poles(self) -> Floats:
        """Where the poles are in the plane: none, one or two points."""
        if self._wraps:
            return np.empty((0, 2))
        poles = np.array([[0.0, 90.0], [0.0, -90.0]])
        xy = np.column_stack(transformer(LONLAT, self.crs).transform(poles[:, 0], poles[:, 1]))
        back = self._inverse(xy)
        with np.errstate(invalid="ignore"):
            return np.asarray(xy[np.abs(back[:, 1] - poles[:, 1]) < 1e-6])

    # -- boxes ---------------------------------------------------------------------------------

    def box(self, bounds: tuple[float, float, float, float]) -> Polygon | MultiPolygon | None:
        """The footprint of (left, bottom, right, top), or None if part of it is not on Earth."""
        left, bottom, right, top = bounds
        ring = np.array(
            [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)],
            dtype=np.float64,
        )
        if not self.identity and not self._defined(ring, bounds).all():
            return None
        xy, lonlat = self._densified(ring)
        if not self.identity and not self._defined(xy, bounds).all():
            return None
        return self._polygon(lonlat)

    def box_on_earth(
        self, bounds: tuple[float, float, float, float], quarterings: int = _QUARTERINGS
    ) -> Polygon | MultiPolygon | None:
        """The footprint of what is on Earth of (left, bottom, right, top); None if nothing is.

        Where the edge of the map crosses the box, it is followed in steps of 1/32 of the box.
        """
        import shapely

        pieces = list(self._pieces(bounds, quarterings))
        return _polygons(shapely.union_all(pieces)) if pieces else None

    def _pieces(
        self, bounds: tuple[float, float, float, float], quarterings: int
    ) -> Iterator[BaseGeometry]:
        whole = self.box(bounds)
        if whole is not None:
            yield whole
            return
        left, bottom, right, top = bounds
        if quarterings == 0:
            return
        xs, ys = np.meshgrid(np.linspace(left, right, 9), np.linspace(bottom, top, 9))
        if not self._defined(np.column_stack([xs.ravel(), ys.ravel()]), bounds).any():
            return
        x, y = (left + right) / 2, (bottom + top) / 2
        for quarter in (
            (left, y, x, top),
            (x, y, right, top),
            (left, bottom, x, y),
            (x, bottom, right, y),
        ):
            yield from self._pieces(quarter, quarterings - 1)

    def _defined(self, xy: Floats, bounds: tuple[float, float, float, float]) -> Bools:
        """Whether points of a box have a place on Earth: the way there leads back.

        PROJ answers beyond the edge of a map too (a sinusoidal one, say), wrapping round the
        globe. The points are first pulled inwards by a hair, lest the antimeridian as the very
        edge of the map is taken for such a case.
        """
        left, bottom, right, top = bounds
        centre = np.array([(left + right) / 2, (bottom + top) / 2])
        xy = centre + (xy - centre) * (1 - 1e-9)
        lonlat = self._inverse(xy)
        on_earth = np.asarray(np.isfinite(lonlat).all(axis=1))
        if not self._wraps:
            forward = transformer(LONLAT, self.crs).transform
            back = np.column_stack(forward(lonlat[:, 0], lonlat[:, 1]))
            # A place on Earth comes back to within far less than this, one beyond the map does not.
            near = 1e-3 * max(right - left, top - bottom)
            with np.errstate(invalid="ignore"):
                on_earth &= np.asarray((np.abs(back - xy) < near).all(axis=1))
        return on_earth

    # -- any geometry --------------------------------------------------------------------------

    def polygon(self, polygon: Polygon) -> BaseGeometry:
        """A polygon (with holes) as polygons."""
        rings = [self._ring(ring) for ring in (polygon.exterior, *polygon.interiors)]
        result: BaseGeometry = rings[0]
        for hole in rings[1:]:
            result = result.difference(hole)
        return result

    def line(self, line: BaseGeometry) -> BaseGeometry:
        """A line as lines."""
        import shapely

        _, lonlat = self._densified(_coordinates(line))
        lonlat = self._finite(lonlat)
        if not self.identity:
            lonlat[:, 0] = _unwrapped(lonlat[:, 0])
        return shapely.union_all(list(_windows(shapely.LineString(lonlat))))

    def point(self, point: BaseGeometry) -> BaseGeometry:
        """A point as a point, with a longitude from -180 up to 180."""
        import shapely

        lonlat = self._finite(self._inverse(_coordinates(point)))
        lon, lat = lonlat[0]
        return shapely.Point(lon if -180 <= lon <= 180 else (lon + 180) % 360 - 180, lat)

    def _ring(self, ring: BaseGeometry) -> BaseGeometry:
        import shapely

        xy = _coordinates(ring)
        if not shapely.is_ccw(shapely.LinearRing(xy)):
            xy = xy[::-1]
        return self._polygon(self._finite(self._densified(xy)[1]))

    def _finite(self, lonlat: Floats) -> Floats:
        if not np.isfinite(lonlat).all():
            raise GridError(
                f"the geometry leaves the area that {crs_label(self.crs)} can describe: clip it, "
                "or give it in longitude and latitude"
            )
        if np.abs(lonlat[:, 1]).max() > 90 + 1e-6:
            raise GridError(
                "the geometry has latitudes beyond 90 degrees: its coordinates are not longitude "
                "and latitude (give the crs they are in)"
            )
        return lonlat

    # -- the work ------------------------------------------------------------------------------

    def _densified(self, xy: Floats) -> tuple[Floats, Floats]:
        """A line with as many points as needed, in the plane and as longitude and latitude."""
        if self.identity:
            return xy, xy.copy()
        xy = self._with_poles(xy)
        fractions = np.arange(_PIECES)[:, None] / _PIECES
        steps = xy[:-1, None] + fractions * (xy[1:, None] - xy[:-1, None])
        xy = np.vstack([steps.reshape(-1, 2), xy[-1:]])
        lonlat = self._inverse(xy)
        for _ in range(_HALVINGS):
            middle = (xy[:-1] + xy[1:]) / 2
            there = self._inverse(middle)
            bent = self._strays(lonlat, there)
            if not bent.any():
                break
            at = np.flatnonzero(bent) + 1
            xy = np.insert(xy, at, middle[bent], axis=0)
            lonlat = np.insert(lonlat, at, there[bent], axis=0)
        return xy, lonlat

    def _strays(self, lonlat: Floats, middle: Floats) -> Bools:
        """For each segment, whether its middle is too far from the straight line's middle."""
        start, end = lonlat[:-1].copy(), lonlat[1:].copy()
        if not self._wraps:  # a pole takes the longitude of the point beside it
            for one, other in ((start, end), (end, start)):
                pole = np.abs(one[:, 1]) > _POLE
                one[pole, 0] = other[pole, 0]
        with np.errstate(invalid="ignore"):
            lon = start[:, 0] + _turn(end[:, 0] - start[:, 0]) / 2
            east = _turn(middle[:, 0] - lon) * np.cos(np.radians(middle[:, 1]))
            north = middle[:, 1] - (start[:, 1] + end[:, 1]) / 2
            strays: Bools = np.hypot(east, north) * _METRES_PER_DEGREE > self.tolerance
        return strays

    def _with_poles(self, xy: Floats) -> Floats:
        """The line with a point at each pole that it runs through."""
        for pole in self._poles:
            start, along = xy[:-1], np.diff(xy, axis=0)
            length = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
            share = np.clip(((pole - start) * along).sum(axis=1) / length, 0, 1)
            distance = np.hypot(*(start + share[:, None] * along - pole).T)
            reach = 1e-9 * np.abs(xy).max()
            ends = np.hypot(*(xy - pole).T) <= reach
            xy = np.where(ends[:, None], pole, xy)
            through = (distance <= reach) & ~ends[:-1] & ~ends[1:]
            xy = np.insert(xy, np.flatnonzero(through) + 1, pole, axis=0)
        return xy

    def _polygon(self, lonlat: Floats) -> Polygon | MultiPolygon:
        """The polygon of a counter-clockwise ring, cut at the antimeridian."""
        import shapely

        if self.identity:
            return _polygons(shapely.union_all(list(_windows(shapely.Polygon(lonlat)))))
        if self._wraps:
            lonlat = np.column_stack([_unwrapped(lonlat[:, 0]), lonlat[:, 1]])
        else:
            lonlat = _through_poles(lonlat)
        lonlat = np.round(lonlat, _DIGITS)
        turns = round((lonlat[-1, 0] - lonlat[0, 0]) / 360)
        if turns:
            # Counter-clockwise, an eastward turn round the globe has the north pole inside.
            cap = 90.0 * np.sign(turns)
            lonlat = np.vstack([lonlat, [lonlat[-1, 0], cap], [lonlat[0, 0], cap]])
        polygon = shapely.make_valid(shapely.Polygon(lonlat))
        result = shapely.union_all(list(_windows(polygon)))
        if not turns and not shapely.is_ccw(shapely.LinearRing(lonlat)):
            # The ring has become clockwise: what is inside lies outside of it, both poles included.
            result = shapely.box(-180, -90, 180, 90).difference(result)
        return _polygons(result)


def metres_per_unit(crs: CRS) -> float:
    """Length of a CRS's unit; of a degree, that along a meridian."""
    factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    if crs.is_geographic:
        return _METRES_PER_DEGREE * float(np.degrees(factor))
    return factor


def _coordinates(geometry: BaseGeometry) -> Floats:
    import shapely

    return np.asarray(shapely.get_coordinates(geometry), dtype=np.float64)


def _turn(degrees: Floats) -> Floats:
    """A difference of longitudes the short way round, from -180 up to 180."""
    return np.asarray((degrees + 180) % 360 - 180)


def _unwrapped(lon: Floats) -> Floats:
    """Longitudes without jumps at the antimeridian, beginning within -180 and 180."""
    return np.asarray(lon[0] + np.concatenate([[0.0], np.cumsum(_turn(np.diff(lon)))]))


def _through_poles(lonlat: Floats) -> Floats:
    """A closed counter-clockwise ring without jumps; a pole on it becomes an edge at latitude 90.

    At a pole the ring turns from the longitude it came along to the one it leaves along, on the
    side of its inside: westwards at the north pole, eastwards at the south pole.
    """
    pole = np.abs(lonlat[:, 1]) > _POLE
    if not pole.any():
        return np.column_stack([_unwrapped(lonlat[:, 0]), lonlat[:, 1]])
    first = int(np.flatnonzero(~pole)[0])
    ring = np.vstack([lonlat[:-1][first:], lonlat[:-1][:first], lonlat[first]])
    points = [(float(ring[0, 0]), float(ring[0, 1]))]
    at_pole = 0.0
    for lon, lat in ring[1:]:
        before = points[-1][0]
        if abs(lat) > _POLE:
            at_pole = float(np.copysign(90.0, lat))
            points.append((before, at_pole))
            continue
        if at_pole:
            after = before + ((lon - before) % 360 if at_pole < 0 else -((before - lon) % 360))
            points.append((after, at_pole))
            at_pole = 0.0
        else:
            after = before + float(_turn(np.array(lon - before)))
        points.append((after, float(lat)))
    return np.array(points, dtype=np.float64)


def _windows(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    """The parts of a geometry on each turn of the globe, brought to -180 up to 180."""
    import shapely

    left, _, right, _ = geometry.bounds
    for turn in range(int((left + 180) // 360), int(-((180 - right) // 360)) + 1):
        if turn == 0 and left >= -180 and right <= 180:
            yield geometry
            return
        west = 360.0 * turn - 180
        part = geometry.intersection(shapely.box(west, -90, west + 360, 90))
        if not part.is_empty:
            # Rounded again, so that parts on either side of a seam fit together.
            xy = np.round(_coordinates(part) - (360.0 * turn, 0.0), _DIGITS)
            yield shapely.set_coordinates(part, xy)


def _polygons(geometry: Any) -> Polygon | MultiPolygon:
    """The polygons of a geometry, counter-clockwise, without slivers that rounding left."""
    import shapely
    from shapely.geometry.polygon import orient

    parts = [
        orient(part, 1.0)
        for part in shapely.get_parts(shapely.get_parts(geometry))
        if part.geom_type == "Polygon" and part.area > _SLIVER
    ]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
