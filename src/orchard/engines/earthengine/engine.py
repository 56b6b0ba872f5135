"""The Earth Engine engine: orders become export tasks on Google's machines."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchard.errors import InputError
from orchard.tracking import FAILED_STATES, TERMINAL, State, TaskStatus, now_ms

from .adoption import adopt, foreign_statuses, open_operations
from .client import Client
from .destinations import Destination
from .expression import check_export, check_pixels
from .failures import UnavailableError
from .feeder import Feeder, Options
from .ledger import Ledger
from .lifecycle import SENT, PartState, status_of
from .operations import Operation, list_operations
from .planning import plan_tasks
from .results import Results
from .splitting import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from threading import Event

    from orchard.collections import Collection
    from orchard.engines import Task, TaskPlan
    from orchard.grid import Tile
    from orchard.orders import TaskRequest
    from orchard.stores import Store

__all__ = ["EarthEngine", "ledger_path"]

_PATIENCE = 20


class EarthEngine:
    """Makes pre-ARD with Earth Engine's export tasks, into Cloud Storage or Google Drive.

    Parameters
    ----------
    project : str
        Id of the Google Cloud project that is registered for Earth Engine.
    credentials : optional
        The key file of a service account; by default whoever has logged in (``orchard auth ee``).
    url : str, optional
        Of the service; by default the public one.
    queue : int
        How many tasks of the project, whoever's they are, may wait at Earth Engine: it takes 3,000.
    interval : float
        Seconds between two looks at the tasks while somebody waits.
    deadline : float
        Seconds that one request may take.
    tries : int
        How often a request is tried when its failures look transient.
    attempts : int
        How often an export is sent whose failures look transient.
    threads : int
        How many exports are sent at a time.
    ledger : path, optional
        The SQLite file of the feeder; see `ledger_path` for where it is by default.
    limits : Limits, optional
        What one image and one request may be.
    sleep : callable
        ``sleep(seconds)``, between tries and between looks.

    Notes
    -----
    Google's client library keeps one project and one credential a process: an engine takes it over
    on its first request, and two engines of different projects must not be used at the same time.
    """

    name = "earthengine"

    def __init__(
        self,
        project: str,
        *,
        credentials: Any = None,
        url: str | None = None,
        queue: int = 2500,
        interval: float = 30.0,
        deadline: float = 300.0,
        tries: int = 7,
        attempts: int = 3,
        threads: int = 8,
        ledger: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        _check(project, queue=queue, tries=tries, attempts=attempts, threads=threads)
        self.project = project
        self.interval = interval
        self.limits = limits or Limits()
        self._sleep = sleep
        self._client = Client(
            project, credentials=credentials, url=url, deadline=deadline, tries=tries, sleep=sleep
        )
        self._ledger = Ledger(Path(ledger) if ledger is not None else ledger_path(project))
        options = Options(
            queue=queue, threads=threads, attempts=attempts, expression=self.limits.expression
        )
        self._feeder = Feeder(self._client, self._ledger, options)

    def __repr__(self) -> str:
        return f"<EarthEngine {self.project!r}>"

    @property
    def content(self) -> Mapping[str, Any]:
        """What of the options decides the pixels: nothing."""
        return {}

    # The engine's seam

    def check_order(self, store: Store, export: Mapping[str, Any], tiles: Sequence[Tile]) -> None:
        """Refuse a store that Earth Engine cannot write to, and exports that it does not take."""
        Destination.of(store.url, "")
        check_export(export)
        for size in {tile.size for tile in tiles}:
            check_pixels(size, export)

    def plan(
        self,
        requests: Sequence[TaskRequest],
        collections: Mapping[str, Collection],
        callback: Callable[..., None] | None = None,
    ) -> list[TaskPlan]:
        """Find the scenes of every task: one request for many tasks."""
        return plan_tasks(
            requests, collections, self._client, limits=self.limits, callback=callback
        )

    def start(self, tasks: Sequence[Task], store: Store) -> list[TaskStatus]:
        """Hand tasks to the feeder, and send what there is room for.

        Tasks that Earth Engine has already, from before a crash, are adopted.
        """
        for prefix in {task.plan.request.prefix for task in tasks}:
            Destination.of(store.url, prefix)
        keys = [task.key for task in tasks]
        known = self._ledger.records(keys)
        new = [task for task in tasks if task.key not in known]
        listing = self._feeder.look(everything=bool(new))
        if new:
            adopt(new, store, self._ledger, listing, self.limits)
        self._note_layouts(keys, store)
        self._feeder.settle(store)
        self._feeder.feed(listing.pending)
        statuses = self._statuses(keys)
        return [statuses[key] for key in keys]

    def _note_layouts(self, keys: Sequence[str], store: Store) -> None:
        """Let the image metadata, which was written just now, tell how tasks are cut."""
        results = Results(store)
        for record in self._ledger.records(keys).values():
            if record.generation:
                results.note_layout(record)

    def poll(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Return the status of tasks: one listing of operations tells all.

        Ids of operations (in orders of CEDAR) are understood, too.
        """
        known = self._ledger.records(ids)
        unknown = [id_ for id_ in ids if id_ not in known]
        listing = None
        if unknown or any(record.state not in TERMINAL for record in known.values()):
            listing = self._feeder.look(ids=unknown)
            self._feeder.settle(store)
        return self._statuses(list(known)) | foreign_statuses(unknown, listing)

    def cancel(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Cancel what has not ended, whether it waits here, waits there or runs."""
        known = self._ledger.records(ids)
        unknown = [id_ for id_ in ids if id_ not in known]
        keys = [key for key, record in known.items() if record.state not in TERMINAL]
        if not keys and not unknown:
            return self._statuses(list(known))
        self._ledger.set_cancelling(keys, to=True)
        self._withdraw(keys)
        listing = self._feeder.look(ids=unknown)
        # What was intended and is not there was put back.
        self._withdraw(keys)
        parts = [part for theirs in self._ledger.parts(keys).values() for part in theirs]
        operations = [part.operation for part in parts if part.state in SENT and part.operation]
        self.cancel_operations([*operations, *open_operations(unknown, listing)])
        listing = self._feeder.look(ids=unknown)
        self._feeder.settle(store)
        return self._statuses(list(known)) | foreign_statuses(unknown, listing)

    def _withdraw(self, keys: Sequence[str]) -> None:
        """Take back what waits in the feeder."""
        with self._ledger.change():
            parts = [part for theirs in self._ledger.parts(keys).values() for part in theirs]
            self._ledger.save_parts(
                replace(part, state=PartState.CANCELLED)
                for part in parts
                if part.state is PartState.WAITING
            )

    def retry(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Start anew what ended without a result; parts that are there are not made again."""
        records = self._ledger.records(ids)
        again = [record for record in records.values() if record.state in FAILED_STATES]
        parts = self._ledger.parts([record.key for record in again])
        results = Results(store)
        for record in again:
            missing = results.missing_parts(record, parts[record.key]) or parts[record.key]
            following = [part.again() for part in missing]
            results.remove(record, following)
            with self._ledger.change():
                self._ledger.set_cancelling([record.key], to=False)
                self._ledger.save_parts(following)
                self._ledger.save(
                    [replace(record, state=State.READY, error=None, looks=0, updated_ms=now_ms())]
                )
        if again:
            self._feeder.feed(self._feeder.look(room=True).pending)
        return self._statuses(list(records))

    def forget(self, ids: Sequence[str], store: Store) -> None:
        """Delete what the ledger has of tasks; Earth Engine forgets by itself."""
        del store
        self._ledger.forget(ids)

    def work(
        self,
        ids: Sequence[str] | None,
        store: Store,
        *,
        timeout: float | None = None,
        callback: Callable[..., None] | None = None,
        stop: Event | None = None,
    ) -> None:
        """Feed Earth Engine and follow its tasks until these have ended.

        All tasks of the project are fed, in fair turns; at least one round is made.

        Parameters
        ----------
        ids : sequence of str or None
            None: all whose files go to `store`.
        store : Store
        timeout : float, optional
            Seconds after which to return.
        callback : callable, optional
            ``callback(item=…, n_steps=…)``: one step for each of these tasks that has ended.
        stop : threading.Event, optional
            Set when it is to return.

        Raises
        ------
        UnavailableError
            When Earth Engine does not answer for long.
        """
        until = None if timeout is None else time.monotonic() + timeout
        open_ = self._open(ids, store)
        troubles = 0
        while open_:
            try:
                still = self._round(open_, store, stop)
                troubles = 0
            except UnavailableError:
                still, troubles = open_, troubles + 1
                if troubles >= _PATIENCE:
                    raise
            for key in [key for key in open_ if key not in still]:
                if callback:
                    callback(item=open_[key], n_steps=1)
            open_ = still
            left = self.interval if until is None else min(self.interval, until - time.monotonic())
            if not open_ or left <= 0:
                return
            if stop is None:
                self._sleep(left)
            elif stop.wait(left):
                return

    def _round(self, open_: Mapping[str, str], store: Store, stop: Event | None) -> dict[str, str]:
        """Look, settle and feed once; return which of these tasks are still open."""
        known = self._ledger.records(list(open_))
        unknown = [id_ for id_ in open_ if id_ not in known]
        listing = self._feeder.look(ids=unknown, room=True)
        self._feeder.settle(store)
        self._feeder.feed(listing.pending, stop)
        still = self._open(list(known), store)
        for id_, status in foreign_statuses(unknown, listing).items():
            if status.state not in TERMINAL:
                still[id_] = open_[id_]
        return still

    def _open(self, ids: Sequence[str] | None, store: Store) -> dict[str, str]:
        """Return id and name of the tasks that have not ended, or are unknown here."""
        keys = self._ledger.open_keys(store=store.url) if ids is None else ids
        known = self._ledger.records(keys)
        return {
            key: known[key].name if key in known else key
            for key in keys
            if key not in known or known[key].state not in TERMINAL
        }

    def _statuses(self, keys: Sequence[str]) -> dict[str, TaskStatus]:
        parts = self._ledger.parts(keys)
        return {
            key: status_of(record, parts.get(key, []))
            for key, record in self._ledger.records(keys).items()
        }

    # The project

    def operations(self) -> list[Operation]:
        """Return all operations of the project that Earth Engine remembers, the newest first."""
        return list(list_operations(self._client.pages()).by_id.values())

    def summary(self) -> dict[str, dict[str, int]]:
        """Return by order, and within by state, how many operations of the project there are.

        Those that are not Orchard's are under the empty name. Names of orders are cut where they
        were too long for Earth Engine.
        """
        counts: dict[str, Counter[str]] = {}
        for operation in self.operations():
            counts.setdefault(operation.order, Counter())[str(operation.state)] += 1
        return {order: dict(states) for order, states in counts.items()}

    def cancel_operations(self, ids: Iterable[str]) -> None:
        """Cancel operations by id; those that have ended stay as they are."""
        with ThreadPoolExecutor(self._feeder.options.threads) as pool:
            for _ in pool.map(self._client.cancel, ids):
                pass

    def usage(self, ids: Sequence[str]) -> dict[str, float]:
        """Return by task what it has cost so far, in EECU seconds."""
        return self._ledger.usage(ids)


def ledger_path(project: str) -> Path:
    """Return where the feeder's ledger of a project is unless somebody says otherwise.

    In the user's state folder (``$XDG_STATE_HOME/orchard``, by default ``~/.local/state/orchard``):
    one a project, as its queue is one.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "orchard" / f"earthengine-{project}.sqlite"


def _check(project: str, **counts: int) -> None:
    if not project:
        raise InputError(
            "project is empty: name the Google Cloud project that is registered for Earth Engine"
        )
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be at least 1, not {count}")
