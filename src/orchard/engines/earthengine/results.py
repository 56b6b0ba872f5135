"""Results: the files that a task should have made, what is there of them, and smaller parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import ConflictError, NotFoundError
from orchard.preard import expected_files, layout, metadata_name, parse_shard_name
from orchard.tracking import FileInfo, State

from .lifecycle import Part, PartState, Record
from .operations import PartId
from .spec import PartSpec, split_dimensions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchard.stores import ObjectInfo, Store

__all__ = ["Results", "expected_names", "n_parts"]

_LOOKS = 3
_TRIES = 20


def n_parts(size: tuple[int, int], generation: int) -> int:
    """Return how many exports make a tile that was quartered `generation` times."""
    return len(layout(size, split_dimensions(size, generation))) if generation else 1


def expected_names(record: Record) -> list[str]:
    """Name the files that a task should make."""
    dimensions = (
        split_dimensions(record.size, record.generation)
        if record.generation
        else record.export.get("fileDimensions")
    )
    return list(expected_files(record.name, record.size, dimensions))


class Results:
    """The results of tasks in one store; each folder is listed once.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._folders: dict[str, dict[str, ObjectInfo]] = {}

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
            self._folders[prefix] = {
                info.key[start:]: info
                for info in self.store.list(prefix)
                if "/" not in info.key[start:]
            }
        return self._folders[prefix]

    def verify(self, record: Record, parts: Sequence[Part]) -> Record:
        """Judge a task whose exports have all ended, or are forgotten, by its files."""
        names, files = expected_names(record), self.files(record)
        lost = any(part.state is PartState.LOST for part in parts)
        skipping = record.export.get("skipEmptyTiles") or record.export.get("skipEmptyFiles")
        if len(files) == len(names) or (skipping and not lost):
            if record.generation:
                self._note_dimensions(record)
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

    def split(self, record: Record, parts: Sequence[Part]) -> tuple[Record, list[Part]]:
        """Quarter a task: its image will be made of more and smaller files.

        The image metadata is changed first, so that it always tells the names to expect.
        """
        generation = record.generation + 1
        new = replace(record, generation=generation, state=State.READY, error=None, looks=0)
        self._note_dimensions(new)
        for name in self._folder(record.prefix):
            if _is_shard_of(name, record.name):
                self.store.delete(_key(record, name))
        attempt = max(part.id.attempt for part in parts)
        cost = sum(part.eecu_seconds for part in parts)
        following = [
            Part(
                id=PartId(key=record.key, generation=generation, number=number, attempt=attempt),
                eecu_seconds=0.0 if number else cost,
            )
            for number in range(n_parts(record.size, generation))
        ]
        return new, following

    def remove(self, record: Record, parts: Iterable[Part]) -> None:
        """Delete what an earlier attempt at parts has left: Drive would keep both."""
        names = {name for part in parts for name in part_names(record, part.id)}
        for name in names & self._folder(record.prefix).keys():
            self.store.delete(_key(record, name))

    def missing_parts(self, record: Record, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that have not made all their files."""
        there = self._folder(record.prefix)
        return [
            part
            for part in parts
            if part.state is not PartState.COMPLETED
            or not all(name in there for name in part_names(record, part.id))
        ]

    def _note_dimensions(self, record: Record) -> None:
        """Write the size of the files into the image metadata, from where readers have it."""
        key = _key(record, metadata_name(record.name))
        wanted = list(split_dimensions(record.size, record.generation))
        for _ in range(_TRIES):
            try:
                data, info = self.store.get(key)
            except NotFoundError:
                return  # the order was made without metadata documents
            document: dict[str, Any] = orjson.loads(data)
            export = document["store"]["export_image_kwds"]
            if export.get("fileDimensions") == wanted:
                return
            document["store"]["export_image_kwds"] = {**export, "fileDimensions": wanted}
            try:
                content = orjson.dumps(document, option=orjson.OPT_INDENT_2)
                self.store.put(key, content, if_match=info.etag)
            except ConflictError:
                continue
            return


def part_names(record: Record, part: PartId) -> list[str]:
    """Name the files that one part of a task should make."""
    if part.generation == 0:
        return expected_names(replace(record, generation=0))
    found = PartSpec.of(record.name, record.size, {}, part.generation, part.number)
    return [f"{found.name}.tif"]


def _first_missing(names: Sequence[str], files: Sequence[FileInfo]) -> str:
    there = {file.name for file in files}
    return next(name for name in names if name not in there)


def _is_shard_of(name: str, image: str) -> bool:
    return name.endswith(".tif") and parse_shard_name(name).name == image


def _key(record: Record, name: str) -> str:
    return f"{record.prefix}/{name}".lstrip("/")
