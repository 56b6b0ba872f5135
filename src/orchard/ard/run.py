"""Runs the work on the units of a cube: in this thread, in threads or in processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import TYPE_CHECKING

from orchard.errors import InputError, OrchardError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from orchard.preard import Window

    from .worker import UnitResult, UnitWorker

__all__ = ["EXECUTORS", "run_units"]

EXECUTORS = ("synchronous", "threads", "processes")

_worker: UnitWorker | None = None


def _set_worker(worker: UnitWorker) -> None:
    global _worker  # noqa: PLW0603 - one worker for each process of a pool, sent once
    _worker = worker


def _call_worker(window: Window) -> UnitResult:
    assert _worker is not None
    return _worker(window)


def run_units(
    worker: UnitWorker, windows: Iterable[Window], *, executor: str, workers: int
) -> Generator[UnitResult]:
    """Work on all windows and give the results, in order.

    No more than ``workers + 1`` units are in memory at any time: a new one is begun only when the
    caller takes the next result.

    Raises
    ------
    InputError
        For an unknown executor.
    """
    if executor not in EXECUTORS:
        raise InputError(f"executor {executor!r} is unknown: use one of {', '.join(EXECUTORS)}")
    if executor == "synchronous" or workers == 1:
        yield from map(worker, windows)
    elif executor == "threads":
        with ThreadPoolExecutor(workers, thread_name_prefix="orchard-ard") as pool:
            yield from _bounded(pool, worker, windows, workers + 1)
    else:
        # Not by fork: threads and open files of this process would be copied half-way.
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(
                workers, mp_context=context, initializer=_set_worker, initargs=(worker,)
            ) as pool:
                yield from _bounded(pool, _call_worker, windows, workers + 1)
        except BrokenExecutor as exc:
            raise OrchardError(
                "the worker processes have ended: either memory was short, or the script that "
                "converts does so outside of `if __name__ == '__main__':`; or use threads"
            ) from exc


def _bounded(
    pool: Executor, work: Callable[[Window], UnitResult], windows: Iterable[Window], ahead: int
) -> Iterator[UnitResult]:
    waiting: deque[Future[UnitResult]] = deque()
    try:
        for window in windows:
            waiting.append(pool.submit(work, window))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
