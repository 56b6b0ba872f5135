"""The ledger of the local engine: its tasks, their events and leases, in one SQLite file.

Only a runner touches it while tasks run. A claim is a lease: whoever holds it must renew it, and
when it ends the task may be claimed anew. Each claim counts the task's attempts up, and that number
fences: what a late holder of an older claim says is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import EngineError
from orchard.tracking import FileInfo, State, TaskStatus, now_ms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Claim", "Entry", "Event", "Ledger"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    ord TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    owner TEXT,
    lease_until REAL NOT NULL DEFAULT 0,
    spec BLOB NOT NULL,
    error TEXT,
    files BLOB,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_waiting ON tasks (state, ord, priority DESC, seq);
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
_VERSION = 1
_STATUS = "key, state, created_ms, updated_ms, started_ms, error, attempt, files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A task to be recorded.

    ``spec`` is its JSON; in it ``{"$part": ID}`` stands for a part of that id that tasks share.
    """

    key: str
    order: str
    name: str
    prefix: str
    spec: bytes
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A task that a runner may work on, until the lease ends."""

    key: str
    order: str
    name: str
    prefix: str
    attempt: int
    owner: str
    spec: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a task; ``at_ms`` is epoch milliseconds UTC."""

    key: str
    at_ms: int
    event: str
    detail: str | None


class Ledger:
    """Tasks in one SQLite file (WAL), shared by threads and processes of one machine.

    Parameters
    ----------
    path : Path
        The file; it and its folder are made on first use.

    Raises
    ------
    EngineError
        When the file cannot be opened, or was made by a newer Orchard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Autocommit: transactions are begun by hand, IMMEDIATE, so that writers queue up.
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            with self._write() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in _SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {_VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the ledger {path} cannot be opened: {error}") from error
        if version > _VERSION:
            raise EngineError(f"the ledger {path} was made by a newer Orchard: upgrade this one")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _read(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    # Recording

    def add(self, entries: Iterable[Entry], parts: Mapping[str, bytes]) -> None:
        """Record tasks as READY; one whose key is known stays as it is."""
        now = now_ms()
        with self._write() as db:
            db.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", parts.items())
            for entry in entries:
                added = db.execute(
                    "INSERT OR IGNORE INTO tasks (key, ord, name, prefix, state, priority, spec, "
                    "created_ms, updated_ms) VALUES (?, ?, ?, ?, 'READY', ?, ?, ?, ?)",
                    (
                        entry.key,
                        entry.order,
                        entry.name,
                        entry.prefix,
                        entry.priority,
                        entry.spec,
                        now,
                        now,
                    ),
                ).rowcount
                if added:
                    db.execute(_EVENT, (entry.key, now, "recorded", None))

    def spec(self, claim: Claim) -> dict[str, Any]:
        """Return the JSON of a claimed task, its shared parts filled in."""
        return self._filled(orjson.loads(claim.spec))  # type: ignore[no-any-return]

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            if "$part" in value:
                ((data,),) = self._read("SELECT data FROM parts WHERE id = ?", (value["$part"],))
                return orjson.loads(data)
            return {key: self._filled(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._filled(part) for part in value]
        return value

    # Asking

    def statuses(self, keys: Sequence[str]) -> dict[str, TaskStatus]:
        """Return the status of tasks by key; unknown ones are left out."""
        found: dict[str, TaskStatus] = {}
        for some in _batches(keys):
            marks = ",".join("?" * len(some))
            rows = self._read(f"SELECT {_STATUS} FROM tasks WHERE key IN ({marks})", some)  # noqa: S608 - only question marks
            found.update((row[0], _status(row)) for row in rows)
        return found

    def waiting(self, keys: Collection[str] | None = None) -> int:
        """Count the tasks (of `keys`, or all) that have not ended."""
        ended = "('COMPLETED', 'FAILED', 'CANCELLED', 'LOST', 'EMPTY')"
        if keys is None:
            rows = self._read(f"SELECT count(*) FROM tasks WHERE state NOT IN {ended}")  # noqa: S608 - constant
            return int(rows[0][0])
        return sum(
            int(
                self._read(
                    f"SELECT count(*) FROM tasks WHERE key IN ({','.join('?' * len(some))}) "  # noqa: S608 - only question marks
                    f"AND state NOT IN {ended}",
                    some,
                )[0][0]
            )
            for some in _batches(list(keys))
        )

    def orders(self) -> list[str]:
        """Return the orders that have tasks to be claimed or to be waited for."""
        rows = self._read(
            "SELECT DISTINCT ord FROM tasks WHERE state IN ('READY', 'RUNNING', 'CANCEL_REQUESTED')"
        )
        return [row[0] for row in rows]

    def events(self, key: str) -> list[Event]:
        """Return what happened to a task, in time."""
        rows = self._read(
            "SELECT key, at_ms, event, detail FROM events WHERE key = ? ORDER BY seq", (key,)
        )
        return [Event(key=k, at_ms=at, event=event, detail=detail) for k, at, event, detail in rows]

    # Working

    def claim(
        self,
        order: str,
        owner: str,
        lease: float,
        limit: int = 1,
        keys: Collection[str] | None = None,
    ) -> list[Claim]:
        """Claim up to `limit` READY tasks of an order (among `keys`) for `lease` seconds.

        Tasks whose holder let its lease end are READY again before that.
        """
        now = time.time()
        with self._write() as db:
            _give_back(db, now)
            ready = db.execute(
                "SELECT key, name, prefix, attempt, spec FROM tasks WHERE state = 'READY' "
                "AND ord = ? AND not_before <= ? ORDER BY priority DESC, seq",
                (order, now),
            )
            wanted = (row for row in ready if keys is None or row[0] in keys)
            rows = list(itertools.islice(wanted, limit))
            at = now_ms()
            for key, _, _, attempt, _ in rows:
                db.execute(
                    "UPDATE tasks SET state = 'RUNNING', owner = ?, lease_until = ?, error = NULL, "
                    "attempt = ?, started_ms = ?, updated_ms = ? WHERE key = ?",
                    (owner, now + lease, attempt + 1, at, at, key),
                )
                db.execute(_EVENT, (key, at, "started", f"attempt {attempt + 1} by {owner}"))
        return [
            Claim(
                key=key,
                order=order,
                name=name,
                prefix=prefix,
                attempt=attempt + 1,
                owner=owner,
                spec=spec,
            )
            for key, name, prefix, attempt, spec in rows
        ]

    def renew(self, owner: str, lease: float) -> None:
        """Renew every lease of a runner."""
        with self._write() as db:
            db.execute(
                "UPDATE tasks SET lease_until = ? "
                "WHERE owner = ? AND state IN ('RUNNING', 'CANCEL_REQUESTED')",
                (time.time() + lease, owner),
            )

    def cancelled(self, owner: str) -> list[str]:
        """Return the keys of a runner's tasks whose cancellation is asked for."""
        rows = self._read(
            "SELECT key FROM tasks WHERE state = 'CANCEL_REQUESTED' AND owner = ?", (owner,)
        )
        return [row[0] for row in rows]

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is still the task's last one."""
        rows = self._read(
            "SELECT 1 FROM tasks WHERE key = ? AND owner = ? AND attempt = ? "
            "AND state IN ('RUNNING', 'CANCEL_REQUESTED')",
            (claim.key, claim.owner, claim.attempt),
        )
        return bool(rows)

    def complete(self, claim: Claim, files: Sequence[FileInfo]) -> bool:
        """Record a result; False when the claim is not the last one any more."""
        data = orjson.dumps([file.to_dict() for file in files])
        return self._end(claim, State.COMPLETED, "completed", None, data)

    def fail(self, claim: Claim, error: str) -> bool:
        """Record a failure for good."""
        return self._end(claim, State.FAILED, "failed", error, None)

    def drop(self, claim: Claim) -> bool:
        """Record that a running task was cancelled."""
        return self._end(claim, State.CANCELLED, "cancelled", None, None)

    def again(self, claim: Claim, error: str | None, delay: float = 0) -> bool:
        """Give a task back, to be claimed anew after `delay` seconds."""
        now = time.time()
        return self._move(
            claim,
            "state = CASE state WHEN 'CANCEL_REQUESTED' THEN 'CANCELLED' ELSE 'READY' END, "
            "owner = NULL, lease_until = 0, not_before = ?, error = ?",
            (now + delay, error),
            "given back",
            error,
        )

    def _end(
        self, claim: Claim, state: State, event: str, error: str | None, files: bytes | None
    ) -> bool:
        return self._move(
            claim,
            "state = ?, owner = NULL, lease_until = 0, error = ?, files = ?",
            (str(state), error, files),
            event,
            error,
        )

    def _move(
        self, claim: Claim, change: str, args: tuple[Any, ...], event: str, detail: str | None
    ) -> bool:
        at = now_ms()
        with self._write() as db:
            moved = db.execute(
                f"UPDATE tasks SET {change}, updated_ms = ? WHERE key = ? AND owner = ? "  # noqa: S608 - constants of this class
                "AND attempt = ? AND state IN ('RUNNING', 'CANCEL_REQUESTED')",
                (*args, at, claim.key, claim.owner, claim.attempt),
            ).rowcount
            if moved:
                db.execute(_EVENT, (claim.key, at, event, detail))
        return bool(moved)

    # Deciding otherwise

    def cancel(self, keys: Sequence[str]) -> None:
        """Cancel READY tasks at once; ask for RUNNING ones to be cancelled by their runner."""
        self._change(
            keys,
            "state = CASE state WHEN 'READY' THEN 'CANCELLED' ELSE 'CANCEL_REQUESTED' END",
            "state IN ('READY', 'RUNNING')",
            "cancel requested",
        )

    def retry(self, keys: Sequence[str]) -> None:
        """Make tasks that ended without a result READY again, with all attempts before them."""
        self._change(
            keys,
            "state = 'READY', error = NULL, not_before = 0, owner = NULL",
            "state IN ('FAILED', 'CANCELLED', 'LOST')",
            "retried",
        )

    def forget(self, keys: Sequence[str]) -> None:
        """Delete tasks and their events, as `clean` does."""
        with self._write() as db:
            for some in _batches(keys):
                marks = ",".join("?" * len(some))
                db.execute(f"DELETE FROM tasks WHERE key IN ({marks})", some)  # noqa: S608 - only question marks
                db.execute(f"DELETE FROM events WHERE key IN ({marks})", some)  # noqa: S608 - only question marks

    def note(self, key: str, event: str, detail: str | None = None) -> None:
        """Record an event that changes no state (downloaded, verified, converted)."""
        with self._write() as db:
            db.execute(_EVENT, (key, now_ms(), event, detail))

    def _change(self, keys: Sequence[str], change: str, where: str, event: str) -> None:
        at = now_ms()
        with self._write() as db:
            for key in keys:
                moved = db.execute(
                    f"UPDATE tasks SET {change}, updated_ms = ? WHERE key = ? AND {where}",  # noqa: S608 - constants of this class
                    (at, key),
                ).rowcount
                if moved:
                    db.execute(_EVENT, (key, at, event, None))


_EVENT = "INSERT INTO events (key, at_ms, event, detail) VALUES (?, ?, ?, ?)"


def _give_back(db: sqlite3.Connection, now: float) -> None:
    """Take tasks from runners whose lease has ended."""
    at = now_ms()
    lapsed = db.execute(
        "SELECT key, owner, state FROM tasks "
        "WHERE state IN ('RUNNING', 'CANCEL_REQUESTED') AND lease_until < ?",
        (now,),
    ).fetchall()
    for key, owner, state in lapsed:
        after = "READY" if state == "RUNNING" else "CANCELLED"
        db.execute(
            "UPDATE tasks SET state = ?, owner = NULL, lease_until = 0, updated_ms = ? "
            "WHERE key = ?",
            (after, at, key),
        )
        db.execute(_EVENT, (key, at, "lease ended", owner))


def _batches(keys: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    return (keys[i : i + size] for i in range(0, len(keys), size))


def _status(row: tuple[Any, ...]) -> TaskStatus:
    key, state, created, updated, started, error, attempt, files = row
    return TaskStatus(
        id=key,
        state=State(state),
        creation_timestamp_ms=created,
        update_timestamp_ms=updated,
        start_timestamp_ms=started,
        error_message=error,
        attempt=attempt,
        files=tuple(FileInfo.from_dict(file) for file in orjson.loads(files)) if files else (),
    )
