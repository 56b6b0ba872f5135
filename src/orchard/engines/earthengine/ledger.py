"""The feeder's memory: tasks and their exports in one SQLite file for each project.

It is a convenience, not the truth: what Earth Engine has is in its list of operations, whose
descriptions name the task and the part, and what is done is in the store.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import EngineError
from orchard.tracking import TERMINAL, FileInfo, State

from .lifecycle import SENT, Part, PartState, Record
from .operations import PartId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Ledger"]

_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    ord TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    store TEXT NOT NULL,
    state TEXT NOT NULL,
    cancelling INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,
    looks INTEGER NOT NULL DEFAULT 0,
    export BLOB NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    dates INTEGER NOT NULL DEFAULT 1,
    error TEXT,
    files BLOB,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    spec BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS parts (
    key TEXT NOT NULL,
    generation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL,
    operation TEXT NOT NULL DEFAULT '',
    error TEXT,
    uris BLOB,
    service_attempt INTEGER NOT NULL DEFAULT 0,
    eecu_seconds REAL NOT NULL DEFAULT 0,
    spent_seconds REAL NOT NULL DEFAULT 0,
    started_ms INTEGER NOT NULL DEFAULT 0,
    updated_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, generation, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parts_by_state ON parts (state, key);
CREATE TABLE IF NOT EXISTS forgotten (key TEXT PRIMARY KEY, attempt INTEGER NOT NULL)
STRICT, WITHOUT ROWID;
"""
_TASK = (
    "key, ord, name, prefix, store, state, priority, generation, looks, export, width, height, "
    "dates, error, files, created_ms, updated_ms"
)
_PART = (
    "key, generation, number, attempt, state, operation, error, uris, service_attempt, "
    "eecu_seconds, spent_seconds, started_ms, updated_ms"
)
_FROM_1 = """
BEGIN;
ALTER TABLE tasks ADD COLUMN dates INTEGER NOT NULL DEFAULT 1;
ALTER TABLE parts ADD COLUMN spent_seconds REAL NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
COMMIT;
"""
"""Then tasks were never cut by dates, and what earlier attempts had cost was not told apart."""
_BATCH = 500
_ENDED = frozenset(PartState) - SENT - {PartState.WAITING}


def _quoted(states: Iterable[str]) -> str:
    """Write states for ``IN (…)``."""
    return ", ".join(f"'{state}'" for state in sorted(states))


class Ledger:
    """Tasks and exports of one project; threads and processes of one machine may share it.

    Parameters
    ----------
    path : Path
        The file; it and its folder are made on first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file; it is opened again on the next use."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Change several things, all or nothing."""
        with self._lock:
            connection = self._connect()
            if connection.in_transaction:
                yield connection
                return
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo(connection)
                raise self._broken(error) from error
            except BaseException:
                self._undo(connection)
                raise

    def _undo(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _broken(self, error: sqlite3.Error) -> EngineError:
        return EngineError(
            f"the Earth Engine ledger {self.path} cannot be used: {error}. Where it is broken, "
            "move it away: what runs is found again in the list of operations"
        )

    def _connect(self) -> sqlite3.Connection:
        if self._open is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(
                    self.path, timeout=60, isolation_level=None, check_same_thread=False
                )
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version > _VERSION:
                    connection.close()
                    raise EngineError(
                        f"the Earth Engine ledger {self.path} was written by a newer Orchard "
                        f"(format {version}): upgrade, or name another file"
                    )
                connection.executescript(_SCHEMA)
                if version == 1:
                    connection.executescript(_FROM_1)
                connection.execute(f"PRAGMA user_version={_VERSION}")
            except (sqlite3.Error, OSError) as error:
                raise EngineError(
                    f"the Earth Engine ledger {self.path} cannot be opened: {error}"
                ) from error
            self._open = connection
        return self._open

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._connect().execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._broken(error) from error

    def _rows_of(self, query: str, keys: Sequence[str]) -> Iterator[Any]:
        """Run a query with ``IN ({})`` over many keys."""
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            yield from self._rows(query.format(", ".join("?" * len(batch))), batch)

    # Tasks

    def add(self, tasks: Iterable[tuple[Record, bytes, Sequence[Part]]]) -> None:
        """Record tasks with their specs and parts; those that are known stay as they are."""
        with self.change() as db:
            for record, spec, parts in tasks:
                done = db.execute(
                    f"INSERT OR IGNORE INTO tasks ({_TASK}, spec) "  # noqa: S608 - own columns
                    f"VALUES ({', '.join('?' * 18)})",
                    (*_task_row(record), spec),
                )
                if done.rowcount:
                    self.save_parts(parts)
                    db.execute("DELETE FROM forgotten WHERE key = ?", (record.key,))

    def records(self, keys: Sequence[str]) -> dict[str, Record]:
        """Return tasks by key."""
        query = f"SELECT {_TASK} FROM tasks WHERE key IN ({{}})"  # noqa: S608 - own columns
        return {row[0]: _task(row) for row in self._rows_of(query, keys)}

    def save(self, records: Iterable[Record]) -> None:
        """Write tasks as they are now."""
        with self.change() as db:
            db.executemany(
                "UPDATE tasks SET state=?, generation=?, looks=?, error=?, files=?, updated_ms=? "
                "WHERE key=?",
                [
                    (
                        str(r.state),
                        r.generation,
                        r.looks,
                        r.error,
                        orjson.dumps([file.to_dict() for file in r.files]),
                        r.updated_ms,
                        r.key,
                    )
                    for r in records
                ],
            )

    def spec(self, key: str) -> bytes:
        """Return the packed spec of a task's image."""
        return bytes(self._rows("SELECT spec FROM tasks WHERE key = ?", (key,))[0][0])

    def open_keys(self, *, store: str | None = None, moved: bool = False) -> list[str]:
        """Return the tasks that have not ended.

        Parameters
        ----------
        store : str, optional
            Only those whose files go there.
        moved : bool
            Only those of which a part has ended, or that the user wants cancelled.
        """
        query = f"SELECT key FROM tasks t WHERE state NOT IN ({_quoted(TERMINAL)})"  # noqa: S608
        if moved:
            query += (
                " AND (cancelling OR EXISTS (SELECT 1 FROM parts p WHERE p.key = t.key "  # noqa: S608
                f"AND p.generation = t.generation AND p.state IN ({_quoted(_ENDED)})))"
            )
        if store is not None:
            query += " AND store = ?"
        values = () if store is None else (store,)
        return [key for (key,) in self._rows(f"{query} ORDER BY seq", values)]

    def cancelling(self, keys: Sequence[str]) -> set[str]:
        """Return which of these tasks the user wants cancelled."""
        query = "SELECT key FROM tasks WHERE cancelling AND key IN ({})"
        return {key for (key,) in self._rows_of(query, keys)}

    def set_cancelling(self, keys: Iterable[str], *, to: bool) -> None:
        """Note that the user wants tasks cancelled, or no longer."""
        with self.change() as db:
            db.executemany(
                "UPDATE tasks SET cancelling = ? WHERE key = ?", [(int(to), key) for key in keys]
            )

    def forget(self, keys: Sequence[str]) -> None:
        """Delete tasks; what their next attempt will be called is kept."""
        parts = self.parts(keys)
        with self.change() as db:
            for key in keys:
                if key in parts:
                    attempt = max(part.id.attempt for part in parts[key]) + 1
                    db.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (key, attempt))
                db.execute("DELETE FROM parts WHERE key = ?", (key,))
                db.execute("DELETE FROM tasks WHERE key = ?", (key,))

    def first_attempts(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the number of the first attempt of tasks that were there before."""
        return dict(self._rows_of("SELECT key, attempt FROM forgotten WHERE key IN ({})", keys))

    # Parts

    def parts(self, keys: Sequence[str]) -> dict[str, list[Part]]:
        """Return the parts of tasks, of their current generation, by key and in order."""
        query = (
            f"SELECT {', '.join(f'p.{c.strip()}' for c in _PART.split(','))} "  # noqa: S608
            "FROM parts p JOIN tasks t ON t.key = p.key AND t.generation = p.generation "
            "WHERE p.key IN ({}) ORDER BY p.key, p.number"
        )
        found: dict[str, list[Part]] = {}
        for row in self._rows_of(query, keys):
            found.setdefault(row[0], []).append(_part(row))
        return found

    def sent(self) -> list[Part]:
        """Return the exports that the service has, or may have, and has not ended."""
        rows = self._rows(
            f"SELECT {_PART} FROM parts WHERE state IN ({_quoted(SENT)})"  # noqa: S608
        )
        return [_part(row) for row in rows]

    def save_parts(self, parts: Iterable[Part]) -> None:
        """Write parts as they are now."""
        with self.change() as db:
            db.executemany(
                f"INSERT OR REPLACE INTO parts ({_PART}) VALUES ({', '.join('?' * 13)})",  # noqa: S608
                [_part_row(part) for part in parts],
            )

    def waiting(self, most: int) -> dict[str, list[tuple[int, Part]]]:
        """Return by order exports that wait to be sent: at most so many, the urgent first."""
        rows = self._rows(
            f"SELECT ord, priority, {_PART} FROM ("  # noqa: S608 - own columns
            f"SELECT t.ord, t.priority, {', '.join(f'p.{c.strip()}' for c in _PART.split(','))}, "
            "row_number() OVER (PARTITION BY t.ord ORDER BY t.priority DESC, t.seq, p.number) n "
            "FROM parts p JOIN tasks t ON t.key = p.key AND t.generation = p.generation "
            "WHERE p.state = 'WAITING' AND NOT t.cancelling) WHERE n <= ? ORDER BY ord, n",
            (most,),
        )
        found: dict[str, list[tuple[int, Part]]] = {}
        for order, priority, *row in rows:
            found.setdefault(order, []).append((priority, _part(row)))
        return found

    def outstanding(self) -> dict[str, int]:
        """Return by order how many exports the service has, or may have, and has not ended."""
        return dict(
            self._rows(
                "SELECT t.ord, count(*) FROM parts p JOIN tasks t ON t.key = p.key "  # noqa: S608
                f"WHERE p.state IN ({_quoted(SENT)}) GROUP BY t.ord"
            )
        )

    def usage(self, keys: Sequence[str]) -> dict[str, float]:
        """Return by task the EECU seconds that all its exports have cost."""
        return {key: sum(p.cost for p in parts) for key, parts in self.parts(keys).items()}


def _task_row(record: Record) -> tuple[Any, ...]:
    return (
        record.key,
        record.order,
        record.name,
        record.prefix,
        record.store,
        str(record.state),
        record.priority,
        record.generation,
        record.looks,
        orjson.dumps(dict(record.export)),
        *record.size,
        record.dates,
        record.error,
        orjson.dumps([file.to_dict() for file in record.files]),
        record.created_ms,
        record.updated_ms,
    )


def _task(row: Sequence[Any]) -> Record:
    return Record(
        key=row[0],
        order=row[1],
        name=row[2],
        prefix=row[3],
        store=row[4],
        state=State(row[5]),
        priority=row[6],
        generation=row[7],
        looks=row[8],
        export=orjson.loads(row[9]),
        size=(row[10], row[11]),
        dates=row[12],
        error=row[13],
        files=tuple(FileInfo.from_dict(file) for file in orjson.loads(row[14] or b"[]")),
        created_ms=row[15],
        updated_ms=row[16],
    )


def _part_row(part: Part) -> tuple[Any, ...]:
    return (
        part.id.key,
        part.id.generation,
        part.id.number,
        part.id.attempt,
        str(part.state),
        part.operation,
        part.error,
        orjson.dumps(part.uris),
        part.service_attempt,
        part.eecu_seconds,
        part.spent_seconds,
        part.started_ms,
        part.updated_ms,
    )


def _part(row: Sequence[Any]) -> Part:
    return Part(
        id=PartId(key=row[0], generation=row[1], number=row[2], attempt=row[3]),
        state=PartState(row[4]),
        operation=row[5],
        error=row[6],
        uris=tuple(orjson.loads(row[7] or b"[]")),
        service_attempt=row[8],
        eecu_seconds=row[9],
        spent_seconds=row[10],
        started_ms=row[11],
        updated_ms=row[12],
    )
