"""Delivery: the files of an order, from the store to a folder, and their removal from the store."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from .errors import AccessError, BulkError, ChecksumError, NotFoundError, OrchardError, ShardError
from .preard import ImageMetadata, metadata_name, parse_shard_name
from .tracking import FileInfo, State, TaskStatus, TrackingInfo

if TYPE_CHECKING:
    from .stores import Store

__all__ = ["clean", "clean_tracked", "complete_files", "download", "download_tracked"]

Callback = Callable[..., None]
_WORKERS = 8
_PART = ".part"


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The files of one task: in the store, and where they go."""

    id: str
    name: str
    prefix: str
    status: TaskStatus
    files: tuple[FileInfo, ...]
    folder: Path

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}".lstrip("/")

    @property
    def metadata(self) -> str:
        return metadata_name(self.name)


class _Listings:
    """What is in each prefix of a store; listed once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, dict[str, dict[str, FileInfo]]] = {}

    def of(self, prefix: str, name: str) -> dict[str, FileInfo]:
        """Return the files of one image: ``NAME.json``, ``NAME.tif`` and its shards, no other's."""
        if prefix not in self._found:
            images: dict[str, dict[str, FileInfo]] = {}
            start = len(prefix) + 1 if prefix else 0
            for info in self._store.list(prefix):
                file = info.key[start:]
                if "/" not in file and (image := _image_of(file)):
                    found = FileInfo(name=file, size=info.size, md5=info.md5)
                    images.setdefault(image, {})[file] = found
            self._found[prefix] = images
        return self._found[prefix].get(name, {})


def _image_of(file: str) -> str | None:
    """Return the name of the image that a file belongs to."""
    if file.endswith(".json"):
        return file.removesuffix(".json")
    try:
        return parse_shard_name(file).name
    except ShardError:
        return None


def _tasks(info: TrackingInfo, store: Store, dest: Path) -> Iterator[_Task]:
    """Tell the files of each task: those it says it made, else those that bear its name."""
    listings = _Listings(store)
    # One folder, as long as no two tasks can have files of the same name.
    flat = len({order["prefix"] for order in info.orders}) <= 1
    for order, status in zip(info.orders, info.statuses, strict=True):
        name, prefix = order["name"], order["prefix"]
        files = status.files
        if not files and status.state in {State.COMPLETED, State.LOST}:
            there = listings.of(prefix, name)
            files = tuple(there[file] for file in sorted(there) if file.endswith(".tif"))
        yield _Task(
            id=status.id,
            name=name,
            prefix=prefix,
            status=status,
            files=files,
            folder=dest if flat else dest / prefix,
        )


def complete_files(info: TrackingInfo, position: int, store: Store) -> tuple[FileInfo, ...] | None:
    """Return the files of a task when all that it should have made are in the store, else None."""
    order = info.orders[position]
    key = f"{order['prefix']}/{metadata_name(order['name'])}".lstrip("/")
    try:
        metadata = ImageMetadata.from_json(store.get(key)[0], document=key)
    except NotFoundError:
        return None
    there = _Listings(store).of(order["prefix"], order["name"])
    if not metadata.expected_files or not metadata.expected_files.keys() <= there.keys():
        return None
    return tuple(there[name] for name in metadata.expected_files)


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
        How many image files there are; None when that is not known before they are listed.
    metadata, images : iterator of Path
        Download the files while they are iterated over.
    """
    info = tracking_info if isinstance(tracking_info, TrackingInfo) else TrackingInfo(tracking_info)
    folder = Path(dest)
    for task in _tasks(info, store, folder):
        metadata = (_save_metadata(task, store) for _ in range(1))
        images = (_fetch(task, file, store, overwrite) for file in task.files)
        yield task.id, len(task.files), (path for path in metadata if path), images


def download(
    info: TrackingInfo,
    store: Store,
    dest: str | Path,
    *,
    overwrite: bool = True,
    callback: Callback | None = None,
    workers: int = _WORKERS,
) -> dict[str, list[Path]]:
    """Download all files of an order, several at a time; see `orchard.Tracker.download`."""
    folder = Path(dest)
    _make_folder(folder)
    done: dict[str, list[Path]] = {}
    failures: dict[str, Exception] = {}
    lock = threading.Lock()

    def jobs() -> Iterator[tuple[_Task, FileInfo | None]]:
        for task in _tasks(info, store, folder):
            done[task.id] = []
            yield from ((task, file) for file in task.files)
            yield task, None

    def work(task: _Task, file: FileInfo | None) -> None:
        name = file.name if file else task.metadata
        try:
            path = _fetch(task, file, store, overwrite) if file else _save_metadata(task, store)
        except (OrchardError, OSError) as error:
            failures[task.key(name)] = error
            return
        if path is None:
            return
        with lock:
            done[task.id].append(path)
            if callback:
                share = 1 / len(task.files) if task.files else 0
                callback(item=name, n_steps=share if file else float(not task.files))

    _spread(work, jobs(), workers)
    if failures:
        raise BulkError.of("not all files could be downloaded", dict(sorted(failures.items())))
    return {task: sorted(paths) for task, paths in done.items()}


def _spread(
    work: Callable[[_Task, FileInfo | None], None],
    jobs: Iterator[tuple[_Task, FileInfo | None]],
    workers: int,
) -> None:
    """Do jobs in threads, with only a few of them waiting at a time."""
    with ThreadPoolExecutor(workers, thread_name_prefix="orchard-download") as pool:
        running: set[Future[None]] = set()
        try:
            while more := list(islice(jobs, max(4 * workers - len(running), 1))):
                running |= {pool.submit(work, *job) for job in more}
                if len(running) >= 4 * workers:
                    ready, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ready:
                        future.result()
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _fetch(task: _Task, file: FileInfo, store: Store, overwrite: bool) -> Path:
    """Fetch one file, verify it and give it its name."""
    path = task.folder / file.name
    if not overwrite and _is_whole(path, file):
        return path
    _make_folder(task.folder)
    part = path.with_name(path.name + _PART)
    part.unlink(missing_ok=True)
    info = store.fetch(task.key(file.name), part)
    wanted = FileInfo(
        name=file.name,
        size=info.size if file.size is None else file.size,
        md5=file.md5 or info.md5,
    )
    if not _is_whole(part, wanted):
        part.unlink(missing_ok=True)
        raise ChecksumError(
            f"{task.key(file.name)} is not what was stored: its length or checksum differs; "
            "download it again, or retry the task",
            key=task.key(file.name),
        )
    _commit(part, path)
    return path


def _is_whole(path: Path, file: FileInfo) -> bool:
    """Whether a file is there, of the right length and, where it is known, checksum."""
    try:
        if file.size is not None and path.stat().st_size != file.size:
            return False
        if file.md5 is None:
            return file.size is not None
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    except OSError:
        return False
    return digest.hexdigest() == file.md5


def _save_metadata(task: _Task, store: Store) -> Path | None:
    """Save a task's image metadata with what the order's record says of the task; last."""
    key = task.key(task.metadata)
    try:
        data = store.get(key)[0]
    except NotFoundError:
        if task.status.state is State.EMPTY:
            return None  # ordered without metadata of empty tasks
        raise
    document = ImageMetadata.from_json(data, document=key).to_dict()
    recorded = document["task"].get("status") or {}
    if task.status.state is not State.UNSUBMITTED:
        document["task"]["status"] = {**recorded, **task.status.to_dict()}
    path = task.folder / task.metadata
    _make_folder(task.folder)
    part = path.with_name(path.name + _PART)
    part.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    _commit(part, path)
    return path


def _commit(part: Path, path: Path) -> None:
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccessError(f"the folder {folder} cannot be made: {error.strerror}") from error


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
    info: TrackingInfo, store: Store, *, callback: Callback | None = None
) -> dict[str, list[str]]:
    """Delete all files of an order from its store; see `orchard.Tracker.clean`."""
    cleaned: dict[str, list[str]] = {}
    for task_id, keys in _keys(info, store):
        cleaned[task_id] = []
        for key in keys:
            cleaned[task_id].append(_deleted(key, store))
            if callback:
                callback(item=key, n_steps=1 / len(keys))
        if callback and not keys:
            callback(item=task_id, n_steps=1)
    return cleaned


def _keys(info: TrackingInfo, store: Store) -> Iterator[tuple[str, list[str]]]:
    """Tell the keys of each task's files: those of its very name, its metadata last."""
    listings = _Listings(store)
    for order, status in zip(info.orders, info.statuses, strict=True):
        there = listings.of(order["prefix"], order["name"])
        names = sorted(there, key=lambda name: (name.endswith(".json"), name))
        yield status.id, [f"{order['prefix']}/{name}".lstrip("/") for name in names]


def _deleted(key: str, store: Store) -> str:
    store.delete(key)
    return key
