"""The values of an image metadata document: tile, acquisitions, scenes, files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

__all__ = ["Acquisition", "FileRecord", "ImageTile", "Scene"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One scene of an acquisition: its id, its time (aware, UTC), and what else was kept of it."""

    id: str
    time: datetime
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """One date of the image: its solar day and the scenes mosaicked in it, in mosaic order."""

    day: date
    scenes: tuple[Scene, ...]

    @property
    def time(self) -> datetime:
        """The time of its first scene (aware, UTC)."""
        return min(scene.time for scene in self.scenes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """What is known of a file that a completed task has made; ``md5`` and ``crc32`` are hex."""

    name: str
    size: int | None = None
    md5: str | None = None
    crc32: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTile:
    """The tile as the document tells it.

    Attributes
    ----------
    index : tuple of int
        ``(row, col)``.
    crs : str
        WKT, or an authority's code.
    bounds : tuple of float
        ``(left, bottom, right, top)`` in the CRS.
    res : tuple of float
        ``(x, y)``, both positive.
    size : tuple of int
        ``(width, height)`` in pixels.
    """

    index: tuple[int, int]
    crs: str
    bounds: tuple[float, float, float, float]
    res: tuple[float, float]
    size: tuple[int, int]

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
        """Pixels from left to right."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.size[1]

    @property
    def geotransform(self) -> tuple[float, float, float, float, float, float]:
        """GDAL's six numbers: left, x step, 0, top, 0, y step (negative)."""
        return (self.bounds[0], self.res[0], 0.0, self.bounds[3], 0.0, -self.res[1])

    def center_longitude(self) -> float:
        """Longitude of the tile's centre in degrees east (WGS 84)."""
        from pyproj import Transformer

        left, bottom, right, top = self.bounds
        lon, _ = Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True).transform(
            (left + right) / 2, (bottom + top) / 2
        )
        return float(lon)
