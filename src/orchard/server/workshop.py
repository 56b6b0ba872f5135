"""The runner of the platform: has the engine make the images, and makes the blocks of them.

Two threads. One lets an engine work that works in this process, and records in the tracking
documents how tasks are. The other makes blocks, one after the other; a lock on a file sees to it
that of all processes over one store only one does. Either can be killed at any moment: what was
begun is begun again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchard.engines import Works
from orchard.errors import InputError, OrchardError, OrderNotFoundError
from orchard.tracking import TERMINAL, State, now_ms

from .blocks import BlockJob, BlockStopped, make_block
from .recording import record_news
from .records import BlockRecord
from .workflow import version_of

with contextlib.suppress(ImportError):  # Windows has none: two servers there do some work twice
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchard.tracking import TrackingInfo

    from .platform import Platform
    from .workflow import Workflow

__all__ = ["Workshop"]

logger = logging.getLogger(__name__)

_PAUSE = 1.0
_REMOTE_PAUSE = 15.0
_LOOK = 0.5  # seconds between two looks at whether a block is still wanted
_ATTEMPTS = 3
_STOPPING = 30.0


@dataclass(frozen=True, kw_only=True)
class _Next:
    """A block to be made."""

    job: str
    block: str
    order: str
    position: int
    version: str
    attempt: int
    info: TrackingInfo
    workflow: Workflow


class Workshop:
    """Works for a platform, from `start` to `stop`.

    Parameters
    ----------
    platform : Platform
        In process, only jobs that were asked for are worked on; else all.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        # Orders in which there was nothing to do, and what they looked like then.
        self._idle: dict[str, tuple[Any, ...]] = {}
        self._done: dict[str, tuple[Any, ...]] = {}

    def start(self) -> None:
        """Begin."""
        self.platform.working = True
        self._start(self._run_engine, self._run_blocks)

    def watch(self) -> None:
        """Begin to record how tasks are, and work on none."""
        self._start(self._run_recording)

    def _start(self, *works: Callable[[], None]) -> None:
        for work in works:
            thread = threading.Thread(
                target=work, name=f"orchard-workshop{work.__name__}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop: what is being made, image or block, is given back for the next to make."""
        self._over.set()
        self.platform.working = False
        self.platform.tell()
        for thread in self._threads:
            thread.join(_STOPPING)

    # Images

    def _run_engine(self) -> None:
        try:
            engine = self.platform.tracker.engine
        except InputError:
            return  # a platform without an engine shows what there is
        pause = _PAUSE if isinstance(engine, Works) else _REMOTE_PAUSE
        while not self._over.is_set():
            with self._told("the engine"):
                open_ = self._open_tasks()
                if open_ and isinstance(engine, Works):
                    self._work(engine, [job for jobs in open_.values() for job in jobs])
                elif open_:
                    self._record(list(open_))
            self._wait(pause)

    def _run_recording(self) -> None:
        try:
            engine = self.platform.tracker.engine
        except InputError:
            return
        pause = _PAUSE if isinstance(engine, Works) else _REMOTE_PAUSE
        while not self._over.is_set():
            begun = time.monotonic()
            with self._told("the tracking documents"):
                for order in self._open_tasks():
                    if record_news(self.platform.tracker, self.platform.index.info(order)):
                        self.platform.index.refresh(at_least=True)
                        self.platform.tell()
            # Large orders are not looked through all the time.
            self._over.wait(pause + 10 * (time.monotonic() - begun))

    def _work(self, engine: Works, jobs: list[str]) -> None:
        """Let the engine work, and record what becomes of it meanwhile and in the end."""
        done = threading.Event()

        def record() -> None:
            while not done.wait(_PAUSE):
                with self._told("the tracking documents"):
                    begun = time.monotonic()
                    self._record(list(self._open_tasks()))
                    # Large documents are not written all the time.
                    done.wait(10 * (time.monotonic() - begun))

        recorder = threading.Thread(target=record, name="orchard-workshop-recorder", daemon=True)
        recorder.start()
        try:
            # All that is in the ledger, also what comes meanwhile; in process, what was asked for.
            wanted = jobs if self.platform.in_process else None
            engine.work(wanted, self.platform.store, stop=self._over)
        finally:
            done.set()
            recorder.join()
            self._record(list(self._open_tasks()))

    def _record(self, orders: list[str]) -> None:
        for order in orders:
            with contextlib.suppress(OrderNotFoundError):
                self.platform.tracker.update(order)
        self.platform.index.refresh(at_least=True)
        self.platform.tell()

    def _open_tasks(self) -> dict[str, list[str]]:
        """Return the tasks to be worked on, by order."""
        found: dict[str, list[str]] = {}
        for order, info in self._orders(self._idle):
            if not _made_by(info, self.platform.tracker.engine.name):
                continue
            jobs = [
                status.id
                for status in info.statuses
                if status.state not in TERMINAL
                and status.state is not State.UNSUBMITTED
                and self._wanted(status.id)
            ]
            if jobs:
                found[order] = jobs
                self._idle.pop(order, None)
        return found

    def _orders(self, idle: dict[str, tuple[Any, ...]]) -> Iterator[tuple[str, TrackingInfo]]:
        """Give the orders that may have work; those that had none are given when they change.

        Who finds work in an order takes it out of `idle`.
        """
        asked = self.platform.asked if self.platform.in_process else None
        for entry in self.platform.index.orders():
            if asked is not None and asked.isdisjoint(entry.jobs):
                continue
            look = (entry.etag, self.platform.remade, len(asked or ()))
            if idle.get(entry.name) == look:
                continue
            with contextlib.suppress(OrderNotFoundError):
                info = self.platform.index.info(entry.name)
                idle[entry.name] = look
                yield entry.name, info

    def _wanted(self, job: str) -> bool:
        return not self.platform.in_process or job in self.platform.asked

    # Blocks

    def _run_blocks(self) -> None:
        with self._alone() as alone:
            if not alone:
                return
            self.platform.records.interrupted()
            self._tidy()
            while not self._over.is_set():
                made = False
                with self._told("the blocks"):
                    for following in self._pending():
                        self._make(following)
                        made = True
                        if self._over.is_set():
                            return
                if not made:
                    self._wait(_PAUSE)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Wait until no other process makes blocks here; False: it is over before that."""
        path = self.platform.folder / "workshop.lock"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            while not self._over.is_set():
                try:
                    if "fcntl" in globals():
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._over.wait(_PAUSE)
                else:
                    yield True
                    return
            yield False
        finally:
            os.close(descriptor)

    def _tidy(self) -> None:
        """Delete the results of jobs whose orders were cleaned."""
        with self._told("old results"):
            self.platform.index.refresh(at_least=True)
            for job in self.platform.results.jobs():
                if self.platform.index.find(job) is None:
                    self.platform.results.remove(job)

    def _pending(self) -> Iterator[_Next]:
        """Give the blocks that are to be made: of each job one after the other."""
        from .platform import parse_workflow

        records = self.platform.records
        owners = records.orders()
        for order, info in self._orders(self._done):
            known = records.blocks_of_order(order)
            workflow = parse_workflow(owners.get(order, ("", ""))[1])
            for position, status in enumerate(info.statuses):
                if status.state is not State.COMPLETED or not self._wanted(status.id):
                    continue
                version = version_of(status)
                for block in workflow.blocks:
                    record = _current(known.get((status.id, block)), version)
                    if record is None or record.state != "SUCCEEDED":
                        # Somebody may have cancelled it since the others were made.
                        record = self._record_of(status.id, block, version)
                    if record is None or record.state == "PENDING":
                        self._done.pop(order, None)
                        yield _Next(
                            job=status.id,
                            block=block,
                            order=order,
                            position=position,
                            version=version,
                            attempt=record.attempt if record else 0,
                            info=info,
                            workflow=workflow,
                        )
                        record = self._record_of(status.id, block, version)
                    if record is None or record.state != "SUCCEEDED":
                        break  # nothing can be made of what has failed or was cancelled

    def _record_of(self, job: str, block: str, version: str) -> BlockRecord | None:
        return _current(self.platform.records.blocks_of_jobs([job])[job].get(block), version)

    def _make(self, following: _Next) -> None:
        """Make one block and record what came of it."""
        platform = self.platform
        record = BlockRecord(
            job=following.job,
            block=following.block,
            order=following.order,
            version=following.version,
            state="RUNNING",
            attempt=following.attempt + 1,
            started_ms=now_ms(),
        )
        platform.records.put_block(record)
        platform.tell()
        results = platform.results
        folder = results.begin(following.job, following.block)
        check = self._check(record)
        try:
            features = make_block(following.block, self._job(following, check), folder)
            check()
            results.commit(folder, following.job, following.block, following.version, features)
        except BlockStopped:
            results.discard(folder)
            record = self._stopped(record)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the block's cause
            results.discard(folder)
            record = self._failed(record, error)
        else:
            record = replace(record, state="SUCCEEDED", finished_ms=now_ms())
        platform.records.put_block(record)
        platform.tell()

    def _check(self, record: BlockRecord) -> Callable[[], None]:
        """Return what stops a block: that all is over, or that somebody has cancelled it."""
        looked = time.monotonic()

        def check() -> None:
            nonlocal looked
            if self._over.is_set():
                raise BlockStopped
            if time.monotonic() - looked >= _LOOK:
                looked = time.monotonic()
                if self._is_cancelled(record):
                    raise BlockStopped

        return check

    def _is_cancelled(self, record: BlockRecord) -> bool:
        now = self._record_of(record.job, record.block, record.version)
        return now is not None and now.state in ("CANCELLING", "CANCELLED")

    def _stopped(self, record: BlockRecord) -> BlockRecord:
        """Record a block as cancelled, or give it back as if it had never been begun."""
        if self._is_cancelled(record):
            return replace(record, state="CANCELLED", finished_ms=now_ms())
        return replace(record, state="PENDING", attempt=record.attempt - 1, started_ms=0)

    @staticmethod
    def _failed(record: BlockRecord, error: Exception) -> BlockRecord:
        known = isinstance(error, OrchardError)
        log = logger.warning if known else logger.exception
        log("block %s of job %s failed: %s", record.block, record.job, error)
        again = not isinstance(error, InputError) and record.attempt < _ATTEMPTS
        return replace(
            record,
            state="PENDING" if again else "FAILED",
            finished_ms=now_ms(),
            error=str(error) if known else f"{type(error).__name__}: {error}",
        )

    def _job(self, following: _Next, check: Callable[[], None]) -> BlockJob:
        platform, done = self.platform, {}
        for block in following.workflow.blocks:
            found = platform.results.find(following.job, block, following.version)
            if found is None:
                break
            done[block] = found
        return BlockJob(
            job=following.job,
            info=following.info,
            position=following.position,
            store=platform.store,
            ard=platform.config.ard,
            workflow=following.workflow,
            done=done,
            check=check,
        )

    # Both

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Log what goes wrong and go on: the next turn may do better."""
        try:
            yield
        except Exception:
            if not self._over.is_set():
                logger.exception("the platform's runner had trouble with %s", what)
                self._wait(_PAUSE)

    def _wait(self, seconds: float) -> None:
        with self.platform.changed:
            if not self._over.is_set():
                self.platform.changed.wait(seconds)


def _current(record: BlockRecord | None, version: str) -> BlockRecord | None:
    """Return a record unless it is of an earlier result of the task."""
    return record if record is not None and record.version == version else None


def _made_by(info: TrackingInfo, engine: str) -> bool:
    """Whether an order is an engine's; CEDAR, which does not say, knew Earth Engine only."""
    return bool(info["tracking"].get("engine", "earthengine") == engine)
