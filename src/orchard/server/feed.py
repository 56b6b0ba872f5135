"""What changes in orders' tasks, for those who look on: worked out once for all of them.

Of an order that is looked at, the last changes are kept, as many as is sensible. Whoever looks on
says what he has seen and gets what came since, or is told to begin anew. So nothing waits in a
queue for anybody, however slow he is.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchard.errors import OrderNotFoundError
from orchard.watching import Meter

if TYPE_CHECKING:
    from orchard.tracking import TrackingInfo

    from .index import JobIndex

__all__ = ["Changed", "Feed"]

_ORDERS = 8
_STEPS = 64
_POSITIONS = 5000


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What came since a version.

    Parameters
    ----------
    version : str
        The order's, now.
    info : TrackingInfo
        The order's record.
    positions : list of int or None
        The tasks that have changed; None: too many, or it is not known any more which.
    """

    version: str
    info: TrackingInfo
    positions: list[int] | None


@dataclass(kw_only=True)
class _Watched:
    version: str
    info: TrackingInfo
    meter: Meter
    # (version before, the positions that changed then), the oldest first.
    steps: deque[tuple[str, list[int]]] = field(default_factory=lambda: deque(maxlen=_STEPS))
    eta: float | None = None


class Feed:
    """Tells what has changed in orders. Safe to share between threads.

    Parameters
    ----------
    index : JobIndex
        Where the orders' records are.
    """

    def __init__(self, index: JobIndex) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._orders: OrderedDict[str, _Watched] = OrderedDict()

    def now(self, order: str) -> tuple[str, TrackingInfo]:
        """Return an order's version and record.

        Raises
        ------
        OrderNotFoundError
        """
        with self._lock:
            watched = self._look(order)
            return watched.version, watched.info

    def since(self, order: str, version: str) -> Changed:
        """Return what has changed in an order since a version of it.

        Raises
        ------
        OrderNotFoundError
        """
        with self._lock:
            watched = self._look(order)
            positions = _since(watched, version)
            return Changed(version=watched.version, info=watched.info, positions=positions)

    def eta(self, order: str) -> float | None:
        """Return the seconds until an order's last task has ended; None: nobody knows."""
        with self._lock:
            return self._look(order).eta

    def _look(self, order: str) -> _Watched:
        entry = self._index.entry(order)
        if entry is None:
            self._orders.pop(order, None)
            raise OrderNotFoundError(f"there is no order {order!r}")
        watched = self._orders.get(order)
        if watched is None:
            info = self._index.info(order)
            watched = _Watched(version=entry.etag, info=info, meter=Meter())
            watched.eta = watched.meter.look(info, time.monotonic()).eta
            self._orders[order] = watched
            while len(self._orders) > _ORDERS:
                self._orders.popitem(last=False)
        elif watched.version != entry.etag:
            info = self._index.info(order)
            changed = _changed(watched.info.orders, info.orders)
            if changed is None:
                watched.steps.clear()
            else:
                watched.steps.append((watched.version, changed))
            watched.version, watched.info = entry.etag, info
            watched.eta = watched.meter.look(info, time.monotonic()).eta
        self._orders.move_to_end(order)
        return watched


def _changed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[int] | None:
    """Return which tasks are not as they were; None: it is another order."""
    if len(before) != len(after):
        return None
    # Of a large order, tasks that nobody has touched are the very same objects.
    return [
        position
        for position, (old, new) in enumerate(zip(before, after, strict=True))
        if old is not new and old != new
    ]


def _since(watched: _Watched, version: str) -> list[int] | None:
    if version == watched.version:
        return []
    found: set[int] = set()
    for before, positions in reversed(watched.steps):
        found.update(positions)
        if len(found) > _POSITIONS:
            return None
        if before == version:
            return sorted(found)
    return None
