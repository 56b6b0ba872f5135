"""The runner: takes tasks from the ledger, has their shards made, and settles what came of them.

It alone touches the ledger; results go from the workers straight to the store. Only a few tasks
are claimed at a time: what is not claimed can still change, and memory does not grow with what
waits. What the runner itself has to do with the store is done by a few threads.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import pickle
import threading
import time
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from orchard.errors import ConflictError
from orchard.stores import Sweeps
from orchard.tracking import State

from .amend import smaller, without
from .executors import Executor
from .failures import Failure, Kind, PoolLostError, WorkerLostError, backoff, classify
from .job import Job, Prepared, prepare
from .owners import new_owner
from .pixels import ShardCancelledError
from .pools import open_pool
from .publish import Place
from .work import ShardJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchard.stores import Store

    from .ledger import Claim, Ledger
    from .pools import Pool

__all__ = ["Runner"]

_LEASE = 60.0
_TICK = 0.5
_RENEWALS = 20  # ticks between two renewals of the leases
_LOSSES = 3  # workers or runners that may die over a task before it is made in smaller pieces
_THREADS = 8


@dataclass(kw_only=True)
class Runner:
    """Works on the tasks of a ledger.

    Parameters
    ----------
    ledger : Ledger
    store : Store
        Where the images go.
    executor : Executor
    attempts : int
        How often a task is tried when its failures look transient.
    on_bad_scene : {"fail", "skip"}
        Whether a scene that cannot be read fails its task, or is left out and recorded.
    keys : set of str, optional
        Work on these tasks only. None: on all.
    callback : callable, optional
        ``callback(item=..., n_steps=...)`` after each shard and each task that ends otherwise.
    """

    ledger: Ledger
    store: Store
    executor: Executor = field(default_factory=Executor)
    attempts: int = 5
    on_bad_scene: str = "fail"
    keys: set[str] | None = None
    callback: Callable[..., None] | None = None

    def __post_init__(self) -> None:
        self.owner = new_owner()
        self._orders = None if self.keys is None else self.ledger.orders_of(self.keys)
        self._last = ""
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[tuple[Job, str]] = deque()
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._numbers = itertools.count()

    def run(self, timeout: float | None = None, stop: threading.Event | None = None) -> None:
        """Work until every task has ended, for `timeout` seconds, or until `stop` is set.

        What is still running then, or when the caller is interrupted, is stopped and given back.
        A second interrupt gives it back without waiting for it to stop.
        """
        if self.executor.is_remote:
            pickle.dumps(self.store)  # says what is wrong before anything is claimed
        until = time.monotonic() + timeout if timeout is not None else math.inf
        stop = stop or threading.Event()
        self.ledger.reclaim()
        if isinstance(self.store, Sweeps):
            self.store.sweep()
        with (
            open_pool(self.executor) as pool,
            ThreadPoolExecutor(_THREADS, thread_name_prefix="orchard-store") as self._threads,
            self._heartbeat(lambda: stop.is_set() or time.monotonic() >= until),
        ):
            try:
                while not (stop.is_set() or time.monotonic() >= until):
                    self._fill(pool)
                    if self._jobs:
                        self._react(_TICK)
                    elif self._has_ended():
                        return
                    else:
                        time.sleep(_TICK)  # others work on the rest, or it waits for another try
            finally:
                self._give_up()

    def _has_ended(self) -> bool:
        return not self.ledger.has_open(self._orders, self.keys)

    # Claiming

    def _fill(self, pool: Pool) -> None:
        """Keep the pool busy, and no more than that."""
        while True:
            running = sum(len(job.handles) for job in self._jobs.values())
            preparing = sum(job.spec is None for job in self._jobs.values())
            if self._waiting and running < pool.slots:
                self._submit(pool, *self._waiting.popleft(), running)
            elif running + len(self._waiting) + preparing >= pool.slots or not self._claim():
                return

    def _claim(self) -> bool:
        claim = self.ledger.claim(
            self.owner, _LEASE, orders=self._orders, keys=self.keys, last=self._last
        )
        if claim is None:
            return False
        self._last = claim.order
        job = self._jobs[claim.key] = Job(claim=claim, place=self._place(claim))
        self._spawn(job, prepare, job, self.ledger, then=self._prepared)
        return True

    def _place(self, claim: Claim) -> Place:
        return Place(store=self.store, prefix=claim.prefix, name=claim.name)

    def _spawn(self, job: Job, work: Callable[..., Any], *args: Any, then: Any) -> None:
        """Do something with the store in a thread, and go on with what came of it here."""
        future = self._threads.submit(work, *args)
        job.errands += 1

        def settle() -> None:
            job.errands -= 1
            try:
                result = future.result()
            except (ShardCancelledError, CancelledError):
                job.stop()  # the task is another's now
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the task's cause
                job.fail(classify(error))
            else:
                then(job, result)
            self._check(job)

        future.add_done_callback(lambda _: self._events.put(settle))

    def _prepared(self, job: Job, prepared: Prepared) -> None:
        job.begin(prepared)
        if job.claim.losses >= _LOSSES and self._made_smaller(job, "its runner died over it"):
            return
        for file in job.files.values():
            self._report(file.name, 1 / len(job.shards))
        self._waiting += [(job, name) for name in job.shards if name not in job.files]

    def _submit(self, pool: Pool, job: Job, name: str, running: int) -> None:
        if job.stopping.is_set() or job.spec is None:
            self._check(job)
            return
        there = job.there.get(name)
        shard = ShardJob(
            token=f"{self.owner}-{next(self._numbers)}",
            spec=job.spec,
            window=job.shards[name],
            key=job.place.key(name),
            store=self.store,
            replaces=there.etag if there else None,
            # The last ones may use the threads that have nothing else to do.
            threads=max(1, pool.workers - running - len(self._waiting)),
        )
        handle = job.handles[name] = pool.submit(shard, job.stopping)
        handle.future.add_done_callback(
            lambda future: self._events.put(lambda: self._collect(job, name, future))
        )
        if job.stopping.is_set():  # cancelled in the meantime
            handle.stop()

    # Settling

    def _react(self, timeout: float) -> None:
        """Go on with all that has happened; wait for something to happen."""
        with contextlib.suppress(Empty):
            self._events.get(timeout=timeout)()
            while True:
                self._events.get_nowait()()

    def _collect(self, job: Job, name: str, future: Future[Any]) -> None:
        del job.handles[name]
        try:
            job.files[name] = future.result()
        except (ShardCancelledError, CancelledError):
            pass  # somebody asked for it
        except ConflictError:
            # Left by an earlier holder, or made by a later one: the ledger knows which.
            self._spawn(job, job.look_again, self.ledger, then=lambda *_: self._again(job, name))
        except WorkerLostError as error:
            job.losses += _LOSSES if error.certain else 1
            if job.losses < _LOSSES:
                self._again(job, name)
            else:
                job.fail(Failure(kind=Kind.MEMORY, cause=f"{error} ({job.losses} times)"))
        except PoolLostError:
            self._again(job, name)
        except Exception as error:  # noqa: BLE001 - whatever a worker raises is the task's cause
            job.fail(classify(error))
        else:
            self._report(name, 1 / len(job.shards))
            if len(job.files) < len(job.shards):
                self.ledger.made(job.claim, list(job.files.values()))
        self._check(job)

    def _again(self, job: Job, name: str) -> None:
        if not job.stopping.is_set():
            self._waiting.append((job, name))

    def _check(self, job: Job) -> None:
        """Record what came of a task once nothing of it is on its way."""
        if not job.is_idle or self._jobs.get(job.claim.key) is not job:
            return
        if job.is_made and job.needs_tidying:
            job.needs_tidying = False
            self._spawn(job, job.tidy, self.ledger, then=lambda *_: None)
        elif job.is_made or job.stopping.is_set():
            del self._jobs[job.claim.key]
            self._end(job)

    def _end(self, job: Job) -> None:
        claim = job.claim
        if job.failures:
            self._failed(job)
        elif job.is_made:
            self.ledger.complete(claim, [job.files[name] for name in job.shards])
        elif self.ledger.drop(claim):
            self._report(claim.name, 1 - job.part_made)
        else:
            self.ledger.give_back(claim)

    def _failed(self, job: Job) -> None:
        """Decide what a failure means for the task."""
        claim, failure = job.claim, job.worst
        again = failure.kind in (Kind.TRANSIENT, Kind.MEMORY)
        if (failure.kind is Kind.MEMORY and self._made_smaller(job, failure.cause)) or (
            failure.kind is Kind.SCENE and self._made_without(job)
        ):
            self._report(claim.name, -job.part_made)
        elif again and claim.failures + 1 < self.attempts:
            self.ledger.again(claim, failure.cause, backoff(claim.failures))
            self._report(claim.name, -job.part_made)
        else:
            self.ledger.fail(claim, failure.cause)
            self._report(claim.name, 1 - job.part_made)

    def _made_without(self, job: Job) -> bool:
        """Have a task made without its bad scenes, if that is wanted and any other is left."""
        scenes = {f.scene: f.cause for f in job.failures if f.scene and f.kind is Kind.SCENE}
        if self.on_bad_scene != "skip" or not job.has_scenes_without(set(scenes)):
            return False
        amended = without(job.claim.amended, scenes)
        return self.ledger.amend(job.claim, amended, "; ".join(scenes.values()))

    def _made_smaller(self, job: Job, why: str) -> bool:
        """Have a task made in smaller shards, if there is a smaller size."""
        if job.spec is None:
            return False
        amended = smaller(
            tuple(job.spec["tile"]["size"]),
            job.spec["file_dimensions"],
            job.claim.amended,
            job.blocksize,
        )
        if amended is None:
            return False
        self._jobs.pop(job.claim.key, None)
        width, height = amended["file_dimensions"]
        self.ledger.amend(job.claim, amended, f"{why}; now in shards of {width} x {height}")
        return True

    def _report(self, item: str, steps: float) -> None:
        if self.callback and steps:
            self.callback(item=item, n_steps=steps)

    def _give_up(self) -> None:
        """Stop what runs and give it back."""
        self._waiting.clear()
        for job in self._jobs.values():
            job.stop()
        try:
            while any(not job.is_idle for job in self._jobs.values()):
                self._react(_TICK)
        finally:
            for job in self._jobs.values():
                self.ledger.give_back(job.claim)
            self._jobs.clear()

    @contextlib.contextmanager
    def _heartbeat(self, is_over: Callable[[], bool]) -> Iterator[None]:
        """Renew the leases, and stop what is cancelled or lost, while the work goes on.

        All of it, when `is_over` says so: with the synchronous executor nobody else can.
        """
        over = threading.Event()

        def beat() -> None:
            for turn in itertools.count(1):
                if over.wait(_TICK):
                    return
                jobs = list(self._jobs.values())
                held = self.ledger.held(self.owner)
                for job in jobs:
                    ours = held.get(job.claim.key) == (job.claim.attempt, State.RUNNING)
                    if not ours or is_over():
                        job.stop()
                self.ledger.reclaim()
                if turn % _RENEWALS == 0:
                    self.ledger.renew(self.owner, _LEASE)

        thread = threading.Thread(target=beat, name="orchard-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
