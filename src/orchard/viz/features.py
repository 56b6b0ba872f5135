"""GeoJSON features: taken from what users have at hand, paired with pictures, told in a popup."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import shapely
from shapely.geometry import mapping, shape

from orchard.errors import DataError, InputError

__all__ = ["Bounds", "Feature", "feature_bounds", "features_of", "outline", "pair", "popup"]

Feature: TypeAlias = dict[str, Any]
Bounds: TypeAlias = tuple[float, float, float, float]

_PATH_KEYS = ("up42.data_path", "data_path")
_ID_KEYS = ("uid", "id", "sceneId", "scene_id", "acquisitionId")
_ROWS = 40
_LONGEST_VALUE = 200
# A border may be drawn with steps of a pixel at the size of a screen; more points are not seen.
_POINTS = 500


def features_of(source: Any, what: str = "features") -> list[Feature]:
    """Return GeoJSON features in longitude and latitude.

    Parameters
    ----------
    source : mapping, GeoDataFrame, geometry, sequence, path or None
        A FeatureCollection, a Feature, a geometry (as a dict or of shapely), a GeoDataFrame (which
        is transformed to EPSG:4326), (left, bottom, right, top), several of these, or a file of
        GeoJSON. None gives no features.
    what : str
        What it is, for the message.

    Raises
    ------
    InputError
        It is something else.
    DataError
        A file that is not GeoJSON.
    """
    if source is None:
        return []
    if isinstance(source, (str, os.PathLike)):
        return _read(Path(source))
    if getattr(source, "crs", None) is not None and hasattr(source, "to_crs"):
        source = source.to_crs("EPSG:4326")
    if hasattr(source, "__geo_interface__"):
        source = source.__geo_interface__
    try:
        return list(_features(source))
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as exc:
        raise InputError(f"{what}: not GeoJSON, a GeoDataFrame or a geometry: {exc}") from exc


def feature_bounds(feature: Feature) -> Bounds | None:
    """Return (left, bottom, right, top) in degrees: the feature's bbox, or that of its geometry."""
    box = feature.get("bbox")
    if isinstance(box, (list, tuple)) and len(box) in (4, 6):
        half = len(box) // 2
        return (float(box[0]), float(box[1]), float(box[half]), float(box[half + 1]))
    if not feature.get("geometry"):
        return None
    bounds = shape(feature["geometry"]).bounds
    return None if any(math.isnan(value) for value in bounds) else bounds  # an empty geometry


def pair(paths: Sequence[Path], features: Sequence[Feature], name_column: str) -> list[int | None]:
    """Return, for each picture, the index of its feature; None where there is none.

    By the data path that the feature names; else by an id of the feature that is the picture's name
    (``quicklook_ID.png``). Never by the order of either.
    """
    by_path: dict[PurePosixPath, int] = {}
    by_id: dict[str, int] = {}
    for index, feature in enumerate(features):
        properties = feature["properties"]
        for key in _PATH_KEYS:
            if isinstance(properties.get(key), str) and properties[key]:
                by_path.setdefault(PurePosixPath(properties[key]), index)
        for value in (feature.get("id"), *(properties.get(k) for k in (*_ID_KEYS, name_column))):
            if value is not None:
                by_id.setdefault(str(value), index)
    return [_match(path, by_path, by_id) for path in paths]


def outline(feature: Feature) -> Feature:
    """Return a feature whose geometry is drawn with few enough points for a page."""
    geometry = feature.get("geometry")
    if not geometry:
        return feature
    found = shape(geometry)
    if shapely.get_num_coordinates(found) <= _POINTS:
        return feature
    left, bottom, right, top = found.bounds
    simple = found.simplify(max(right - left, top - bottom) / 1000)
    return {**feature, "geometry": mapping(simple)}


def popup(title: str, properties: Mapping[str, Any]) -> str:
    """Return a table of properties as HTML. They come from anywhere, so that all is escaped."""
    rows = [
        f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(_short(value))}</td></tr>"
        for key, value in properties.items()
        if value not in (None, "", [], {})
    ]
    more = f"<p>and {len(rows) - _ROWS} more</p>" if len(rows) > _ROWS else ""
    table = f"<table>{''.join(rows[:_ROWS])}</table>" if rows else ""
    return f"<b>{html.escape(title)}</b>{table}{more}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _read(path: Path) -> list[Feature]:
    try:
        return list(_features(json.loads(path.read_bytes())))
    except OSError as exc:
        raise DataError(f"cannot read {path}: {exc.strerror}") from exc
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as exc:
        raise DataError(f"{path} is not GeoJSON: {exc}") from exc


def _features(source: Any) -> Iterator[Feature]:
    if isinstance(source, Mapping):
        kind = source["type"]
        if kind == "FeatureCollection":
            for feature in source["features"]:
                yield from _features(feature)
        elif kind == "Feature":
            yield {**source, "properties": dict(source.get("properties") or {})}
        else:
            shape(dict(source))  # whether it is a geometry at all
            yield {"type": "Feature", "properties": {}, "geometry": dict(source)}
    elif _is_box(source):
        left, bottom, right, top = map(float, source)
        box = shapely.box(left, bottom, right, top)
        yield {"type": "Feature", "properties": {}, "geometry": mapping(box)}
    elif isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
        for item in source:
            yield from _features(getattr(item, "__geo_interface__", item))
    else:
        raise TypeError(f"a {type(source).__name__}")


def _is_box(source: Any) -> bool:
    return (
        isinstance(source, Sequence)
        and len(source) == 4
        and all(isinstance(value, (int, float)) for value in source)
    )


def _match(
    path: Path, by_path: Mapping[PurePosixPath, int], by_id: Mapping[str, int]
) -> int | None:
    parts = PurePosixPath(path.as_posix()).parts
    for start in range(len(parts)):  # the longest tail first
        index = by_path.get(PurePosixPath(*parts[start:]))
        if index is not None:
            return index
    for name in (path.name, path.stem):
        for known in (name, name.removeprefix("quicklook_")):
            if known in by_id:
                return by_id[known]
    return None
