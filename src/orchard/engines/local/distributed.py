"""The pool that is a Dask cluster: of this machine, of an address, or of any cluster class.

Dask only carries shards to workers and tells what came of them; the ledger, which it knows nothing
of, decides what is to be done. So a worker, the scheduler or the connection to it may be lost at
any time: what was on its way is submitted again, to a new connection or a new cluster, and a shard
that is made twice after all is stored once (see `ShardJob.replaces`).
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask

from orchard.errors import EngineError, InputError, MissingDependencyError

from .failures import PoolLostError, WorkerLostError
from .pools import Handle
from .work import ShardJob, make_shard

try:
    import distributed
except ModuleNotFoundError as error:
    raise MissingDependencyError("dask.distributed", "dask") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchard.tracking import FileInfo

    from .executors import Executor

__all__ = ["LOST", "DaskPool", "connected"]

_CONNECT = 30.0  # seconds for one try to reach the scheduler
_PATIENCE = 600.0  # seconds after which a scheduler that is gone is given up
_LOOK = 2.0  # seconds between two looks at how many workers there are
_OURS = "stopped by its runner"
_AHEAD = 2  # shards for each thread of a worker: one that it makes, one that waits for it


# Dask's workers look a hundred times a second at what their threads do. Before CPython 3.12 a
# garbage collection in sys._current_frames() may then wait for ever (gh-106883).
_QUIET = {"distributed.worker.profile.enabled": False}


class DaskPool:
    """Makes shards on a Dask cluster.

    Parameters
    ----------
    executor : Executor
        ``distributed`` with a number of workers on this machine or an address, or a cluster class.

    Raises
    ------
    EngineError
        The scheduler cannot be reached, or the cluster cannot be started.
    InputError
        There is no such cluster class.
    """

    workers = 0  # they are others' machines: each shard has one thread there

    def __init__(self, executor: Executor, patience: float = _PATIENCE) -> None:
        self._executor = executor
        self._patience = patience
        self._signals = ThreadPoolExecutor(1, thread_name_prefix="orchard-dask")
        self._cluster: Any = None
        self._client: Any = None
        self._lost = threading.Event()
        self._looked, self._threads = -_LOOK, 1
        self._connect()

    # Connection

    def _connect(self) -> None:
        executor = self._executor
        try:
            if executor.address is None:
                with dask.config.set(_QUIET):
                    self._cluster = _start_cluster(executor)
            self._client = distributed.Client(  # type: ignore[no-untyped-call]
                self._cluster if executor.address is None else _url(executor.address),
                timeout=_CONNECT,
                set_as_default=False,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            self._disconnect()
            where = executor.address or executor.kind
            raise EngineError(f"the Dask cluster {where} cannot be reached: {error}") from error
        self._lost.clear()

    def _disconnect(self) -> None:
        for part in (self._client, self._cluster):
            # What is broken already need not be closed in good order.
            with contextlib.suppress(Exception):
                if part is not None:
                    part.close(timeout=2)
        self._client = self._cluster = None

    def _reconnect(self) -> None:
        """Connect anew, or start a new cluster; a scheduler may take its time to come back."""
        until = time.monotonic() + self._patience
        self._disconnect()
        while True:
            try:
                self._connect()
                return
            except EngineError:
                if time.monotonic() > until:
                    raise
                time.sleep(1)

    @property
    def client(self) -> Any:
        """Dask's own client, for other work than shards."""
        return self._client

    # The pool's seam

    @property
    def slots(self) -> int:
        """Twice the cluster's threads, and never none, so that an adaptive one begins to grow."""
        now = time.monotonic()
        if now - self._looked > _LOOK and not self._lost.is_set():
            self._looked = now
            try:
                self._threads = sum(self._client.nthreads().values())
            except (OSError, TimeoutError, CancelledError):
                self._lost.set()
        return max(_AHEAD * self._threads, 1)

    def submit(self, job: ShardJob, stopping: threading.Event) -> Handle:
        """Send a shard to the cluster."""
        del stopping  # of this process; the shard is made in another
        while True:
            if self._lost.is_set() or self._client.status != "running":
                self._reconnect()
            client = self._client
            try:
                future = client.submit(_on_worker, job, key=job.token, pure=False)
                break
            except (OSError, TimeoutError, CancelledError):
                self._lost.set()
        outer: Future[FileInfo] = Future()
        future.add_done_callback(lambda done: self._settle(client, done, outer))

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # the pool is closed
                self._signals.submit(_stop, client, future, job.token)

        return Handle(future=outer, stop=stop)

    def _settle(self, client: Any, done: Any, outer: Future[FileInfo]) -> None:
        """Pass on what came of a shard; Dask calls this in a thread of its own."""
        try:
            outer.set_result(done.result(timeout=_CONNECT))
        except distributed.KilledWorker as error:
            outer.set_exception(WorkerLostError(f"its workers died: {error}", certain=True))
        except CancelledError as error:
            if getattr(error, "reason", None) == _OURS:
                outer.cancel()
            else:
                self._lose(client, outer)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asks the future
            if done.status == "error":
                outer.set_exception(error)
            else:
                self._lose(client, outer)

    def _lose(self, client: Any, outer: Future[FileInfo]) -> None:
        if client is self._client:
            self._lost.set()
        outer.set_exception(PoolLostError("the connection to the Dask cluster was lost"))

    def close(self, *, wait: bool) -> None:
        """End a cluster of our own; leave others."""
        self._signals.shutdown(wait=wait, cancel_futures=not wait)
        self._disconnect()


LOST = (
    CancelledError,
    TimeoutError,
    OSError,
    RuntimeError,
    distributed.KilledWorker,
    # Only newer versions have it; before, it was a RuntimeError.
    getattr(distributed.client, "ClosedClientError", RuntimeError),
)
"""What a client and its futures raise that have lost workers, the scheduler or the connection.

Where work may fail with one of these itself, let it give its failure back as a result.
"""


@contextlib.contextmanager
def connected(executor: Executor) -> Iterator[Any]:
    """Give a client of a cluster that has workers; end a cluster of our own afterwards.

    Raises
    ------
    EngineError
        The scheduler cannot be reached, the cluster cannot be started, or it gets no workers.
    """
    pool = DaskPool(executor)
    try:
        pool.client.wait_for_workers(1, timeout=_PATIENCE)
        yield pool.client
    except TimeoutError as error:
        raise EngineError(f"the Dask cluster {executor} has no workers: start some") from error
    finally:
        pool.close(wait=False)


def _start_cluster(executor: Executor) -> Any:
    if executor.kind == "distributed":
        return distributed.LocalCluster(  # type: ignore[no-untyped-call]
            # None would be port 8787, which another order's cluster may have.
            n_workers=executor.workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
        )
    module, _, name = executor.kind.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"there is no Dask cluster class {executor.kind!r} ({error}): install its package, or "
            "mend the executor"
        ) from None
    try:
        cluster = kind(**executor.options)
    except TypeError as error:
        raise InputError(f"the Dask cluster class {executor.kind}: {error}") from None
    if "n_workers" not in executor.options and hasattr(cluster, "scale"):
        cluster.scale(executor.workers)
    return cluster


def _url(address: str) -> str:
    return address if "://" in address else f"tcp://{address}"


# On the workers

_STOPPED: set[str] = set()


def _on_worker(job: ShardJob) -> FileInfo:
    try:
        return make_shard(job, lambda: job.token in _STOPPED)
    finally:
        _STOPPED.discard(job.token)


def _mark_stopped(token: str) -> None:
    _STOPPED.add(token)


def _stop(client: Any, future: Any, token: str) -> None:
    """Stop a shard wherever it is; a scheduler that is gone has stopped it already."""
    with contextlib.suppress(OSError, TimeoutError, RuntimeError, CancelledError):
        client.run(_mark_stopped, token, wait=False, on_error="ignore")
        client.cancel([future], reason=_OURS)
