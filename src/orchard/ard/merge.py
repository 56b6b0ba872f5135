"""What a dataset of several cubes says of itself: their attributes and coordinates, put together.

The rule for attributes: what all cubes agree on is kept; titles, sources and histories are
combined; whatever else differs is dropped, since it would be true of a part only. What tells of
acquisitions is kept for each of them.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

import orchard

from .coords import MISSING, mean, mean_angle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

__all__ = ["agreed", "combine_attributes", "combine_steps", "fill_coordinates", "per_step", "same"]

_TITLES = 3


def combine_attributes(given: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """Return the attributes of a dataset from those of its cubes; see the rule above."""
    combined = {
        name: combine([str(one[name]) for one in given if name in one])
        for name, combine in _COMBINED.items()
        if any(name in one for one in given)
    }
    return agreed(given) | combined


def agreed(given: Sequence[Mapping[Any, Any]], context: object = None) -> dict[str, Any]:
    """Return the attributes that all have, and have alike; xarray's `context` does not matter."""
    del context
    first, *others = given
    return {
        name: value
        for name, value in first.items()
        if all(name in other and same(value, other[name]) for other in others)
    }


def same(a: Any, b: Any) -> bool:
    """Whether two attributes are the same; NaN is NaN."""
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))


def _title(titles: Sequence[str]) -> str:
    distinct = sorted(set(titles))
    if len(distinct) > _TITLES:
        return f"{len(titles)} cubes: {distinct[0]} to {distinct[-1]}"
    return f"{len(titles)} cubes: {', '.join(distinct)}"


def _source(sources: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(part for source in sources for part in source.split(", ")))


def _history(histories: Sequence[str]) -> str:
    """Return all distinct lines; each begins with its time, so that sorting puts them in order."""
    lines = sorted({line for history in histories for line in history.splitlines()})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    opened = f"{now} {len(histories)} cubes opened as one by Orchard {orchard.__version__}"
    return "\n".join([*lines, opened])


_COMBINED: Mapping[str, Callable[[Sequence[str]], str]] = {
    "title": _title,
    "source": _source,
    "history": _history,
}


# Coordinates --------------------------------------------------------------------------------------


def per_step(cube: xr.Dataset) -> list[str]:
    """Return the names of the coordinates that tell something of each acquisition."""
    return [str(n) for n, v in cube.coords.items() if v.dims == ("time",) and n != "time"]


def fill_coordinates(cubes: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Give every cube, in memory, the coordinates that any has: "not recorded", or NaN."""
    known = {name: cube[name] for cube in reversed(cubes) for name in per_step(cube)}
    filled = []
    for cube in cubes:
        count = cube.sizes["time"]
        told = {
            name: cube[name].variable.load()
            if name in cube.coords
            else ("time", _nothing(name, like, count), like.attrs)
            for name, like in known.items()
        }
        filled.append(cube.assign_coords(told))
    return filled


def _nothing(name: str, like: xr.DataArray, count: int) -> Any:
    if like.dtype.kind == "f":
        return np.full(count, np.nan, like.dtype)
    return np.full(count, "[]" if name == "scene_metadata" else MISSING, dtype=object)


def combine_steps(
    tiles: Sequence[xr.Dataset], steps: Sequence[Sequence[int]], count: int
) -> dict[str, Any]:
    """Return what tells of the acquisitions of tiles that are put side by side.

    Parameters
    ----------
    tiles : sequence of xarray.Dataset
    steps : sequence of sequence of int
        For each tile, which step of the whole each of its steps is.
    count : int
        How many steps the whole has.

    Returns
    -------
    dict
        Coordinates by name: ids of all scenes and tasks, all platforms, means over the tiles, and
        shares of the pixels of all tiles. What cannot be combined is left out.
    """
    known = {name: tile[name] for tile in reversed(tiles) for name in per_step(tile)}
    weights = [tile.sizes["x"] * tile.sizes["y"] for tile in tiles]
    found: dict[str, Any] = {}
    for name, like in known.items():
        if name not in _STEPS:
            continue
        parts: list[list[tuple[Any, float]]] = [[] for _ in range(count)]
        for tile, numbers, weight in zip(tiles, steps, weights, strict=True):
            if name in tile.coords:
                share = weight / sum(weights)
                for number, value in zip(numbers, tile[name].values.tolist(), strict=True):
                    parts[number].append((value, share))
        values = [_STEPS[name](part) for part in parts]
        attributes = dict(like.attrs)
        if "long_name" in attributes:
            attributes["long_name"] = attributes["long_name"].replace("the tile's", "all tiles'")
        kind = np.float64 if like.dtype.kind == "f" else object
        found[name] = ("time", np.array(values, dtype=kind), attributes)
    return found


Parts = list[tuple[Any, float]]


def _words(between: str) -> Callable[[Parts], str]:
    """Return what puts texts together that are lists, each of their words once."""

    def combine(parts: Parts) -> str:
        texts = [text for text, _ in parts if text != MISSING]
        words = dict.fromkeys(word for text in texts for word in text.split(between))
        return between.join(words) or MISSING

    return combine


def _scenes_json(parts: Parts) -> str:
    scenes = {
        json.dumps(scene, separators=(",", ":")): None
        for text, _ in parts
        for scene in json.loads(text)
    }
    return f"[{','.join(scenes)}]"


def _averaged(average: Callable[[Sequence[float]], float]) -> Callable[[Parts], float]:
    def combine(parts: Parts) -> float:
        values = [value for value, _ in parts if not math.isnan(value)]
        return average(values) if values else math.nan

    return combine


def _share(parts: Parts) -> float:
    """Return the share of all tiles' pixels: a tile without the date has none to show."""
    return float(sum(value * share for value, share in parts if not math.isnan(value)))


_STEPS: Mapping[str, Callable[[Parts], Any]] = {
    "scenes": _words(" "),
    "tasks": _words("/"),
    "platform": _words(" "),
    "scene_metadata": _scenes_json,
    "cloud_cover": _averaged(mean),
    "sun_azimuth": _averaged(mean_angle),
    "sun_elevation": _averaged(mean),
    "valid_fraction": _share,
    "clear_fraction": _share,
}
