"""Tells what is in a cube."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchard.errors import DataError

from .existing import read_record
from .open import find_cubes, item_of

if TYPE_CHECKING:
    import os

__all__ = ["info"]

_FORMATS = {".nc": "netcdf", ".zarr": "zarr", ".cog": "cog"}


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Tell what is in a cube, without reading its pixels.

    Parameters
    ----------
    path : path
        Of one cube.

    Returns
    -------
    dict
        JSON-safe: ``path``, ``format``, ``bytes``, ``tile`` (row, col), ``crs``, ``bounds`` (left,
        bottom, right, top), ``shape`` (time, y, x), ``bands`` (name, dtype, nodata, scale, …),
        ``steps`` (time, solar day, collection, scenes, tasks, clear and valid fraction),
        ``sources`` (tasks, documents, files and their checksums) and ``options``.

    Raises
    ------
    InputError
        When there is no such cube.
    DataError
        When it is not whole, or not one of Orchard's.
    """
    (cube,) = find_cubes(path)[:1]
    record = read_record(cube)
    if record is None:
        raise DataError(f"{cube}: does not tell how it was made; it is not a cube of Orchard")
    item = json.loads(item_of(cube).read_bytes())
    properties = item["properties"]
    steps: list[dict[str, Any]] = [{} for _ in record.tasks]
    for document, numbers in zip(record.documents, record.steps, strict=True):
        for number, acquisition in zip(numbers, document.acquisitions, strict=True):
            steps[number] = {
                "time": acquisition.time.isoformat(),
                "solar_day": str(acquisition.day),
                "collection": document.collection_id,
                "scenes": [scene.id for scene in acquisition.scenes],
                "tasks": list(record.tasks[number]),
            }
    for name, values in properties["orchard:measured"].items():
        for step, value in zip(steps, values, strict=True):
            step[name] = value
    assets = item["assets"].values()
    tile = record.documents[0].tile
    bands = {band["name"]: band for asset in assets for band in asset["bands"]}
    return {
        "path": str(cube),
        "format": _FORMATS[cube.suffix],
        "bytes": sum(asset["file:size"] for asset in assets),
        "tile": list(tile.index),
        "crs": properties["proj:code"] or properties["proj:wkt2"],
        "bounds": properties["proj:bbox"],
        "shape": [len(steps), *properties["proj:shape"]],
        "bands": list(bands.values()),
        "steps": steps,
        "sources": properties["orchard:sources"],
        "options": properties["orchard:options"],
    }
