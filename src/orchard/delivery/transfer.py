"""One file from a store to this machine: resumed, verified, retried, and never half there.

While a file is on its way it lies beside its place as ``.NAME.TAG.part``. The tag stands for the
content that is expected, so that the part of another version is never gone on with.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from orchard.checksums import crc32_of
from orchard.errors import (
    AccessError,
    ChecksumError,
    ConflictError,
    InputError,
    NotFoundError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchard.stores import ObjectInfo, Store
    from orchard.tracking import FileInfo

    from .manifest import File

__all__ = ["DiskFullError", "Transfer", "commit", "is_whole"]

T = TypeVar("T")
_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.part", re.DOTALL)
_PERMANENT = (AccessError, NotFoundError, ConflictError)


class DiskFullError(StoreError):
    """There is no room for what is to be written."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Fetches files.

    Parameters
    ----------
    store : Store
    overwrite : bool
        Whether to fetch what is already there, whole and verified.
    tries : int
        How often in a row an attempt may fail without a byte gained.
    backoff : float
        Seconds; the wait before another attempt is random, up to this doubled each time.
    stopping : threading.Event
        Set when no further attempt is wanted.
    """

    store: Store
    overwrite: bool = False
    tries: int = 6
    backoff: float = 0.5
    stopping: threading.Event = field(default_factory=threading.Event)
    _parts: _Parts = field(default_factory=lambda: _Parts())  # noqa: PLW0108 - defined below

    def fetch(self, file: File) -> Path:
        """Fetch a file, verify it and give it its name.

        Raises
        ------
        ChecksumError
            When what arrives is not what was stored, however often it is fetched.
        DiskFullError
            When there is no room; what has arrived is kept to go on with.
        StoreError
            When it cannot be had.
        """
        if not self.overwrite and is_whole(file.path, file.info):
            return file.path
        part = file.path.with_name(f".{file.path.name}.{_tag(file)}.part")
        self._parts.keep_only(part, file.path)
        self._patiently(file.key, lambda: self._attempt(file, part), lambda: _size(part))
        # What a power failure tears, the next download finds by its checksum.
        commit(part, file.path, flush=not _has_checksum(file.info))
        return file.path

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Read a small object whole, as `Store.get` does, but tried as often as files are."""
        return self._patiently(key, lambda: self.store.get(key), lambda: 0)

    def _patiently(self, key: str, attempt: Callable[[], T], held: Callable[[], int]) -> T:
        """Try until it is done, may never be, or no more bytes are `held` for too many tries."""
        failed = 0
        while True:
            before = held()
            try:
                return attempt()
            except StoreError as error:
                if _is_full(error):
                    raise DiskFullError(str(error), key=key) from error
                gained = held() > before and not isinstance(error, ChecksumError)
                failed = 0 if gained else failed + 1
                if not _may_pass(error) or failed >= self.tries:
                    raise
            wait = self.backoff * 2 ** min(failed, 6)
            if self.stopping.wait(random.uniform(0, wait)):  # noqa: S311 - no secret
                raise StoreError(f"{key}: stopped before it was whole", key=key)

    def _attempt(self, file: File, part: Path) -> None:
        offset = _size(part)
        if file.info.size is not None and offset > file.info.size:
            offset = 0
        try:
            info = self.store.fetch(file.key, part, offset=offset)
        except InputError:
            # The part is longer than what is there: it was another version's.
            part.unlink(missing_ok=True)
            info = self.store.fetch(file.key, part)
        self._verify(file, part, info)

    def _verify(self, file: File, part: Path, info: ObjectInfo) -> None:
        """Compare what arrived with what is known of it, from the order and from the store."""
        size = info.size if file.info.size is None else file.info.size
        problem = ""
        if _size(part) != size:
            problem = f"it has {_size(part)} bytes, not {size}"
        elif not _matches(part, file.info, info.md5):
            problem = "its checksum differs"
        if problem:
            part.unlink(missing_ok=True)
            raise ChecksumError(
                f"{file.key} in {self.store.url} did not arrive as it was made: {problem}; if this "
                "stays so, the stored file is damaged: retry its task",
                key=file.key,
            )


class _Parts:
    """The parts that earlier downloads left in each folder; each is listed once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Path, dict[str, list[str]]] = {}

    def keep_only(self, part: Path, path: Path) -> None:
        """Delete the parts of other versions of a file, and make its folder."""
        folder = path.parent
        try:
            with self._lock:
                if folder not in self._found:
                    folder.mkdir(parents=True, exist_ok=True)
                    self._found[folder] = self._listed(folder)
            for name in self._found[folder].get(path.name, ()):
                if name != part.name:
                    (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise AccessError(f"{folder} cannot be written: {error.strerror}") from error

    @staticmethod
    def _listed(folder: Path) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if match := _PART.fullmatch(entry.name):
                    found.setdefault(match["name"], []).append(entry.name)
        return found


def is_whole(path: Path, info: FileInfo) -> bool:
    """Whether a file is there, of the right length and, where it is known, checksum."""
    if info.size is None and info.md5 is None and info.crc32 is None:
        return False
    if not path.is_file() or (info.size is not None and _size(path) != info.size):
        return False
    return _matches(path, info)


def commit(part: Path, path: Path, *, flush: bool = True) -> None:
    """Give a file that is whole its name; with `flush` once its content is on the disk."""
    try:
        if flush:
            descriptor = os.open(part, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        part.replace(path)
    except OSError as error:
        kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreError
        raise kind(f"{path} cannot be written: {error.strerror}") from error


def _has_checksum(info: FileInfo) -> bool:
    return info.crc32 is not None or info.md5 is not None


def _matches(path: Path, info: FileInfo, md5: str | None = None) -> bool:
    """Compare a file with the cheapest checksum that is known of it."""
    if info.crc32 is not None:
        return crc32_of(path) == info.crc32
    wanted = info.md5 or md5
    if wanted is None:
        return True
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == wanted


def _tag(file: File) -> str:
    """Name the content that is expected."""
    known = (file.info.size, file.info.md5, file.info.crc32, file.etag)
    return hashlib.blake2b(repr(known).encode(), digest_size=6).hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_full(error: StoreError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}


def _may_pass(error: StoreError) -> bool:
    """Whether another attempt may do better: the network may, this machine's disk will not."""
    if isinstance(error, _PERMANENT):
        return False
    return not isinstance(error.__cause__, OSError) or isinstance(
        error.__cause__, (ConnectionError, TimeoutError)
    )
