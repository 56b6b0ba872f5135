"""Recording how tasks are that another process works on: what the engine knows, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchard.engines import Changes
from orchard.records import is_news
from orchard.tracking import TERMINAL, State

if TYPE_CHECKING:
    from orchard.tracker import Tracker
    from orchard.tracking import TaskStatus, TrackingInfo

__all__ = ["record_news"]

_SETTLED = TERMINAL | {State.UNSUBMITTED}


def record_news(tracker: Tracker, info: TrackingInfo) -> bool:
    """Record what the engine knows better of an order's tasks; return whether there was anything.

    Unlike `Tracker.update` it judges nothing: a task that this machine's engine does not know may
    well be known to another's.

    Parameters
    ----------
    tracker : Tracker
    info : TrackingInfo
        The order's record as it was read last.
    """
    positions = {
        str(order["status"].get("id") or ""): position
        for position, order in enumerate(info.orders)
        if order["status"]["state"] not in _SETTLED
    }
    news = {
        positions[id_]: status
        for id_, status in _asked(tracker, info, positions).items()
        if is_news(info.orders[positions[id_]]["status"], status)
    }
    if news:
        tracker.records.read(info.name).change(news)
    return bool(news)


def _asked(
    tracker: Tracker, info: TrackingInfo, positions: dict[str, int]
) -> dict[str, TaskStatus]:
    engine = tracker.engine
    if not positions:
        return {}
    if not isinstance(engine, Changes):
        return engine.poll(list(positions), tracker.store)
    known = {}
    for id_, position in positions.items():
        status = info.orders[position]["status"]
        at, attempt = status.get("update_timestamp_ms"), status.get("attempt")
        known[id_] = (str(status["state"]), int(at or 0), int(attempt or 0))
    return engine.changes(info.name, known, tracker.store)[0]
