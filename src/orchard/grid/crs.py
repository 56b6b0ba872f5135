"""Coordinate reference systems of grids: parsing, labels, WKT and transformers, each cached.

Coordinates are always (x, y), which is (longitude, latitude) for geographic systems, whatever the
axis order of the system's authority.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchard.errors import GridError

if TYPE_CHECKING:
    from pyproj import CRS, Transformer

#: Longitude and latitude on WGS 84, in this order (RFC 7946).
LONLAT = "OGC:CRS84"


def parse_crs(value: Any) -> CRS:
    """Anything that names a coordinate reference system, as a `pyproj.CRS`.

    Parameters
    ----------
    value : pyproj.CRS, str, int or any
        An authority code (``"EPSG:5070"``, ``5070``), WKT, a PROJ string or dict, or an object
        with a ``to_wkt`` method (as rasterio's and odc-geo's).

    Raises
    ------
    GridError
        If PROJ does not understand it, or it has no map coordinates (a vertical system, say).
    """
    from pyproj import CRS

    if isinstance(value, CRS):
        return value
    if isinstance(value, str | int) and not isinstance(value, bool):
        return _parse(value)
    return _read(value)


@lru_cache(maxsize=512)
def _parse(value: str | int) -> CRS:
    # Documents repeat one WKT thousands of times: tiles that were read from them share one object.
    return _read(value)


def _read(value: Any) -> CRS:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_user_input(value)
    except (CRSError, TypeError, ValueError) as exc:
        raise GridError(
            f"crs {_short(value)} is not understood ({exc}): give an EPSG code such as "
            "'EPSG:5070', or WKT"
        ) from exc
    if not (crs.is_projected or crs.is_geographic):
        raise GridError(
            f"crs {_short(value)} has no map coordinates ({crs.type_name}): give a projected or "
            "geographic one"
        )
    return crs


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def crs_label(crs: CRS) -> str:
    """A short name of a CRS for people: its code if it was given as one, else its name."""
    return crs.srs if len(crs.srs) <= 24 else crs.name


def crs_wkt(crs: CRS) -> str:
    """The WKT (version 2) of a CRS."""
    return _wkt(crs.srs)


@lru_cache(maxsize=512)
def _wkt(srs: str) -> str:
    return str(_parse(srs).to_wkt())


def same_crs(one: CRS, other: CRS) -> bool:
    """Whether two CRSs mean the same."""
    return one is other or bool(one == other)


def transformer(source: CRS | str, target: CRS | str) -> Transformer:
    """The transformer from one CRS to another, (x, y) in and out.

    Raises
    ------
    GridError
        If PROJ knows no way between the two.
    """
    # Looked up by definition: hashing a CRS would write its WKT each time.
    return _transformer(
        source if isinstance(source, str) else source.srs,
        target if isinstance(target, str) else target.srs,
    )


@lru_cache(maxsize=512)
def _transformer(source: str, target: str) -> Transformer:
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(_parse(source), _parse(target), always_xy=True)
    except ProjError as exc:
        raise GridError(
            f"there is no transformation from {crs_label(_parse(source))} to "
            f"{crs_label(_parse(target))}: {exc}"
        ) from exc
