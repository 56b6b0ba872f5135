"""Planning: which scenes make which task. One search serves all tasks of a collection."""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import shape

from orchard.collections import get_collection
from orchard.engines import PlannedAcquisition, PlannedScene, TaskPlan
from orchard.errors import CollectionError
from orchard.filters import parse_filters, translate

from .catalog import Items

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shapely.geometry.base import BaseGeometry

    from orchard.collections import Collection, StacSource
    from orchard.grid import Tile
    from orchard.orders import Period, TaskRequest

    from .catalog import Catalog, Item

__all__ = ["plan_tasks", "solar_day"]


def plan_tasks(
    requests: Sequence[TaskRequest],
    collections: Mapping[str, Collection],
    catalog: Catalog,
    callback: Callable[..., None] | None = None,
) -> list[TaskPlan]:
    """Find the scenes of every task; in the order of the requests."""
    plans: dict[int, TaskPlan] = {}
    of_collection: dict[str, list[int]] = defaultdict(list)
    for position, request in enumerate(requests):
        of_collection[request.collection].append(position)
    for name, positions in of_collection.items():
        planner = _Planner(get_collection(name, collections), catalog)
        planner.search([requests[position] for position in positions])
        for position in positions:
            plans[position] = planner.plan(requests[position])
            if callback:
                callback(item=requests[position].name, n_steps=1)
    return [plans[position] for position in range(len(requests))]


def solar_day(time: datetime, longitude: float) -> date:
    """Return the day of a moment by the sun's mean time at a longitude (degrees east).

    UTC shifted by longitude / 15 hours: one hour for each 15 degrees.
    """
    return (time + timedelta(hours=longitude / 15)).date()


class _Over:
    """The items over a tile, in time."""

    def __init__(self, tile: Tile, items: list[Item]) -> None:
        self.tile = tile
        self.longitude = tile.center_lonlat[0]
        self._items = items
        self._times = [item.time for item in items]

    def within(self, period: Period) -> list[Item]:
        """Return those in ``[start, end)``."""
        first = bisect.bisect_left(self._times, period.start)
        return self._items[first : bisect.bisect_left(self._times, period.end, first)]


class _Planner:
    """Plans the tasks of one collection."""

    def __init__(self, collection: Collection, catalog: Catalog) -> None:
        self.collection = collection
        self.catalog = catalog
        self.source: StacSource = collection.stac_for(catalog.href)
        self._areas: dict[Tile, BaseGeometry] = {}
        # By the id of the tile, as hashing one takes longer; all requests of a tile share it.
        self._over: dict[int, _Over] = {}
        self._scenes: dict[str, PlannedScene] = {}
        self._predicates: dict[int, Callable[[Mapping[str, Any]], bool]] = {}

    def search(self, requests: Sequence[TaskRequest]) -> None:
        """Ask the catalogue once, for all that the requests may need."""
        for request in {id(request.tile): request for request in requests}.values():
            self._areas[request.tile] = shape(request.tile.geojson()["geometry"])
        for request in requests:
            # Filters that cannot be translated are refused before anything is asked.
            self._predicate(request)
        area = shapely.unary_union(list(self._areas.values()))
        start = min(request.period.start for request in requests)
        end = max(request.period.end for request in requests)
        found = self.catalog.find(self.source.collection, area, start, end)
        self.items = Items(item for item in found if self.source.matches(item.properties))
        self.companions = {
            name: {item.id: item for item in self.catalog.find(name, area, start, end)}
            for name in self.source.companions
        }
        self._check_bands()

    def _check_bands(self) -> None:
        """Refuse a band that no scene has: the collection's description is wrong then."""
        missing = {rule.asset for rule in self._rules({}) if not rule.optional}
        for item in self.items:
            for rule in self._rules(item.properties):
                if self._asset(item, rule) is not None:
                    missing.discard(rule.asset)
            if not missing:
                return
        if len(self.items) and missing:
            has = ", ".join(sorted(self.items[0].assets))
            raise CollectionError(
                f"{self.collection.id}: no scene of {self.source.collection!r} has the asset "
                f"{min(missing)!r} (its scenes have {has}): mend collections: "
                f"{self.collection.id}: bands"
            )

    def _rules(self, properties: Mapping[str, Any]) -> list[Any]:
        return list(self.collection.source_rules(properties, self.source).values())

    def _asset(self, item: Item, rule: Any) -> Mapping[str, Any] | None:
        holder: Item | None = item
        if rule.companion:
            companion = self.source.companions[rule.companion]
            holder = self.companions[rule.companion].get(companion.item_id(item.id))
        return holder.assets.get(rule.asset) if holder else None

    def _predicate(self, request: TaskRequest) -> Callable[[Mapping[str, Any]], bool]:
        key = id(request.filters)  # all tasks of a collection share theirs
        if key not in self._predicates:
            filters = parse_filters(request.filters)
            self._predicates[key] = translate(filters, self.collection, self.source)
        return self._predicates[key]

    def plan(self, request: TaskRequest) -> TaskPlan:
        """Pick, group by solar day and order the scenes of one task."""
        tile, wanted = request.tile, self._predicate(request)
        over = self._over.get(id(tile))
        if over is None:
            over = self._over[id(tile)] = _Over(tile, self.items.over(self._areas[tile]))
        days = itertools.groupby(
            (item for item in over.within(request.period) if wanted(item.properties)),
            key=lambda item: solar_day(item.time, over.longitude),
        )
        return TaskPlan(
            request=request,
            acquisitions=tuple(
                PlannedAcquisition(day=day, scenes=tuple(map(self._scene, scenes)))
                for day, scenes in days
            ),
        )

    def _scene(self, item: Item) -> PlannedScene:
        """Describe a scene; tasks share it."""
        if item.id not in self._scenes:
            bands = {}
            rules = self.collection.source_rules(item.properties, self.source)
            for name, rule in rules.items():
                asset = self._asset(item, rule)
                if asset is not None:
                    bands[name] = {
                        "href": asset["href"],
                        "nodata": rule.nodata,
                        "shift": rule.subtract,
                    }
            self._scenes[item.id] = PlannedScene(
                id=item.id,
                time=item.time,
                metadata=self.collection.scene_metadata(
                    item.id, item.time, item.properties, self.source
                ),
                source={"id": item.id, "time": item.time.isoformat(), "bands": bands},
            )
        return self._scenes[item.id]
