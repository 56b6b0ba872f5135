"""The model of an order that the pages draw: one compact JSON document (pure).

Columns instead of rows, tables instead of repeated words, names by their parts: 100,000 tasks take
a few megabytes. `web/src/parts/model.ts` has the same as types; `docs/design/0011-report.md` says
what each key means.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from orchard import __version__
from orchard.errors import GridError, PeriodError
from orchard.orders import split_period
from orchard.tracking import TERMINAL, State, cause_of, now_ms

from .footprints import rings
from .known import Known
from .names import pack_names

if TYPE_CHECKING:
    from orchard.tracking import TrackingInfo

__all__ = ["CODES", "FORMAT", "build_model", "task_columns"]

FORMAT = 1

CODES = {
    State.UNSUBMITTED: "U",
    State.READY: "Q",
    State.RUNNING: "R",
    State.COMPLETED: "C",
    State.FAILED: "F",
    State.CANCEL_REQUESTED: "K",
    State.CANCELLED: "X",
    State.EMPTY: "E",
    State.LOST: "L",
}
"""One letter for each state; the states of all tasks are one text of them."""

_CODES = {str(state): code for state, code in CODES.items()}
_TERMINAL = frozenset(map(str, TERMINAL))
_EPOCH = date(1970, 1, 1)
_RECENT = 200
"""Tasks whose ends tell how fast an order goes."""


def build_model(
    info: TrackingInfo, known: Known | None = None, *, made: int | None = None
) -> dict[str, Any]:
    """Make the model of an order.

    Parameters
    ----------
    info : TrackingInfo
    known : Known, optional
        What was found out of the results; see `orchard.report.gather`.
    made : int, optional
        The moment that it shows, in epoch milliseconds; now by default.

    Returns
    -------
    dict
        Safe for JSON.
    """
    known = known or Known()
    made = now_ms() if made is None else made
    axes = _axes(info)
    submission, tracking = info["submission"], info["tracking"]
    return {
        "format": FORMAT,
        "made": made,
        "name": info.name,
        "submitted": submission.get("submitted"),
        "program": dict(info["program"]),
        "versions": {"orchard": __version__, "python": platform.python_version()},
        "engine": tracking.get("engine"),
        "config": _config(info),
        "states": [{"code": code, "name": str(state)} for state, code in CODES.items()],
        "collections": axes.collections,
        "tiles": _tiles(axes.tiles),
        "periods": axes.periods,
        "product": axes.product,
        "tasks": {
            **task_columns(info),
            "names": pack_names([order["name"] for order in info.orders], axes.sizes),
            "folders": pack_names([order["prefix"] for order in info.orders], axes.sizes),
        },
        "causes": _causes(info),
        "eta": _eta(info, made),
        "acquisitions": _acquisitions(known),
        "cubes": [
            {
                "href": cube.path,
                "item": cube.item,
                "format": cube.format,
                "bytes": cube.size,
                "tasks": list(cube.tasks),
            }
            for cube in known.cubes
        ],
        "quicklooks": [
            {"task": picture.task, "day": _day(picture.day), "src": picture.url}
            for picture in known.pictures
        ],
        "notes": list(known.notes),
    }


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """What an order's tasks are the combinations of; ``product``: they are, one for each."""

    collections: list[str]
    tiles: list[Mapping[str, Any]]
    periods: list[list[int] | None]
    product: bool

    @property
    def sizes(self) -> tuple[int, int, int]:
        return len(self.collections), len(self.tiles), len(self.periods)


def _axes(info: TrackingInfo) -> _Axes:
    """Find collections, tiles and periods: tasks are recorded in this order, the last fastest."""
    submission, tracking = info["submission"], info["tracking"]
    collections = [str(c) for c in tracking.get("collections") or submission.get("collections", ())]
    tiles = [tile for tile in tracking.get("tiles") or () if isinstance(tile, Mapping)]
    places, n = len(collections) * len(tiles), len(info.orders)
    periods = _periods(submission)
    if places and places * len(periods) != n and n % places == 0:
        periods = [None] * (n // places)  # split in a way that we do not know
    product = places * len(periods) == n
    return _Axes(collections=collections, tiles=tiles, periods=periods, product=product)


def _periods(submission: Mapping[str, Any]) -> list[list[int] | None]:
    """Return start and end of each period in epoch milliseconds."""
    keys = ("period_start", "period_end", "period_freq")
    try:
        found = split_period(*(submission.get(key) for key in keys))  # type: ignore[arg-type]
    except PeriodError:
        return []
    return [[_ms(period.start), _ms(period.end)] for period in found]


def _ms(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def _tiles(tiles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    indices = [[int(part) for part in tile["index"]] for tile in tiles]
    try:
        found = rings(tiles)
    except (GridError, KeyError, TypeError, ValueError):
        found = [None] * len(tiles)  # documents of others: what cannot be drawn is still listed
    return {
        "index": indices,
        "label": [f"h{col:03d}v{row:03d}" for row, col in indices],
        "pixels": [math.prod(tile.get("size") or [0]) for tile in tiles],
        "ring": found,
    }


def task_columns(info: TrackingInfo) -> dict[str, Any]:
    """Return what changes of an order's tasks, as columns in their order.

    Returns
    -------
    dict
        ``n``; ``state``: one letter a task; ``zero``: epoch milliseconds, from which ``started``
        and ``updated`` count in seconds (-1: not yet); ``bytes`` of the results; ``attempts``:
        pairs of position and number, for the tasks that have more than one.
    """
    statuses = [order["status"] for order in info.orders]
    created = [int(status.get("creation_timestamp_ms") or 0) for status in statuses]
    zero = min((at for at in created if at), default=0)
    attempts = [(i, int(status.get("attempt") or 0)) for i, status in enumerate(statuses)]
    return {
        "n": len(statuses),
        "state": "".join([_CODES[str(status["state"])] for status in statuses]),
        "zero": zero,
        "started": [_since(zero, status.get("start_timestamp_ms")) for status in statuses],
        "updated": [_since(zero, status.get("update_timestamp_ms")) for status in statuses],
        "bytes": [
            sum([file.get("size") or 0 for file in status.get("files") or ()])
            for status in statuses
        ],
        "attempts": [pair for pair in attempts if pair[1] > 1],
    }


def _since(zero: int, moment: Any) -> float:
    """Return seconds, to a tenth; whole ones without the point, which would only take room."""
    if not moment:
        return -1
    tenths = max(round((int(moment) - zero) / 100), 0)
    return tenths // 10 if tenths % 10 == 0 else tenths / 10


def _causes(info: TrackingInfo) -> list[dict[str, Any]]:
    """Return the causes of failures, the most frequent first, with the positions of the tasks."""
    causes: dict[str, list[int]] = {}
    for position, order in enumerate(info.orders):
        if (cause := cause_of(order["status"])) is not None:
            causes.setdefault(cause, []).append(position)
    ranked = sorted(causes.items(), key=lambda item: -len(item[1]))
    return [{"text": text, "tasks": tasks} for text, tasks in ranked]


def _eta(info: TrackingInfo, made: int) -> float | None:
    """Return the seconds until the last task ends, as fast as the last ones did; None: unknown."""
    ends, left, running = [], 0, False
    for order in info.orders:
        status = order["status"]
        state = str(status["state"])
        left += state not in _TERMINAL
        running |= state == State.RUNNING
        if state in _TERMINAL and status.get("start_timestamp_ms"):
            ends.append((int(status["update_timestamp_ms"]), int(status["start_timestamp_ms"])))
    if not left:
        return 0.0
    if not ends or not running:
        return None
    recent = sorted(ends)[-_RECENT:]
    since = min(start for _, start in recent)
    return left * max(made - since, 1) / 1000 / len(recent)


def _config(info: TrackingInfo) -> dict[str, Any]:
    """Return all that was asked for but the long lists, which are told otherwise."""
    grid = info["submission"].get("tile_grid")
    tracking = {k: v for k, v in info["tracking"].items() if k not in ("tiles", "collections")}
    submission = {k: v for k, v in info["submission"].items() if k != "tile_indices"}
    return {"submission": {**submission, "tile_grid": grid}, "tracking": tracking}


def _acquisitions(known: Known) -> dict[str, Any]:
    """Return all acquisitions as columns; clear and cloud in percent, None where not known."""
    rows = [(task, one) for task in sorted(known.acquisitions) for one in known.acquisitions[task]]
    return {
        "looked": sorted(known.acquisitions),
        "task": [task for task, _ in rows],
        "day": [_day(one.day) for _, one in rows],
        "scenes": [one.scenes for _, one in rows],
        "clear": [None if one.clear is None else round(100 * one.clear, 1) for _, one in rows],
        "cloud": [None if one.cloud is None else round(one.cloud, 1) for _, one in rows],
    }


def _day(day: date) -> int:
    """Return a day as days since 1970."""
    return (day - _EPOCH).days
