"""Ordering: what an order would make, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .documents import task_keys
from .errors import InputError
from .orders import (
    OrderSpec,
    Period,
    Templates,
    expand,
    parse_indices,
    parse_time,
    split_period,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from .collections import Collection
    from .engines import Engine, TaskPlan
    from .grid import TileGrid

__all__ = ["OrderPlan", "make_plan", "make_spec"]


@dataclass(frozen=True, kw_only=True)
class OrderPlan:
    """What an order would make.

    Parameters
    ----------
    name : str
        Its tracking name.
    spec : OrderSpec
    plans : tuple of TaskPlan
        One per task.
    keys : tuple of str
        The tasks' keys.
    submitted : datetime
        When it was planned, UTC.
    collections : mapping
        Of the collections that it uses.
    """

    name: str
    spec: OrderSpec
    plans: tuple[TaskPlan, ...]
    keys: tuple[str, ...]
    submitted: datetime
    collections: Mapping[str, Collection]

    @property
    def n_empty(self) -> int:
        """Tasks for which no image was found."""
        return sum(not plan.acquisitions for plan in self.plans)

    @property
    def n_acquisitions(self) -> int:
        """Dates of all images."""
        return sum(len(plan.acquisitions) for plan in self.plans)

    @property
    def n_scenes(self) -> int:
        """Scenes that are read, each counted once."""
        return len(
            {
                (plan.request.collection, scene.id)
                for plan in self.plans
                for acquisition in plan.acquisitions
                for scene in acquisition.scenes
            }
        )

    def pixels(self, plan: TaskPlan) -> int:
        """Pixels of a task's image, over all its bands and dates."""
        width, height = plan.request.tile.size
        bands = len(self.collections[plan.request.collection].bands)
        return width * height * bands * len(plan.acquisitions)

    @property
    def n_pixels(self) -> int:
        """Pixels of all images, over all bands and dates."""
        return sum(map(self.pixels, self.plans))

    @property
    def n_bytes(self) -> int:
        """Bytes of all images before compression."""
        import numpy as np

        size = {name: np.dtype(c.dtype).itemsize for name, c in self.collections.items()}
        return sum(self.pixels(plan) * size[plan.request.collection] for plan in self.plans)


def make_spec(
    collections: str | Sequence[str],
    tile_indices: tuple[int, int] | Sequence[tuple[int, int]],
    period_start: str | date | datetime,
    period_end: str | date | datetime,
    period_freq: str | None,
    *,
    grid: TileGrid,
    known: Mapping[str, Collection],
) -> OrderSpec:
    """Check what an order asks for; see `orchard.Tracker.submit`."""
    from .collections import get_collection

    names = (collections,) if isinstance(collections, str) else tuple(collections)
    if not names:
        raise InputError("collections is empty: name at least one")
    for name in names:
        get_collection(name, known)
    period = Period(
        start=parse_time(period_start, what="period_start"),
        end=parse_time(period_end, what="period_end"),
    )
    split_period(period.start, period.end, period_freq)
    return OrderSpec(
        collections=tuple(dict.fromkeys(names)),
        tiles=parse_indices(tile_indices, grid),
        period=period,
        period_freq=period_freq,
    )


def make_plan(
    spec: OrderSpec,
    now: datetime,
    *,
    templates: Templates,
    filters: Mapping[str, Sequence[Any]] | Sequence[Any] | None,
    export: Mapping[str, Any],
    engine: Engine,
    known: Mapping[str, Collection],
    records: str,
    callback: Callable[..., None] | None = None,
) -> OrderPlan:
    """Find out what an order would make; see `orchard.Tracker.plan`."""
    from .filters import parse_filters

    name = templates.tracking_name(spec, now)
    given = filters or {}
    by_collection = given if isinstance(given, Mapping) else dict.fromkeys(spec.collections, given)
    as_json = {
        collection: [f.to_dict() for f in parse_filters(some)]
        for collection, some in by_collection.items()
    }
    requests = expand(spec, templates, as_json, now)
    if any(request.prefix == records for request in requests):
        raise InputError(
            f"prefix_template puts images into {records!r}, the folder of the records "
            "(tracking_prefix): they must be different folders"
        )
    used = {collection: known[collection] for collection in spec.collections}
    plans = engine.plan(requests, used, callback)
    keys = task_keys(requests, used, export, engine.name, engine.content)
    return OrderPlan(
        name=name,
        spec=spec,
        plans=tuple(plans),
        keys=tuple(keys),
        submitted=now,
        collections=used,
    )
