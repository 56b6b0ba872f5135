"""Pools: where the shards of the local engine are made."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchard.errors import InputError

from .work import ShardJob, make_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.sharedctypes import SynchronizedArray

    from orchard.tracking import FileInfo

__all__ = ["Handle", "Pool", "WorkerLostError", "open_pool"]


class WorkerLostError(Exception):
    """The worker that made a shard has died."""


@dataclass(frozen=True, kw_only=True)
class Handle:
    """A shard on its way: its future, and how to ask it to stop."""

    future: Future[FileInfo]
    stop: Callable[[], None]


class Pool(Protocol):
    """Makes shards, several at a time."""

    slots: int

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        """Start a shard; a worker that dies makes its future raise `WorkerLostError`.

        `stopping` tells it to stop in this process, `Handle.stop` elsewhere.
        """
        ...

    def close(self) -> None:
        """Wait for what is running and end."""
        ...


def open_pool(executor: str, workers: int) -> contextlib.AbstractContextManager[Pool]:
    """Open a pool.

    Parameters
    ----------
    executor : {"synchronous", "threads", "processes"}
    workers : int
        How many shards at a time; one for ``synchronous``.

    Raises
    ------
    InputError
        For an unknown executor, or fewer than one worker.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    kinds: dict[str, Callable[[int], Pool]] = {
        "synchronous": _Synchronous,
        "threads": _Threads,
        "processes": _Processes,
    }
    if executor not in kinds:
        raise InputError(f"unknown executor {executor!r}: known are {', '.join(kinds)}")
    return _closing(kinds[executor], workers)


@contextlib.contextmanager
def _closing(kind: Callable[[int], Pool], workers: int) -> Iterator[Pool]:
    pool = kind(workers)
    try:
        yield pool
    finally:
        pool.close()


class _Synchronous:
    """Makes each shard at once, in the calling thread."""

    slots = 1

    def __init__(self, workers: int) -> None:
        del workers

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        future: Future[FileInfo] = Future()
        try:
            future.set_result(make_shard(job, stopping.is_set))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asks the future
            future.set_exception(error)
        return Handle(future=future, stop=stopping.set)

    def close(self) -> None:
        pass


class _Threads:
    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="orchard")

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        future = self._pool.submit(make_shard, job, stopping.is_set)
        return Handle(future=future, stop=stopping.set)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Processes:
    """Worker processes; a flag each in shared memory tells the shard in a slot to stop.

    A worker that is killed breaks the whole pool: every shard in it is lost, and the next submit
    starts a new pool.
    """

    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        from multiprocessing import get_context

        # spawn: a forked child would inherit GDAL's and our threads' locks in any state
        context = get_context("spawn")
        self._flags = context.Array("b", self.slots)
        self._free = list(range(self.slots))
        self._pool = ProcessPoolExecutor(
            self.slots, mp_context=context, initializer=_set_flags, initargs=(self._flags,)
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
            error = done.exception()
            if isinstance(error, BrokenProcessPool):
                outer.set_exception(WorkerLostError("its worker process died"))
            elif error is not None:
                outer.set_exception(error)
            else:
                outer.set_result(done.result())

        inner.add_done_callback(settle)

        def stop() -> None:
            flags[slot] = 1

        return Handle(future=outer, stop=stop)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


_FLAGS: list[SynchronizedArray[Any]] = []


def _set_flags(flags: SynchronizedArray[Any]) -> None:
    _FLAGS[:] = [flags]


def _in_process(job: ShardJob, slot: int) -> FileInfo:
    return make_shard(job, lambda: bool(_FLAGS[0][slot]))
