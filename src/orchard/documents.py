"""The documents of an order, and the keys of its tasks (pure)."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from . import __version__
from .errors import InputError
from .tracking import State, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from .collections import Collection
    from .engines import TaskPlan
    from .grid import Tile, TileGrid
    from .orders import OrderSpec, TaskRequest, Templates

__all__ = [
    "encode",
    "image_document",
    "order_key",
    "task_key",
    "task_keys",
    "tracking_document",
]

FORMAT = 1
"""Version of what a task makes: raised when the same task would give other pixels or names."""

_PROGRAM = {"name": "orchard", "version": __version__}


def encode(document: Mapping[str, Any]) -> bytes:
    """Write a document as JSON, indented for people."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)


def task_key(
    request: TaskRequest,
    collection: Collection,
    export: Mapping[str, Any],
    engine: str,
    content: Mapping[str, Any],
) -> str:
    """Derive a task's key from its content: what is made, from what, how, and where it goes.

    Returns
    -------
    str
        24 capital letters and digits, as Earth Engine's task ids have.
    """
    return task_keys([request], {request.collection: collection}, export, engine, content)[0]


def task_keys(
    requests: Sequence[TaskRequest],
    collections: Mapping[str, Collection],
    export: Mapping[str, Any],
    engine: str,
    content: Mapping[str, Any],
) -> list[str]:
    """Derive the keys of many tasks; see `task_key`."""
    shared: dict[str, Any] = {"format": FORMAT, "engine": engine, "content": content}
    made_of = {name: _collection_key(collection) for name, collection in collections.items()}
    # By the id of the tile, as hashing one takes longer.
    tiles = {id(request.tile): request.tile for request in requests}
    tile_keys = {number: _tile_key(tile) for number, tile in tiles.items()}
    return [
        _digest(
            {
                **shared,
                "collection": made_of[request.collection],
                "output": [request.prefix, request.name],
                "tile": tile_keys[id(request.tile)],
                "period": [request.period.start, request.period.end],
                "filters": request.filters,
                "export": export,
            }
        )
        for request in requests
    ]


def order_key(keys: Iterable[str]) -> str:
    """Derive an order's key from those of its tasks."""
    return _digest(list(keys))


def _collection_key(collection: Collection) -> str:
    """Stand for all of a collection but the words for people; the order of its bands counts."""
    words: Any = {"title": True, "bands": {"__all__": {"description", "units"}}}
    if collection.earthengine is None:
        words["earthengine"] = True  # so that keys stay what they were before there was this
    return _digest([list(collection.bands), collection.model_dump(mode="json", exclude=words)])


# Digits as those of Earth Engine's ids, which have no 0, 1, 8 and 9: many times faster than base32.
_LETTERS = str.maketrans("0189abcdef", "WXYZABCDEF")


def _digest(content: Any) -> str:
    try:
        data = orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InputError(
            f"the order cannot be written down ({error}): filters and export_image_kwds must be "
            "numbers, text, lists and mappings"
        ) from None
    return hashlib.blake2b(data, digest_size=12).hexdigest().translate(_LETTERS)


def _tile_key(tile: Tile) -> str:
    # The CRS as it was given: its WKT is another one with each version of PROJ.
    return _place_key(tile.crs.srs, tile.index, tuple(tile.bounds), tile.res, tile.size)


@lru_cache(maxsize=65536)
def _place_key(*place: Any) -> str:
    return _digest(place)


@lru_cache(maxsize=65536)
def _tile(tile: Tile) -> dict[str, Any]:
    """Describe a tile; the documents of many tasks share it."""
    return tile.to_dict()


def image_document(
    plan: TaskPlan,
    collection: Collection,
    *,
    order: str,
    status: TaskStatus | Mapping[str, Any],
    service: str,
    export: Mapping[str, Any],
    submitted: datetime,
    description: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the image metadata of a planned task (see the formats).

    Parts of it are shared with other documents and not to be changed; `description` is that of the
    collection, where many tasks have it.
    """
    request = plan.request
    as_json = status.to_dict() if isinstance(status, TaskStatus) else status
    return {
        "program": _PROGRAM,
        "order": {
            "name": order,
            "collection": request.collection,
            "date_start": request.period.start.isoformat(),
            "date_end": request.period.end.isoformat(),
            "filters": list(request.filters),
            "submitted": submitted.isoformat(),
        },
        "tile": _tile(request.tile),
        "store": {"service": service, "export_image_kwds": dict(export)},
        "task": {"name": request.name, "prefix": request.prefix, "status": as_json},
        "image": {
            "bands": list(collection.bands),
            "nodata": collection.json_nodata,
            "dtype": collection.dtype,
            "dates": [acquisition.day.isoformat() for acquisition in plan.acquisitions],
            "images": [
                [scene.metadata for scene in acquisition.scenes]
                for acquisition in plan.acquisitions
            ],
        },
        "collection": collection.describe() if description is None else description,
    }


def tracking_document(
    spec: OrderSpec,
    plans: Sequence[TaskPlan],
    keys: Sequence[str],
    *,
    name: str,
    prefix: str,
    grid: TileGrid,
    templates: Templates,
    engine: str,
    export: Mapping[str, Any],
    submitted: datetime,
    empty_metadata: bool = True,
    priority: int = 0,
) -> dict[str, Any]:
    """Return the record of an order before any of its tasks has started."""
    at = int(submitted.timestamp() * 1000)
    status = {
        state: TaskStatus(
            id="", state=state, creation_timestamp_ms=at, update_timestamp_ms=at
        ).to_dict()
        for state in (State.UNSUBMITTED, State.EMPTY)
    }
    return {
        "program": _PROGRAM,
        "submission": {
            "submitted": submitted.isoformat(),
            "collections": list(spec.collections),
            "tile_grid": grid.to_dict(),
            "tile_indices": [list(tile.index) for tile in spec.tiles],
            "period_start": spec.period.start.isoformat(),
            "period_end": spec.period.end.isoformat(),
            "period_freq": spec.period_freq,
        },
        "tracking": {
            "submitted": submitted.isoformat(),
            "name": name,
            "prefix": prefix,
            "key": order_key(keys),
            "engine": engine,
            "collections": list(spec.collections),
            "tiles": [tile.to_dict() for tile in spec.tiles],
            "name_template": templates.name,
            "prefix_template": templates.prefix,
            "filters": {
                plan.request.collection: list(plan.request.filters)
                for plan in plans
                if plan.request.filters
            },
            "export_image_kwds": dict(export),
            "empty_metadata": empty_metadata,
            "priority": priority,
        },
        "orders": [
            {
                "name": plan.request.name,
                "prefix": plan.request.prefix,
                "key": key,
                "status": {
                    **status[State.UNSUBMITTED if plan.acquisitions else State.EMPTY],
                    "id": key,
                },
            }
            for plan, key in zip(plans, keys, strict=True)
        ],
        "metadata": [
            f"{plan.request.prefix}/{plan.request.name}.json"
            for plan in plans
            if plan.acquisitions or empty_metadata
        ],
    }
