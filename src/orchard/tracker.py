"""The tracker: submit an order, follow it to its end, get and clean what came of it."""

from __future__ import annotations

import builtins
import fnmatch
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import orjson

from . import delivery
from .documents import encode, image_document, order_key, task_key, tracking_document
from .engines import Engine, Forgets, Retries, Task, TaskPlan, Works
from .errors import (
    ConflictError,
    EmptyOrderError,
    InputError,
    MetadataError,
    NotFoundError,
    OrderError,
    OrderExistsError,
    OrderNotFoundError,
)
from .orders import (
    NAME_TEMPLATE,
    PREFIX_TEMPLATE,
    TRACKING_PREFIX,
    TRACKING_TEMPLATE,
    OrderSpec,
    Period,
    Templates,
    expand,
    parse_indices,
    parse_time,
    split_period,
)
from .tracking import FAILED_STATES, State, TaskStatus, TrackingInfo, can_become

if TYPE_CHECKING:
    from pathlib import Path

    from .collections import Collection
    from .grid import TileGrid
    from .stores import Store

__all__ = ["OrderPlan", "Tracker"]

Callback = Callable[..., None]
_SETTLED = frozenset({State.COMPLETED, State.EMPTY})
_WRITERS = 8
_TRIES = 100


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


class Tracker:
    """Submits orders to an engine and tracks them in a store.

    Parameters
    ----------
    tile_grid : TileGrid
    store : Store
        Where images, metadata and tracking documents go.
    name_template, prefix_template, tracking_template : str
        Names of images, of their folder and of orders; see `orchard.orders.Templates`.
    tracking_prefix : str
        Folder of the tracking documents.
    filters : mapping of str to list, or list, optional
        Filters by collection, or for every collection.
    export_image_kwds : mapping, optional
        ``fileDimensions`` (pixels of a shard, one number or (width, height)), ``shardSize`` (block
        size of the files), ``cloudOptimized``, ….
    engine : Engine, optional
        What makes the images; without one, orders can be listed, read, downloaded and cleaned.
    collections : mapping, optional
        The known collections; by default the registry.
    """

    def __init__(
        self,
        tile_grid: TileGrid,
        store: Store,
        name_template: str = NAME_TEMPLATE,
        prefix_template: str = PREFIX_TEMPLATE,
        tracking_template: str = TRACKING_TEMPLATE,
        tracking_prefix: str = TRACKING_PREFIX,
        filters: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
        export_image_kwds: Mapping[str, Any] | None = None,
        *,
        engine: Engine | None = None,
        collections: Mapping[str, Collection] | None = None,
    ) -> None:
        self.tile_grid = tile_grid
        self.store = store
        self.templates = Templates(
            name=name_template, prefix=prefix_template, tracking=tracking_template
        )
        self.tracking_prefix = tracking_prefix.strip("/")
        self.filters = filters
        self.export_image_kwds = dict(export_image_kwds or {})
        self._engine = engine
        self._collections = collections

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises
        ------
        InputError
            When the tracker has none.
        """
        if self._engine is None:
            raise InputError("this tracker has no engine: pass engine=orchard.open_engine(…)")
        return self._engine

    @property
    def collections(self) -> Mapping[str, Collection]:
        """The known collections, by id."""
        if self._collections is None:
            from .collections import load_collections

            self._collections = load_collections()
        return self._collections

    # Ordering

    def plan(
        self,
        collections: str | Sequence[str],
        tile_indices: tuple[int, int] | Sequence[tuple[int, int]],
        period_start: str | date | datetime,
        period_end: str | date | datetime,
        period_freq: str | None = None,
        *,
        callback: Callback | None = None,
    ) -> OrderPlan:
        """Find out what an order would make; writes nothing.

        Takes what `submit` takes, and raises what it raises before it writes.
        """
        spec = self._spec(collections, tile_indices, period_start, period_end, period_freq)
        return self._plan(spec, datetime.now(UTC), callback)

    def submit(
        self,
        collections: str | Sequence[str],
        tile_indices: tuple[int, int] | Sequence[tuple[int, int]],
        period_start: str | date | datetime,
        period_end: str | date | datetime,
        period_freq: str | None = None,
        save_empty_metadata: bool = True,
        error_if_empty: bool = False,
        *,
        callback: Callback | None = None,
    ) -> tuple[str, str]:
        """Order collections x tiles x periods.

        Parameters
        ----------
        collections : str or sequence of str
            Ids of the collections.
        tile_indices : (row, col) or sequence of (row, col)
        period_start, period_end : str, date or datetime
            ``[start, end)``; UTC where no time zone is given.
        period_freq : str, optional
            A pandas offset that splits the period, see `orchard.orders.split_period`.
        save_empty_metadata : bool
            Whether tasks for which no image was found leave an image metadata document too.
        error_if_empty : bool
            Whether to refuse an order for which no image at all was found.
        callback : callable, optional
            ``callback(item=…, n_steps=…)``: one step for each task that is planned.

        Returns
        -------
        name, id : str
            The order's tracking name, and the key of its tracking document in the store.
            Submitting the same order again goes on where it was left and starts nothing twice.

        Raises
        ------
        InputError
            For what cannot be meant; nothing was written then.
        OrderExistsError
            When the name, or an image of it, belongs to another order; nothing was written then.
        EmptyOrderError
            See `error_if_empty`; nothing was written then.
        """
        spec = self._spec(collections, tile_indices, period_start, period_end, period_freq)
        order = self._plan(spec, datetime.now(UTC), callback)
        if error_if_empty and order.n_empty == len(order.plans):
            raise EmptyOrderError(
                f"no image was found for any of the {len(order.plans)} tasks: check the "
                "collections, tiles, period and filters"
            )
        name = self._record(order, save_empty_metadata)
        self._start(name, order)
        return name, self._document(name)

    def _spec(
        self,
        collections: str | Sequence[str],
        tile_indices: tuple[int, int] | Sequence[tuple[int, int]],
        period_start: str | date | datetime,
        period_end: str | date | datetime,
        period_freq: str | None,
    ) -> OrderSpec:
        from .collections import get_collection

        names = (collections,) if isinstance(collections, str) else tuple(collections)
        if not names:
            raise InputError("collections is empty: name at least one")
        for name in names:
            get_collection(name, self.collections)
        period = Period(
            start=parse_time(period_start, what="period_start"),
            end=parse_time(period_end, what="period_end"),
        )
        split_period(period.start, period.end, period_freq)
        return OrderSpec(
            collections=tuple(dict.fromkeys(names)),
            tiles=parse_indices(tile_indices, self.tile_grid),
            period=period,
            period_freq=period_freq,
        )

    def _plan(self, spec: OrderSpec, now: datetime, callback: Callback | None) -> OrderPlan:
        from .filters import parse_filters

        name = self.templates.tracking_name(spec, now)
        given = self.filters or {}
        by_collection = (
            given if isinstance(given, Mapping) else dict.fromkeys(spec.collections, given)
        )
        filters = {
            collection: [f.to_dict() for f in parse_filters(some)]
            for collection, some in by_collection.items()
        }
        requests = expand(spec, self.templates, filters, now)
        used = {collection: self.collections[collection] for collection in spec.collections}
        plans = self.engine.plan(requests, used, callback)
        keys = tuple(
            task_key(
                request,
                used[request.collection],
                self.export_image_kwds,
                self.engine.name,
                self.engine.content,
            )
            for request in requests
        )
        return OrderPlan(
            name=name, spec=spec, plans=tuple(plans), keys=keys, submitted=now, collections=used
        )

    def _record(self, order: OrderPlan, save_empty: bool) -> str:
        """Write down what will be done, before any of it is; return the order's name."""
        known = self._same_order(order)
        if known is not None:
            return known
        document = tracking_document(
            order.spec,
            order.plans,
            order.keys,
            name=order.name,
            prefix=self.tracking_prefix,
            grid=self.tile_grid,
            templates=self.templates,
            engine=self.engine.name,
            export=self.export_image_kwds,
            submitted=order.submitted,
        )
        recorded = [
            (plan, status["key"], status["status"])
            for plan, status in zip(order.plans, document["orders"], strict=True)
            if plan.acquisitions or save_empty
        ]
        document["metadata"] = [_metadata_key(plan) for plan, _, _ in recorded]
        try:
            self.store.put(self._document(order.name), encode(document), if_absent=True)
        except ConflictError:
            # Somebody submitted under this name since we looked.
            known = self._same_order(order)
            if known is None:
                raise
            return known
        self._put_metadata(order, order.name)
        return order.name

    def _put_metadata(self, order: OrderPlan, name: str) -> None:
        """Write the image metadata that the order's document lists."""
        info = self.read(name)
        listed = set(info["metadata"])

        def put(position: int) -> None:
            plan = order.plans[position]
            document = image_document(
                plan,
                order.collections[plan.request.collection],
                order=name,
                status=info.statuses[position],
                service=type(self.store).__name__,
                export=self.export_image_kwds,
                submitted=order.submitted,
            )
            self.store.put(_metadata_key(plan), encode(document))

        wanted = [p for p, plan in enumerate(order.plans) if _metadata_key(plan) in listed]
        with ThreadPoolExecutor(_WRITERS) as pool:
            for _ in pool.map(put, wanted):
                pass

    def _same_order(self, order: OrderPlan) -> str | None:
        """Return the name under which this very order is already there.

        Raises
        ------
        OrderExistsError
            When its name, or one of its images, belongs to another order.
        """
        try:
            info = self.read(order.name)
        except OrderNotFoundError:
            pass
        else:
            if info["tracking"].get("key") == order_key(order.keys):
                return order.name
            raise OrderExistsError(
                f"there is already another order named {order.name!r}: clean it first, or make "
                "tracking_template tell them apart (add {now}, {collections} or {tiles})"
            )
        owners = self._owners(order)
        for owner, names in owners.items():
            if len(names) == len(order.plans):
                info = self.read(owner)
                if info["tracking"].get("key") == order_key(order.keys):
                    return owner
            raise OrderExistsError(
                f"the image {names[0]!r} already belongs to the order {owner!r} ({len(names)} of "
                f"{len(order.plans)} do): clean that order first, or change name_template or "
                "prefix_template"
            )
        return None

    def _owners(self, order: OrderPlan) -> dict[str, list[str]]:
        """Return which orders the images of an order already belong to."""
        there = {
            info.key
            for prefix in {plan.request.prefix for plan in order.plans}
            for info in self.store.list(prefix)
        }
        owners: dict[str, list[str]] = {}
        for plan in order.plans:
            if (key := _metadata_key(plan)) in there:
                data = _json(self.store.get(key)[0], key)
                owner = str((data.get("order") or {}).get("name") or "")
                try:
                    self.read(owner)
                except (OrderNotFoundError, InputError):
                    continue  # what an interrupted clean or submit left behind
                owners.setdefault(owner, []).append(plan.request.name)
        return owners

    def _start(self, name: str, order: OrderPlan) -> None:
        """Start what has not been started, and record it."""
        info = self.read(name)
        positions = [
            position
            for position, status in enumerate(info.statuses)
            if status.state is State.UNSUBMITTED
        ]
        if not positions:
            return
        tasks = [
            Task(
                key=order.keys[position],
                order=name,
                plan=order.plans[position],
                collection=order.collections[order.plans[position].request.collection],
                export=self.export_image_kwds,
            )
            for position in positions
        ]
        started = dict(zip(positions, self.engine.start(tasks, self.store), strict=True))
        self._change(name, lambda _: started)

    def resume(self, name: str) -> None:
        """Start the tasks of an order that a crash left unsubmitted; does nothing otherwise.

        Raises
        ------
        OrderError
            When the order cannot be planned as it was: the configuration has changed since.
        """
        info = self.read(name)
        if State.UNSUBMITTED not in info.states:
            return
        submission = info["submission"]
        spec = self._spec(
            submission["collections"],
            [tuple(index) for index in submission["tile_indices"]],
            submission["period_start"],
            submission["period_end"],
            submission["period_freq"],
        )
        order = self._plan(spec, parse_time(submission["submitted"]), None)
        if order_key(order.keys) != info["tracking"].get("key"):
            raise OrderError(
                f"order {name!r} was interrupted while it was submitted, and the configuration has "
                "changed since: restore it, or clean the order and submit anew"
            )
        self._put_metadata(order, info.name)
        self._start(info.name, order)

    # Tracking

    def list(self, pattern: str | None = None) -> list[str]:
        """Return the names of the tracked orders, sorted.

        Parameters
        ----------
        pattern : str, optional
            A part of the name, or a pattern with ``*``, ``?`` and ``[…]``. None: all.
        """
        start = len(self.tracking_prefix) + 1 if self.tracking_prefix else 0
        names = [
            info.key[start:].removesuffix(".json")
            for info in self.store.list(self.tracking_prefix)
            if info.key.endswith(".json") and "/" not in info.key[start:]
        ]
        if pattern is not None:
            pattern = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
            names = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        return sorted(names)

    def read(self, name: str) -> TrackingInfo:
        """Return the record of an order as it was last updated.

        Raises
        ------
        OrderNotFoundError
            There is no order of this name.
        """
        return self._read(name)[0]

    def _read(self, name: str) -> tuple[TrackingInfo, str | None]:
        key = self._document(name)
        try:
            data, stored = self.store.get(key)
        except NotFoundError:
            raise OrderNotFoundError(
                f"there is no order {name!r} in {self.store.url}: 'orchard status list' names all"
            ) from None
        try:
            return TrackingInfo(_json(data, key)), stored.etag
        except MetadataError as error:
            raise MetadataError(f"{key}: {error}") from None

    def _document(self, name: str) -> str:
        name = name.removesuffix(".json")
        if not name or "/" in name:
            raise InputError(f"{name!r} is not the name of an order")
        return f"{self.tracking_prefix}/{name}.json".lstrip("/")

    def _change(
        self, name: str, decide: Callable[[TrackingInfo], Mapping[int, TaskStatus]]
    ) -> TrackingInfo:
        """Change statuses by compare-and-swap: what another process wrote meanwhile is kept."""
        for attempt in range(_TRIES):
            info, etag = self._read(name)
            statuses = {
                position: self._located(info, position, status)
                for position, status in decide(info).items()
                if _is_news(info.statuses[position], status)
            }
            if not statuses:
                return info
            changed = info.with_statuses(statuses)
            try:
                self.store.put(self._document(name), encode(dict(changed)), if_match=etag)
            except ConflictError:
                time.sleep(min(0.01 * attempt, 0.5))
                continue
            return changed
        raise ConflictError(
            f"order {name!r} is being updated by others without pause: try again",
            key=self._document(name),
        )

    def _located(self, info: TrackingInfo, position: int, status: TaskStatus) -> TaskStatus:
        if status.state is not State.COMPLETED or status.output_url:
            return status
        folder = f"{self.store.url.rstrip('/')}/{info.orders[position]['prefix']}".rstrip("/")
        return replace(status, output_url=tuple(f"{folder}/{file.name}" for file in status.files))

    def update(self, name: str) -> TrackingInfo:
        """Ask the engine how an order's tasks are, record it and return the record."""

        def ask(info: TrackingInfo) -> dict[int, TaskStatus]:
            open_ = [
                (position, status)
                for position, status in enumerate(info.statuses)
                if status.state not in _SETTLED
            ]
            if not open_:
                return {}
            found = self.engine.poll([status.id for _, status in open_], self.store)
            return {
                position: found.get(status.id) or self._forgotten(info, position, status)
                for position, status in open_
            }

        return self._change(name, ask)

    def _forgotten(self, info: TrackingInfo, position: int, status: TaskStatus) -> TaskStatus:
        """Judge a task that the engine does not know by what is in the store."""
        if status.state in FAILED_STATES or status.state is State.UNSUBMITTED:
            return status
        files = delivery.complete_files(info, position, self.store)
        if files is not None:
            return status.moved(State.COMPLETED, files=files)
        return status.moved(
            State.LOST,
            error_message="the engine has forgotten the task before all its files were there",
        )

    def wait(
        self, name: str, timeout: float | None = None, callback: Callback | None = None
    ) -> TrackingInfo:
        """Wait until every task of an order has ended; the local engine works while you wait.

        Parameters
        ----------
        name : str
        timeout : float, optional
            Seconds after which to return in any case.
        callback : callable, optional
            ``callback(item=…, n_steps=…)``; the steps of a whole order add up to its tasks.

        Returns
        -------
        TrackingInfo
            Updated.
        """
        until = None if timeout is None else time.monotonic() + timeout
        self.resume(name)
        engine, info = self.engine, self.update(name)
        _report(callback, name, sum(status.state in _ENDED for status in info.statuses))
        if isinstance(engine, Works):
            ids = [status.id for status in info.statuses if status.state not in _ENDED]
            try:
                if ids:
                    engine.work(ids, self.store, timeout=timeout, callback=callback)
            finally:
                info = self.update(name)
            return info
        pause = 1.0
        while not info.ended and (until is None or time.monotonic() < until):
            left = pause if until is None else min(pause, until - time.monotonic())
            time.sleep(max(left, 0))
            pause = min(pause * 1.5, 60.0)
            before, info = info, self.update(name)
            done = sum(s.state in _ENDED for s in info.statuses)
            _report(callback, name, done - sum(s.state in _ENDED for s in before.statuses))
        return info

    def cancel(self, name: str) -> TrackingInfo:
        """Cancel what has not ended: READY tasks at once, RUNNING ones within seconds.

        Results that are completed stay, and so does the order's record.
        """
        self.update(name)

        def cancel(info: TrackingInfo) -> dict[int, TaskStatus]:
            open_ = {p: s for p, s in enumerate(info.statuses) if s.state not in _ENDED}
            found = self.engine.cancel([status.id for status in open_.values()], self.store)
            return {p: found.get(s.id) or s.moved(State.CANCELLED) for p, s in open_.items()}

        return self._change(name, cancel)

    def retry(self, name: str, tasks: Iterable[str] | None = None) -> TrackingInfo:
        """Start anew what ended without a result: FAILED, CANCELLED and LOST tasks.

        Parameters
        ----------
        name : str
        tasks : iterable of str, optional
            Names or ids of tasks; None: all of them.

        Raises
        ------
        InputError
            For a name that is not a task's, or an engine that cannot retry.
        """
        engine = self.engine
        if not isinstance(engine, Retries):
            raise InputError(f"the engine {engine.name!r} cannot retry tasks: submit a new order")
        info = self.update(name)
        wanted = None if tasks is None else set(tasks)
        known = {order["name"] for order in info.orders} | {s.id for s in info.statuses}
        if wanted is not None and (unknown := wanted - known):
            raise InputError(f"order {name!r} has no task {min(unknown)!r}")
        chosen = {
            position: status
            for position, status in enumerate(info.statuses)
            if status.state in FAILED_STATES
            and (wanted is None or wanted & {status.id, info.orders[position]["name"]})
        }
        found = engine.retry([status.id for status in chosen.values()], self.store)
        return self._change(
            name, lambda _: {p: found[s.id] for p, s in chosen.items() if s.id in found}
        )

    # Delivery

    def download(
        self,
        tracking_info: TrackingInfo | Mapping[str, Any] | str,
        dest: str | Path,
        overwrite: bool = True,
        callback: Callback | None = None,
    ) -> dict[str, builtins.list[Path]]:
        """Download the images and metadata of an order.

        Parameters
        ----------
        tracking_info : TrackingInfo, mapping or str
            The order's record, or its name.
        dest : path
            Folder; made when it is not there.
        overwrite : bool
            Whether to download again what is already there, whole and verified.
        callback : callable, optional
            ``callback(item=…, n_steps=…)`` after each file.

        Returns
        -------
        dict of str to list of Path
            Task id -> files.

        Raises
        ------
        BulkError
            Naming each file that could not be had; all others were downloaded.
        """
        info = self._info(tracking_info)
        return delivery.download(info, self.store, dest, overwrite=overwrite, callback=callback)

    def clean(
        self,
        tracking_info: TrackingInfo | Mapping[str, Any] | str,
        tracking_name: str | None = None,
        callback: Callback | None = None,
    ) -> dict[str, builtins.list[str]]:
        """Delete exactly the files of an order from the store.

        Parameters
        ----------
        tracking_info : TrackingInfo, mapping or str
            The order's record, or its name.
        tracking_name : str, optional
            Delete the order's record, too: last, so that an interrupted clean can be repeated.
        callback : callable, optional
            ``callback(item=…, n_steps=…)``.

        Returns
        -------
        dict of str to list of str
            Task id -> keys deleted.
        """
        info = self._info(tracking_info)
        cleaned = delivery.clean(info, self.store, callback=callback)
        if isinstance(self._engine, Forgets):
            self._engine.forget([status.id for status in info.statuses], self.store)
        if tracking_name is not None:
            self.store.delete(self._document(tracking_name))
        return cleaned

    def _info(self, tracking_info: TrackingInfo | Mapping[str, Any] | str) -> TrackingInfo:
        if isinstance(tracking_info, str):
            return self.read(tracking_info)
        if isinstance(tracking_info, TrackingInfo):
            return tracking_info
        return TrackingInfo(tracking_info)


_ENDED = _SETTLED | FAILED_STATES


def _is_news(old: TaskStatus, new: TaskStatus) -> bool:
    """Whether a status may be recorded in place of another."""
    if new.state is old.state:
        return replace(new, output_url=()) != replace(old, output_url=())
    return (
        can_become(old.state, new.state)
        or can_become(old.state, new.state, retry=True)
        or (
            # Retried, and on its way since we last looked.
            old.state in FAILED_STATES
            and new.state is not State.UNSUBMITTED
            and new.attempt >= old.attempt
        )
    )


def _report(callback: Callback | None, item: str, steps: float) -> None:
    if callback and steps:
        callback(item=item, n_steps=steps)


def _metadata_key(plan: TaskPlan) -> str:
    return f"{plan.request.prefix}/{plan.request.name}.json"


def _json(data: bytes, key: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MetadataError(f"{key} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise MetadataError(f"{key} is not a JSON object")
    return document
