"""The store in Google Drive: ``gdrive://FOLDER[/SUB]``.

Drive's files are ids behind names, and names are neither unique nor a path. A key is followed from
folder to folder by names that match exactly. Files of one name and the same content count as one;
where the contents differ, or two folders have one name, the store does not guess: it is an error
that lists the ids. Replacing an object keeps its id.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager, suppress
from io import BufferedReader, BytesIO
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from orchard.errors import (
    ChecksumError,
    ConflictError,
    InputError,
    NotFoundError,
    StoreError,
)
from orchard.stores.base import (
    READ_TIMEOUT,
    Copy,
    ObjectInfo,
    check_folder,
    check_key,
    check_offset,
    check_put,
    check_timeout,
    key_problem,
)
from orchard.stores.gdrive_api import DriveApi, DriveFile
from orchard.stores.gdrive_auth import load_credentials
from orchard.stores.local import local_errors, md5, md5_of, open_source, open_target, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["DriveStore", "open_gdrive"]

T = TypeVar("T")
_Named = dict[tuple[bool, str], list[DriveFile]]

_RANGE = 16 * 2**20  # how much of a file is fetched, and kept in memory, at a time


def open_gdrive(
    url: str,
    *,
    root: str = "root",
    service_account_file: str | None = None,
    service_account_info: dict[str, Any] | None = None,
    token_file: str | None = None,
    credentials: Any = None,
    endpoint: str | None = None,
    read_timeout: float = READ_TIMEOUT,
    retries: int = 8,
    backoff: float = 1.0,
) -> DriveStore:
    """Open a folder of Google Drive; it is made on the first put.

    Parameters
    ----------
    url : str
        ``gdrive://FOLDER[/SUB]``; ``gdrive://`` is the root itself (its listing is of all of it).
    root : str
        Id of the folder that FOLDER is in: My Drive, or that of a shared drive or folder. A service
        account's My Drive is its own and has no room: share a folder with it and give that one.
    service_account_file, service_account_info, token_file, credentials : optional
        Who one is; see `orchard.stores.gdrive_auth.load_credentials` for what is looked for where
        none is given.
    endpoint : str, optional
        Another server than Google's.
    read_timeout : float
        Seconds that a connection may be silent; then the call is done again.
    retries : int
        How often a call that failed transiently (429, 5xx, a rate limit, a lost connection) is
        done again.
    backoff : float
        Seconds before the first repetition; each further wait is twice as long, up to a minute.
    """
    path = check_folder(url.removeprefix("gdrive://"))
    options = {
        "root": root,
        "service_account_file": service_account_file,
        "service_account_info": service_account_info,
        "token_file": token_file,
        "credentials": credentials,
        "endpoint": endpoint,
        "read_timeout": read_timeout,
        "retries": retries,
        "backoff": backoff,
    }
    if retries < 0 or backoff < 0:
        raise InputError("retries and backoff are not negative")
    check_timeout(read_timeout)
    credentials = credentials or load_credentials(
        service_account_file=service_account_file,
        service_account_info=service_account_info,
        token_file=token_file,
    )
    api = DriveApi(
        credentials,
        endpoint=endpoint,
        timeout=read_timeout,
        retries=retries,
        backoff=backoff,
    )
    return DriveStore(api, url=url, root=root, path=path, reopen=(_reopen, (url, options)))


def _reopen(url: str, options: dict[str, Any]) -> DriveStore:
    return open_gdrive(url, **options)


class DriveStore:
    """A folder of Google Drive as a store; use `open_gdrive`.

    Notes
    -----
    Limits: Drive has no conditions on writing: ``if_absent`` and ``if_match`` look first and then
    write, so they hold for one writer at a time only; likewise two processes that make one folder
    at the same time may make two, which is an error afterwards. A listing asks once per folder.
    Documents of Google's own, shortcuts and names that are no keys (with a slash) are not seen.
    Folders stay when their last file is deleted; what is deleted does not go to the bin.
    """

    def __init__(
        self,
        api: DriveApi,
        *,
        url: str,
        root: str,
        path: str,
        reopen: tuple[Callable[..., DriveStore], tuple[Any, ...]],
    ) -> None:
        self.url = url
        self._api = api
        self._base = tuple(path.split("/")) if path else ()
        self._root = root
        self._reopen = reopen
        self._folders: dict[tuple[str, ...], str] = {}
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"DriveStore({self.url!r})"

    def __reduce__(self) -> tuple[Callable[..., DriveStore], tuple[Any, ...]]:
        return self._reopen

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Store an object: see `Store.put`; the conditions hold for one writer at a time."""
        check_put(key, if_absent=if_absent, if_match=if_match)
        digest = md5_of(data) if not isinstance(data, bytes) else _md5(data)
        with (
            BytesIO(data)
            if isinstance(data, bytes)
            else BufferedReader(open_source(data)) as content
        ):
            size = content.seek(0, 2)
            content.seek(0)
            with self._about(key):
                copies = self._fresh(lambda: self._all(key))
                file = self._only(copies, key) if copies else None
                if if_absent and file is not None:
                    raise ConflictError(f"{key} in {self.url} is already there", key=key)
                if if_match is not None and (file is None or file.revision != if_match):
                    raise ConflictError(
                        f"{key} in {self.url} was written by somebody else or is gone", key=key
                    )
                if file is None:
                    parent = self._parent(key)
                    written = self._api.create(parent, key.rpartition("/")[2], content, size)
                else:
                    written = self._api.replace(file.id, content, size)
                    self._delete([copy for copy in copies if copy.id != file.id])
        if written.md5 != digest:
            raise ChecksumError(
                f"{key} arrived in {self.url} with the MD5 {written.md5}, not {digest}: "
                "put it again",
                key=key,
            )
        return _info(key, written)

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Read an object: see `Store.get`."""
        with self._about(check_key(key)):
            file = self._require(key)
            data = self._api.read(file.id)
        if file.md5 is not None and _md5(data) != file.md5:
            raise ChecksumError(f"{key} in {self.url} does not have its MD5 {file.md5}", key=key)
        return data, _info(key, file)

    def list(self, folder: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a folder: see `Store.list`."""
        return self._list(check_folder(folder))

    def _list(self, folder: str) -> Iterator[ObjectInfo]:
        parts = (*self._base, *folder.split("/")) if folder else self._base

        def look() -> _Named:
            id_ = self._folder(parts)
            return {} if id_ is None else self._named(id_)

        with self._about(folder):
            yield from self._walk(self._fresh(look), folder)

    def _named(self, id_: str) -> _Named:
        """What is in a folder, by (whether it is one, name)."""
        named: _Named = defaultdict(list)
        for child in self._api.children(id_):
            seen = child.folder or child.binary
            if seen and "/" not in child.name and not key_problem(child.name):
                named[child.folder, child.name].append(child)
        return named

    def copies(self, folder: str) -> Mapping[str, Sequence[Copy]]:
        """Return the files right in a folder by key, of one name all; see `HasCopies`."""
        parts = (*self._base, *check_folder(folder).split("/")) if folder else self._base

        def look() -> _Named:
            id_ = self._folder(parts)
            return {} if id_ is None else self._named(id_)

        found = {}
        with self._about(folder):
            for (is_folder, name), files in self._fresh(look).items():
                key = f"{folder}/{name}" if folder else name
                if not is_folder:
                    found[key] = [Copy(id=file.id, info=_info(key, file)) for file in files]
        return found

    def drop(self, copy: Copy) -> None:
        """Delete one of several files of one name; see `HasCopies`."""
        with self._about(copy.info.key), suppress(NotFoundError):
            self._api.delete(copy.id)

    def _walk(self, named: _Named, folder: str) -> Iterator[ObjectInfo]:
        for (is_folder, name), found in named.items():
            key = f"{folder}/{name}" if folder else name
            child = self._only(found, key)
            if not is_folder:
                yield _info(key, child)
                continue
            try:
                below = self._named(child.id)
            except NotFoundError:  # deleted meanwhile
                continue
            yield from self._walk(below, key)

    def fetch(self, key: str, path: Path, *, offset: int = 0) -> ObjectInfo:
        """Write an object to a file: see `Store.fetch`."""
        with self._about(check_key(key)):
            file = self._require(key)
            info = _info(key, file)
            check_offset(key, size=info.size, offset=offset)
            with local_errors(key, path), open_target(path, offset) as writer:
                while (start := writer.tell()) < info.size:
                    stop = min(start + _RANGE, info.size)
                    data = self._api.read_range(file.id, start, stop)
                    write_all(writer, data[: stop - start])
                    if len(data) != stop - start:
                        raise StoreError(
                            f"{key} in {self.url} changed while it was read, or was cut", key=key
                        )
        return info

    def delete(self, key: str) -> None:
        """Delete an object: see `Store.delete`."""
        with self._about(check_key(key)):
            copies = self._fresh(lambda: self._all(key))
            if copies:
                self._only(copies, key)
                self._delete(copies)

    def _delete(self, files: Sequence[DriveFile]) -> None:
        for file in files:
            # If it is gone: somebody else did it, or we did and the answer was lost.
            with suppress(NotFoundError):
                self._api.delete(file.id)

    # From names to ids.

    def _require(self, key: str) -> DriveFile:
        file = self._find(key)
        if file is None:
            raise NotFoundError(f"{key} in {self.url} is not there", key=key)
        return file

    def _find(self, key: str) -> DriveFile | None:
        return self._fresh(lambda: self._look(key))

    def _look(self, key: str) -> DriveFile | None:
        found = self._all(key)
        return self._only(found, key) if found else None

    def _all(self, key: str) -> Sequence[DriveFile]:
        *folders, name = key.split("/")
        parent = self._folder((*self._base, *folders))
        if parent is None:
            return []
        return [file for file in self._api.children(parent, name) if file.binary]

    def _parent(self, key: str) -> str:
        """Id of the folder that a key is to be put into; it is made where it is not there."""
        parent = self._folder((*self._base, *key.split("/")[:-1]), make=True)
        if parent is None:
            raise StoreError(f"the folder of {key} in {self.url} was removed", key=key)
        return parent

    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> str | None:
        if not parts:
            return self._root
        with self._lock:
            if parts in self._folders:
                return self._folders[parts]
            parent = self._folder(parts[:-1], make=make)
            if parent is None:
                return None
            found = [file for file in self._api.children(parent, parts[-1]) if file.folder]
            if found:
                id_ = self._only(found, "/".join(parts)).id
            elif make:
                id_ = self._api.create_folder(parent, parts[-1])
            else:
                return None
            self._folders[parts] = id_
            return id_

    def _fresh(self, look: Callable[[], T]) -> T:
        """Look; where a folder that we know is gone, forget all of them and look again."""
        try:
            return look()
        except NotFoundError:
            with self._lock:
                self._folders.clear()
            return look()

    def _only(self, found: Sequence[DriveFile], key: str) -> DriveFile:
        if len(found) == 1:
            return found[0]
        if len({(file.size, file.md5) for file in found}) == 1 and found[0].md5:
            return min(found, key=lambda file: file.id)  # whichever, but always the same
        ids = ", ".join(sorted(file.id for file in found))
        raise StoreError(
            f"{key} in {self.url}: Google Drive has {len(found)} of this name in one folder, and "
            f"they differ ({ids}): rename or delete all but one",
            key=key,
        )

    def account(self) -> dict[str, Any]:
        """Who one is to Drive: ``user`` and ``storageQuota`` as Drive tells them."""
        with self._about(""):
            return self._api.about()

    @contextmanager
    def _about(self, key: str) -> Iterator[None]:
        """Say in an error of the API which key it is about."""
        try:
            yield
        except StoreError as exc:
            if exc.key is not None:
                raise
            raise type(exc)(f"{key or 'the folder'} in {self.url}: {exc}", key=key) from None


def _md5(data: bytes) -> str:
    digest = md5()
    digest.update(data)
    return str(digest.hexdigest())


def _info(key: str, file: DriveFile) -> ObjectInfo:
    return ObjectInfo(
        key=key, size=file.size or 0, etag=file.revision, md5=file.md5, modified=file.modified
    )
