"""The tracker: submit an order, follow it to its end, get and clean what came of it."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from . import delivery
from .collecting import not_collecting
from .documents import order_key
from .engines import Changes, Chooses, Engine, Forgets, Notes, Retries, Works
from .errors import (
    EmptyOrderError,
    InputError,
    OrderError,
)
from .ordering import OrderPlan, make_plan, make_spec
from .orders import (
    NAME_TEMPLATE,
    PREFIX_TEMPLATE,
    TRACKING_PREFIX,
    TRACKING_TEMPLATE,
    Templates,
    parse_time,
)
from .records import Records
from .stores import Sweeps
from .submitting import Submitter
from .tracking import FAILED_STATES, State, TaskStatus, TrackingInfo
from .watching import Meter, Snapshot

if TYPE_CHECKING:
    import builtins
    from pathlib import Path

    from .collections import Collection
    from .grid import TileGrid
    from .stores import Store

__all__ = ["OrderPlan", "Tracker"]

Callback = Callable[..., None]
_SETTLED = frozenset({State.COMPLETED, State.EMPTY})
_ENDED = _SETTLED | FAILED_STATES
# What is asked for: collections, tiles, start, end and frequency of the period.
_Asked = tuple[Any, Any, Any, Any, Any]


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
        self.records = Records(store, self.tracking_prefix)
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
            raise InputError(
                "this tracker has no engine: say 'engine:' in the configuration, or pass "
                "engine=orchard.open_engine(…)"
            )
        return self._engine

    @property
    def collections(self) -> Mapping[str, Collection]:
        """The known collections, by id."""
        if self._collections is None:
            from .collections import load_collections

            self._collections = load_collections()
        return self._collections

    # Ordering

    @not_collecting()
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
        order = (collections, tile_indices, period_start, period_end, period_freq)
        return self._plan(order, datetime.now(UTC), callback)

    @not_collecting()
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
        priority: int = 0,
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
        priority : int
            Of the tasks: higher ones go first, before those of other orders, too.
        callback : callable, optional
            ``callback(item=…, n_steps=…)``: one step for each task that is planned.

        Returns
        -------
        name, id : str
            The order's tracking name, and the key of its tracking document in the store.
            Submitting the same order again goes on where it was left and starts nothing twice; it
            keeps the name that it was first submitted under, whatever `tracking_template` says now
            (see `template_name`).

        Raises
        ------
        InputError
            For what cannot be meant; nothing was written then.
        OrderExistsError
            When the name, or an image of it, belongs to another order; nothing was written then.
        EmptyOrderError
            See `error_if_empty`; nothing was written then.
        """
        asked = (collections, tile_indices, period_start, period_end, period_freq)
        order = self._plan(asked, datetime.now(UTC), callback)
        if error_if_empty and order.n_empty == len(order.plans):
            raise EmptyOrderError(
                f"no image was found for any of the {len(order.plans)} tasks: check the "
                "collections, tiles, period and filters"
            )
        record = self._submitter.record(order, save_empty_metadata, priority)
        self._submitter.start(record, order)
        return record.info.name, self.records.key(record.info.name)

    @property
    def _submitter(self) -> Submitter:
        return Submitter(
            store=self.store,
            records=self.records,
            engine=self.engine,
            export=self.export_image_kwds,
            templates=self.templates,
            grid=self.tile_grid,
        )

    def _plan(self, asked: _Asked, now: datetime, callback: Callback | None) -> OrderPlan:
        spec = make_spec(*asked, grid=self.tile_grid, known=self.collections)
        if isinstance(self.engine, Chooses):
            self.engine.check_order(self.store, self.export_image_kwds, spec.tiles)
        return make_plan(
            spec,
            now,
            templates=self.templates,
            filters=self.filters,
            export=self.export_image_kwds,
            engine=self.engine,
            known=self.collections,
            records=self.tracking_prefix,
            callback=callback,
        )

    def resume(self, name: str) -> None:
        """Start the tasks of an order that a crash left unsubmitted; does nothing otherwise.

        Raises
        ------
        OrderError
            When the order cannot be planned as it was: the configuration has changed since.
        """
        record = self.records.read(name)
        info = record.info
        if State.UNSUBMITTED not in info.states:
            return
        self._submitter.start(record, self._planned_again(info))

    def template_name(self, info: TrackingInfo) -> str:
        """Return what `tracking_template` makes of an order: another name than it may have."""
        spec = make_spec(*_asked(info), grid=self.tile_grid, known=self.collections)
        submitted = parse_time(info["submission"]["submitted"])
        return self.templates.tracking_name(spec, submitted)

    def _planned_again(self, info: TrackingInfo) -> OrderPlan:
        """Plan an order as it was recorded."""
        order = self._plan(_asked(info), parse_time(info["submission"]["submitted"]), None)
        if order_key(order.keys) != info["tracking"].get("key"):
            raise OrderError(
                f"order {info.name!r} has tasks that the engine does not know, and the "
                "configuration has changed since it was submitted: restore it, or clean the order "
                "and submit anew"
            )
        return order

    # Tracking

    def list(self, pattern: str | None = None) -> list[str]:
        """Return the names of the tracked orders, sorted.

        Parameters
        ----------
        pattern : str, optional
            A part of the name, or a pattern with ``*``, ``?`` and ``[…]``. None: all.
        """
        names = list(self.records.versions())
        if pattern is not None:
            pattern = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
            names = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        return names

    def list_open(self) -> builtins.list[str]:
        """Return the names of the orders that have tasks which, by their record, have not ended."""
        return [name for name in self.list() if not self.read(name).ended]

    def tracked(self) -> dict[str, str]:
        """Return the names of the tracked orders, each with what changes whenever its record does.

        One listing of the store: whoever keeps records need read those only that have changed.
        """
        return self.records.versions()

    def read(self, name: str) -> TrackingInfo:
        """Return the record of an order as it was last updated.

        Raises
        ------
        OrderNotFoundError
            There is no order of this name.
        """
        return self.records.read(name).info

    @not_collecting()
    def update(self, name: str) -> TrackingInfo:
        """Ask the engine how an order's tasks are, record it and return the record."""
        record = self.records.read(name)
        info = record.info
        open_ = {
            position: order["status"]
            for position, order in enumerate(info.orders)
            if order["status"]["state"] not in _SETTLED
        }
        if not open_:
            return info
        ids = {position: str(status.get("id") or "") for position, status in open_.items()}
        if isinstance(self.engine, Changes):
            known = {ids[p]: _known(status) for p, status in open_.items()}
            found, unknown = self.engine.changes(info.name, known, self.store)
        else:
            found = self.engine.poll(list(ids.values()), self.store)
            unknown = set(ids.values()) - found.keys()
        news = {p: found[id_] for p, id_ in ids.items() if id_ in found}
        news |= {p: self._forgotten(info, p) for p, id_ in ids.items() if id_ in unknown}
        return record.change(news)

    def _forgotten(self, info: TrackingInfo, position: int) -> TaskStatus:
        """Judge a task that the engine does not know by what is in the store."""
        status = TaskStatus.from_dict(info.orders[position]["status"])
        if status.state in FAILED_STATES or status.state is State.UNSUBMITTED:
            return status
        files = delivery.complete_files(info, position, self.store)
        if files is not None:
            return status.moved(State.COMPLETED, files=files)
        return status.moved(
            State.LOST,
            error_message="the engine has forgotten the task before all its files were there",
        )

    def _withdrawn(self, info: TrackingInfo, position: int) -> TaskStatus:
        """Judge a task that is cancelled and that the engine does not know."""
        status = self._forgotten(info, position)
        return status if status.state is State.COMPLETED else status.moved(State.CANCELLED)

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
        return self.run([name], timeout, callback)[name]

    def run(
        self,
        names: Iterable[str] | None = None,
        timeout: float | None = None,
        callback: Callback | None = None,
    ) -> dict[str, TrackingInfo]:
        """Wait for several orders at once; those that the engine works on have fair turns.

        Takes what `wait` takes, and returns the orders' records, updated, by name. Without names:
        all orders that have not ended, and what is submitted to the local engine meanwhile.
        """
        until = None if timeout is None else time.monotonic() + timeout
        earlier = self.list() if names is None else []
        wanted = self.list_open() if names is None else list(dict.fromkeys(names))
        if isinstance(self.store, Sweeps):
            self.store.sweep()
        for name in wanted:
            self.resume(name)
        infos = {name: self.update(name) for name in wanted}
        for name, info in infos.items():
            _report(callback, name, _n_ended(info))
        engine = self.engine
        if isinstance(engine, Works):
            ids = [
                str(order["status"]["id"])
                for info in infos.values()
                for order in info.orders
                if order["status"]["state"] not in _ENDED
            ]
            try:
                if ids:
                    all_or_these = None if names is None else ids
                    engine.work(all_or_these, self.store, timeout=timeout, callback=callback)
            finally:
                if names is None:
                    wanted += [name for name in self.list() if name not in earlier]
                infos = {name: self.update(name) for name in wanted}
            return infos
        pause = 1.0
        while not all(info.ended for info in infos.values()):
            left = pause if until is None else min(pause, until - time.monotonic())
            if left <= 0:
                break
            time.sleep(left)
            pause = min(pause * 1.5, 60.0)
            for name, before in infos.items():
                infos[name] = self.update(name)
                _report(callback, name, _n_ended(infos[name]) - _n_ended(before))
        return infos

    def watch(
        self, names: str | Iterable[str], interval: float = 5.0
    ) -> Iterator[builtins.list[Snapshot]]:
        """Look at orders again and again until all have ended.

        Parameters
        ----------
        names : str or iterable of str
        interval : float
            Seconds between two looks.

        Yields
        ------
        list of Snapshot
            Of each order: states, rate, throughput, time left and failures by cause.
        """
        meters = {name: Meter() for name in ([names] if isinstance(names, str) else names)}
        last: dict[str, Snapshot] = {}
        while True:
            for name, meter in meters.items():
                if name not in last or not last[name].is_over:
                    last[name] = meter.look(self.update(name), time.monotonic())
            yield [*last.values()]
            if all(snapshot.is_over for snapshot in last.values()):
                return
            time.sleep(interval)

    @not_collecting()
    def cancel(self, name: str) -> TrackingInfo:
        """Cancel what has not ended: READY tasks at once, RUNNING ones within seconds.

        Results that are completed stay, and so does the order's record.
        """
        record = self.records.read(name)
        open_ = {
            position: TaskStatus.from_dict(order["status"])
            for position, order in enumerate(record.info.orders)
            if order["status"]["state"] not in _ENDED
        }
        found = self.engine.cancel([status.id for status in open_.values()], self.store)
        return record.change(
            {p: found.get(s.id) or self._withdrawn(record.info, p) for p, s in open_.items()}
        )

    def retry(self, name: str, tasks: Iterable[str] | None = None) -> TrackingInfo:
        """Start anew what ended without a result: FAILED, CANCELLED and LOST tasks.

        Those that the engine has forgotten are planned again, as they were; where the catalogue
        has no scenes for them any more, they become EMPTY.

        Parameters
        ----------
        name : str
        tasks : iterable of str, optional
            Names or ids of tasks; None: all of them.

        Raises
        ------
        InputError
            For a name that is not a task's, or an engine that cannot retry.
        OrderError
            When forgotten tasks cannot be planned as they were: the configuration has changed.
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
        record = self.records.read(name)
        news = {p: found[s.id] for p, s in chosen.items() if s.id in found}
        forgotten = {p: s for p, s in chosen.items() if s.id not in found}
        if forgotten:
            order = self._planned_again(record.info)
            for p, status in self._submitter.begin(record, order, forgotten).items():
                attempt = max(status.attempt, forgotten[p].attempt)
                news[p] = status.moved(status.state, attempt=attempt)
        return record.change(news)

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
        files = delivery.download(info, self.store, dest, overwrite=overwrite, callback=callback)
        if isinstance(self._engine, Notes):
            done = [
                order["status"]["id"]
                for order in info.orders
                if order["status"]["state"] == State.COMPLETED
            ]
            self._engine.note(done, "downloaded", self.store)
            self._engine.note(done, "verified", self.store)
        return files

    def note(self, ids: Iterable[str], event: str = "converted") -> None:
        """Note in the history of tasks what was done with their images, where the engine keeps one.

        Parameters
        ----------
        ids : iterable of str
            Ids of tasks; those that the engine does not know are passed over.
        event : str
            ``converted``, ….
        """
        if isinstance(self._engine, Notes):
            self._engine.note(list(ids), event, self.store)

    def clean(
        self,
        tracking_info: TrackingInfo | Mapping[str, Any] | str,
        tracking_name: str | None = None,
        callback: Callback | None = None,
        *,
        dry_run: bool = False,
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
        dry_run : bool
            Delete nothing, and tell what would be.

        Returns
        -------
        dict of str to list of str
            Task id -> keys deleted.
        """
        info = self._info(tracking_info)
        if dry_run:
            return delivery.clean(info, self.store, dry_run=True)
        cleaned = delivery.clean(info, self.store, callback=callback)
        if isinstance(self._engine, Forgets):
            self._engine.forget([status.id for status in info.statuses], self.store)
        if tracking_name is not None:
            self.records.delete(tracking_name)
        return cleaned

    def _info(self, tracking_info: TrackingInfo | Mapping[str, Any] | str) -> TrackingInfo:
        if isinstance(tracking_info, str):
            return self.read(tracking_info)
        if isinstance(tracking_info, TrackingInfo):
            return tracking_info
        return TrackingInfo(tracking_info)


def _asked(info: TrackingInfo) -> _Asked:
    """Return what was asked for, as it was recorded."""
    submission = info["submission"]
    return (
        submission["collections"],
        [tuple(index) for index in submission["tile_indices"]],
        submission["period_start"],
        submission["period_end"],
        submission["period_freq"],
    )


def _known(status: Mapping[str, Any]) -> tuple[str, int, int]:
    at, attempt = status.get("update_timestamp_ms"), status.get("attempt")
    return str(status["state"]), int(at or 0), int(attempt or 0)


def _report(callback: Callback | None, item: str, steps: float) -> None:
    if callback and steps:
        callback(item=item, n_steps=steps)


def _n_ended(info: TrackingInfo) -> int:
    return sum(n for state, n in info.states.items() if State(state) in _ENDED)
