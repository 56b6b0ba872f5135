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
import weakref
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import EngineError
from orchard.tracking import State, now_ms

from .lifecycle import OPEN, Step, moves
from .owners import is_dead
from .rows import SCHEMA, STATUS, VERSION, Claim, Entry, Event, recorded, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchard.tracking import FileInfo, TaskStatus

__all__ = ["Claim", "Entry", "Event", "Ledger"]

_EVENT = "INSERT INTO events (key, at_ms, event, detail) VALUES (?, ?, ?, ?)"
_OPEN = f"state IN ({', '.join(map(repr, map(str, OPEN)))})"
_HELD = "state IN ('RUNNING', 'CANCEL_REQUESTED')"
_READY = "state = 'READY' AND not_before = 0"
# The first order that has a claimable task after a given one: one look into the index each.
_NEXT_ORDER = f"SELECT min(ord) FROM tasks WHERE {_READY} AND ord > ?"  # noqa: S608 - constant
_CHANGE = {
    step: (
        "state = CASE state "
        + " ".join(f"WHEN '{a}' THEN '{b}'" for a, b in moves(step).items())
        + " END",
        f"state IN ({', '.join(repr(str(state)) for state in moves(step))})",
    )
    for step in Step
}


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
            weakref.finalize(self, self._db.close)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            # 64 MB: keys are random, and their index is to fit in
            self._db.execute("PRAGMA cache_size = -65536")
            self._db.execute("PRAGMA wal_autocheckpoint = 10000")  # pages: 40 MB
            with self._write() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise EngineError(
                f"the ledger {path} (it is kept beside the store) cannot be opened: {error}: is "
                "the folder one that you may write to?"
            ) from error
        if version > VERSION:
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

    def add(
        self,
        entries: Iterable[Entry],
        parts: Mapping[str, bytes],
        files_of: Callable[[Entry], Collection[tuple[str, int | None]]] | None = None,
    ) -> list[TaskStatus]:
        """Record tasks as READY; one that the same submission has recorded stays as it is.

        A task that an earlier submission has left (its order was cleaned without this ledger) is
        made anew, unless it is COMPLETED and its files are all there.

        Parameters
        ----------
        entries : iterable of Entry
        parts : mapping of str to bytes
            What their specifications share.
        files_of : callable, optional
            Tells which files, as (name, size), the store has of a task.

        Returns
        -------
        list of TaskStatus
            Of the entries, in their order.
        """
        now = now_ms()
        statuses: list[TaskStatus] = []
        with self._write() as db:
            for some in _chunks(entries):
                known = {
                    row[0]
                    for row in db.execute(
                        f"SELECT key FROM tasks WHERE key IN ({_marks(some)})",  # noqa: S608 - only question marks
                        [entry.key for entry in some],
                    )
                }
                new = [entry for entry in some if entry.key not in known]
                db.executemany(_ADD, ((*_columns(entry), now, now) for entry in new))
                for entry in some:
                    if entry.key in known:
                        _adopt(db, entry, now, files_of)
                adopted = self.statuses(list(known))
                statuses += [adopted.get(entry.key) or recorded(entry.key, now) for entry in some]
            # Last: they may be found while the entries are iterated over.
            db.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", parts.items())
        return statuses

    def spec(self, claim: Claim) -> dict[str, Any]:
        """Return the JSON of a claimed task, its shared parts filled in."""
        return self._filled(orjson.loads(claim.spec), {})  # type: ignore[no-any-return]

    def _filled(self, value: Any, known: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            if (name := value.get("$part")) is not None:
                if name not in known:
                    ((data,),) = self._read("SELECT data FROM parts WHERE id = ?", (name,))
                    known[name] = orjson.loads(data)
                return known[name]
            return {key: self._filled(part, known) for key, part in value.items()}
        if isinstance(value, list):
            return [self._filled(part, known) for part in value]
        return value

    # Asking

    def statuses(self, keys: Sequence[str]) -> dict[str, TaskStatus]:
        """Return the status of tasks by key; unknown ones are left out."""
        found: dict[str, TaskStatus] = {}
        for some in _batches(keys):
            rows = self._read(f"SELECT {STATUS} FROM tasks WHERE key IN ({_marks(some)})", some)  # noqa: S608 - only question marks
            found.update((row[0], status_of(row)) for row in rows)
        return found

    def changes(
        self, order: str, known: Mapping[str, tuple[str, int, int]]
    ) -> tuple[dict[str, TaskStatus], set[str]]:
        """Return the status of an order's tasks that is not what is known of them.

        Parameters
        ----------
        order : str
        known : mapping of str to tuple
            Key -> state, time of the last update (epoch ms) and attempt.

        Returns
        -------
        changed : dict of str to TaskStatus
        unknown : set of str
            Keys that the ledger does not have.
        """
        # Read from an index alone: most tasks are as they were.
        found = {
            row[0]: row[1:]
            for row in self._read(
                "SELECT key, state, updated_ms, attempt FROM tasks WHERE ord = ?", (order,)
            )
        }
        changed = [key for key, as_known in known.items() if found.get(key) != as_known]
        statuses = self.statuses(changed)
        return statuses, set(changed) - statuses.keys()

    def orders_of(self, keys: Collection[str]) -> set[str]:
        """Return the orders that tasks belong to."""
        return {
            row[0]
            for some in _batches(list(keys))
            for row in self._read(
                f"SELECT DISTINCT ord FROM tasks WHERE key IN ({_marks(some)})",  # noqa: S608 - only question marks
                some,
            )
        }

    def owners(self, prefix: str) -> dict[str, str]:
        """Return which order each image of a folder belongs to, by the image's name."""
        return dict(self._read("SELECT name, ord FROM tasks WHERE prefix = ?", (prefix,)))

    def has_open(
        self, orders: Collection[str] | None = None, keys: Collection[str] | None = None
    ) -> bool:
        """Whether a task (of `orders`, among `keys`) has not ended."""
        if orders is None:
            return bool(self._read(f"SELECT 1 FROM tasks WHERE {_OPEN} LIMIT 1"))  # noqa: S608 - constant
        with self._lock:
            return any(
                keys is None or row[0] in keys
                for order in orders
                for row in self._db.execute(
                    f"SELECT key FROM tasks WHERE {_OPEN} AND ord = ?",  # noqa: S608 - constant
                    (order,),
                )
            )

    def events(self, key: str) -> list[Event]:
        """Return what happened to a task, in time, from its recording (``intent``) on."""
        rows = self._read(
            "SELECT key, created_ms, 'intent', NULL FROM tasks WHERE key = ? UNION ALL "
            "SELECT * FROM (SELECT key, at_ms, event, detail FROM events WHERE key = ? "
            "ORDER BY seq)",
            (key, key),
        )
        return [Event(key=k, at_ms=at, event=event, detail=detail) for k, at, event, detail in rows]

    # Working

    def claim(
        self,
        owner: str,
        lease: float,
        *,
        orders: Collection[str] | None = None,
        keys: Collection[str] | None = None,
        last: str = "",
    ) -> Claim | None:
        """Claim a READY task for `lease` seconds; None when there is none to be had now.

        The highest priority goes first; among orders of the same, each has its turn.

        Parameters
        ----------
        owner : str
            See `new_owner`.
        lease : float
        orders, keys : collection of str, optional
            Only tasks of these orders, and of these keys.
        last : str
            The order that had the last turn.
        """
        with self._write() as db:
            heads = {
                order: head
                for order in (orders if orders is not None else _claimable(db))
                if (head := _head(db, order, keys))
            }
            if not heads:
                return None
            order = next_turn({name: head[1] for name, head in heads.items()}, last)
            key = heads[order][0]
            at = now_ms()
            row = db.execute(
                "UPDATE tasks SET state = 'RUNNING', owner = ?, lease_until = ?, error = NULL, "
                "attempt = attempt + 1, started_ms = ?, updated_ms = ? WHERE key = ? "
                "RETURNING name, prefix, attempt, failures, losses, spec, amended, files",
                (owner, time.time() + lease, at, at, key),
            ).fetchone()
            db.execute(_EVENT, (key, at, Step.STARTED, f"attempt {row[2]} by {owner}"))
        return Claim.of(key, order, owner, row)

    def reclaim(self) -> None:
        """Make claimable what waits no longer, and what runners hold that are gone.

        A runner is gone when its lease has ended, or when it ran on this machine and its process
        is no more.
        """
        now, at = time.time(), now_ms()
        state, _ = _CHANGE[Step.LAPSED]
        with self._write() as db:
            db.execute(
                "UPDATE tasks SET not_before = 0 WHERE not_before > 0 AND not_before <= ?", (now,)
            )
            held = db.execute(f"SELECT key, owner, lease_until FROM tasks WHERE {_HELD}").fetchall()  # noqa: S608 - constant
            dead = {owner: is_dead(owner) for owner in {row[1] for row in held}}
            for key, owner, lease_until in held:
                if dead[owner] or lease_until < now:
                    db.execute(
                        f"UPDATE tasks SET {state}, owner = NULL, lease_until = 0, "  # noqa: S608 - constants of this module
                        "losses = losses + 1, updated_ms = ? WHERE key = ?",
                        (at, key),
                    )
                    db.execute(_EVENT, (key, at, Step.LAPSED, owner))

    def renew(self, owner: str, lease: float) -> None:
        """Renew every lease of a runner."""
        with self._write() as db:
            db.execute(
                f"UPDATE tasks SET lease_until = ? WHERE owner = ? AND {_HELD}",  # noqa: S608 - constant
                (time.time() + lease, owner),
            )

    def held(self, owner: str) -> dict[str, tuple[int, State]]:
        """Return the tasks that a runner holds: key -> attempt and state."""
        rows = self._read(
            f"SELECT key, attempt, state FROM tasks WHERE owner = ? AND {_HELD}",  # noqa: S608 - constant
            (owner,),
        )
        return {key: (attempt, State(state)) for key, attempt, state in rows}

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is still the task's last one."""
        rows = self._read(
            f"SELECT 1 FROM tasks WHERE key = ? AND owner = ? AND attempt = ? AND {_HELD}",  # noqa: S608 - constant
            (claim.key, claim.owner, claim.attempt),
        )
        return bool(rows)

    def made(self, claim: Claim, files: Sequence[FileInfo]) -> None:
        """Record the files that are made so far, so that whoever claims next need not make them."""
        with self._write() as db:
            db.execute(
                "UPDATE tasks SET files = ? "  # noqa: S608 - constant
                f"WHERE key = ? AND owner = ? AND attempt = ? AND {_HELD}",
                (_files(files), claim.key, claim.owner, claim.attempt),
            )

    def complete(self, claim: Claim, files: Sequence[FileInfo]) -> bool:
        """Record a result; False when the claim is not the last one any more."""
        return self._settle(claim, Step.COMPLETED, None, "error = NULL, files = ?", _files(files))

    def fail(self, claim: Claim, error: str) -> bool:
        """Record a failure for good."""
        return self._settle(claim, Step.FAILED, error, "error = ?, files = NULL", error)

    def drop(self, claim: Claim) -> bool:
        """Record that a running task was cancelled."""
        return self._settle(claim, Step.CANCELLED, None, "files = NULL")

    def again(self, claim: Claim, error: str, delay: float = 0) -> bool:
        """Record a failed attempt; the task can be claimed anew after `delay` seconds."""
        after = time.time() + delay if delay > 0 else 0
        change = "not_before = ?, error = ?, failures = failures + 1"
        return self._settle(claim, Step.ATTEMPT, error, change, after, error)

    def give_back(self, claim: Claim) -> bool:
        """Give a task back, to be claimed anew by anyone."""
        return self._settle(claim, Step.RETURNED, None, "error = NULL")

    def amend(self, claim: Claim, amended: Mapping[str, Any], why: str) -> bool:
        """Give a task back, to be made otherwise (see `orchard.engines.local.amend`)."""
        change = "amended = ?, files = NULL, losses = 0"
        return self._settle(claim, Step.AMENDED, why, change, orjson.dumps(amended).decode())

    def _settle(
        self, claim: Claim, step: Step, detail: str | None, change: str, *args: Any
    ) -> bool:
        at = now_ms()
        state, where = _CHANGE[step]
        with self._write() as db:
            moved = db.execute(
                f"UPDATE tasks SET {state}, owner = NULL, lease_until = 0, {change}, "  # noqa: S608 - constants of this module
                f"updated_ms = ? WHERE key = ? AND owner = ? AND attempt = ? AND {where}",
                (*args, at, claim.key, claim.owner, claim.attempt),
            ).rowcount
            if moved:
                db.execute(_EVENT, (claim.key, at, step, detail))
        return bool(moved)

    # Deciding otherwise

    def cancel(self, keys: Sequence[str]) -> None:
        """Cancel READY tasks at once; ask for RUNNING ones to be cancelled by their runner."""
        self._change(keys, Step.CANCEL, "not_before = 0")

    def retry(self, keys: Sequence[str]) -> None:
        """Make tasks that ended without a result READY again, with all attempts before them.

        Scenes that were left out are tried again; shards stay as small as they had to be made.
        """
        self._change(
            keys,
            Step.RETRIED,
            "error = NULL, not_before = 0, owner = NULL, failures = 0, losses = 0, files = NULL, "
            "amended = json_remove(amended, '$.skipped')",
        )

    def forget(self, keys: Sequence[str]) -> None:
        """Delete tasks and their events, as `clean` does, and what only they used."""
        with self._write() as db:
            for some in _batches(keys):
                marks = _marks(some)
                db.execute(f"DELETE FROM tasks WHERE key IN ({marks})", some)  # noqa: S608 - only question marks
                db.execute(f"DELETE FROM events WHERE key IN ({marks})", some)  # noqa: S608 - only question marks
            if not db.execute("SELECT 1 FROM tasks LIMIT 1").fetchone():
                db.execute("DELETE FROM parts")

    def note(self, keys: Iterable[str], event: str, detail: str | None = None) -> None:
        """Record an event that changes no state (downloaded, verified, converted)."""
        at = now_ms()
        with self._write() as db:
            db.executemany(_EVENT, ((key, at, event, detail) for key in keys))

    def _change(self, keys: Sequence[str], step: Step, change: str) -> None:
        at = now_ms()
        state, where = _CHANGE[step]
        with self._write() as db:
            for some in _batches(keys):
                rows = db.execute(
                    f"UPDATE tasks SET {state}, {change}, updated_ms = ? "  # noqa: S608 - constants of this module
                    f"WHERE key IN ({_marks(some)}) AND {where} RETURNING key",
                    (at, *some),
                ).fetchall()
                db.executemany(_EVENT, ((key, at, step, None) for (key,) in rows))


def next_turn(heads: Mapping[str, int], last: str) -> str:
    """Choose whose turn it is: of the orders of the highest priority the next after the last.

    Parameters
    ----------
    heads : mapping of str to int
        Order -> the priority of its next task.
    last : str
        The order that had the last turn.
    """
    highest = max(heads.values())
    turns = sorted(order for order, priority in heads.items() if priority == highest)
    return next((order for order in turns if order > last), turns[0])


_ADD = (
    "INSERT INTO tasks "
    "(key, ord, submitted, name, prefix, priority, spec, state, created_ms, updated_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, 'READY', ?, ?)"
)


def _columns(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.key,
        entry.order,
        entry.submitted,
        entry.name,
        entry.prefix,
        entry.priority,
        entry.spec,
    )


def _adopt(
    db: sqlite3.Connection,
    entry: Entry,
    now: int,
    files_of: Callable[[Entry], Collection[tuple[str, int | None]]] | None,
) -> None:
    """Take over what an earlier submission has left of a task."""
    order, submitted, state, files = db.execute(
        "SELECT ord, submitted, state, files FROM tasks WHERE key = ?", (entry.key,)
    ).fetchone()
    if (order, submitted) == (entry.order, entry.submitted):
        return
    names = {(file["name"], file["size"]) for file in orjson.loads(files or b"[]")}
    if state == State.COMPLETED and files_of is not None and names <= set(files_of(entry)):
        db.execute(
            "UPDATE tasks SET ord = ?, submitted = ? WHERE key = ?",
            (entry.order, entry.submitted, entry.key),
        )
        db.execute(_EVENT, (entry.key, now, "adopted", f"from {order}"))
        return
    # The attempts go on counting: a runner that still works on it is fenced off.
    db.execute(
        "UPDATE tasks SET ord = ?, submitted = ?, spec = ?, priority = ?, state = 'READY', "
        "owner = NULL, lease_until = 0, not_before = 0, failures = 0, losses = 0, error = NULL, "
        "files = NULL, amended = NULL, updated_ms = ? WHERE key = ?",
        (entry.order, entry.submitted, entry.spec, entry.priority, now, entry.key),
    )
    db.execute(_EVENT, (entry.key, now, "intent", f"anew, after {order}"))


def _claimable(db: sqlite3.Connection) -> Iterator[str]:
    """Give the orders that have tasks to be claimed, without looking at every task."""
    order = db.execute(_NEXT_ORDER, ("",)).fetchone()[0]
    while order is not None:
        yield order
        order = db.execute(_NEXT_ORDER, (order,)).fetchone()[0]


def _head(
    db: sqlite3.Connection, order: str, keys: Collection[str] | None
) -> tuple[str, int] | None:
    """Return the key and priority of an order's next task."""
    ready = db.execute(
        f"SELECT key, priority FROM tasks WHERE {_READY} AND ord = ? ORDER BY priority DESC, seq",  # noqa: S608 - constant
        (order,),
    )
    return next((row for row in ready if keys is None or row[0] in keys), None)


def _files(files: Sequence[FileInfo]) -> bytes:
    return orjson.dumps([file.to_dict() for file in files])


def _batches(keys: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    return (keys[i : i + size] for i in range(0, len(keys), size))


def _chunks(entries: Iterable[Entry], size: int = 500) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    while some := list(itertools.islice(iterator, size)):
        yield some


def _marks(keys: Sequence[Any]) -> str:
    return ",".join("?" * len(keys))
