"""Results: the files that a task should have made, what is there of them, and smaller parts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import ConflictError, NotFoundError
from orchard.preard import date_groups, expected_files, metadata_name, parse_shard_name
from orchard.stores import HasCopies
from orchard.tracking import FileInfo, State

from .lifecycle import Part, PartState, Record
from .operations import PartId
from .spec import PartSpec
from .splitting import (
    dates_per_file,
    n_parts,
    next_generation,
    quarterings,
    split_dimensions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchard.stores import Copy, ObjectInfo, Store

__all__ = ["Results", "expected_names"]

_LOOKS = 3
_TRIES = 20


def expected_names(record: Record) -> list[str]:
    """Name the files that a task should make."""
    groups = date_groups(record.dates, dates_per_file(record.dates, record.generation))
    dimensions = _dimensions(record) or record.export.get("fileDimensions")
    return list(expected_files(record.name, record.size, dimensions, groups))


def _dimensions(record: Record) -> tuple[int, int] | None:
    """Return width and height of the files of a tile that was quartered; None: it was not."""
    if not quarterings(record.generation):
        return None
    return split_dimensions(record.size, record.generation)


class Results:
    """The results of tasks in one store; each folder is listed once.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._folders: dict[str, dict[str, ObjectInfo]] = {}
        self._images: dict[str, dict[str, list[str]]] = {}
        self._doubles: dict[str, Sequence[Copy]] = {}

    def files(self, record: Record) -> list[FileInfo]:
        """Return which of a task's files are there."""
        there = self._folder(record.prefix)
        return [
            FileInfo(name=name, size=there[name].size, md5=there[name].md5)
            for name in expected_names(record)
            if name in there
        ]

    def _folder(self, prefix: str) -> dict[str, ObjectInfo]:
        if prefix not in self._folders:
            start = len(prefix) + 1 if prefix else 0
            found = {}
            if isinstance(self.store, HasCopies):
                for key, copies in self.store.copies(prefix).items():
                    found[key[start:]] = copies[0].info
                    self._doubles |= {key: copies} if len(copies) > 1 else {}
            else:
                for info in self.store.list(prefix):
                    found[info.key[start:]] = info
            self._folders[prefix] = {k: v for k, v in found.items() if "/" not in k}
        return self._folders[prefix]

    def _settle_doubles(self, record: Record, parts: Sequence[Part]) -> str | None:
        """Keep, of files of one name, what the last attempt wrote; return what cannot be told.

        Drive has both where an attempt wrote a file after the next one had begun, or somebody has
        uploaded one.
        """
        since = {name: part.started_ms for part in parts for name in part_names(record, part.id)}
        folder = self._folder(record.prefix)
        for name in expected_names(record):
            copies = self._doubles.pop(_key(record, name), ())
            if not copies:
                continue
            new = [copy for copy in copies if _modified_ms(copy.info) >= since.get(name, 0)]
            kept = new or copies
            if len({(copy.info.size, copy.info.md5) for copy in kept}) > 1 or not kept[0].info.md5:
                ids = ", ".join(sorted(copy.id for copy in kept))
                return (
                    f"there are {len(kept)} files {record.prefix}/{name} that differ ({ids}): "
                    "delete all but the right one, then retry the task"
                )
            for copy in copies:
                if copy is not kept[0]:
                    self.store.drop(copy)  # type: ignore[attr-defined]  # only such have doubles
            folder[name] = kept[0].info
        return None

    def verify(self, record: Record, parts: Sequence[Part]) -> Record:
        """Judge a task whose exports have all ended, or are forgotten, by its files."""
        self._folder(record.prefix)
        if problem := self._settle_doubles(record, parts):
            return replace(record, state=State.FAILED, error=problem)
        names, files = expected_names(record), self.files(record)
        lost = any(part.state is PartState.LOST for part in parts)
        skipping = record.export.get("skipEmptyTiles") or record.export.get("skipEmptyFiles")
        if len(files) == len(names) or (skipping and not lost):
            if record.generation:
                self.note_layout(record)
            # Files that were left out because they would be empty are not in the manifest.
            return replace(record, state=State.COMPLETED, error=None, files=tuple(files))
        missing = f"{len(names) - len(files)} of its {len(names)} files are not in the store"
        if lost:
            return replace(
                record,
                state=State.LOST,
                error=f"Earth Engine has forgotten the task, and {missing}: retry it",
            )
        if record.looks + 1 < _LOOKS:
            # A store may show a new file late.
            return replace(record, looks=record.looks + 1, state=State.RUNNING)
        return replace(
            record,
            state=State.LOST,
            error=(
                f"Earth Engine says that the task is done, but {missing} "
                f"({record.prefix}/{_first_missing(names, files)}): if it is in another folder of "
                "this name, rename that one; then retry it"
            ),
        )

    def split(self, record: Record, parts: Sequence[Part], most: int) -> tuple[Record, list[Part]]:
        """Cut a task: its image will be made of more and smaller files.

        The image metadata is changed first, so that it always tells the names to expect.
        """
        generation = next_generation(record.generation, record.dates, most)
        assert generation is not None  # the verdict was to split
        new = replace(record, generation=generation, state=State.READY, error=None, looks=0)
        self.note_layout(new)
        self.clear(record)
        attempt = max(part.id.attempt for part in parts)
        cost = sum(part.cost for part in parts)
        following = [
            Part(
                id=PartId(key=record.key, generation=generation, number=number, attempt=attempt),
                spent_seconds=0.0 if number else cost,
            )
            for number in range(n_parts(record.size, record.dates, generation))
        ]
        return new, following

    def clear(self, record: Record) -> None:
        """Delete all files of a task's image, however it was cut: Drive would keep both."""
        if record.prefix not in self._images:
            images = self._images[record.prefix] = defaultdict(list)
            for name in self._folder(record.prefix):
                if name.endswith(".tif"):
                    images[parse_shard_name(name).name].append(name)
        for name in self._images[record.prefix].pop(record.name, ()):
            self._delete(_key(record, name))

    def _delete(self, key: str) -> None:
        for copy in self._doubles.pop(key, ()):
            self.store.drop(copy)  # type: ignore[attr-defined]  # only such have doubles
        self.store.delete(key)

    def remove(self, record: Record, parts: Iterable[Part]) -> None:
        """Delete what an earlier attempt at parts has left: Drive would keep both."""
        names = {name for part in parts for name in part_names(record, part.id)}
        for name in names & self._folder(record.prefix).keys():
            self._delete(_key(record, name))

    def missing_parts(self, record: Record, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that have not made all their files."""
        there = self._folder(record.prefix)
        return [
            part
            for part in parts
            if part.state is not PartState.COMPLETED
            or not all(name in there for name in part_names(record, part.id))
        ]

    def note_layout(self, record: Record) -> None:
        """Write how a task is cut into the image metadata, from where readers have it."""
        key = _key(record, metadata_name(record.name))
        dimensions, step = _dimensions(record), dates_per_file(record.dates, record.generation)
        kwds = {} if dimensions is None else {"fileDimensions": list(dimensions)}
        cut = {"dates_per_file": step} if step < record.dates else {}
        for _ in range(_TRIES):
            try:
                data, info = self.store.get(key)
            except NotFoundError:
                return  # the order was made without metadata documents
            document: dict[str, Any] = orjson.loads(data)
            export, image = document["store"]["export_image_kwds"], document["image"]
            if kwds.items() <= export.items() and cut.items() <= image.items():
                return
            document["store"]["export_image_kwds"] = {**export, **kwds}
            document["image"] = {**image, **cut}
            try:
                content = orjson.dumps(document, option=orjson.OPT_INDENT_2)
                self.store.put(key, content, if_match=info.etag)
            except ConflictError:
                continue
            return


def part_names(record: Record, part: PartId) -> list[str]:
    """Name the files that one part of a task should make."""
    found = PartSpec.of(
        record.name, record.size, record.export, record.dates, part.generation, part.number
    )
    if not found.sharded:
        return [f"{found.name}.tif"]
    return [f"{found.name}{offsets}" for offsets in _offsets(record.size, found.dimensions)]


def _offsets(size: tuple[int, int], dimensions: tuple[int, int] | None) -> list[str]:
    """Return what the service appends to the name of each file."""
    return [file.removeprefix("x") for file in expected_files("x", size, dimensions)]


def _first_missing(names: Sequence[str], files: Sequence[FileInfo]) -> str:
    there = {file.name for file in files}
    return next(name for name in names if name not in there)


def _modified_ms(info: ObjectInfo) -> float:
    return info.modified.timestamp() * 1000 if info.modified else 0


def _key(record: Record, name: str) -> str:
    return f"{record.prefix}/{name}".lstrip("/")
