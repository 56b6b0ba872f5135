"""The runner: takes tasks from the ledger, has their shards made, and settles what came of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import threading
import time
import uuid
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchard.errors import SceneError, StoreError
from orchard.preard import expected_files

from .pixels import ShardCancelledError
from .pools import WorkerLostError, open_pool
from .work import ShardJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchard.stores import Store
    from orchard.tracking import FileInfo

    from .ledger import Claim, Ledger
    from .pools import Handle, Pool

__all__ = ["Runner"]

_LEASE = 60.0
_TICK = 0.5


@dataclass(kw_only=True)
class _Job:
    """A claimed task on its way."""

    claim: Claim
    shards: dict[str, Any]
    handles: dict[str, Handle] = field(default_factory=dict)
    files: dict[str, FileInfo] = field(default_factory=dict)
    error: Exception | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        self.stopping.set()
        for handle in list(self.handles.values()):
            if not handle.future.cancel():
                handle.stop()

    @property
    def ended(self) -> bool:
        return not self.handles and (self.stopping.is_set() or len(self.files) == len(self.shards))


@dataclass(kw_only=True)
class Runner:
    """Works on the tasks of a ledger.

    Parameters
    ----------
    ledger : Ledger
    store : Store
        Where the images go.
    executor : str
        See `open_pool`.
    workers : int
    attempts : int
        How often a task is tried when its failures look transient.
    keys : set of str, optional
        Work on these tasks only. None: on all.
    callback : callable, optional
        ``callback(item=..., n_steps=...)`` after each shard and each task that ends otherwise.
    """

    ledger: Ledger
    store: Store
    executor: str = "threads"
    workers: int = 2
    attempts: int = 5
    keys: set[str] | None = None
    callback: Callable[..., None] | None = None

    def __post_init__(self) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._jobs: dict[str, _Job] = {}
        self._waiting: list[tuple[_Job, str]] = []

    def run(self, timeout: float | None = None) -> None:
        """Work until every task has ended, or for `timeout` seconds.

        What is still running then, or when the caller is interrupted, is stopped and given back.
        """
        until = time.monotonic() + timeout if timeout is not None else None
        with open_pool(self.executor, self.workers) as pool, self._heartbeat():
            try:
                while until is None or time.monotonic() < until:
                    self._fill(pool)
                    if self._jobs:
                        self._settle()
                    elif self._all_ended():
                        return
                    else:
                        time.sleep(_TICK)  # others work on the rest, or it waits for another try
            finally:
                self._give_up()

    # Claiming

    def _fill(self, pool: Pool) -> None:
        """Keep the pool busy, and no more than that: what is not claimed can still change."""
        while True:
            while self._waiting and self._running < pool.slots:
                self._submit(pool, *self._waiting.pop(0))
            if self._running >= pool.slots:
                return
            claims = self._claim(pool.slots - self._running)
            if not claims:
                return
            for claim in claims:
                self._accept(claim)

    @property
    def _running(self) -> int:
        return sum(len(job.handles) for job in self._jobs.values())

    def _claim(self, limit: int) -> list[Claim]:
        """Claim tasks of all orders in turn."""
        claims: list[Claim] = []
        for order in self._turns():
            claims += self.ledger.claim(order, self.owner, _LEASE, 1, self.keys)
            if len(claims) >= limit:
                break
        return claims

    def _turns(self) -> Iterator[str]:
        """Give each order its turn, beginning after the one that had the last."""
        orders = sorted(self.ledger.orders())
        last = getattr(self, "_last_order", "")
        after = [order for order in orders if order > last]
        for order in [*after, *(order for order in orders if order <= last)]:
            self._last_order = order
            yield order

    def _accept(self, claim: Claim) -> None:
        spec = self.ledger.spec(claim)
        files = expected_files(claim.name, tuple(spec["tile"]["size"]), spec["file_dimensions"])
        job = _Job(claim=claim, shards={name: (spec, window) for name, window in files.items()})
        self._jobs[claim.key] = job
        self._waiting += [(job, name) for name in files]

    def _submit(self, pool: Pool, job: _Job, name: str) -> None:
        if job.stopping.is_set():
            return
        spec, window = job.shards[name]
        prefix = f"{job.claim.prefix}/" if job.claim.prefix else ""
        idle = max(1, pool.slots - self._running - len(self._waiting))
        shard = ShardJob(
            spec=spec, window=window, key=f"{prefix}{name}", store=self.store, threads=idle
        )
        job.handles[name] = pool.submit(shard, job.stopping)

    # Settling

    def _settle(self) -> None:
        futures = {h.future for job in self._jobs.values() for h in job.handles.values()}
        wait(futures, timeout=_TICK, return_when=FIRST_COMPLETED)
        for job in list(self._jobs.values()):
            for name in [n for n, handle in job.handles.items() if handle.future.done()]:
                self._collect(job, name, job.handles.pop(name))
            if job.ended:
                del self._jobs[job.claim.key]
                self._end(job)

    def _collect(self, job: _Job, name: str, handle: Handle) -> None:
        try:
            job.files[name] = handle.future.result()
        except (ShardCancelledError, CancelledError):
            pass  # somebody asked for it
        except Exception as error:  # noqa: BLE001 - whatever a worker raises is the task's cause
            job.error = job.error or error
            job.stop()
        else:
            self._report(name, 1 / len(job.shards))

    def _end(self, job: _Job) -> None:
        """Record what came of a task."""
        claim = job.claim
        done = len(job.files) / len(job.shards)
        if job.error is None and done == 1:
            self.ledger.complete(claim, [job.files[name] for name in job.shards])
        elif job.error is None:
            self.ledger.drop(claim)
            self._report(claim.name, 1 - done)
        elif _is_transient(job.error) and claim.attempt < self.attempts:
            self.ledger.again(claim, _cause(job.error), _backoff(claim.attempt))
            self._report(claim.name, -done)
        else:
            self.ledger.fail(claim, _cause(job.error))
            self._report(claim.name, 1 - done)

    def _report(self, item: str, steps: float) -> None:
        if self.callback:
            self.callback(item=item, n_steps=steps)

    def _all_ended(self) -> bool:
        return self.ledger.waiting(self.keys) == 0

    def _give_up(self) -> None:
        """Stop what runs and give it back."""
        self._waiting.clear()
        for job in self._jobs.values():
            job.stop()
        for job in self._jobs.values():
            wait([handle.future for handle in job.handles.values()])
            self.ledger.again(job.claim, None)
        self._jobs.clear()

    @contextlib.contextmanager
    def _heartbeat(self) -> Iterator[None]:
        """Renew the leases, and pass on what is to be cancelled, while the work goes on."""
        over = threading.Event()

        def beat() -> None:
            for turn in itertools.count():
                if over.wait(_TICK):
                    return
                for key in self.ledger.cancelled(self.owner):
                    if job := self._jobs.get(key):
                        job.stop()
                if turn % 20 == 0:
                    self.ledger.renew(self.owner, _LEASE)

        thread = threading.Thread(target=beat, name="orchard-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _is_transient(error: Exception) -> bool:
    """Whether trying again may help."""
    if isinstance(error, SceneError):
        return error.transient
    if isinstance(error, WorkerLostError):
        return True
    return type(error) is StoreError or isinstance(error, (ConnectionError, TimeoutError))


def _cause(error: Exception) -> str:
    text = str(error) or "no further message"
    return (
        text if isinstance(error, (SceneError, StoreError)) else f"{type(error).__name__}: {text}"
    )


def _backoff(attempt: int, base: float = 1.0, limit: float = 300.0) -> float:
    """Return how many seconds to wait before the next attempt: exponential, with full jitter."""
    return random.uniform(0, min(limit, base * 2**attempt))  # noqa: S311 - no secret
