"""What the pixels are asked for: values, checked when they are built."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from orchard.errors import EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from affine import Affine
    from pyproj import CRS

__all__ = [
    "RESAMPLINGS",
    "Acquisition",
    "Creation",
    "ImageRequest",
    "Scene",
    "ShardCancelledError",
    "Source",
    "TileLike",
    "Window",
]

RESAMPLINGS = ("nearest", "bilinear", "cubic")
CODECS = ("zstd", "deflate", "none")


class ShardCancelledError(EngineError):
    """The caller's ``cancelled`` said so; nothing was left at the shard's path."""


class TileLike(Protocol):
    """What the pixels need to know of a `orchard.grid.Tile`."""

    @property
    def crs(self) -> CRS:
        """Coordinate reference system of the tile."""

    @property
    def transform(self) -> Affine:
        """Of pixel (col, row) to (x, y) in the CRS of the tile."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels of a tile.

    Parameters
    ----------
    row_off, col_off : int
        Pixel offsets of the upper left corner in the tile.
    height, width : int
        Size in pixels.
    """

    _: KW_ONLY
    row_off: int
    col_off: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.row_off, self.col_off) < 0 or min(self.height, self.width) < 1:
            raise InputError(f"not a window inside a tile: {self}")

    @classmethod
    def whole(cls, tile: TileLike) -> Window:
        """All of a tile."""
        width, height = tile.size
        return cls(row_off=0, col_off=0, height=height, width=width)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One band of one scene.

    Parameters
    ----------
    href : str
        Path, ``file://``, ``http(s)://`` or ``s3://``.
    band : int
        1-based band of the file.
    nodata : float, optional
        Overrides the file's own; None: what the file says.
    shift : int
        Subtracted from every valid value, which is then clipped to the image's valid range: what
        harmonizes Sentinel-2's processing baselines (1000 from baseline 04.00 on). Valid pixels
        stay valid: where nodata is the lowest value of the image's dtype, the lowest valid value
        is one more.
    """

    href: str
    band: int = 1
    nodata: float | None = None
    shift: int = 0

    def __post_init__(self) -> None:
        if self.band < 1:
            raise InputError(f"bands of a file count from 1, not {self.band}: {self.href}")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image of a catalogue.

    Parameters
    ----------
    id : str
        Its id in the catalogue; errors name it.
    time : datetime
        UTC.
    bands : mapping of str to Source or None
        By band name. None, or a band that is not there, is allowed for optional bands only.
    """

    id: str
    time: datetime
    bands: Mapping[str, Source | None]


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """The scenes of one solar day.

    Parameters
    ----------
    day : date
        Solar day of the tile's centre.
    scenes : tuple of Scene
        In mosaic order: the first that has data at a pixel gives it, per band.
    """

    day: date
    scenes: tuple[Scene, ...]


@dataclass(frozen=True, kw_only=True)
class Creation:
    """How the GeoTIFF is laid out and compressed.

    Parameters
    ----------
    blocksize : int
        Width and height of a block in pixels, a multiple of 16.
    codec : str
        ``zstd``, ``deflate`` or ``none``.
    level : int, optional
        Of the codec; None for a level that suits it.
    predictor : bool
        Whether integer values are differenced before they are compressed.
    cog : bool
        Whether the file is a cloud-optimized GeoTIFF, with overviews.
    """

    blocksize: int = 512
    codec: str = "zstd"
    level: int | None = None
    predictor: bool = True
    cog: bool = False

    def __post_init__(self) -> None:
        if self.blocksize < 16 or self.blocksize % 16:
            raise InputError(f"blocksize must be a multiple of 16, not {self.blocksize}")
        if self.codec not in CODECS:
            raise InputError(f"unknown codec {self.codec!r}: one of {', '.join(CODECS)}")

    @classmethod
    def of(cls, options: Mapping[str, object]) -> Creation:
        """Check options that came as data.

        Raises
        ------
        InputError
            An unknown option, or a value that it cannot have.
        """
        unknown = sorted(set(options) - set(cls.__dataclass_fields__))
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise InputError(f"unknown GeoTIFF option {unknown[0]!r}: one of {known}")
        try:
            return cls(**options)  # type: ignore[arg-type]
        except TypeError as exc:
            raise InputError(f"GeoTIFF options {dict(options)}: {exc}") from exc


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """One pre-ARD image.

    Parameters
    ----------
    tile : TileLike
        The grid of the image.
    bands : tuple of str
        In pre-ARD order.
    acquisitions : tuple of Acquisition
        In order of time. The image has ``len(acquisitions) * len(bands)`` bands, band fastest.
    dtype : str
        Of the image, as numpy names it.
    nodata : float
        Of the image; it fits the dtype.
    resampling : mapping of str to str
        By band: ``nearest`` (where a band is not named), ``bilinear`` or ``cubic``.
    creation : mapping of str to object
        Arguments of `Creation`.
    optional : collection of str
        Bands that a scene may lack; its pixels are nodata then.
    """

    tile: TileLike
    bands: tuple[str, ...]
    acquisitions: tuple[Acquisition, ...]
    dtype: str
    nodata: float
    resampling: Mapping[str, str] = field(default_factory=dict)
    creation: Mapping[str, object] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.bands or not self.acquisitions:
            raise InputError("an image needs at least one band and one acquisition")
        dtype = np.dtype(self.dtype)
        if dtype.kind not in "iuf":
            raise InputError(f"an image cannot have the dtype {self.dtype}")
        if not fits(self.nodata, dtype):
            raise InputError(f"nodata {self.nodata} does not fit the image's dtype {self.dtype}")
        for band, method in self.resampling.items():
            if method not in RESAMPLINGS:
                raise InputError(f"unknown resampling {method!r} of band {band!r}")
        Creation.of(self.creation)

    def descriptions(self) -> Sequence[str]:
        """Of the image's bands, such as ``2022-06-02 blue``."""
        return [f"{a.day:%Y-%m-%d} {band}" for a in self.acquisitions for band in self.bands]


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a dtype holds a value exactly (a float dtype: its nearest value)."""
    if dtype.kind == "f":
        return True
    info = np.iinfo(dtype)
    return float(value).is_integer() and info.min <= value <= info.max
