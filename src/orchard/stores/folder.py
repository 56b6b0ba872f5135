"""The store that is a folder of this machine.

Objects are plain files. A file is written under a temporary name beside its final one, flushed to
disk and then renamed (or, for ``if_absent``, linked: exactly one of several processes wins). What
replaces or removes a file holds a lock on its directory meanwhile, so that ``if_match`` compares
and swaps as one step among the processes of one machine. The lock is one on the directory itself:
there is no lock file to leave behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchard.errors import ConflictError, NotFoundError, StoreError
from orchard.stores.base import (
    TEMPORARY,
    ObjectInfo,
    check_folder,
    check_key,
    check_offset,
    check_put,
    key_problem,
)
from orchard.stores.local import (
    CHUNK,
    copy,
    local_errors,
    md5,
    open_source,
    open_target,
    write_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

with contextlib.suppress(ImportError):  # not a POSIX system: no locks
    import fcntl

__all__ = ["FolderStore"]

# What a file system answers that has no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_ATTEMPTS = 1000  # a directory may vanish between being made and being used, but not for ever


class FolderStore:
    """A folder as a store. It is made on the first `put`.

    Parameters
    ----------
    path : str or Path
        The folder; ``~`` is the home directory. A relative path is resolved now, so that a later
        change of the working directory changes nothing.

    Notes
    -----
    Limits: keys are told apart as the file system does (some ignore case); one key cannot be
    another's folder; ``if_match`` needs ``flock`` on directories, as the local disks of Linux and
    macOS have it, and holds among the processes of one machine. The MD5 is not kept: only `put`
    tells it. Empty folders are removed with the last object in them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.url = os.fspath(path)
        self._root = Path(path).expanduser().absolute()

    def __repr__(self) -> str:
        return f"FolderStore({self.url!r})"

    def path(self, key: str) -> Path:
        """Where the object of this key is, or would be."""
        return self._root / check_key(key)

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Store an object: see `Store.put`."""
        path = self._root / check_put(key, if_absent=if_absent, if_match=if_match)
        with contextlib.ExitStack() as stack:
            source = data if isinstance(data, bytes) else stack.enter_context(open_source(data))
            stack.enter_context(local_errors(key, path))
            temporary, writer = _create_beside(path)
            stack.callback(temporary.unlink, missing_ok=True)
            stack.enter_context(writer)
            digest = _write(writer, source)
            os.fsync(writer.fileno())
            if if_absent:
                _claim(temporary, path, key)
            else:
                _replace(temporary, path, key, if_match)
            _sync(path.parent)
            return _info(key, os.fstat(writer.fileno()), digest)

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Read an object: see `Store.get`."""
        path = self.path(key)
        with local_errors(key, path, reading=True), path.open("rb") as file:
            return file.read(), _info(key, os.fstat(file.fileno()))

    def list(self, folder: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a folder: see `Store.list`."""
        return self._walk(check_folder(folder), ())

    def _walk(self, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[ObjectInfo]:
        path = self._root / folder
        try:
            with local_errors(folder, path, reading=True):
                stat = path.stat()
                with os.scandir(path) as entries:
                    found = list(entries)
        except NotFoundError:
            return
        here = (stat.st_dev, stat.st_ino)
        if here in above:  # a symbolic link that leads back up
            return
        for entry in found:
            if entry.name.startswith(TEMPORARY) or key_problem(entry.name):
                continue
            key = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir():
                yield from self._walk(key, (*above, here))
            elif entry.is_file():
                # It may go while we look; then it is not there.
                with contextlib.suppress(FileNotFoundError):
                    yield _info(key, entry.stat())

    def fetch(self, key: str, path: Path, *, offset: int = 0) -> ObjectInfo:
        """Copy an object to a file: see `Store.fetch`."""
        source = self.path(key)
        with local_errors(key, source, reading=True), source.open("rb", buffering=0) as reader:
            info = _info(key, os.fstat(reader.fileno()))
            check_offset(key, size=info.size, offset=offset)
            reader.seek(offset)
            with local_errors(key, path), open_target(path, offset) as writer:
                if copy(reader, writer, info.size - offset) < info.size - offset:
                    raise StoreError(f"{source} was cut while it was read", key=key)
        return info

    def sweep(self) -> None:
        """Remove what processes have left that were killed while they wrote."""
        if "fcntl" not in globals():
            return
        for path in self._root.rglob(f"{TEMPORARY}*"):
            # Whoever still writes it holds a lock on it; another may be as quick as we are.
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(descriptor)

    def delete(self, key: str) -> None:
        """Delete an object: see `Store.delete`."""
        path = self.path(key)
        if path.is_dir():  # an object "a/b" does not make one "a"
            return
        with local_errors(key, path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            with _locked(path.parent, key):
                path.unlink()
            for folder in path.parents:
                if folder == self._root or not _remove_empty(folder):
                    break


def _create_beside(path: Path) -> tuple[Path, FileIO]:
    """Make a new file under a temporary name in the folder of a file to come."""
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever deletes the folder's last object removes the folder: then it is made again.
        with contextlib.suppress(FileNotFoundError):
            writer = temporary.open("xb", buffering=0)
            if _is_held(writer.fileno(), temporary):
                return temporary, writer
            writer.close()  # a sweep came in between
            temporary.unlink(missing_ok=True)
    raise StoreError(f"{path.parent} is removed again and again by somebody else")


def _is_held(descriptor: int, temporary: Path) -> bool:
    """Hold a file against `FolderStore.sweep`, as long as it is open; False: it was swept away."""
    if "fcntl" not in globals():
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), temporary.stat())
    except FileNotFoundError:
        return False
    except OSError as exc:
        return exc.errno != errno.EWOULDBLOCK  # where nothing can be locked nothing is swept


def _write(writer: FileIO, data: bytes | FileIO) -> str:
    """Write bytes or the rest of a file; return their MD5."""
    digest = md5()
    if isinstance(data, bytes):
        digest.update(data)
        write_all(writer, data)
    else:
        buffer = memoryview(bytearray(CHUNK))
        while n := data.readinto(buffer):
            digest.update(buffer[:n])
            write_all(writer, buffer[:n])
    return str(digest.hexdigest())


def _claim(temporary: Path, path: Path, key: str) -> None:
    """Give the file its name if nobody has it."""
    _stamp(temporary, 0)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise ConflictError(f"{path} is already there", key=key) from None
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        with _locked(path.parent, key, required=True):
            if path.exists():
                raise ConflictError(f"{path} is already there", key=key) from None
            temporary.replace(path)


def _replace(temporary: Path, path: Path, key: str, if_match: str | None) -> None:
    """Give the file its name, in place of another one; with `if_match`, of that version only."""
    with _locked(path.parent, key, required=if_match is not None):
        try:
            before = path.stat()
        except FileNotFoundError:
            before = None
        if if_match is not None and (before is None or _etag(before) != if_match):
            state = "is gone" if before is None else "was written by somebody else"
            raise ConflictError(f"{path} {state} since it was read", key=key)
        _stamp(temporary, before.st_mtime_ns + 1 if before else 0)
        temporary.replace(path)


def _stamp(path: Path, earliest: int) -> None:
    """Set the time of writing to the nanosecond, later than what it replaces.

    Kernels stamp files by the tick (some milliseconds) and use inodes again: two versions written
    one after the other could otherwise have one ETag.
    """
    now = max(time.time_ns(), earliest)
    os.utime(path, ns=(now, now))


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _info(key: str, stat: os.stat_result, digest: str | None = None) -> ObjectInfo:
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return ObjectInfo(key=key, size=stat.st_size, etag=_etag(stat), md5=digest, modified=modified)


@contextlib.contextmanager
def _locked(folder: Path, key: str, *, required: bool = False) -> Iterator[None]:
    """Hold the lock of a folder; without `required`, only where there are locks."""
    descriptor = _lock(folder, key, required=required)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(folder: Path, key: str, *, required: bool) -> int | None:
    reason = "this system has no flock"
    for _ in range(_ATTEMPTS if "fcntl" in globals() else 0):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The folder may have been removed and made anew while we waited for its lock.
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except OSError as exc:
            os.close(descriptor)
            if exc.errno == errno.ENOENT:
                raise
            reason = exc.strerror or str(exc)
            break
        os.close(descriptor)
    if required:
        raise StoreError(
            f"{folder} cannot be locked ({reason}), so {key} cannot be compared and swapped: "
            "use a folder on a local disk, or an object store",
            key=key,
        )
    return None


def _sync(folder: Path) -> None:
    """Make a folder's names survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_empty(folder: Path) -> bool:
    """Remove a folder that is empty; say whether it was."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
