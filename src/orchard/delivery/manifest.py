"""Manifests: which files each task of an order has, where they are, and how to know them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchard.errors import NotFoundError, ShardError
from orchard.preard import ImageMetadata, metadata_name, parse_shard_name
from orchard.tracking import FileInfo, State, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchard.stores import ObjectInfo, Store
    from orchard.tracking import TrackingInfo

__all__ = ["File", "Listings", "TaskFiles", "complete_files", "read_metadata", "task_files"]


class Reads(Protocol):
    """What reads documents: a store, or what tries more often than one."""

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Read one: see `orchard.stores.Store.get`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file to be had.

    Parameters
    ----------
    key : str
        In the store.
    path : Path
        Where it goes.
    info : FileInfo
        Name, and what is known of its content.
    etag : str, optional
        Of the store, where the listing told.
    """

    key: str
    path: Path
    info: FileInfo
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFiles:
    """The files of one task."""

    id: str
    name: str
    prefix: str
    status: TaskStatus
    folder: Path

    def key(self, name: str) -> str:
        """Return the key of one of its files."""
        return f"{self.prefix}/{name}".lstrip("/")

    @property
    def metadata(self) -> str:
        """Name of the image metadata document."""
        return metadata_name(self.name)

    def images(self, documents: Reads, listings: Listings) -> list[File]:
        """Return the image files that the task has made, all of them.

        Raises
        ------
        ShardError
            When one of them is not in the store; it is named.
        """
        if self.status.state is not State.COMPLETED:
            return []
        if self.status.files:
            return [self._file(file) for file in self.status.files]
        there = listings.of(self.prefix, self.name)
        images = [name for name in there if name.endswith(".tif")]
        expected = _expected(read_metadata(self, documents))
        missing = [name for name in expected or () if name not in there]
        if missing or not images:
            raise ShardError(
                f"{self.key(missing[0] if missing else self.name)}: the task is COMPLETED, but "
                f"{'this shard' if missing else 'no image of it'} is in {listings.url}: "
                "retry the task"
            )
        return [self._listed(there[name]) for name in sorted(images)]

    def _file(self, file: FileInfo) -> File:
        return File(key=self.key(file.name), path=self.folder / file.name, info=file)

    def _listed(self, info: ObjectInfo) -> File:
        name = info.key.rsplit("/", 1)[-1]
        file = FileInfo(name=name, size=info.size, md5=info.md5)
        return File(key=info.key, path=self.folder / name, info=file, etag=info.etag)


class Listings:
    """What is in each folder of a store; each is listed once, when it is asked for."""

    def __init__(self, store: Store) -> None:
        self.url = store.url
        self._store = store
        self._found: dict[str, dict[str, dict[str, ObjectInfo]]] = {}

    def of(self, prefix: str, name: str) -> Mapping[str, ObjectInfo]:
        """Return the files of one image: ``NAME.json``, ``NAME.tif`` and its shards, no other's."""
        if prefix not in self._found:
            images: dict[str, dict[str, ObjectInfo]] = {}
            start = len(prefix) + 1 if prefix else 0
            for info in self._store.list(prefix):
                file = info.key[start:]
                if "/" not in file and (image := _image_of(file)):
                    images.setdefault(image, {})[file] = info
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


def task_files(info: TrackingInfo, dest: Path = Path()) -> Iterator[TaskFiles]:
    """Tell the tasks of an order, and the folder below `dest` that their files go to."""
    # One folder, as long as no two tasks can have files of the same name.
    flat = len({order["prefix"] for order in info.orders}) <= 1
    for order, status in zip(info.orders, info.statuses, strict=True):
        yield TaskFiles(
            id=status.id,
            name=order["name"],
            prefix=order["prefix"],
            status=status,
            folder=dest if flat else dest / order["prefix"],
        )


def read_metadata(task: TaskFiles, documents: Reads) -> ImageMetadata:
    """Read a task's image metadata."""
    key = task.key(task.metadata)
    return ImageMetadata.from_json(documents.get(key)[0], document=key)


def _expected(metadata: ImageMetadata) -> list[str] | None:
    """Return the names of all shards; None when they cannot be known beforehand."""
    # Without fileDimensions Earth Engine cuts large images as it likes.
    if metadata.file_dimensions is None or metadata.may_be_sparse:
        return None
    return list(metadata.expected_files)


def complete_files(info: TrackingInfo, position: int, store: Store) -> tuple[FileInfo, ...] | None:
    """Return the files of a task when all that it should have made are in the store, else None."""
    order = info.orders[position]
    task = TaskFiles(
        id=info.statuses[position].id,
        name=order["name"],
        prefix=order["prefix"],
        status=info.statuses[position],
        folder=Path(),
    )
    try:
        expected = list(read_metadata(task, store).expected_files)
    except NotFoundError:
        return None
    there = Listings(store).of(task.prefix, task.name)
    if not expected or any(name not in there for name in expected):
        return None
    return tuple(
        FileInfo(name=name, size=there[name].size, md5=there[name].md5) for name in expected
    )
