"""Image metadata: the JSON document beside a pre-ARD image.

Documents written by CEDAR 0.0.4 are read as they are; Orchard's own say more (dtype, solar days, a
description of the collection), so that a cube can be made from the document and the shards alone.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from orchard.errors import InputError, MetadataError

from .shards import (
    Window,
    date_groups,
    expected_files,
    file_dimensions,
    parse_shard_name,
    shard_name,
)
from .values import Acquisition, FileRecord, ImageTile, Scene

__all__ = ["ImageMetadata", "image_metadata"]

_DTYPES = frozenset(
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
)
_ID_KEYS = ("id", "system:id", "system:index", "LANDSAT_ID", "PRODUCT_ID")
_TIME = "system:time_start"


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """A valid image metadata document.

    Attributes
    ----------
    document : str
        Where it was read from; errors begin with it.
    raw : mapping
        The document itself, as it was read.
    name, prefix : str
        Of the task and so of the image.
    collection_id : str
        Earth Engine's id of the collection.
    period : tuple of datetime
        ``[start, end)``, aware, UTC.
    tile : ImageTile
    bands : tuple of str
        In the order of the image.
    dtype : str or None
        NumPy's name of it; None in documents that do not say (CEDAR's).
    nodata : float or None
    acquisitions : tuple of Acquisition
        In the order of the image; none for an EMPTY task.
    collection : mapping or None
        Description of the collection (id, bands, clear, flags); None in CEDAR's documents.
    """

    document: str
    raw: Mapping[str, Any]
    name: str
    prefix: str
    collection_id: str
    period: tuple[datetime, datetime]
    tile: ImageTile
    bands: tuple[str, ...]
    dtype: str | None
    nodata: float | None
    acquisitions: tuple[Acquisition, ...]
    collection: Mapping[str, Any] | None
    file_dimensions: tuple[int, int] | None
    manifest: tuple[FileRecord, ...]
    dates_per_file: int | None = None

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], *, document: str = "image metadata"
    ) -> ImageMetadata:
        """Check a document and read it.

        Raises
        ------
        MetadataError
            Names the document and the key that is missing or wrong.
        """
        return _read(_Reader(document, data))

    @classmethod
    def from_json(cls, text: str | bytes, *, document: str = "image metadata") -> ImageMetadata:
        """Read the text of a document; see `from_dict`."""
        try:
            data = json.loads(text)
        except ValueError as exc:
            raise MetadataError(f"{document}: is not JSON: {exc}") from exc
        if not isinstance(data, dict):
            raise MetadataError(f"{document}: is not a JSON object")
        return cls.from_dict(data, document=document)

    @classmethod
    def from_file(cls, path: str | Path) -> ImageMetadata:
        """Read a document from a file; see `from_dict`."""
        try:
            text = Path(path).read_bytes()
        except OSError as exc:
            raise MetadataError(f"{path}: cannot be read: {exc.strerror}") from exc
        return cls.from_json(text, document=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the document, as it was read."""
        return copy.deepcopy(dict(self.raw))

    @cached_property
    def expected_files(self) -> dict[str, Window]:
        """File name -> window in the tile, in order; none for an EMPTY task."""
        if not self.acquisitions:
            return {}
        return expected_files(self.name, self.tile.size, self.file_dimensions, self.date_groups)

    @property
    def date_groups(self) -> list[range]:
        """Which acquisitions are in a file together; usually all of them."""
        return date_groups(len(self.acquisitions), self.dates_per_file)

    def dates_of(self, file: str) -> range:
        """Return which acquisitions a file (its name) holds; none when it is not of the image."""
        first = parse_shard_name(file).date
        groups = self.date_groups
        if first is None:
            return groups[0] if len(groups) == 1 else range(0)
        return next((g for g in groups if g.start == first and len(groups) > 1), range(0))

    @property
    def may_be_sparse(self) -> bool:
        """Whether files without data may have been left out, as Earth Engine does when asked to."""
        keywords = (self.raw.get("store") or {}).get("export_image_kwds") or {}
        options = keywords.get("formatOptions") or {}
        names = ("skipEmptyTiles", "skipEmptyFiles")
        return any(bool(given.get(name)) for given in (keywords, options) for name in names)

    @property
    def count(self) -> int:
        """Bands of the image, over all its files: bands x acquisitions."""
        return len(self.bands) * len(self.acquisitions)


def image_metadata(
    *,
    program: Mapping[str, Any],
    order: Mapping[str, Any],
    tile: Mapping[str, Any],
    store: Mapping[str, Any],
    task: Mapping[str, Any],
    image: Mapping[str, Any],
    collection: Mapping[str, Any],
) -> ImageMetadata:
    """Build the document of a new task.

    Parameters
    ----------
    program : mapping
        ``name``, ``version``, ….
    order : mapping
        ``collection``, ``date_start``, ``date_end`` (ISO 8601), ``filters``, ``submitted``.
    tile : mapping
        ``index``, ``crs``, ``bounds``, ``res``, ``size``, as of `Tile.to_dict`.
    store : mapping
        ``service``, ``export_image_kwds``.
    task : mapping
        ``name``, ``prefix``, ``status``.
    image : mapping
        ``bands``, ``nodata``, ``dtype``, ``dates`` (solar day of each acquisition) and ``images``
        (one list per acquisition of one dict per scene: ``id``, ``system:time_start`` in epoch
        ms UTC, and the kept metadata).
    collection : mapping
        ``id``, ``bands``, ``clear``, ``flags``.

    Raises
    ------
    MetadataError
        Names the task and the key that is missing or wrong.
    """
    data = {
        "program": program,
        "order": order,
        "tile": tile,
        "store": store,
        "task": task,
        "image": image,
        "collection": collection,
    }
    reader = _Reader(f"image metadata of task {task.get('name')!r}", data)
    for key in ("dtype", "dates"):
        reader.need("image", key)
    return _read(reader)


class _Reader:
    """A document and its name; every look into it that fails names the key."""

    def __init__(self, document: str, data: Mapping[str, Any]) -> None:
        self.document = document
        self.data = data

    def fail(self, key: str, problem: str) -> MetadataError:
        return MetadataError(f"{self.document}: {key}: {problem}")

    def get(self, *path: str) -> Any:
        value: Any = self.data
        for step in path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(step)
        return value

    def need(self, *path: str) -> Any:
        value = self.get(*path)
        if value is None:
            raise self.fail(".".join(path), "is missing")
        return value

    def text(self, *path: str) -> str:
        value = self.need(*path)
        if not isinstance(value, str) or not value:
            raise self.fail(".".join(path), f"must be text, not {value!r}")
        return value

    def numbers(self, count: int, *path: str) -> list[float]:
        value = self.need(*path)
        if (
            not isinstance(value, Sequence)
            or len(value) != count
            or not all(_is_number(v) for v in value)
        ):
            raise self.fail(".".join(path), f"must be {count} numbers, not {value!r}")
        return list(value)

    def time(self, *path: str) -> datetime:
        text = self.text(*path)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self.fail(".".join(path), f"{text!r} is not an ISO 8601 time") from None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read(reader: _Reader) -> ImageMetadata:
    tile = _read_tile(reader)
    name = reader.text("task", "name")
    try:
        shard_name(name)
        dimensions = file_dimensions(reader.get("store", "export_image_kwds", "fileDimensions"))
    except InputError as exc:
        raise MetadataError(f"{reader.document}: {exc}") from exc
    return ImageMetadata(
        document=reader.document,
        raw=reader.data,
        name=name,
        prefix=str(reader.get("task", "prefix") or ""),
        collection_id=reader.text("order", "collection"),
        period=(reader.time("order", "date_start"), reader.time("order", "date_end")),
        tile=tile,
        bands=_read_bands(reader),
        dtype=_read_dtype(reader),
        nodata=_read_nodata(reader),
        acquisitions=_read_acquisitions(reader, tile),
        collection=_read_collection(reader),
        file_dimensions=dimensions,
        manifest=_read_manifest(reader),
        dates_per_file=_read_dates_per_file(reader),
    )


def _read_tile(reader: _Reader) -> ImageTile:
    row, col = reader.numbers(2, "tile", "index")
    left, bottom, right, top = reader.numbers(4, "tile", "bounds")
    x, y = reader.numbers(2, "tile", "res")
    width, height = reader.numbers(2, "tile", "size")
    if x <= 0 or y <= 0:
        raise reader.fail("tile.res", f"must be positive, not {x}, {y}")
    if not (right > left and top > bottom):
        raise reader.fail("tile.bounds", "must be (left, bottom, right, top)")
    if width < 1 or height < 1:
        raise reader.fail("tile.size", f"must be at least one pixel, not {width}, {height}")
    # A hundredth of a pixel is far above rounding and far below any real mismatch.
    if abs((right - left) / x - width) > 0.01 or abs((top - bottom) / y - height) > 0.01:
        raise reader.fail("tile", "bounds, res and size do not agree")
    return ImageTile(
        index=(int(row), int(col)),
        crs=reader.text("tile", "crs"),
        bounds=(float(left), float(bottom), float(right), float(top)),
        res=(float(x), float(y)),
        size=(int(width), int(height)),
    )


def _read_bands(reader: _Reader) -> tuple[str, ...]:
    bands = reader.need("image", "bands")
    if (
        not isinstance(bands, Sequence)
        or isinstance(bands, str)
        or not bands
        or not all(isinstance(band, str) and band for band in bands)
    ):
        raise reader.fail("image.bands", f"must be a list of band names, not {bands!r}")
    if len(set(bands)) < len(bands):
        raise reader.fail("image.bands", f"names a band twice: {list(bands)}")
    return tuple(bands)


def _read_dtype(reader: _Reader) -> str | None:
    dtype = reader.get("image", "dtype")
    if dtype is not None and dtype not in _DTYPES:
        raise reader.fail("image.dtype", f"{dtype!r} is not a pixel type")
    return None if dtype is None else str(dtype)


def _read_dates_per_file(reader: _Reader) -> int | None:
    number = reader.get("image", "dates_per_file")
    if number is None:
        return None
    if not (_is_number(number) and number >= 1 and number == int(number)):
        raise reader.fail("image.dates_per_file", f"must be a positive number, not {number!r}")
    return int(number)


def _read_nodata(reader: _Reader) -> float | None:
    nodata = reader.get("image", "nodata")
    if nodata is None:
        return None
    if _is_number(nodata):
        return nodata
    # JSON has no NaN; Python's and JavaScript's writers spell it out.
    if str(nodata).lower() == "nan":
        return math.nan
    raise reader.fail("image.nodata", f"must be a number, not {nodata!r}")


def _read_collection(reader: _Reader) -> Mapping[str, Any] | None:
    collection = reader.get("collection")
    if collection is None:
        return None
    if not isinstance(collection, Mapping) or not isinstance(collection.get("bands"), Mapping):
        raise reader.fail("collection", "must describe the collection: id, bands, …")
    missing = [band for band in reader.need("image", "bands") if band not in collection["bands"]]
    if missing:
        raise reader.fail("collection.bands", f"does not describe {', '.join(missing)}")
    return collection


def _read_manifest(reader: _Reader) -> tuple[FileRecord, ...]:
    files = reader.get("task", "status", "files") or ()
    try:
        return tuple(
            FileRecord(
                name=str(f["name"]),
                size=f.get("size"),
                md5=f.get("md5"),
                crc32=_checked_crc32(f.get("crc32")),
            )
            for f in files
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        expected = "must be a list of {name, size, md5, crc32}"
        raise reader.fail("task.status.files", expected) from None


def _checked_crc32(digits: str | None) -> str | None:
    return None if digits is None else f"{int(digits, 16):08x}"


def _read_acquisitions(reader: _Reader, tile: ImageTile) -> tuple[Acquisition, ...]:
    images = reader.get("image", "images") or []
    if not isinstance(images, list | tuple):
        raise reader.fail("image.images", "must be a list of lists of scenes")
    scenes = [_read_scenes(reader, number, image) for number, image in enumerate(images)]
    days = _read_days(reader, tile, scenes)
    return tuple(
        Acquisition(day=day, scenes=group) for day, group in zip(days, scenes, strict=True)
    )


def _read_scenes(reader: _Reader, number: int, image: object) -> tuple[Scene, ...]:
    key = f"image.images[{number}]"
    if not isinstance(image, list | tuple) or not image:
        raise reader.fail(key, "must be a list of at least one scene")
    return tuple(_read_scene(reader, f"{key}[{i}]", scene) for i, scene in enumerate(image))


def _read_scene(reader: _Reader, key: str, scene: object) -> Scene:
    if not isinstance(scene, Mapping):
        raise reader.fail(key, "must be an object")
    start = scene.get(_TIME)
    if not _is_number(start):
        raise reader.fail(f"{key}.{_TIME}", f"must be epoch milliseconds, not {start!r}")
    name = next((scene[k] for k in _ID_KEYS if scene.get(k)), None)
    if name is None:
        raise reader.fail(f"{key}.id", "is missing")
    # By addition, not fromtimestamp: exact, and right before 1970 on every platform.
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=float(start))
    return Scene(id=str(name), time=time, metadata=scene)


def _read_days(reader: _Reader, tile: ImageTile, scenes: Sequence[tuple[Scene, ...]]) -> list[date]:
    days = reader.get("image", "dates")
    if days is None:
        return _solar_days(reader, tile, scenes)
    if not isinstance(days, list | tuple) or len(days) != len(scenes):
        raise reader.fail("image.dates", f"must be {len(scenes)} dates, as many as image.images")
    try:
        return [date.fromisoformat(day) for day in days]
    except (TypeError, ValueError):
        raise reader.fail("image.dates", f"must be dates as 2022-06-01, not {days!r}") from None


def _solar_days(
    reader: _Reader, tile: ImageTile, scenes: Sequence[tuple[Scene, ...]]
) -> list[date]:
    """Days in local solar time at the tile's centre: UTC shifted by longitude / 15 hours."""
    if not scenes:
        return []
    from pyproj.exceptions import ProjError

    try:
        shift = timedelta(hours=tile.center_longitude() / 15)
    except ProjError as exc:
        raise reader.fail("tile.crs", f"is not understood: {exc}") from exc
    return [(min(scene.time for scene in group) + shift).date() for group in scenes]
