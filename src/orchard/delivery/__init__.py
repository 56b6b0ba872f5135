"""Delivery: the files of an order, from the store to a folder, and their removal from the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from orchard.errors import AccessError, BulkError, NotFoundError, OrchardError
from orchard.summary import counted
from orchard.tracking import State, TrackingInfo

from .manifest import File, Listings, TaskFiles, complete_files, read_metadata, task_files
from .transfer import DiskFullError, Transfer, commit

if TYPE_CHECKING:
    from orchard.stores import Store

__all__ = ["clean", "clean_tracked", "complete_files", "download", "download_tracked"]

Callback = Callable[..., None]
T = TypeVar("T")
_WORKERS = 16
_DONE = frozenset({State.COMPLETED, State.EMPTY})


def download_tracked(
    tracking_info: TrackingInfo | Mapping[str, Any],
    store: Store,
    dest: str | Path,
    overwrite: bool = False,
) -> Iterator[tuple[str, int | None, Iterator[Path], Iterator[Path]]]:
    """Download an order task by task, as the caller asks for it.

    Parameters
    ----------
    tracking_info : TrackingInfo or mapping
    store : Store
    dest : path
        Folder; made when it is not there.
    overwrite : bool
        Whether to download again what is already there, whole and verified.

    Yields
    ------
    id : str
        Of the task.
    n_images : int or None
        How many image files there are; None when only a listing of the store will tell.
    metadata, images : iterator of Path
        Download the files while they are iterated over; nothing of a task that is not done.
    """
    info = tracking_info if isinstance(tracking_info, TrackingInfo) else TrackingInfo(tracking_info)
    listings, transfer = Listings(store), Transfer(store=store, overwrite=overwrite)
    for task in task_files(info, Path(dest)):
        n = len(task.status.files) or (None if task.status.state is State.COMPLETED else 0)
        yield task.id, n, _metadata(task, transfer), _images(task, transfer, listings)


def _metadata(task: TaskFiles, transfer: Transfer) -> Iterator[Path]:
    if task.status.state in _DONE and (path := _save_metadata(task, transfer)):
        yield path


def _images(task: TaskFiles, transfer: Transfer, listings: Listings) -> Iterator[Path]:
    for file in task.images(transfer, listings):
        yield transfer.fetch(file)


def download(
    info: TrackingInfo,
    store: Store,
    dest: str | Path,
    *,
    overwrite: bool = True,
    callback: Callback | None = None,
    workers: int = _WORKERS,
) -> dict[str, list[Path]]:
    """Download all files of an order, several at a time; see `orchard.Tracker.download`.

    A task's metadata is written when all its images are there.
    """
    folder = Path(dest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccessError(f"the folder {folder} cannot be made: {error.strerror}") from error
    bulk = _Bulk(transfer=Transfer(store=store, overwrite=overwrite), callback=callback)
    listings = Listings(store)
    jobs = (job for task in task_files(info, folder) for job in bulk.jobs(task, listings))
    try:
        _spread(bulk.work, jobs, workers)
    except BaseException:
        bulk.transfer.stopping.set()
        raise
    bulk.raise_failures()
    return {task: sorted(paths) for task, paths in bulk.done.items()}


@dataclass(kw_only=True)
class _Bulk:
    """A whole download: what is done, and what failed."""

    transfer: Transfer
    callback: Callback | None
    done: dict[str, list[Path]] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    full: DiskFullError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def jobs(self, task: TaskFiles, listings: Listings) -> Iterator[tuple[_Progress, File | None]]:
        """Give what there is to do for a task: its files, or its metadata when it has none."""
        self.done[task.id] = []
        try:
            files = task.images(self.transfer, listings)
        except OrchardError as error:
            self.failures[task.key(task.name)] = error
            return
        progress = _Progress(task=task, total=len(files), left=len(files))
        if files:
            yield from ((progress, file) for file in files)
        else:
            yield progress, None

    def work(self, job: tuple[_Progress, File | None]) -> None:
        """Fetch a file; after the last one of a task its metadata."""
        progress, file = job
        task = progress.task
        if self.full is not None:
            return
        key = file.key if file else task.key(task.metadata)
        try:
            if file is not None:
                path = self.transfer.fetch(file)
                with self.lock:
                    progress.left -= 1
                    self._finished(task, path, 1 / progress.total)
                    if progress.left:
                        return
            key = task.key(task.metadata)
            saved = _save_metadata(task, self.transfer) if task.status.state in _DONE else None
            with self.lock:
                self._finished(task, saved, 0 if file else 1)
        except DiskFullError as error:
            self.full = error
            self.transfer.stopping.set()
        except OrchardError as error:
            with self.lock:
                self.failures[key] = error

    def _finished(self, task: TaskFiles, path: Path | None, steps: float) -> None:
        if path is not None:
            self.done[task.id].append(path)
        if self.callback:
            self.callback(item=path.name if path else task.name, n_steps=steps)

    def raise_failures(self) -> None:
        """Raise what went wrong."""
        if self.full is not None:
            n = sum(map(len, self.done.values()))
            raise DiskFullError(
                f"{self.full}. Whole so far: {counted(n, 'file')}; make room and download again: "
                "it goes on with the rest",
                key=self.full.key,
            )
        if self.failures:
            raise BulkError.of(
                "not all files could be downloaded", dict(sorted(self.failures.items()))
            )


@dataclass(kw_only=True)
class _Progress:
    """How many image files of a task are still to come."""

    task: TaskFiles
    total: int
    left: int


def _spread(work: Callable[[T], None], jobs: Iterator[T], workers: int) -> None:
    """Do jobs in threads, with only a few of them waiting at a time."""
    with ThreadPoolExecutor(workers, thread_name_prefix="orchard-delivery") as pool:
        running: set[Future[None]] = set()
        try:
            while more := list(islice(jobs, 4 * workers - len(running))):
                running |= {pool.submit(work, job) for job in more}
                if len(running) >= 4 * workers:
                    ready, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ready:
                        future.result()
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _save_metadata(task: TaskFiles, transfer: Transfer) -> Path | None:
    """Save a task's image metadata with what the order's record says of the task."""
    try:
        document = read_metadata(task, transfer).raw
    except NotFoundError:
        if task.status.state is State.EMPTY:
            return None  # ordered without metadata of empty tasks
        raise
    recorded = document["task"]
    status = {**(recorded.get("status") or {}), **task.status.to_dict()}
    document = {**document, "task": {**recorded, "status": status}}
    path = task.folder / task.metadata
    part = path.with_name(f".{path.name}.part")
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        part.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise AccessError(f"{path} cannot be written: {error.strerror}") from error
    # Written anew by each download, so it is not worth a flush to the disk.
    commit(part, path, flush=False)
    return path


def clean_tracked(
    tracking_info: TrackingInfo | Mapping[str, Any], store: Store
) -> Iterator[tuple[str, Iterator[str]]]:
    """Delete the files of an order task by task, as the caller asks for it.

    Yields
    ------
    id : str
        Of the task.
    names : iterator of str
        Deletes the task's files, images first, and gives their keys.
    """
    info = tracking_info if isinstance(tracking_info, TrackingInfo) else TrackingInfo(tracking_info)
    for task_id, keys in _keys(info, store):
        yield task_id, (_deleted(key, store) for key in keys)


def clean(
    info: TrackingInfo,
    store: Store,
    *,
    dry_run: bool = False,
    callback: Callback | None = None,
    workers: int = _WORKERS,
) -> dict[str, list[str]]:
    """Delete all files of an order from its store; see `orchard.Tracker.clean`."""
    found = dict(_keys(info, store))
    if dry_run:
        return found
    lock = threading.Lock()

    def delete(task: tuple[str, list[str]]) -> None:
        task_id, keys = task
        for key in keys:
            store.delete(key)
        if callback:
            with lock:
                callback(item=task_id, n_steps=1)

    _spread(delete, iter(found.items()), workers)
    return found


def _keys(info: TrackingInfo, store: Store) -> Iterator[tuple[str, list[str]]]:
    """Tell the keys of each task's files: those of its very name, its metadata last."""
    listings = Listings(store)
    for task in task_files(info):
        there = listings.of(task.prefix, task.name)
        names = sorted(there, key=lambda name: (name.endswith(".json"), name))
        yield task.id, [task.key(name) for name in names]


def _deleted(key: str, store: Store) -> str:
    store.delete(key)
    return key
