"""Regions of interest: reading them, and finding the tiles they touch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import GridError

from .crs import LONLAT, transformer
from .tile import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyproj import CRS
    from shapely.geometry.base import BaseGeometry

    from .lonlat import LonLat

#: (first row, last row, first column, last column), inclusive.
Block = tuple[int, int, int, int]

_LONLAT_NAMES = ("CRS84", "EPSG::4326", "EPSG:4326")


@dataclass(frozen=True)
class Part:
    """All of a region that has one dimension: points (0), lines (1) or areas (2)."""

    dimension: int
    geometry: BaseGeometry

    def near(self, footprint: BaseGeometry) -> bool:
        """Whether it has any point in common with a footprint."""
        return bool(self.geometry.intersects(footprint))

    def fills(self, footprint: BaseGeometry) -> bool:
        """Whether a footprint lies wholly inside."""
        return self.dimension == 2 and bool(self.geometry.contains_properly(footprint))

    def touches(self, footprint: BaseGeometry) -> bool:
        """Whether what is in common has the dimension of the part, and not only a border.

        The first two places of a DE-9IM matrix are the dimensions of what the part's interior
        shares with the footprint's interior and with its boundary.
        """
        if not self.near(footprint):
            return False
        return str(self.dimension) in self.geometry.relate(footprint)[:2]


# -- reading -----------------------------------------------------------------------------------


def read_roi(roi: Any) -> tuple[BaseGeometry, bool]:
    """A region and whether it is GeoJSON (and hence in longitude and latitude).

    Raises
    ------
    GridError
        If it is neither a shapely geometry nor GeoJSON, or has nothing in it.
    """
    from shapely.geometry.base import BaseGeometry

    if isinstance(roi, BaseGeometry):
        geometry, geojson = roi, False
    elif isinstance(roi, Mapping):
        geometry, geojson = _from_geojson(roi, "roi"), True
    elif isinstance(roi, str | PathLike):
        geometry, geojson = _from_file(Path(roi)), True
    else:
        raise GridError(
            f"roi is a {type(roi).__name__}: give a shapely geometry, a GeoJSON dict, or the path "
            "of a GeoJSON file"
        )
    import shapely

    if geometry.is_empty:
        raise GridError("roi is empty: there is nothing in it that could touch a tile")
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise GridError("roi has coordinates that are not finite numbers")
    return shapely.force_2d(geometry), geojson


def _from_file(path: Path) -> BaseGeometry:
    if path.suffix.lower() not in {".geojson", ".json"}:
        raise GridError(f"roi {path} is not a GeoJSON file (.geojson or .json)")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise GridError(f"roi {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise GridError(f"roi {path} is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise GridError(f"roi {path} is not GeoJSON: it holds a {type(document).__name__}")
    return _from_geojson(document, f"roi {path}")


def _from_geojson(document: Mapping[str, Any], what: str) -> BaseGeometry:
    import shapely

    name = document.get("crs")
    if name is not None and not any(known in str(name) for known in _LONLAT_NAMES):
        # GeoJSON of 2008 could name a CRS; RFC 7946 took that out.
        raise GridError(f"{what} names the crs {name}: reproject it to longitude and latitude")
    try:
        shapes = [
            shapely.from_geojson(json.dumps(dict(geometry))) for geometry in _geometries(document)
        ]
    except (shapely.errors.ShapelyError, KeyError, TypeError, ValueError) as exc:
        raise GridError(f"{what} is not GeoJSON: {exc}") from exc
    return shapes[0] if len(shapes) == 1 else shapely.GeometryCollection(shapes)


def _geometries(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    match document["type"]:
        case "FeatureCollection":
            for feature in document["features"]:
                yield from _geometries(feature)
        case "Feature":
            if document["geometry"] is not None:
                yield document["geometry"]
        case _:
            yield document


# -- the parts of a region ---------------------------------------------------------------------


def parts_in_plane(geometry: BaseGeometry) -> list[Part]:
    """A region as at most three parts, by dimension."""
    return _gathered(list(_atoms(geometry)))


def parts_in_lonlat(geometry: BaseGeometry, way: LonLat) -> list[Part]:
    """A region as parts in longitude and latitude, cut at the antimeridian."""
    convert: dict[int, Callable[[Any], BaseGeometry]] = {0: way.point, 1: way.line, 2: way.polygon}
    atoms = (atom for part in parts_in_plane(geometry) for atom in _atoms(part.geometry))
    return _gathered([convert[_dimension(atom)](atom) for atom in atoms])


def _atoms(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    for part in getattr(geometry, "geoms", (geometry,)):
        if hasattr(part, "geoms"):
            yield from _atoms(part)
        elif not part.is_empty:
            yield part


def _dimension(geometry: BaseGeometry) -> int:
    import shapely

    return int(shapely.get_dimensions(geometry))


def _gathered(geometries: Sequence[BaseGeometry]) -> list[Part]:
    import shapely

    # A polygon without area, say, becomes a line here.
    atoms = [atom for one in geometries for atom in _atoms(shapely.make_valid(one))]
    parts = []
    for dimension in (0, 1, 2):
        ones = [atom for atom in atoms if _dimension(atom) == dimension]
        if ones:
            whole = shapely.union_all(ones)
            shapely.prepare(whole)
            parts.append(Part(dimension, whole))
    return parts


def box(bounds: Bounds) -> BaseGeometry:
    """The footprint of bounds in their own plane."""
    import shapely

    return shapely.box(*bounds)


def plane_bounds(parts: Sequence[Part]) -> Bounds:
    """The bounds of parts in their own plane."""
    import shapely

    return Bounds(*map(float, shapely.total_bounds([part.geometry for part in parts])))


def projected_bounds(parts: Sequence[Part], crs: CRS) -> Bounds:
    """The bounds in a CRS of parts in longitude and latitude.

    Raises
    ------
    GridError
        If the CRS cannot describe all of them.
    """
    import shapely

    lonlat = np.vstack(
        [shapely.get_coordinates(shapely.segmentize(part.geometry, 0.1)) for part in parts]
    )
    x, y = transformer(LONLAT, crs).transform(lonlat[:, 0], lonlat[:, 1])
    bounds = Bounds(float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y)))
    if not np.isfinite(bounds).all():
        raise GridError(
            "roi leaves the area that the grid's crs can describe: give the grid limits, or clip "
            "the roi"
        )
    return bounds


# -- finding -----------------------------------------------------------------------------------


def search(
    parts: Sequence[Part],
    root: Block,
    bounds: Callable[[int, int, int, int], Bounds],
    footprint: Callable[[Bounds], BaseGeometry | None],
    tile_footprint: Callable[[Bounds], BaseGeometry | None],
) -> list[tuple[int, int]]:
    """Indices of the tiles of a block that a region touches, in order of row and column.

    The block is halved again and again, leaving out what is far from the region and taking as a
    whole what is inside it, so that the footprints of few tiles are made.

    Parameters
    ----------
    parts : sequence of Part
        The region.
    root : Block
        Where to look.
    bounds : callable
        The bounds of a block in the grid's plane.
    footprint : callable
        The footprint of bounds where the region is, or None if it is not known.
    tile_footprint : callable
        The same for a single tile; None if it has none.
    """
    found: list[tuple[int, int]] = []
    blocks = [root] if root[0] <= root[1] and root[2] <= root[3] else []
    while blocks:
        block = blocks.pop()
        first, last, left, right = block
        if (first, left) == (last, right):
            shape = tile_footprint(bounds(*block))
            if shape is not None and any(part.touches(shape) for part in parts):
                found.append((first, left))
            continue
        shape = footprint(bounds(*block))
        if shape is not None and any(part.fills(shape) for part in parts):
            found.extend(product(range(first, last + 1), range(left, right + 1)))
        elif shape is None or any(part.near(shape) for part in parts):
            blocks.extend(_halves(block))
    return sorted(found)


def _halves(block: Block) -> tuple[Block, Block]:
    first, last, left, right = block
    if last - first >= right - left:
        middle = (first + last) // 2
        return (first, middle, left, right), (middle + 1, last, left, right)
    middle = (left + right) // 2
    return (first, last, left, middle), (first, last, middle + 1, right)
