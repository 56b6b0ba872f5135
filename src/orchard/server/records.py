"""What the platform itself records: projects, who owns which order, how far each block is.

One SQLite file (WAL) in the platform's own folder. Orders and tasks are not in here: their truth is
in the store's tracking documents and the engine's ledger, which the command line uses as well.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchard.errors import EngineError
from orchard.tracking import now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["BlockRecord", "Project", "Records"]

_VERSION = 1
_BATCH = 500
_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    key_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT;
CREATE TABLE orders (name TEXT PRIMARY KEY, project TEXT NOT NULL, workflow TEXT NOT NULL) STRICT;
CREATE TABLE blocks (
    job TEXT NOT NULL,
    block TEXT NOT NULL,
    ord TEXT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    started_ms INTEGER NOT NULL DEFAULT 0,
    finished_ms INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    PRIMARY KEY (job, block)
) STRICT;
CREATE INDEX blocks_of ON blocks (ord);
"""
_PROJECT = "id, name, description, key_hash, key_id, created_ms, revoked_ms"
_BLOCK = "job, block, ord, version, state, attempt, started_ms, finished_ms, error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: whose orders are nobody else's business.

    ``key_hash`` is what is kept of its API key; ``key_id`` changes with every new key, so that
    tokens and links made with an older one end. Times are epoch milliseconds UTC.
    """

    id: str
    name: str
    description: str
    key_hash: str
    key_id: str
    created_ms: int
    revoked_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """How far one block of one job is.

    ``version`` names the task's result that it was made of: a block of another version is out of
    date. ``state`` is one of the platform's words (``RUNNING``, ``SUCCEEDED``, …).
    """

    job: str
    block: str
    order: str
    version: str
    state: str
    attempt: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    error: str | None = None


class Records:
    """The platform's own SQLite file, shared by threads and processes of one machine.

    Parameters
    ----------
    path : Path
        The file; made, readable by its owner only, on first use.

    Raises
    ------
    EngineError
        When it cannot be opened, or was made by a newer Orchard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._reading = threading.Lock(), threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # It holds the secret that signs tokens: nobody else may read it, from the beginning.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            # Reading never waits for who writes: not here, and not in another process.
            self._reader = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            with self._write() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in _SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(
                        "INSERT INTO settings VALUES ('secret', ?)", (secrets.token_hex(32),)
                    )
                    db.execute(f"PRAGMA user_version = {_VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the platform's file {path} cannot be opened: {error}") from error
        if version > _VERSION:
            raise EngineError(f"{path} was made by a newer Orchard: upgrade this one")

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._reading:
            self._db.close()
            self._reader.close()

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

    def _read(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        with self._reading:
            return self._reader.execute(sql, args).fetchall()

    def secret(self) -> str:
        """Return what signs tokens and links; made with the file."""
        return str(self._read("SELECT value FROM settings WHERE name = 'secret'")[0][0])

    # Projects

    def add_project(self, project: Project) -> bool:
        """Add a project, or give a revoked one its new key; False when it is there and active."""
        with self._write() as db:
            row = db.execute(
                "SELECT revoked_ms FROM projects WHERE id = ?", (project.id,)
            ).fetchone()
            if row is not None and row[0] is None:
                return False
            db.execute(
                f"INSERT OR REPLACE INTO projects ({_PROJECT}) VALUES (?, ?, ?, ?, ?, ?, NULL)",  # noqa: S608 - constant
                (
                    project.id,
                    project.name,
                    project.description,
                    project.key_hash,
                    project.key_id,
                    project.created_ms,
                ),
            )
        return True

    def project(self, project_id: str) -> Project | None:
        """Return a project, revoked or not; None when there is none."""
        rows = self._read(f"SELECT {_PROJECT} FROM projects WHERE id = ?", project_id)  # noqa: S608 - constant
        return _project(rows[0]) if rows else None

    def projects(self) -> list[Project]:
        """Return all projects, by id."""
        return [_project(row) for row in self._read(f"SELECT {_PROJECT} FROM projects ORDER BY id")]  # noqa: S608 - constant

    def revoke(self, project_id: str) -> bool:
        """End a project's key, its tokens and links; its orders stay. False: no active one."""
        with self._write() as db:
            changed = db.execute(
                "UPDATE projects SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL",
                (now_ms(), project_id),
            ).rowcount
        return bool(changed)

    # Orders

    def add_order(self, name: str, project: str, workflow: str) -> str:
        """Record whose an order is, and what is to be made of it; return whose it is already."""
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?, ?)", (name, project, workflow))
            row = db.execute("SELECT project FROM orders WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def orders(self) -> dict[str, tuple[str, str]]:
        """Return project and workflow (JSON) of every order that came through the platform."""
        return {name: (p, w) for name, p, w in self._read("SELECT * FROM orders")}

    # Blocks

    def put_block(self, record: BlockRecord) -> None:
        """Record how far a block is."""
        with self._write() as db:
            db.execute(
                f"INSERT OR REPLACE INTO blocks ({_BLOCK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
                (
                    record.job,
                    record.block,
                    record.order,
                    record.version,
                    record.state,
                    record.attempt,
                    record.started_ms,
                    record.finished_ms,
                    record.error,
                ),
            )

    def blocks_of_order(self, order: str) -> dict[tuple[str, str], BlockRecord]:
        """Return what is recorded of an order's blocks, by (job, block)."""
        rows = self._read(f"SELECT {_BLOCK} FROM blocks WHERE ord = ?", order)  # noqa: S608 - constant
        return {(row[0], row[1]): _block(row) for row in rows}

    def blocks_of_jobs(self, jobs: Sequence[str]) -> dict[str, dict[str, BlockRecord]]:
        """Return what is recorded of some jobs' blocks, by job and block."""
        found: dict[str, dict[str, BlockRecord]] = {job: {} for job in jobs}
        for start in range(0, len(jobs), _BATCH):
            some = jobs[start : start + _BATCH]
            marks = ",".join("?" * len(some))
            rows = self._read(f"SELECT {_BLOCK} FROM blocks WHERE job IN ({marks})", *some)  # noqa: S608 - only question marks
            for row in rows:
                found[row[0]][row[1]] = _block(row)
        return found

    def stop_block(self, job: str) -> bool:
        """Ask for the end of a job's block that is being made; False: there is none.

        Whoever makes it looks here every now and then, be it in another process.
        """
        with self._write() as db:
            changed = db.execute(
                "UPDATE blocks SET state = 'CANCELLING' WHERE job = ? AND state = 'RUNNING'", (job,)
            ).rowcount
        return bool(changed)

    def interrupted(self) -> int:
        """Make blocks that a dead process left running ready to be made again.

        Those that were to be cancelled are cancelled. How many there were of both is returned.
        """
        with self._write() as db:
            cancelled = db.execute(
                "UPDATE blocks SET state = 'CANCELLED', finished_ms = ? WHERE state = 'CANCELLING'",
                (now_ms(),),
            ).rowcount
            return cancelled + db.execute("DELETE FROM blocks WHERE state = 'RUNNING'").rowcount


def _project(row: tuple[Any, ...]) -> Project:
    names = ("id", "name", "description", "key_hash", "key_id", "created_ms", "revoked_ms")
    return Project(**dict(zip(names, row, strict=True)))


def _block(row: tuple[Any, ...]) -> BlockRecord:
    names = ("job", "block", "order", "version", "state", "attempt")
    times = ("started_ms", "finished_ms", "error")
    return BlockRecord(**dict(zip((*names, *times), row, strict=True)))
