"""Runs the work on the units of a cube: here, in threads, in processes, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
from collections import deque
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from orchard.errors import EngineError, OrchardError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from orchard.engines.local.executors import Executor
    from orchard.preard import Window

    from .worker import UnitResult, UnitWorker

__all__ = ["Crew"]

_worker: UnitWorker | None = None


def _set_worker(worker: UnitWorker) -> None:
    global _worker  # noqa: PLW0603 - one worker for each process of a pool, sent once
    _worker = worker


def _call_worker(window: Window) -> UnitResult:
    assert _worker is not None
    return _worker(window)


def _call(worker: UnitWorker, window: Window) -> UnitResult | Exception:
    """Work on a unit far away; what fails is given back bare, as its causes cannot travel."""
    try:
        return worker(window)
    except (OrchardError, OSError, RuntimeError) as exc:
        exc.__cause__ = exc.__context__ = None
        return exc.with_traceback(None)


class Crew:
    """Who works on the units of all cubes of a call; a cluster is there from `open` to `close`.

    Parameters
    ----------
    executor : Executor
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._open = ExitStack()
        self._client: Any = None

    def open(self) -> None:
        """Reach the cluster, or start it.

        Raises
        ------
        EngineError, InputError
            There is no such cluster.
        """
        if self.executor.is_remote and self.executor.kind != "processes":
            from orchard.engines.local.distributed import connected

            self._client = self._open.enter_context(connected(self.executor))

    def close(self) -> None:
        """Let go of the cluster, or end it if it is our own."""
        self._open.close()

    @property
    def shares_memory(self) -> bool:
        """Whether workers are in this process."""
        return not self.executor.is_remote or self._alone

    @property
    def _alone(self) -> bool:
        kind, workers = self.executor.kind, self.executor.workers
        return kind == "synchronous" or (workers == 1 and kind in ("threads", "processes"))

    def run(self, worker: UnitWorker, windows: Iterable[Window]) -> Generator[UnitResult]:
        """Work on all windows of a cube and give the results, in order.

        No more than ``workers + 1`` units are in memory at any time: a new one is begun only when
        the caller takes the next result.

        Raises
        ------
        OrchardError
            Workers were lost, or the cluster was.
        """
        if self._alone:
            yield from map(worker, windows)
        elif self.executor.kind == "threads":
            ahead = self.executor.workers
            with ThreadPoolExecutor(ahead, thread_name_prefix="orchard-ard") as pool:
                yield from _bounded(lambda window: pool.submit(worker, window), windows, ahead + 1)
        elif self.executor.kind == "processes":
            yield from self._in_processes(worker, windows)
        else:
            yield from self._on_cluster(worker, windows)

    def _in_processes(self, worker: UnitWorker, windows: Iterable[Window]) -> Generator[UnitResult]:
        # Not by fork: threads and open files of this process would be copied half-way.
        context = multiprocessing.get_context("spawn")
        ahead = self.executor.workers
        try:
            with ProcessPoolExecutor(
                ahead, mp_context=context, initializer=_set_worker, initargs=(worker,)
            ) as pool:
                submit = lambda window: pool.submit(_call_worker, window)  # noqa: E731
                yield from _bounded(submit, windows, ahead + 1)
        except BrokenExecutor as exc:
            raise OrchardError(
                "the worker processes have ended: either memory was short, or the script that "
                "converts does so outside of `if __name__ == '__main__':`; or use threads"
            ) from exc

    def _on_cluster(self, worker: UnitWorker, windows: Iterable[Window]) -> Generator[UnitResult]:
        with closing(_far(self._client, worker, windows)) as results:
            while (result := self._next(results)) is not None:
                if isinstance(result, Exception):
                    raise result
                yield result

    def _next(self, results: Iterator[Any]) -> Any:
        """Return the next result; what a unit fails of is one, what else fails is the cluster."""
        from orchard.engines.local.distributed import LOST

        try:
            return next(results, None)
        except LOST as exc:
            raise EngineError(
                f"workers of the Dask cluster {self.executor} were lost, or the connection to it: "
                "convert again (workers that run short of memory need smaller chunks)"
            ) from exc


def _far(client: Any, worker: UnitWorker, windows: Iterable[Window]) -> Generator[Any]:
    # Sent once, and to all: it is what each unit needs.
    sent = client.scatter(worker, broadcast=True, hash=False)
    ahead = 2 * sum(client.nthreads().values())
    submit = lambda window: client.submit(_call, sent, window, pure=False)  # noqa: E731
    yield from _bounded(submit, windows, max(ahead, 2))


def _bounded(
    submit: Callable[[Window], Any], windows: Iterable[Window], ahead: int
) -> Generator[Any]:
    waiting: deque[Any] = deque()
    try:
        for window in windows:
            waiting.append(submit(window))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
