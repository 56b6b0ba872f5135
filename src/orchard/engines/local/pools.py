"""Pools: where the shards of the local engine are made."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .failures import WorkerLostError
from .work import ShardJob, make_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.sharedctypes import SynchronizedArray

    from orchard.tracking import FileInfo

    from .executors import Executor

__all__ = ["Handle", "Pool", "open_pool"]


@dataclass(frozen=True, kw_only=True)
class Handle:
    """A shard on its way: its future, and how to ask it to stop."""

    future: Future[FileInfo]
    stop: Callable[[], None]


class Pool(Protocol):
    """Makes shards, several at a time."""

    @property
    def slots(self) -> int:
        """How many shards are to be in it, so that no worker is idle; it may change."""
        ...

    @property
    def workers(self) -> int:
        """How many shards are made at a time."""
        ...

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        """Start a shard; a worker that dies makes its future raise `WorkerLostError`.

        `stopping` tells it to stop in this process, `Handle.stop` elsewhere.
        """
        ...

    def close(self, *, wait: bool) -> None:
        """End; with `wait`, after what is running has ended."""
        ...


@contextlib.contextmanager
def open_pool(executor: Executor) -> Iterator[Pool]:
    """Open a pool; when its block is left by an error, nothing is waited for.

    Raises
    ------
    MissingDependencyError
        Dask is not installed.
    EngineError
        The Dask scheduler cannot be reached, or the cluster cannot be started.
    """
    pool = _open(executor)
    try:
        yield pool
    except BaseException:
        pool.close(wait=False)
        raise
    pool.close(wait=True)


def _open(executor: Executor) -> Pool:
    if executor.kind == "synchronous":
        return _Synchronous()
    if executor.kind == "threads":
        return _Threads(executor.workers)
    if executor.kind == "processes":
        return _Processes(executor.workers)
    from .distributed import DaskPool

    return DaskPool(executor)


class _Synchronous:
    """Makes each shard at once, in the calling thread."""

    slots = workers = 1

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        future: Future[FileInfo] = Future()
        try:
            future.set_result(make_shard(job, stopping.is_set))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asks the future
            future.set_exception(error)
        return Handle(future=future, stop=stopping.set)

    def close(self, *, wait: bool) -> None:
        del wait  # nothing runs


class _Threads:
    def __init__(self, workers: int) -> None:
        self.slots = self.workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="orchard")

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        future = self._pool.submit(make_shard, job, stopping.is_set)

        def stop() -> None:
            stopping.set()
            future.cancel()  # one that has not begun need not begin

        return Handle(future=future, stop=stop)

    def close(self, *, wait: bool) -> None:
        self._pool.shutdown(wait=wait, cancel_futures=True)


class _Processes:
    """Worker processes; a flag each in shared memory tells the shard in a slot to stop.

    A worker that is killed breaks the whole pool: every shard in it is lost, and the next submit
    starts a new pool.
    """

    def __init__(self, workers: int) -> None:
        self.slots = self.workers = workers
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        from multiprocessing import get_context

        # spawn: a forked child would inherit GDAL's and our threads' locks in any state
        context = get_context("spawn")
        self._flags = context.Array("b", self.slots)
        self._free = list(range(self.slots))
        self._pool = ProcessPoolExecutor(
            self.slots, mp_context=context, initializer=_begin_worker, initargs=(self._flags,)
        )

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        del stopping  # of this process; the shard is made in another
        with self._lock:
            try:
                return self._submit(job)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False)
                self._open()
                return self._submit(job)

    def _submit(self, job: ShardJob) -> Handle:
        flags, free, slot = self._flags, self._free, self._free.pop()
        flags[slot] = 0
        outer: Future[FileInfo] = Future()
        inner = self._pool.submit(_in_process, job, slot)

        def settle(done: Future[FileInfo]) -> None:
            free.append(slot)
            if done.cancelled():
                outer.cancel()
                return
            error = done.exception()
            if isinstance(error, BrokenProcessPool):
                outer.set_exception(WorkerLostError("its worker process died"))
            elif error is not None:
                outer.set_exception(error)
            else:
                outer.set_result(done.result())

        inner.add_done_callback(settle)

        def stop() -> None:
            if not inner.cancel():
                flags[slot] = 1

        return Handle(future=outer, stop=stop)

    def close(self, *, wait: bool) -> None:
        if not wait:
            for process in list((self._pool._processes or {}).values()):  # noqa: SLF001 - there is no public way before Python 3.14
                process.terminate()
        self._pool.shutdown(wait=wait, cancel_futures=True)


_FLAGS: list[SynchronizedArray[Any]] = []


def _begin_worker(flags: SynchronizedArray[Any]) -> None:
    """Prepare a worker process: it stops when it is told to, and ends with its parent."""
    from multiprocessing import parent_process

    # Ctrl-C reaches every process of the terminal; the runner alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _FLAGS[:] = [flags]
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    """End this process when its parent is gone, however that came."""
    parent.join()
    os._exit(1)


def _in_process(job: ShardJob, slot: int) -> FileInfo:
    return make_shard(job, lambda: bool(_FLAGS[0][slot]))
