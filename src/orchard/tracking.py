"""Tracking: the states of a task, and the document that records an order (pure)."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Self, TypeVar

from .errors import MetadataError

__all__ = [
    "FAILED_STATES",
    "TERMINAL",
    "FileInfo",
    "Runtimes",
    "State",
    "TaskStatus",
    "TrackingInfo",
    "can_become",
    "cause_of",
    "now_ms",
]


_N = TypeVar("_N", int, float)


class State(StrEnum):
    """The states of a task: Earth Engine's, and two of our own (EMPTY and LOST)."""

    UNSUBMITTED = "UNSUBMITTED"
    """Recorded, not yet handed to the engine."""
    READY = "READY"
    """Waiting in the engine's queue."""
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    """All its files are in the store."""
    FAILED = "FAILED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    CANCELLED = "CANCELLED"
    EMPTY = "EMPTY"
    """No image was found; never started."""
    LOST = "LOST"
    """The engine has forgotten the task before all its files were there."""


TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.EMPTY, State.LOST})
"""States that only `retry` leaves."""

FAILED_STATES = frozenset({State.FAILED, State.CANCELLED, State.LOST})
"""Terminal states without a result: what `retry` starts anew."""

_DONE = frozenset({State.COMPLETED, State.EMPTY})

_NEXT: dict[State, frozenset[State]] = {
    State.UNSUBMITTED: frozenset(State) - {State.UNSUBMITTED, State.CANCEL_REQUESTED},
    # A running task goes back to READY when its worker dies or an attempt is repeated.
    State.READY: frozenset(State) - {State.UNSUBMITTED, State.READY, State.EMPTY},
    State.RUNNING: frozenset(State) - {State.UNSUBMITTED, State.RUNNING, State.EMPTY},
    State.CANCEL_REQUESTED: frozenset({State.CANCELLED, State.COMPLETED, State.FAILED, State.LOST}),
    **dict.fromkeys(TERMINAL, frozenset()),
}


def can_become(state: State, other: State, *, retry: bool = False) -> bool:
    """Whether a task may go from one state to another.

    Parameters
    ----------
    state, other : State
    retry : bool
        A user asked for the task to be started anew: what ended without a result may become READY,
        or EMPTY, where its scenes are gone from the catalogue meanwhile.
    """
    if retry:
        return state in FAILED_STATES and other in (State.READY, State.EMPTY)
    return other in _NEXT[state]


def cause_of(status: Mapping[str, Any]) -> str | None:
    """Return why a task has failed, of its status in a record; None: it has not.

    What was cancelled has not failed.
    """
    if status["state"] not in (State.FAILED, State.LOST):
        return None
    return str(status.get("error_message") or status["state"])


def now_ms() -> int:
    """Return the time as epoch milliseconds (UTC)."""
    return int(datetime.now(UTC).timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """One file of a task's result.

    Parameters
    ----------
    name : str
        File name, below the task's prefix.
    size : int, optional
        Bytes.
    md5, crc32 : str, optional
        Hex digests of the content.
    """

    name: str
    size: int | None = None
    md5: str | None = None
    crc32: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return as JSON."""
        return {"name": self.name, "size": self.size, "md5": self.md5, "crc32": self.crc32}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read from JSON."""
        if "name" not in data:
            raise MetadataError("a file of a task has no name")
        return cls(
            name=str(data["name"]),
            size=data.get("size"),
            md5=data.get("md5"),
            crc32=data.get("crc32"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """What is known of a task; times are epoch milliseconds UTC, 0 when not yet."""

    id: str
    state: State
    creation_timestamp_ms: int = 0
    update_timestamp_ms: int = 0
    start_timestamp_ms: int = 0
    output_url: tuple[str, ...] = ()
    error_message: str | None = None
    attempt: int = 0
    files: tuple[FileInfo, ...] = ()
    eecu_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return as the ``status`` of a tracking document; ``eecu_seconds`` where it has any."""
        cost = {"eecu_seconds": self.eecu_seconds} if self.eecu_seconds else {}
        return {
            "id": self.id,
            "state": str(self.state),
            "creation_timestamp_ms": self.creation_timestamp_ms,
            "update_timestamp_ms": self.update_timestamp_ms,
            "start_timestamp_ms": self.start_timestamp_ms,
            "output_url": list(self.output_url),
            "error_message": self.error_message,
            "attempt": self.attempt,
            "files": [file.to_dict() for file in self.files],
            **cost,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a ``status``; what CEDAR left out or empty takes its default."""
        try:
            state = State(data["state"])
        except (KeyError, TypeError, ValueError):
            raise MetadataError(
                f"a task has the unknown state {data.get('state')!r}: known are {', '.join(State)}"
            ) from None
        urls = data.get("output_url") or ()
        return cls(
            id=str(data.get("id") or ""),
            state=state,
            creation_timestamp_ms=_number(data, "creation_timestamp_ms"),
            update_timestamp_ms=_number(data, "update_timestamp_ms"),
            start_timestamp_ms=_number(data, "start_timestamp_ms"),
            output_url=(urls,) if isinstance(urls, str) else tuple(urls),
            error_message=data.get("error_message"),
            attempt=_number(data, "attempt"),
            files=tuple(FileInfo.from_dict(file) for file in data.get("files") or ()),
            eecu_seconds=_number(data, "eecu_seconds", float),
        )

    def moved(self, state: State, **changes: Any) -> Self:
        """Return this status in another state, updated now."""
        return replace(self, state=state, **{"update_timestamp_ms": now_ms(), **changes})


def _number(status: Mapping[str, Any], key: str, kind: type[_N] = int) -> _N:
    try:
        return kind(status.get(key) or 0)
    except (TypeError, ValueError):
        raise MetadataError(f"a task's {key} is not a number: {status[key]!r}") from None


@dataclass(frozen=True, kw_only=True)
class Runtimes:
    """Runtimes of the tasks that have started, in seconds."""

    seconds: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many."""
        return len(self.seconds)

    @property
    def total(self) -> float:
        """Their sum; 0 when there is none."""
        return math.fsum(self.seconds)

    @property
    def mean(self) -> float:
        """Their mean; nan when there is none."""
        return statistics.fmean(self.seconds) if self.seconds else math.nan

    @property
    def std(self) -> float:
        """Their population standard deviation; nan when there is none."""
        return statistics.pstdev(self.seconds) if self.seconds else math.nan

    def __str__(self) -> str:
        if not self.seconds:
            return "no task has started yet"
        from .summary import in_minutes

        mean, std = in_minutes(self.mean, self.std)
        return f"{mean} ± {std} minutes (mean ± std of {self.n})"


class TrackingInfo(Mapping[str, Any]):
    """The record of one order: a mapping over its JSON, with summaries.

    Parameters
    ----------
    data : mapping
        A tracking document, as Orchard or CEDAR 0.0.4 wrote it.

    Raises
    ------
    MetadataError
        When a part is missing or of the wrong type; it names the part.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = _checked(data)

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def name(self) -> str:
        """The order's tracking name."""
        return str(self["tracking"]["name"])

    @property
    def orders(self) -> list[dict[str, Any]]:
        """One entry per task: ``{name, prefix, status}``."""
        return self._data["orders"]  # type: ignore[no-any-return]

    @cached_property
    def statuses(self) -> tuple[TaskStatus, ...]:
        """The status of each task, in the order of `orders`."""
        return tuple(TaskStatus.from_dict(order["status"]) for order in self.orders)

    @cached_property
    def states(self) -> dict[str, int]:
        """How many tasks are in each state."""
        return dict(Counter(order["status"]["state"] for order in self.orders))

    @property
    def progress(self) -> float:
        """The part of the tasks that is done (COMPLETED or EMPTY), from 0 to 1."""
        done = sum(n for state, n in self.states.items() if state in _DONE)
        return done / len(self.orders) if self.orders else 1.0

    @property
    def complete(self) -> bool:
        """Whether every task is done (COMPLETED or EMPTY)."""
        return all(state in _DONE for state in self.states)

    @property
    def ended(self) -> bool:
        """Whether every task is in a terminal state."""
        return all(state in TERMINAL for state in self.states)

    @property
    def runtimes(self) -> Runtimes:
        """Runtimes of the tasks: from start to last update, or to now while they run."""
        return Runtimes(seconds=tuple(s for s in self.task_runtimes if s is not None))

    @property
    def task_runtimes(self) -> list[float | None]:
        """Runtime of each task in seconds, in the order of `orders`; None: it has not started."""
        now = now_ms()
        return [_runtime(status, now) for status in self.statuses]

    def failures(self) -> dict[str, list[str]]:
        """Return the names of the tasks that failed, by cause; those cancelled did not fail."""
        causes: dict[str, list[str]] = {}
        for order in self.orders:
            if (cause := cause_of(order["status"])) is not None:
                causes.setdefault(cause, []).append(order["name"])
        return causes

    def with_statuses(self, statuses: Mapping[int, TaskStatus]) -> TrackingInfo:
        """Return a copy in which some tasks (by position) have a new status."""
        orders = list(self.orders)
        for position, status in statuses.items():
            orders[position] = {**orders[position], "status": status.to_dict()}
        return TrackingInfo({**self._data, "orders": orders})

    def summary(self, tasks: Sequence[int] | bool = False) -> str:
        """Return a text for people; `tasks` adds the details of some (by position) or all."""
        from .summary import summarize

        return "\n".join(summarize(self, range(len(self.orders)) if tasks is True else tasks or ()))

    def __repr__(self) -> str:
        states = ", ".join(f"{state}: {n}" for state, n in self.states.items())
        n = len(self.orders)
        return f"<TrackingInfo {self.name!r}: {n} task{'s' * (n != 1)} ({states})>"

    def _repr_html_(self) -> str:
        from .summary import summarize_html

        return summarize_html(self)


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise MetadataError(f"a tracking document must be a JSON object, not {type(data).__name__}")
    parts = {"program": Mapping, "submission": Mapping, "tracking": Mapping, "orders": list}
    for part, kind in parts.items():
        if not isinstance(data.get(part), kind):
            raise MetadataError(
                f"not a tracking document: {part!r} is missing or not a {_of(kind)}"
            )
    if "name" not in data["tracking"]:
        raise MetadataError("not a tracking document: 'tracking.name' is missing")
    for position, order in enumerate(data["orders"]):
        # dict first: whether something is a Mapping takes long to find out, and they are many.
        if not (isinstance(order, dict | Mapping) and {"name", "prefix", "status"} <= order.keys()):
            raise MetadataError(f"not a tracking document: 'orders[{position}]' is not a task")
        status = order["status"]
        if not isinstance(status, dict | Mapping):
            raise MetadataError(
                f"not a tracking document: 'orders[{position}].status' is no object"
            )
        if str(status.get("state")) not in _STATE_NAMES:
            TaskStatus.from_dict(status)  # says what is wrong
    return {"metadata": [], **data}


_STATE_NAMES = frozenset(map(str, State))


def _of(kind: type) -> str:
    return "list" if kind is list else "JSON object"


def _runtime(status: TaskStatus, now: int) -> float | None:
    """Return the seconds from a task's start to its last update, or to now while it runs."""
    if not status.start_timestamp_ms:
        return None
    end = now if status.state is State.RUNNING else status.update_timestamp_ms
    return max(end - status.start_timestamp_ms, 0) / 1000
