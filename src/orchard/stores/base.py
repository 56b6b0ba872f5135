"""What a store is: the Protocol, what it says of an object, and which keys it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from orchard.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

__all__ = [
    "READ_TIMEOUT",
    "TEMPORARY",
    "HasPath",
    "ObjectInfo",
    "Store",
    "Sweeps",
    "check_folder",
    "check_key",
    "check_offset",
    "check_put",
    "check_timeout",
    "key_problem",
]

#: How the names of files that are still being written begin; no key may use it.
TEMPORARY = ".orchard-tmp-"

#: Seconds that a service's connection may be silent, unless said otherwise.
READ_TIMEOUT = 60.0

_MAX_KEY = 1024  # bytes of UTF-8: the limit of S3, GCS and Azure
_MAX_PART = 200  # bytes of UTF-8: 255 of the usual file systems, less room for a temporary name
# Control characters, line and paragraph separators, halves of surrogate pairs.
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What a store says of one object.

    Parameters
    ----------
    key : str
        Its key.
    size : int
        Length in bytes.
    etag : str, optional
        Opaque; changes whenever the content changes. What ``if_match`` takes.
    md5 : str, optional
        MD5 of the content, 32 hexadecimal digits; None where the store does not know it.
    modified : datetime, optional
        When it was last written, in UTC.
    """

    key: str
    size: int
    etag: str | None = None
    md5: str | None = None
    modified: datetime | None = None


class Store(Protocol):
    """Where files live: a flat set of objects under ``/``-separated keys.

    Keys are relative and have neither empty nor ``.`` or ``..`` parts. Every method raises
    `orchard.errors.StoreError` (naming the key) for what the store could not do, and
    `orchard.errors.InputError` for a key that cannot be meant. A store may be used by many threads
    at once.
    """

    @property
    def url(self) -> str:
        """As given to `open_store`; never holds a secret."""

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Store the whole object in one atomic step; nobody ever sees a part of it.

        Parameters
        ----------
        key : str
            Where.
        data : bytes or Path
            The content, or the local file that holds it (left where it is).
        if_absent : bool
            Only if there is no such object yet.
        if_match : str, optional
            Only if the object's `ObjectInfo.etag` is this.

        Returns
        -------
        ObjectInfo
            Of the new object; ``md5`` is that of the bytes handed over.

        Raises
        ------
        ConflictError
            The condition did not hold.
        AccessError
            The store may not be written.
        """

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Read a whole object into memory.

        Raises
        ------
        NotFoundError
            There is no such object.
        ChecksumError
            What arrived is not what the store says it holds.
        """

    def list(self, folder: str = "") -> Iterator[ObjectInfo]:
        """Give all objects below a folder, at any depth, in no particular order.

        ``"a"`` gives ``a/b`` and ``a/b/c``, but neither ``a`` nor ``ab/c``. A folder that is not
        there is an empty one.
        """

    def fetch(self, key: str, path: Path, *, offset: int = 0) -> ObjectInfo:
        """Write an object to a local file.

        Nothing is promised of the file when this fails, but that its first bytes, up to its
        length, are the object's: fetch again with that length as `offset`. The content is neither
        verified nor flushed to disk: that is up to the caller, who knows when the file is whole.

        Parameters
        ----------
        key : str
            What.
        path : Path
            Where to; it is made, or replaced from `offset` on.
        offset : int
            How many bytes of the object the file holds already.

        Returns
        -------
        ObjectInfo
            Of the object that was read (compare its etag with that of an earlier part).
        """

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""


@runtime_checkable
class HasPath(Protocol):
    """The second ability of a store that is a folder of this machine."""

    def path(self, key: str) -> Path:
        """Where the object of this key is, or would be."""


def check_key(key: str) -> str:
    """Return a key that every store can hold.

    Parameters
    ----------
    key : str
        Relative, ``/``-separated, at most 1024 bytes of UTF-8, 200 a part.

    Raises
    ------
    InputError
        It is not.
    """
    if not isinstance(key, str):
        raise InputError(f"a key is a string, not {type(key).__name__}: {key!r}")
    problem = key_problem(key)
    if problem:
        raise InputError(f"the key {key!r} {problem}")
    return key


def check_folder(folder: str) -> str:
    """Return a folder's key without a slash at its end; ``""`` is the store itself."""
    if not isinstance(folder, str):
        raise InputError(f"a folder is a string, not {type(folder).__name__}: {folder!r}")
    folder = folder.removesuffix("/")
    return check_key(folder) if folder else ""


def key_problem(key: str) -> str | None:
    """Say what is wrong with a key; None: nothing."""
    if not key:
        return "is empty"
    if "\\" in key:
        return "has a backslash; parts are separated by /"
    if _REFUSED.search(key):
        return "has a control character"
    parts = key.split("/")
    if not parts[0]:
        return "is absolute; keys are relative to the store"
    if "" in parts:
        return "has an empty part"
    if "." in parts or ".." in parts:
        return "has a part '.' or '..'"
    if any(part.startswith(TEMPORARY) for part in parts):
        return f"has a part that begins with {TEMPORARY!r}, which is kept for unfinished files"
    if len(key.encode()) > _MAX_KEY or any(len(part.encode()) > _MAX_PART for part in parts):
        return f"is too long: at most {_MAX_KEY} bytes, {_MAX_PART} a part"
    return None


def check_put(key: str, *, if_absent: bool, if_match: str | None) -> str:
    """Return the key of a `Store.put` whose conditions do not contradict each other."""
    if if_absent and if_match is not None:
        raise InputError(f"{key}: if_absent and if_match exclude each other")
    return check_key(key)


def check_offset(key: str, *, size: int, offset: int) -> None:
    """Refuse to continue a file that is already longer than the object."""
    if offset < 0:
        raise InputError(f"{key}: the offset {offset} is negative")
    if offset > size:
        raise StoreError(
            f"{key} has {size} bytes, the local file already {offset}: fetch it anew", key=key
        )


def check_timeout(seconds: object) -> None:
    """Refuse a timeout that is no positive number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InputError(f"read_timeout is a number of seconds above 0, not {seconds!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One of perhaps several files that a store has under one key; ``id`` tells them apart."""

    id: str
    info: ObjectInfo


@runtime_checkable
class HasCopies(Protocol):
    """A store in which others can put several files under one key (Google Drive)."""

    def copies(self, folder: str) -> Mapping[str, Sequence[Copy]]:
        """Return the files right in a folder (not below it) by key."""

    def drop(self, copy: Copy) -> None:
        """Delete one of them; it may be gone already."""


@runtime_checkable
class Sweeps(Protocol):
    """A store in which a process that is killed while it writes can leave something."""

    def sweep(self) -> None:
        """Remove what killed processes have left; what is being written is left alone."""
