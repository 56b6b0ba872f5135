"""Planning: the scenes of many tasks in one computed value."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from orchard.collections import get_collection
from orchard.engines import PlannedAcquisition, PlannedScene, TaskPlan
from orchard.errors import CatalogError, CollectionError, EngineError, InputError
from orchard.filters import parse_filters

from .expression import build_collection, build_region
from .failures import Failure, RefusedError, classify
from .spec import tile_ring
from .splitting import Limits, expression_size, first_generation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchard.collections import Collection
    from orchard.grid import Tile
    from orchard.orders import TaskRequest

    from .client import Client

__all__ = ["plan_tasks"]

_INDEX, _TIME = "system:index", "system:time_start"


@dataclass(kw_only=True)
class _Query:
    """The scenes of one collection over one tile: one for all its periods."""

    collection: Collection
    tile: Tile
    filters: tuple[Mapping[str, Any], ...]
    start: datetime
    end: datetime
    tasks: list[int] = field(default_factory=list)
    found: list[PlannedScene] = field(default_factory=list)


def plan_tasks(
    requests: Sequence[TaskRequest],
    collections: Mapping[str, Collection],
    client: Client,
    *,
    limits: Limits,
    callback: Callable[..., None] | None = None,
) -> list[TaskPlan]:
    """Find the scenes of every task; in the order of the requests.

    Raises
    ------
    InputError
        For a task that would break a limit, with the numbers.
    CatalogError
        When the service cannot tell the scenes.
    """
    for request in requests:
        parse_filters(request.filters)
    queries = _group(requests, collections)
    plans: dict[int, TaskPlan] = {}
    for batch in _batches(queries, limits.places):
        _ask(batch, client)
        for query in batch:
            for position in query.tasks:
                plan = _plan(requests[position], query)
                _check(plan, query.collection, limits)
                plans[position] = plan
                if callback:
                    callback(item=requests[position].name, n_steps=1)
    return [plans[position] for position in range(len(requests))]


def _group(requests: Sequence[TaskRequest], collections: Mapping[str, Collection]) -> list[_Query]:
    queries: dict[tuple[Any, ...], _Query] = {}
    for position, request in enumerate(requests):
        key = (request.collection, request.tile, orjson.dumps(request.filters))
        if key not in queries:
            queries[key] = _Query(
                collection=get_collection(request.collection, collections),
                tile=request.tile,
                filters=request.filters,
                start=request.period.start,
                end=request.period.end,
            )
        query = queries[key]
        query.start = min(query.start, request.period.start)
        query.end = max(query.end, request.period.end)
        query.tasks.append(position)
    return list(queries.values())


def _batches(queries: Sequence[_Query], places: int) -> Iterator[list[_Query]]:
    """Put together what one request can ask: one collection, the same filters."""
    alike = itertools.groupby(queries, key=lambda q: (q.collection.id, orjson.dumps(q.filters)))
    for _, group in alike:
        together = list(group)
        for start in range(0, len(together), places):
            yield together[start : start + places]


def _ask(batch: Sequence[_Query], client: Client) -> None:
    """Fill in the scenes of a batch; one that is too much for the service is halved."""
    client.activate()
    names = (_INDEX, _TIME, *_properties(batch[0].collection))
    try:
        answer = client.compute(_expression(batch, names))
    except RefusedError as error:
        if classify(str(error)) is Failure.TOO_LARGE and len(batch) > 1:
            middle = len(batch) // 2
            _ask(batch[:middle], client)
            _ask(batch[middle:], client)
            return
        raise _explained(error, batch[0].collection) from error
    for query, rows in zip(batch, answer, strict=True):
        scenes = [_scene(dict(zip(names, row, strict=True)), query.collection) for row in rows]
        query.found = sorted(scenes, key=lambda scene: (scene.time, scene.id))


def _explained(error: RefusedError, collection: Collection) -> EngineError:
    if "not found" in str(error) and collection.earthengine_id in str(error):
        return CollectionError(  # type: ignore[return-value]  # the caller's input is wrong
            f"Earth Engine has no image collection {collection.earthengine_id!r}, or does not let "
            "this project see it"
        )
    return CatalogError(f"the scenes of {collection.id} cannot be listed: {error}")


def _properties(collection: Collection) -> list[str]:
    return [name for name in collection.metadata if name not in {_INDEX, _TIME}]


def _expression(batch: Sequence[_Query], names: Sequence[str]) -> Any:
    """Build the list, for each query, of the properties of its scenes.

    Columns are collected, not images: nothing but the properties travels, and the service's limit
    of 5,000 elements to a list of images does not apply.
    """
    import ee

    first = batch[0]
    start = min(query.start for query in batch)
    end = max(query.end for query in batch)
    scenes = build_collection(
        first.collection.earthengine_id, _milliseconds(start), _milliseconds(end), first.filters
    )
    # Properties that a scene may lack come last: the reducer takes null for these.
    reducer = ee.Reducer.toList(len(names), len(names) - 2)
    lists = []
    for query in batch:
        here = scenes.filterBounds(build_region(tile_ring(query.tile)))
        if (query.start, query.end) != (start, end):
            here = here.filterDate(_milliseconds(query.start), _milliseconds(query.end))
        lists.append(here.reduceColumns(reducer, list(names)).get("list"))
    return ee.List(lists)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _scene(row: Mapping[str, Any], collection: Collection) -> PlannedScene:
    milliseconds = round(row[_TIME])
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    kept = {name: row[name] for name in collection.metadata if row.get(name) is not None}
    return PlannedScene(
        id=row[_INDEX],
        time=time,
        metadata={"id": row[_INDEX], _TIME: milliseconds, **kept},
        source={"index": row[_INDEX]},
    )


def _plan(request: TaskRequest, query: _Query) -> TaskPlan:
    """Pick the scenes of a task and group them by solar day."""
    period, longitude = request.period, request.tile.center_lonlat[0]
    scenes = [scene for scene in query.found if period.start <= scene.time < period.end]
    days = itertools.groupby(scenes, key=lambda scene: solar_day(scene.time, longitude))
    return TaskPlan(
        request=request,
        acquisitions=tuple(PlannedAcquisition(day=day, scenes=tuple(group)) for day, group in days),
    )


def solar_day(time: datetime, longitude: float) -> date:
    """Return the day of a moment by the sun's mean time at a longitude (degrees east)."""
    return (time + timedelta(hours=longitude / 15)).date()


def _check(plan: TaskPlan, collection: Collection, limits: Limits) -> None:
    """Refuse an image that Earth Engine could not make, before anything is recorded.

    One of too many dates is made in parts of its period; so only a single date can be too much.
    """
    if math.isnan(collection.nodata):
        raise InputError(
            f"collection {collection.id!r}: Earth Engine cannot be told that NaN is nodata: give "
            "'nodata' a number"
        )
    scenes, n_bands = [len(day.scenes) for day in plan.acquisitions], len(collection.bands)
    if first_generation(scenes, n_bands, limits) is not None:
        return
    advice = "configure fewer bands, or filter the scenes"
    if n_bands > limits.bands:
        raise InputError(
            f"task {plan.request.name!r}: a date has {n_bands} bands, Earth Engine takes "
            f"{limits.bands} an image: {advice}"
        )
    worst = max(scenes)
    size = expression_size(worst, 1, n_bands)
    raise InputError(
        f"task {plan.request.name!r}: an expression of about {size} bytes for the {worst} scenes "
        f"of a single date, Earth Engine takes {limits.expression}: {advice}"
    )
