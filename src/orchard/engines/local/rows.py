"""What the ledger keeps: the tables of its file, and their rows as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson

from orchard.tracking import FileInfo, State, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA", "STATUS", "VERSION", "Claim", "Entry", "Event", "recorded", "status_of"]

VERSION = 1

# not_before: epoch seconds, 0 when the task may be claimed; so the index of what can be claimed
# holds nothing that waits for another try, however much of that there is.
SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    ord TEXT NOT NULL,
    submitted INTEGER NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    owner TEXT,
    lease_until REAL NOT NULL DEFAULT 0,
    spec BLOB NOT NULL,
    amended TEXT,
    error TEXT,
    files BLOB,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_ready ON tasks (ord, priority DESC, seq)
    WHERE state = 'READY' AND not_before = 0;
CREATE INDEX IF NOT EXISTS tasks_parked ON tasks (not_before) WHERE not_before > 0;
CREATE INDEX IF NOT EXISTS tasks_held ON tasks (owner)
    WHERE state IN ('RUNNING', 'CANCEL_REQUESTED');
CREATE INDEX IF NOT EXISTS tasks_open ON tasks (ord)
    WHERE state IN ('READY', 'RUNNING', 'CANCEL_REQUESTED');
CREATE INDEX IF NOT EXISTS tasks_states ON tasks (ord, key, state, updated_ms, attempt);
CREATE INDEX IF NOT EXISTS tasks_images ON tasks (prefix, name, ord);
CREATE TABLE IF NOT EXISTS parts (id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    event TEXT NOT NULL,
    detail TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS events_of ON events (key, seq);
"""

_STATES = {str(state): state for state in State}  # faster than State(…), for many rows

STATUS = "key, state, created_ms, updated_ms, started_ms, error, attempt, files"
"""The columns that `status_of` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A task to be recorded.

    ``spec`` is its JSON; in it ``{"$part": ID}`` stands for a part of that id that tasks share.
    ``submitted`` is when its order was submitted, in epoch milliseconds UTC.
    """

    key: str
    order: str
    submitted: int
    name: str
    prefix: str
    spec: bytes
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A task that a runner may work on, until the lease ends.

    Parameters
    ----------
    attempt : int
        How often the task was claimed, this claim included.
    failures : int
        How often an attempt has failed.
    losses : int
        How often its runner has died over it.
    amended : mapping
        What is to be made otherwise than the specification says.
    files : tuple of FileInfo
        Those that earlier holders have made.
    """

    key: str
    order: str
    name: str
    prefix: str
    owner: str
    spec: bytes
    attempt: int = 1
    failures: int = 0
    losses: int = 0
    amended: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[FileInfo, ...] = ()

    @classmethod
    def of(cls, key: str, order: str, owner: str, row: tuple[Any, ...]) -> Self:
        """Read a row of the ledger."""
        name, prefix, attempt, failures, losses, spec, amended, files = row
        return cls(
            key=key,
            order=order,
            name=name,
            prefix=prefix,
            owner=owner,
            spec=spec,
            attempt=attempt,
            failures=failures,
            losses=losses,
            amended=orjson.loads(amended) if amended else {},
            files=_files(files),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a task; ``at_ms`` is epoch milliseconds UTC."""

    key: str
    at_ms: int
    event: str
    detail: str | None


def recorded(key: str, now: int) -> TaskStatus:
    """Return the status of a task that was just recorded."""
    return TaskStatus(id=key, state=State.READY, creation_timestamp_ms=now, update_timestamp_ms=now)


def status_of(row: tuple[Any, ...]) -> TaskStatus:
    """Read the columns `STATUS`."""
    key, state, created, updated, started, error, attempt, files = row
    return TaskStatus(
        id=key,
        state=_STATES[state],
        creation_timestamp_ms=created,
        update_timestamp_ms=updated,
        start_timestamp_ms=started,
        error_message=error,
        attempt=attempt,
        files=_files(files) if files and state == State.COMPLETED else (),
    )


def _files(data: bytes | None) -> tuple[FileInfo, ...]:
    return tuple(map(FileInfo.from_dict, orjson.loads(data))) if data else ()
