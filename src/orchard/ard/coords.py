"""What a cube carries besides pixels: coordinates, grid mapping, attributes (CF-1.11)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from .plan import CLEAR, FLAG, BandPlan, CubePlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orchard.collections import Collection
    from orchard.grid import Tile
    from orchard.preard import Scene
    from orchard.qa import Flag

    from .timeline import Step

__all__ = [
    "GRID_MAPPING",
    "MISSING",
    "Coordinate",
    "attributes",
    "coordinates",
    "grid_mapping",
    "mean",
    "mean_angle",
    "measured",
    "scene_coordinates",
    "texts",
]

GRID_MAPPING = "spatial_ref"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What stands for a text that nobody has told.
MISSING = "not recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """A small variable: its dimensions, values and attributes."""

    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def coordinates(plan: CubePlan) -> dict[str, Coordinate]:
    """Return all coordinates of a cube; the measured ones are NaN."""
    found = {"time": _time(plan.steps), **_space(plan), GRID_MAPPING: grid_mapping(plan.tile)}
    found["solar_day"] = _days(plan.steps)
    found["collection"] = texts(
        [step.collection for step in plan.steps], "id of the image collection"
    )
    found["scenes"] = texts(
        [" ".join(scene.id for scene in step.scenes) for step in plan.steps],
        "ids of the scenes, in order of time",
    )
    found |= _measured(plan)
    if plan.options.metadata:
        found |= scene_coordinates(
            [(plan.collections.get(step.collection), step.scenes) for step in plan.steps]
        )
    return found


def _time(steps: Sequence[Step]) -> Coordinate:
    millis = [round((step.time - _EPOCH).total_seconds() * 1000) for step in steps]
    return Coordinate(
        dims=("time",),
        values=np.array(millis, np.int64),
        attributes={
            "standard_name": "time",
            "long_name": "time of the first scene, UTC",
            "axis": "T",
            "units": "milliseconds since 1970-01-01 00:00:00",
            "calendar": "standard",
            "units_metadata": "leap_seconds: none",
        },
    )


def _days(steps: Sequence[Step]) -> Coordinate:
    days = [(step.day - date(1970, 1, 1)).days for step in steps]
    return Coordinate(
        dims=("time",),
        values=np.array(days, np.int32),
        attributes={
            "long_name": "solar day: date in local solar time at the tile's centre",
            "units": "days since 1970-01-01",
            "calendar": "standard",
            "units_metadata": "leap_seconds: none",
        },
    )


def _space(plan: CubePlan) -> dict[str, Coordinate]:
    y, x = plan.tile.coords()
    return {
        name: Coordinate(
            dims=(name,),
            values=values,
            attributes={**_axis(plan, name), "axis": name.upper()},
        )
        for name, values in (("y", y), ("x", x))
    }


def _axis(plan: CubePlan, name: str) -> dict[str, str]:
    crs = plan.tile.crs
    if crs.is_geographic:
        word, unit = ("latitude", "degrees_north") if name == "y" else ("longitude", "degrees_east")
        return {"standard_name": word, "long_name": f"{word} of the pixel's centre", "units": unit}
    unit = crs.axis_info[0].unit_name if crs.axis_info else "metre"
    return {
        "standard_name": f"projection_{name}_coordinate",
        "long_name": f"{name} of the pixel's centre",
        "units": {"metre": "m", "US survey foot": "US_survey_foot"}.get(unit, unit),
    }


def grid_mapping(tile: Tile) -> Coordinate:
    """Return CF's grid mapping of a tile, with what GDAL, rioxarray and odc-geo read."""
    crs = tile.crs
    known: dict[str, Any] = {"long_name": "coordinate reference system"}
    known |= {k: _plain(v) for k, v in crs.to_cf().items()}
    wkt = crs.to_wkt("WKT1_GDAL") or crs.to_wkt()
    transform = (tile.bounds.left, tile.res[0], 0.0, tile.bounds.top, 0.0, -tile.res[1])
    # `spatial_ref` and `GeoTransform` are GDAL's names, which rioxarray and odc-geo read, too.
    known |= {"spatial_ref": wkt, "GeoTransform": " ".join(repr(float(n)) for n in transform)}
    return Coordinate(dims=(), values=np.array(0, np.int32), attributes=known)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def texts(values: Sequence[str], long_name: str) -> Coordinate:
    """Return a coordinate of one text per step."""
    array = np.array(values, dtype=object)
    return Coordinate(dims=("time",), values=array, attributes={"long_name": long_name})


def _numbers(values: Sequence[float | None], **attributes: Any) -> Coordinate:
    array = np.array([math.nan if v is None else v for v in values], np.float64)
    return Coordinate(
        dims=("time",), values=array, attributes={**attributes, "_FillValue": math.nan}
    )


def _measured(plan: CubePlan) -> dict[str, Coordinate]:
    nothing = [None] * len(plan.steps)
    known = {
        "valid_fraction": _numbers(
            nothing,
            long_name=f"share of the tile's pixels with data in {plan.reference}",
            units="1",
        )
    }
    if plan.quality:
        known["clear_fraction"] = _numbers(
            nothing, long_name="share of the tile's pixels that are clear", units="1"
        )
    return known


def measured(
    plan: CubePlan, clear: NDArray[np.int64], valid: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Return the values of the measured coordinates from the counts of pixels per step."""
    pixels = plan.tile.width * plan.tile.height
    known = {"valid_fraction": valid / pixels}
    if plan.quality:
        known["clear_fraction"] = clear / pixels
    return known


def scene_coordinates(
    steps: Sequence[tuple[Collection | None, Sequence[Scene]]],
) -> dict[str, Coordinate]:
    """Return platform, cloud cover and sun angles where the scenes tell; all they tell as JSON.

    Parameters
    ----------
    steps : sequence of (Collection or None, sequence of Scene)
    """
    per_step = [
        [_stac(collection, scene.metadata) for scene in scenes] for collection, scenes in steps
    ]
    found: dict[str, Coordinate] = {}
    platforms = [_platforms(scenes) for scenes in per_step]
    if any(platforms):
        found["platform"] = texts([p or MISSING for p in platforms], "satellite")
    for name, (keys, merge, attributes_) in _ANGLES.items():
        values = [_merged(scenes, keys, merge) for scenes in per_step]
        if any(value is not None for value in values):
            found[name] = _numbers(values, **attributes_)
    scenes_json = [
        json.dumps([dict(scene.metadata) for scene in scenes], separators=(",", ":"))
        for _, scenes in steps
    ]
    found["scene_metadata"] = texts(scenes_json, "metadata of the scenes, JSON")
    return found


def _stac(collection: Collection | None, scene: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a scene under STAC's names beside its own."""
    return {**scene, **(collection.stac_metadata(scene) if collection else {})}


def _platforms(scenes: Sequence[Mapping[str, Any]]) -> str:
    keys = ("platform", "SATELLITE", "SPACECRAFT_ID", "SPACECRAFT_NAME")
    names = [next((scene[key] for key in keys if scene.get(key)), None) for scene in scenes]
    return " ".join(dict.fromkeys(str(name) for name in names if name))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def mean_angle(values: Sequence[float]) -> float:
    """Mean direction in degrees: 359 and 1 make 0, not 180."""
    x = sum(math.cos(math.radians(v)) for v in values)
    y = sum(math.sin(math.radians(v)) for v in values)
    return math.degrees(math.atan2(y, x)) % 360


def _elevation_of_zenith(value: float) -> float:
    return 90 - value


Key = tuple[str, Callable[[float], float] | None]
# Coordinate -> names it may have in scenes (and what makes it of one that is measured another way),
# how the scenes of a day are merged, attributes.
_ANGLES: dict[str, tuple[tuple[Key, ...], Callable[[Sequence[float]], float], dict[str, str]]] = {
    "cloud_cover": (
        (("eo:cloud_cover", None), ("CLOUD_COVER", None), ("CLOUDY_PIXEL_PERCENTAGE", None)),
        mean,
        {"long_name": "cloud cover of the whole scenes", "units": "percent"},
    ),
    "sun_azimuth": (
        (
            ("view:sun_azimuth", None),
            ("SOLAR_AZIMUTH_ANGLE", None),
            ("SUN_AZIMUTH", None),
            ("MEAN_SOLAR_AZIMUTH_ANGLE", None),
        ),
        mean_angle,
        {"long_name": "sun azimuth", "standard_name": "solar_azimuth_angle", "units": "degree"},
    ),
    "sun_elevation": (
        (
            ("view:sun_elevation", None),
            ("SUN_ELEVATION", None),
            ("SOLAR_ZENITH_ANGLE", _elevation_of_zenith),
            ("MEAN_SOLAR_ZENITH_ANGLE", _elevation_of_zenith),
        ),
        mean,
        {"long_name": "sun elevation", "standard_name": "solar_elevation_angle", "units": "degree"},
    ),
}


def _merged(
    scenes: Sequence[Mapping[str, Any]],
    keys: Sequence[Key],
    merge: Callable[[Sequence[float]], float],
) -> float | None:
    values = [value for scene in scenes if (value := _first(scene, keys)) is not None]
    return merge(values) if values else None


def _first(scene: Mapping[str, Any], keys: Sequence[Key]) -> float | None:
    for key, convert in keys:
        value = scene.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return convert(value) if convert else float(value)
    return None


# Attributes of the variables ----------------------------------------------------------------------


def attributes(plan: CubePlan, auxiliary: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the attributes of each variable.

    Parameters
    ----------
    plan : CubePlan
    auxiliary : sequence of str
        Names of the coordinates that are not dimensions.
    """
    shared = {"grid_mapping": GRID_MAPPING, "coordinates": " ".join(auxiliary)}
    known = {band.name: {**_band(plan, band), **shared} for band in plan.bands}
    if plan.quality:
        known[CLEAR] = {
            "long_name": f"True where the pixel is usable, by {plan.quality}",
            "comment": "a single band may have no data where this is True",
            "standard_name": "quality_flag",
            **_BOOLEAN,
            "flag_meanings": "not_clear clear",
            **shared,
        }
    for flag in plan.flags:
        rule = next(c.flags[flag] for c in plan.collections.values() if flag in c.flags)
        known[FLAG + flag] = {
            "long_name": rule.description or f"True where {flag.replace('_', ' ')}",
            **_BOOLEAN,
            "flag_meanings": f"not_{flag} {flag}",
            **shared,
        }
    return known


# xarray reads `dtype: bool` and gives booleans.
_BOOLEAN = {"dtype": "bool", "flag_values": np.array([0, 1], np.int8)}


def _band(plan: CubePlan, band: BandPlan) -> dict[str, Any]:
    known: dict[str, Any] = {"long_name": band.description or band.name}
    if band.qa:
        return known | _flag_attributes(plan, band)
    if band.units:
        known["units"] = band.units
    if band.scaled and not plan.options.scale:
        known |= {"scale_factor": band.scale, "add_offset": band.offset}
    return known


def _flag_attributes(plan: CubePlan, band: BandPlan) -> dict[str, Any]:
    """Return CF's flag_meanings, flag_values and flag_masks of a quality band."""
    rules: dict[str, Flag] = {}
    for collection in plan.collections.values():
        for name, rule in collection.flags.items():
            if (rule.band or collection.qa_band) == band.name:
                rules.setdefault(name, rule)
    rows = [
        (name if len(rule.codes) == 1 else f"{name}_{code}", code, rule.mask)
        for name, rule in rules.items()
        for code in rule.codes
    ]
    bits = np.iinfo(plan.dtype).bits if np.dtype(plan.dtype).kind in "iu" else 0
    whole = (1 << bits) - 1
    rows = [row for row in rows if row[1] <= whole]
    if not bits or not rows:
        return {}

    # As bit patterns: a signed number takes the same bits.
    def words(values: list[int]) -> NDArray[Any]:
        return np.array(values, np.uint64).astype(f"u{bits // 8}").view(plan.dtype)

    known = {
        "flag_meanings": " ".join(meaning for meaning, _, _ in rows),
        "flag_values": words([code for _, code, _ in rows]),
    }
    if any(mask is not None for _, _, mask in rows):
        known["flag_masks"] = words(
            [whole if mask is None else mask & whole for _, _, mask in rows]
        )
    return known
