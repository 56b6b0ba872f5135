"""Which jobs there are: an index of the store's tracking documents, kept up to date.

The documents are the truth, whoever wrote them: this platform, the command line, another server.
The index holds one small entry a task; the documents themselves only while they are looked at.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchard.errors import MetadataError, OrderNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchard.records import Record
    from orchard.tracker import Tracker
    from orchard.tracking import TrackingInfo

__all__ = ["JobIndex", "JobRef", "OrderEntry"]

_FRESH_SECONDS = 1.0
_DOCUMENTS = 8
# Ids become parts of paths; Earth Engine's and our own are all of this kind.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """Where a job is: its order, and which of the order's tasks it is."""

    id: str
    order: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEntry:
    """One order: its record's version, its jobs, and how many of them are in which state."""

    name: str
    etag: str
    submitted: str
    jobs: tuple[str, ...]
    states: dict[str, int]
    progress: float


class JobIndex:
    """Finds jobs by id and by order. Safe to share between threads.

    Parameters
    ----------
    tracker : Tracker
        Whose orders these are.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._lock = threading.RLock()
        self._orders: dict[str, OrderEntry] = {}
        self._jobs: dict[str, JobRef] = {}
        self._documents: OrderedDict[str, tuple[str, Record]] = OrderedDict()
        self._refreshed = float("-inf")

    def refresh(self, *, at_least: bool = False) -> None:
        """Look what has changed in the store; `at_least`: even if that was done just now."""
        with self._lock:
            if not at_least and time.monotonic() - self._refreshed < _FRESH_SECONDS:
                return
            there = self._tracker.tracked()
            for name in self._orders.keys() - there.keys():
                self._forget(name)
            for name, etag in there.items():
                known = self._orders.get(name)
                if known is None or known.etag != etag:
                    self._read(name, etag)
            self._refreshed = time.monotonic()

    def find(self, job: str) -> JobRef | None:
        """Return where a job is; None when there is none of this id."""
        self.refresh()
        ref = self._jobs.get(job)
        if ref is None:
            self.refresh(at_least=True)
            ref = self._jobs.get(job)
        return ref

    def orders(self) -> list[OrderEntry]:
        """Return all orders, the latest first."""
        self.refresh()
        with self._lock:
            found = list(self._orders.values())
        return sorted(found, key=lambda order: (order.submitted, order.name), reverse=True)

    def entry(self, order: str) -> OrderEntry | None:
        """Return an order; None when there is none of this name."""
        self.refresh()
        if order not in self._orders:
            self.refresh(at_least=True)
        return self._orders.get(order)

    def info(self, order: str) -> TrackingInfo:
        """Return an order's document.

        Raises
        ------
        OrderNotFoundError
            When it has gone meanwhile.
        """
        with self._lock:
            entry = self._orders.get(order)
            kept = self._documents.get(order)
            if entry is not None and kept is not None and kept[0] == entry.etag:
                self._documents.move_to_end(order)
                return kept[1].info
        record = self._record(order)
        with self._lock:
            if entry is not None:
                self._keep(order, entry.etag, record)
        return record.info

    def _record(self, name: str) -> Record:
        """Read an order's record: of one that was read before, what has changed since."""
        kept = self._documents.get(name)
        records = self._tracker.records
        return records.read(name) if kept is None else records.reread(kept[1])

    def _read(self, name: str, etag: str) -> None:
        try:
            record = self._record(name)
        except (OrderNotFoundError, MetadataError):
            self._forget(name)  # gone since it was listed, or no tracking document at all
            return
        info = record.info
        jobs = tuple(str(order["status"].get("id") or "") for order in info.orders)
        self._replace(name, jobs)
        submitted = str(info["submission"].get("submitted") or "")
        self._orders[name] = OrderEntry(
            name=name,
            etag=etag,
            submitted=submitted,
            jobs=jobs,
            states=info.states,
            progress=info.progress,
        )
        self._keep(name, etag, record)

    def _replace(self, name: str, jobs: Sequence[str]) -> None:
        known = self._orders.get(name)
        if known is not None and known.jobs == tuple(jobs):
            return
        if known is not None:
            self._forget(name)
        for position, job in enumerate(jobs):
            if _ID.fullmatch(job):
                self._jobs.setdefault(job, JobRef(id=job, order=name, position=position))

    def _keep(self, name: str, etag: str, record: Record) -> None:
        self._documents[name] = (etag, record)
        self._documents.move_to_end(name)
        while len(self._documents) > _DOCUMENTS:
            self._documents.popitem(last=False)

    def _forget(self, name: str) -> None:
        self._documents.pop(name, None)
        entry = self._orders.pop(name, None)
        for job in entry.jobs if entry else ():
            if (ref := self._jobs.get(job)) is not None and ref.order == name:
                del self._jobs[job]
