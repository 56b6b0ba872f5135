"""How a task fares: its parts, what a listing says of them, and what to do next (pure)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchard.tracking import FileInfo, State, TaskStatus

from .failures import Failure, classify
from .splitting import dates_per_file, next_generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .operations import Operation, PartId

__all__ = [
    "Action",
    "Part",
    "PartState",
    "Record",
    "Verdict",
    "choose",
    "judge",
    "observe",
    "status_of",
    "status_of_operations",
]


class PartState(StrEnum):
    """The states of one export."""

    WAITING = "WAITING"
    """In the feeder: the service has not heard of it."""
    INTENDED = "INTENDED"
    """About to be sent: the service may or may not have it."""
    READY = "READY"
    RUNNING = "RUNNING"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    """The service has forgotten it."""


SENT = frozenset(
    {PartState.INTENDED, PartState.READY, PartState.RUNNING, PartState.CANCEL_REQUESTED}
)
"""States that a listing may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One export of a task.

    Parameters
    ----------
    id : PartId
    state : PartState
    operation : str
        Id of the operation; empty when it is not known.
    error : str or None
    uris : tuple of str
    service_attempt : int
        How often the service itself has tried.
    eecu_seconds : float
        What this attempt has cost.
    spent_seconds : float
        What attempts before it have cost.
    started_ms, updated_ms : int
        Epoch milliseconds UTC, 0 when not yet.
    """

    id: PartId
    state: PartState = PartState.WAITING
    operation: str = ""
    error: str | None = None
    uris: tuple[str, ...] = ()
    service_attempt: int = 0
    eecu_seconds: float = 0.0
    spent_seconds: float = 0.0
    started_ms: int = 0
    updated_ms: int = 0

    @property
    def cost(self) -> float:
        """EECU seconds of this attempt and those before."""
        return self.eecu_seconds + self.spent_seconds

    def again(self) -> Part:
        """Return the next attempt at the same part, waiting."""
        return Part(id=replace(self.id, attempt=self.id.attempt + 1), spent_seconds=self.cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One task.

    Parameters
    ----------
    key, order, name, prefix, store
        Which, of which order, and where its files go (a store's URL).
    state : State
    priority : int
    generation : int
        How it is cut, see `splitting`.
    looks : int
        How often its files were looked for in vain after the service said it was done.
    export : mapping
    size : (int, int)
        Width and height of the tile.
    dates : int
        Of the image.
    error : str or None
    files : tuple of FileInfo
    created_ms, updated_ms : int
    """

    key: str
    order: str
    name: str
    prefix: str
    store: str
    state: State
    priority: int = 0
    generation: int = 0
    looks: int = 0
    export: Mapping[str, Any]
    size: tuple[int, int]
    dates: int = 1
    error: str | None = None
    files: tuple[FileInfo, ...] = ()
    created_ms: int = 0
    updated_ms: int = 0


def observe(part: Part, operation: Operation | None) -> Part:
    """Return a part as an operation shows it; without one it stays as it is."""
    if operation is None:
        return part
    return replace(
        part,
        state=PartState(operation.state.value),
        operation=operation.id,
        error=operation.error,
        uris=operation.uris,
        service_attempt=operation.attempt,
        eecu_seconds=max(part.eecu_seconds, operation.eecu_seconds),
        started_ms=operation.started_ms,
        updated_ms=operation.updated_ms,
    )


class Action(StrEnum):
    """What is to be done about a task."""

    WAIT = "wait"
    VERIFY = "verify"
    """All its exports have ended well, or are forgotten: look for the files."""
    SPLIT = "split"
    REPEAT = "repeat"
    FAIL = "fail"
    CANCEL = "cancel"
    """An export was cancelled: so is the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do, the state until then, and why."""

    action: Action
    state: State
    error: str | None = None


def judge(
    parts: Sequence[Part],
    *,
    cancelling: bool = False,
    attempts: int = 3,
    splits: int = 3,
    dates: int = 1,
) -> Verdict:
    """Decide what to do about a task.

    Parameters
    ----------
    parts : sequence of Part
        Of its current generation.
    cancelling : bool
        Whether the user wants it cancelled.
    attempts : int
        How often an export is repeated whose failure looks transient.
    splits : int
        How often a task is quartered, and its period halved, at most.
    dates : int
        Of the task's image.
    """
    states = {part.state for part in parts}
    failed = [part for part in parts if part.state is PartState.FAILED]
    if cancelling or PartState.CANCELLED in states:
        if states & SENT:
            return Verdict(action=Action.WAIT, state=State.CANCEL_REQUESTED)
        if states != {PartState.COMPLETED}:
            return Verdict(action=Action.CANCEL, state=State.CANCELLED)
    if failed:
        following = next_generation(parts[0].id.generation, dates, splits)
        return _judge_failure(failed, parts, attempts, dates=dates, can_split=following is not None)
    if states <= {PartState.COMPLETED, PartState.LOST}:
        return Verdict(action=Action.VERIFY, state=State.RUNNING)
    if PartState.CANCEL_REQUESTED in states:
        return Verdict(action=Action.WAIT, state=State.CANCEL_REQUESTED)
    begun = states & {PartState.RUNNING, PartState.COMPLETED}
    return Verdict(action=Action.WAIT, state=State.RUNNING if begun else State.READY)


def _judge_failure(
    failed: Sequence[Part], parts: Sequence[Part], attempts: int, *, dates: int, can_split: bool
) -> Verdict:
    classes = {classify(part.error): part.error for part in failed}
    for failure in (Failure.PERMANENT, Failure.TOO_LARGE):
        if failure in classes and (failure is Failure.PERMANENT or not can_split):
            error = _explain(classes[failure], parts, dates)
            return Verdict(action=Action.FAIL, state=State.FAILED, error=error)
    if Failure.TOO_LARGE in classes:
        return Verdict(action=Action.SPLIT, state=State.READY)
    worst = max(part.id.attempt for part in failed)
    if worst + 1 < attempts:
        return Verdict(action=Action.REPEAT, state=State.READY)
    (message, *_) = classes.values()
    return Verdict(
        action=Action.FAIL, state=State.FAILED, error=f"{message} ({worst + 1} attempts)"
    )


def _explain(message: str | None, parts: Sequence[Part], dates: int) -> str:
    text = message or "Earth Engine gave no reason"
    if len(parts) > 1 and classify(message) is Failure.TOO_LARGE:
        single = dates_per_file(dates, parts[0].id.generation) == 1
        advice = "use smaller tiles" if single else "order shorter periods with period_freq"
        text += f" (also in {len(parts)} parts: {advice})"
    return text


def status_of(record: Record, parts: Sequence[Part]) -> TaskStatus:
    """Return a task's status for the tracker."""
    return TaskStatus(
        id=record.key,
        state=record.state,
        creation_timestamp_ms=record.created_ms,
        update_timestamp_ms=max((p.updated_ms for p in parts), default=0) or record.updated_ms,
        start_timestamp_ms=min((p.started_ms for p in parts if p.started_ms), default=0),
        output_url=tuple(dict.fromkeys(uri for part in parts for uri in part.uris)),
        error_message=record.error,
        attempt=max((part.id.attempt + part.service_attempt for part in parts), default=0),
        files=record.files,
        eecu_seconds=sum(part.cost for part in parts),
    )


def status_of_operations(name: str, operations: Iterable[Operation]) -> TaskStatus | None:
    """Return the status of a task of which nothing is known here but its operations.

    None when they do not tell: the files must.
    """
    latest: dict[int, Operation] = {}
    known = [op for op in operations if op.part is not None]
    generation = max((op.part.generation for op in known if op.part), default=0)
    for operation in known:
        part = operation.part
        assert part is not None
        other = latest.get(part.number)
        if part.generation == generation and (
            other is None or other.part is None or other.part.attempt < part.attempt
        ):
            latest[part.number] = operation
    parts = [
        observe(Part(id=op.part), op) for _, op in sorted(latest.items()) if op.part is not None
    ]
    # Without the ledger nothing can be repeated or split: a failure is final.
    verdict = judge(parts, attempts=1, splits=0) if parts else None
    if verdict is None or verdict.action is Action.VERIFY:
        return None
    record = Record(
        key=name,
        order="",
        name="",
        prefix="",
        store="",
        state=verdict.state,
        export={},
        size=(1, 1),
        error=verdict.error,
        created_ms=min(op.created_ms for op in latest.values()),
    )
    return status_of(record, parts)


def choose(
    waiting: Mapping[str, Sequence[tuple[int, PartId]]], outstanding: Mapping[str, int], room: int
) -> list[PartId]:
    """Choose which exports to send next: the most urgent, and of those the order with the fewest.

    Parameters
    ----------
    waiting : mapping
        By order: (priority, export), the most urgent first.
    outstanding : mapping
        By order: how many of its exports the service has, not ended.
    room : int
        How many more the service may have.
    """
    chosen: list[PartId] = []
    heap = [
        (-parts[0][0], outstanding.get(order, 0), place, 0, order)
        for place, (order, parts) in enumerate(waiting.items())
        if parts
    ]
    heapq.heapify(heap)
    while heap and len(chosen) < room:
        _, busy, place, position, order = heapq.heappop(heap)
        parts = waiting[order]
        chosen.append(parts[position][1])
        if position + 1 < len(parts):
            following = parts[position + 1][0]
            heapq.heappush(heap, (-following, busy + 1, place, position + 1, order))
    return chosen
