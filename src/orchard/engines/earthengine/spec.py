"""What a task's image is made of, as plain values that survive a restart (pure)."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import orjson

from orchard.preard import (
    Window,
    date_groups,
    expected_files,
    file_dimensions,
    layout,
    parse_shard_name,
    shard_name,
)

from .splitting import dates_per_file, quarterings, split_dimensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyproj import CRS

    from orchard.collections import Collection
    from orchard.engines import Task
    from orchard.grid import Tile

__all__ = ["BandSpec", "ImageSpec", "PartSpec", "crs_name", "tile_ring"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSpec:
    """One band: its name in the image and at Earth Engine, and how its numbers are made.

    The number is ``scale * value + offset``, rounded where either changes anything; a number equal
    to ``nodata`` counts as masked.
    """

    name: str
    source: str
    scale: float = 1
    offset: float = 0
    nodata: float | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """All that decides the pixels of a task's image.

    Parameters
    ----------
    collection : str
        Id of the image collection.
    bands : tuple of BandSpec
        In pre-ARD order.
    dtype, nodata
        Of the image.
    region : mapping
        GeoJSON geometry (longitude and latitude) that the scenes must touch.
    start, end : int
        The period ``[start, end)``, epoch milliseconds UTC.
    filters : tuple of mapping
    days : tuple of (str, tuple of str)
        The acquisitions in time: solar day and ``system:index`` of its scenes, in mosaic order.
    crs : str
        As Earth Engine takes it.
    transform : tuple of float
        Six numbers, row-major: pixel (column, row) to (x, y).
    size : (int, int)
        Width and height in pixels.
    """

    collection: str
    bands: tuple[BandSpec, ...]
    dtype: str
    nodata: float
    region: Mapping[str, Any]
    start: int
    end: int
    filters: tuple[Mapping[str, Any], ...]
    days: tuple[tuple[str, tuple[str, ...]], ...]
    crs: str
    transform: tuple[float, float, float, float, float, float]
    size: tuple[int, int]

    @classmethod
    def of(cls, task: Task) -> Self:
        """Describe a planned task."""
        request, tile = task.plan.request, task.plan.request.tile
        return cls(
            collection=task.collection.earthengine_id,
            bands=_bands(task.collection),
            dtype=task.collection.dtype,
            nodata=task.collection.nodata,
            region=tile_ring(tile),
            start=round(request.period.start.timestamp() * 1000),
            end=round(request.period.end.timestamp() * 1000),
            filters=tuple(dict(filter_) for filter_ in request.filters),
            days=tuple(
                (day.day.isoformat(), tuple(scene.source["index"] for scene in day.scenes))
                for day in task.plan.acquisitions
            ),
            crs=crs_name(tile.crs),
            transform=(tile.res[0], 0.0, tile.bounds[0], 0.0, -tile.res[1], tile.bounds[3]),
            size=tile.size,
        )

    @property
    def count(self) -> int:
        """Bands of the image: bands x acquisitions."""
        return len(self.bands) * len(self.days)

    def of_dates(self, dates: range) -> Self:
        """Return what some of the acquisitions are made of."""
        return replace(self, days=self.days[dates.start : dates.stop])

    def pack(self) -> bytes:
        """Return as compressed JSON."""
        return zlib.compress(orjson.dumps(asdict(self)), 6)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read what `pack` wrote."""
        found = orjson.loads(zlib.decompress(data))
        return cls(
            **{
                **found,
                "bands": tuple(BandSpec(**band) for band in found["bands"]),
                "filters": tuple(found["filters"]),
                "days": tuple((day, tuple(scenes)) for day, scenes in found["days"]),
                "transform": tuple(found["transform"]),
                "size": tuple(found["size"]),
            }
        )


def _bands(collection: Collection) -> tuple[BandSpec, ...]:
    return tuple(
        BandSpec(
            name=name,
            source=band.earthengine or name,
            scale=band.earthengine_scale,
            offset=band.earthengine_offset,
            nodata=band.nodata,
            optional=band.optional,
        )
        for name, band in collection.bands.items()
    )


@lru_cache(maxsize=64)
def crs_name(crs: CRS) -> str:
    """Name a CRS as Earth Engine takes it: its EPSG code where it is exactly that, else WKT 1."""
    code = crs.to_epsg()
    if code is not None and type(crs).from_epsg(code) == crs:
        return f"EPSG:{code}"
    return str(crs.to_wkt("WKT1_GDAL"))


@lru_cache(maxsize=4096)
def tile_ring(tile: Tile) -> dict[str, Any]:
    """Return the ground of a tile as GeoJSON, a pixel smaller on each side.

    So a scene that only shares an edge with the tile is not among its scenes. Edges are straight
    in longitude and latitude between the points of `Tile.geojson`.
    """
    import shapely

    whole = shapely.geometry.shape(tile.geojson()["geometry"])
    left, bottom, right, top = whole.bounds
    pixel = min((right - left) / tile.size[0], (top - bottom) / tile.size[1])
    inner = whole.buffer(-pixel, join_style="mitre").simplify(pixel / 4)
    area = whole if inner.is_empty else inner
    geometry: dict[str, Any] = orjson.loads(
        shapely.to_geojson(shapely.transform(area, lambda points: points.round(8)))
    )
    return geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """One export of a task: a window of the tile, some dates, and what its files are called.

    Parameters
    ----------
    window : Window
    dates : range
        Which acquisitions of the task.
    name : str
        Of the file without suffix, or of its shards without their offsets.
    sharded : bool
        Whether the service cuts it into several files.
    dimensions : (int, int), optional
        ``fileDimensions`` of the export: width and height.
    """

    window: Window
    dates: range
    name: str
    sharded: bool
    dimensions: tuple[int, int] | None

    @classmethod
    def of(
        cls,
        name: str,
        size: tuple[int, int],
        export: Mapping[str, Any],
        dates: int,
        generation: int = 0,
        number: int = 0,
    ) -> Self:
        """Return a part of a task of this name, of so many dates.

        An export of the whole tile is cut by the service. One of a quarter makes one file, called
        what that shard of the tile is called.
        """
        groups = date_groups(dates, dates_per_file(dates, generation))
        if quarterings(generation) == 0:
            dimensions = file_dimensions(export.get("fileDimensions"))
            group = groups[number]
            first = group.start if len(groups) > 1 else None
            return cls(
                window=Window(0, 0, size[1], size[0]),
                dates=group,
                name=shard_name(name, date=first).removesuffix(".tif"),
                sharded=len(layout(size, dimensions)) > 1,
                dimensions=dimensions,
            )
        files = expected_files(name, size, split_dimensions(size, generation), groups)
        file, window = list(files.items())[number]
        first = parse_shard_name(file).date or 0
        return cls(
            window=window,
            dates=next(group for group in groups if group.start == first),
            name=file.removesuffix(".tif"),
            sharded=False,
            dimensions=None,
        )
