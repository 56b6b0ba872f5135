"""Adoption: tasks that are new to the ledger, but perhaps not to Earth Engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchard.tracking import State, TaskStatus, now_ms

from .lifecycle import Part, Record, observe, status_of_operations
from .operations import Operation, PartId
from .results import Results
from .spec import ImageSpec
from .splitting import Limits, first_generation, n_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchard.engines import Task
    from orchard.stores import Store

    from .ledger import Ledger
    from .operations import Listing

__all__ = ["adopt", "foreign_statuses", "open_operations"]

_ALIVE = frozenset({State.READY, State.RUNNING})


def adopt(
    tasks: Sequence[Task], store: Store, ledger: Ledger, listing: Listing, limits: Limits
) -> None:
    """Record tasks, together with what the service has of them already.

    That is so after a crash between an export and its record, and when the ledger was lost.

    Parameters
    ----------
    tasks : sequence of Task
    store : Store
    ledger : Ledger
    listing : Listing
        Of all operations.
    limits : Limits
        A task that would break one is cut by its period.
    """
    first = ledger.first_attempts([task.key for task in tasks])
    operations: dict[str, list[Operation]] = {}
    for part, operation in listing.parts.items():
        operations.setdefault(part.key, []).append(operation)
    results = Results(store)

    def entry(task: Task) -> tuple[Record, bytes, list[Part]]:
        record, theirs = _record(task, store.url, limits), operations.get(task.key, [])
        generation = max((op.part.generation for op in theirs if op.part), default=0)
        # What was done before counts if its files are still there; an order that was cleaned and
        # is made again starts anew, though the service still remembers it.
        done = bool(theirs) and bool(results.files(replace(record, generation=generation)))
        generation, parts = _parts(record, theirs, first.get(task.key, 0), done=done)
        record = replace(record, generation=generation)
        if not any(part.operation for part in parts):
            results.clear(record)  # what attempts that nobody remembers have left
        return record, ImageSpec.of(task).pack(), _completed(record, parts)

    ledger.add(map(entry, tasks))


def _parts(
    record: Record, operations: Iterable[Operation], first: int, *, done: bool
) -> tuple[int, list[Part]]:
    """Return generation and parts of a task, as its operations have them."""
    ours = sorted(
        ((op.part, op) for op in operations if op.part is not None), key=lambda pair: pair[0]
    )
    good = _ALIVE | ({State.COMPLETED} if done else frozenset())
    if not any(operation.state in good for _, operation in ours):
        attempt = max([first, *(part.attempt + 1 for part, _ in ours)])
        generation = record.generation
        return generation, [
            Part(id=PartId(key=record.key, generation=generation, number=n, attempt=attempt))
            for n in range(n_parts(record.size, record.dates, generation))
        ]
    generation = max(part.generation for part, operation in ours if operation.state in good)
    latest = {part.number: (part, op) for part, op in ours if part.generation == generation}
    return generation, [observe(Part(id=part), op) for part, op in latest.values()]


def _completed(record: Record, parts: list[Part]) -> list[Part]:
    """Add the parts of a generation that were not sent before the crash."""
    there = {part.id.number for part in parts}
    return parts + [
        Part(id=PartId(key=record.key, generation=record.generation, number=number))
        for number in range(n_parts(record.size, record.dates, record.generation))
        if number not in there
    ]


def _record(task: Task, store: str, limits: Limits) -> Record:
    request, now = task.plan.request, now_ms()
    scenes = [len(day.scenes) for day in task.plan.acquisitions]
    # Planning has refused what cannot be cut small enough.
    generation = first_generation(scenes, len(task.collection.bands), limits) or 0
    return Record(
        key=task.key,
        order=task.order,
        name=request.name,
        prefix=request.prefix,
        store=store,
        state=State.READY,
        priority=task.priority,
        generation=generation,
        dates=len(scenes),
        export=dict(task.export),
        size=(request.tile.size[0], request.tile.size[1]),
        created_ms=task.submitted or now,
        updated_ms=now,
    )


def foreign_statuses(ids: Iterable[str], listing: Listing | None) -> dict[str, TaskStatus]:
    """Return what the operations alone tell of tasks: of keys, or of ids of operations (CEDAR's).

    Those of which they do not tell are left out: their files must.
    """
    found: dict[str, TaskStatus] = {}
    if listing is None:
        return found
    for id_ in ids:
        own = listing.by_id.get(id_)
        status = _plain(own) if own else status_of_operations(id_, listing.of_key(id_))
        if status is not None:
            found[id_] = status
    return found


def _plain(operation: Operation) -> TaskStatus:
    return TaskStatus(
        id=operation.id,
        state=operation.state,
        creation_timestamp_ms=operation.created_ms,
        update_timestamp_ms=operation.updated_ms,
        start_timestamp_ms=operation.started_ms,
        output_url=operation.uris,
        error_message=operation.error,
        attempt=operation.attempt,
        eecu_seconds=operation.eecu_seconds,
    )


def open_operations(ids: Iterable[str], listing: Listing) -> list[str]:
    """Return the operations of such tasks that have not ended."""
    return [
        operation.id
        for id_ in ids
        for operation in ([listing.by_id[id_]] if id_ in listing.by_id else listing.of_key(id_))
        if operation.state in _ALIVE
    ]
