"""Local files as the source and the target of a store: opened, copied, errors translated."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchard.errors import AccessError, InputError, NotFoundError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

__all__ = [
    "CHUNK",
    "copy",
    "local_errors",
    "md5",
    "md5_of",
    "open_source",
    "open_target",
    "write_all",
]

#: How much is read at a time, in bytes.
CHUNK = 2 * 2**20
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}


@contextmanager
def local_errors(key: str, path: Path, *, reading: bool = False) -> Iterator[None]:
    """Turn an `OSError` into an error that names the key and the file.

    Parameters
    ----------
    key : str
        The key in hand.
    path : Path
        The local file or folder.
    reading : bool
        A file that is not there is a key that is not there.
    """
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno in _DENIED:
            raise AccessError(f"{path}: {reason}; check its permissions", key=key) from exc
        if exc.errno in _FULL:
            raise StoreError(f"{path}: {reason}; make room and try again", key=key) from exc
        if reading and exc.errno in _MISSING:
            raise NotFoundError(f"{path} is not there", key=key) from exc
        raise StoreError(f"{path}: {reason}", key=key) from exc


def open_source(path: Path) -> FileIO:
    """Open the local file that is to be put, unbuffered."""
    try:
        return path.open("rb", buffering=0)
    except OSError as exc:
        raise InputError(f"cannot read {path}, which is to be stored: {exc.strerror}") from exc


def open_target(path: Path, offset: int) -> FileIO:
    """Open a local file, unbuffered, to be written from `offset` on; what it held there is cut."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size < offset:
            raise InputError(f"{path} has only {size} bytes, not {offset}")
        if size > offset:
            os.truncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "wb", buffering=0)


def write_all(writer: FileIO, data: bytes | memoryview) -> None:
    """Write all of the data: an unbuffered file may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[writer.write(rest) :]


def copy(reader: FileIO, writer: FileIO, length: int) -> int:
    """Copy bytes from here to there, in the kernel where it can; return how many there were."""
    left = length
    try:
        while left and (n := os.copy_file_range(reader.fileno(), writer.fileno(), left)):
            left -= n
    except (AttributeError, OSError) as exc:
        # Not this system, not between these file systems, not this kind of file; a disk that is
        # full or a file that may not be written says so again below.
        if isinstance(exc, OSError) and exc.errno in _FULL:
            raise
    buffer = memoryview(bytearray(min(CHUNK, left)))
    while left and (n := reader.readinto(buffer[: min(len(buffer), left)])):
        write_all(writer, buffer[:n])
        left -= n
    return length - left


def md5() -> Any:
    """A fresh MD5: against accidents, not against forgers."""
    return hashlib.md5(usedforsecurity=False)


def md5_of(path: Path) -> str:
    """The MD5 of a local file, as 32 hexadecimal digits."""
    digest = md5()
    buffer = memoryview(bytearray(CHUNK))
    with open_source(path) as reader:
        while n := reader.readinto(buffer):
            digest.update(buffer[:n])
    return str(digest.hexdigest())
