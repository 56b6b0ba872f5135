"""Operations of the service: how they are read, listed and recognised as ours (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from orchard.tracking import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Listing", "Operation", "PartId", "list_operations"]

_STATES = {
    "PENDING": State.READY,
    "RUNNING": State.RUNNING,
    "CANCELLING": State.CANCEL_REQUESTED,
    "SUCCEEDED": State.COMPLETED,
    "CANCELLED": State.CANCELLED,
    "FAILED": State.FAILED,
}
_OURS = re.compile(r"orchard:(?P<key>[A-Za-z0-9]+)-(?P<part>\d+-\d+-\d+):(?P<order>.*)", re.DOTALL)
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9.,:;_-]")
_LONGEST = 100


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PartId:
    """Names one export: a task's key, its generation of splitting, the part of it, and the attempt.

    It is the export's request id, and stands in its description: either leads back to the task.
    """

    key: str
    generation: int = 0
    number: int = 0
    attempt: int = 0

    def __str__(self) -> str:
        return f"{self.key}-{self.generation}-{self.number}-{self.attempt}"

    @property
    def request_id(self) -> str:
        """For the service: at most 60 letters, digits and dashes."""
        return f"orchard-{self}"

    def describe(self, order: str) -> str:
        """Describe the export for the service and for people: at most 100 characters."""
        return _NOT_ALLOWED.sub("_", f"orchard:{self}:{order}")[:_LONGEST]

    @classmethod
    def read(cls, description: str) -> tuple[Self, str] | None:
        """Return the id and the order that a description tells; None when it is not ours.

        The order's name is cut where it was too long for the description.
        """
        found = _OURS.fullmatch(description)
        if found is None:
            return None
        generation, number, attempt = map(int, found["part"].split("-"))
        part = cls(key=found["key"], generation=generation, number=number, attempt=attempt)
        return part, found["order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation; times are epoch milliseconds UTC, 0 when not yet.

    Parameters
    ----------
    id : str
        The last part of its name.
    state : State
    kind : str
        ``EXPORT_IMAGE``, ``INGEST_IMAGE``, ….
    description : str
    part : PartId or None
        Which export of ours it is.
    order : str
        The order that the description tells; empty when it is not ours.
    error : str or None
    uris : tuple of str
        Where the result went.
    attempt : int
        How often the service itself has tried.
    eecu_seconds : float
        What it has cost.
    """

    id: str
    state: State
    kind: str = ""
    description: str = ""
    part: PartId | None = None
    order: str = ""
    error: str | None = None
    uris: tuple[str, ...] = ()
    attempt: int = 0
    eecu_seconds: float = 0.0
    priority: int | None = None
    created_ms: int = 0
    updated_ms: int = 0
    started_ms: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what the API gives; a state it has not told before counts as RUNNING."""
        metadata = data.get("metadata") or {}
        description = str(metadata.get("description") or "")
        ours = PartId.read(description)
        return cls(
            id=str(data.get("name", "")).rpartition("/")[2],
            state=_STATES.get(str(metadata.get("state")), State.RUNNING),
            kind=str(metadata.get("type") or ""),
            description=description,
            part=ours[0] if ours else None,
            order=ours[1] if ours else "",
            error=(data.get("error") or {}).get("message"),
            uris=tuple(metadata.get("destinationUris") or ()),
            attempt=int(metadata.get("attempt") or 0),
            eecu_seconds=float(metadata.get("batchEecuUsageSeconds") or 0),
            priority=_whole(metadata.get("priority")),
            created_ms=_milliseconds(metadata.get("createTime")),
            updated_ms=_milliseconds(metadata.get("updateTime")),
            started_ms=_milliseconds(metadata.get("startTime")),
        )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _milliseconds(stamp: str | None) -> int:
    """Read a time of the API; what has not begun has 1970, that is 0."""
    if not stamp:
        return 0
    moment = datetime.fromisoformat(stamp)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max(round(moment.timestamp() * 1000), 0)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a look at the operations has shown.

    Parameters
    ----------
    parts : mapping
        Exports of ours by `PartId`; of several the one that is furthest.
    by_id : mapping
        All that were seen, by their id.
    pending : int
        How many wait, whoever's they are.
    complete : bool
        Whether all operations were seen: then what is not among them is forgotten.
    """

    parts: Mapping[PartId, Operation]
    by_id: Mapping[str, Operation]
    pending: int
    complete: bool

    def of_key(self, key: str) -> list[Operation]:
        """Return the exports of a task."""
        return [op for part, op in self.parts.items() if part.key == key]


# Of two operations of the same export (the service had forgotten the request id), which counts.
_RANK = {
    State.COMPLETED: 5,
    State.RUNNING: 4,
    State.READY: 3,
    State.CANCEL_REQUESTED: 2,
    State.CANCELLED: 1,
    State.FAILED: 0,
}


def list_operations(
    pages: Iterable[list[dict[str, Any]]],
    *,
    parts: set[PartId] | None = None,
    ids: set[str] | None = None,
    count_pending: bool = False,
) -> Listing:
    """Look through operations, the newest first, and stop when all that is wanted was seen.

    Parameters
    ----------
    pages : iterable of list of dict
        As the API gives them; further pages are asked for only as they are needed.
    parts, ids : set, optional
        What is looked for, by export and by operation id. Both None: everything.
    count_pending : bool
        Whether `Listing.pending` matters: goes on until a page has none that waits.
    """
    everything = parts is None and ids is None
    missing: set[PartId | str] = {*(parts or ()), *(ids or ())}
    found: dict[PartId, Operation] = {}
    by_id: dict[str, Operation] = {}
    pending, complete = 0, True
    iterator = iter(pages)
    for page in iterator:
        waiting = 0
        for data in page:
            operation = Operation.from_json(data)
            by_id[operation.id] = operation
            missing.discard(operation.id)
            waiting += operation.state is State.READY
            if operation.part is not None:
                missing.discard(operation.part)
                other = found.get(operation.part)
                if other is None or _RANK[operation.state] > _RANK[other.state]:
                    found[operation.part] = operation
        pending += waiting
        if not (everything or missing or (count_pending and waiting)):
            complete = False
            break
    return Listing(parts=found, by_id=by_id, pending=pending, complete=complete)
