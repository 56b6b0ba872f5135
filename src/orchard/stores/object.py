"""The store over obstore: S3, GCS, Azure and memory.

Each object carries two words of metadata beside its content: its MD5, which not every service's
ETag is, so that what is read can be verified; and a token of the put that wrote it. When an answer
is lost on the way and the request is repeated, the service refuses a conditional write because of
our own first one: the token tells that from somebody else's.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore

from orchard.errors import (
    AccessError,
    ChecksumError,
    ConflictError,
    InputError,
    NotFoundError,
    OrchardError,
    StoreError,
)
from orchard.stores.base import ObjectInfo, check_folder, check_key, check_offset, check_put
from orchard.stores.local import CHUNK, local_errors, md5, md5_of, open_target, write_all
from orchard.stores.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from obstore import GetResult, ObjectMeta, PutMode
    from obstore.store import ObjectStore as Backend

    from orchard.stores.identity import Identity

__all__ = ["ObjectStore", "open_memory"]

# Names that all services take: Azure wants identifiers, S3 and GCS lower case.
_MD5 = "md5"
_TOKEN = "orchardput"  # noqa: S105 - a name, not a secret
_PART = 8 * 2**20  # of a multipart upload; S3 allows 10,000 parts, so objects up to 78 GiB
_CONCURRENCY = 4


class ObjectStore:
    """An object service, or this process's memory, as a store.

    Parameters
    ----------
    backend : obstore store
        What it speaks to.
    url : str
        As given to `open_store`, without secrets.
    redact : callable
        Cleans the service's error texts.
    reopen : callable and its arguments, optional
        How another process opens the same store; None: it cannot.
    identity : Identity, optional
        Who one is to the service, as far as that is known without asking it.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        url: str,
        redact: Callable[[str], str] | None = None,
        reopen: tuple[Callable[..., ObjectStore], tuple[Any, ...]] | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.url = url
        self.identity = identity
        self._backend = backend
        self._redact = redact or Redactor()
        self._reopen = reopen

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Callable[..., ObjectStore], tuple[Any, ...]]:
        if self._reopen is None:
            raise InputError(
                f"{self.url} lives in the memory of one process and cannot go to another: "
                "use a folder instead"
            )
        return self._reopen

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Store an object: see `Store.put`."""
        check_put(key, if_absent=if_absent, if_match=if_match)
        digest, size = _digest(data)
        token = secrets.token_hex(16)
        try:
            with self._errors(key):
                result = obstore.put(
                    self._backend,
                    key,
                    data,
                    attributes={_MD5: digest, _TOKEN: token},
                    mode=self._mode(key, if_absent=if_absent, if_match=if_match),
                    chunk_size=_PART,
                    max_concurrency=_CONCURRENCY,
                )
        except StoreError:
            conditional = if_absent or if_match is not None
            written = self._written(key, token) if conditional else None
            if written is None:
                raise
            return written
        return ObjectInfo(key=key, size=size, etag=_bare(result["e_tag"]), md5=digest)

    def _mode(self, key: str, *, if_absent: bool, if_match: str | None) -> PutMode:
        del key
        if if_absent:
            return "create"
        return "overwrite" if if_match is None else {"e_tag": f'"{if_match}"'}

    def _written(self, key: str, token: str) -> ObjectInfo | None:
        """The object, if it is the one that the put of this token wrote."""
        try:
            with self._errors(key):
                result = self._head(key)
        except StoreError:
            return None
        return _info(key, result) if result.attributes.get(_TOKEN) == token else None

    def _head(self, key: str) -> GetResult:
        # obstore.head() gives no metadata.
        return obstore.get(self._backend, key, options={"head": True})

    def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Read an object: see `Store.get`."""
        check_key(key)
        with self._errors(key):
            result = obstore.get(self._backend, key)
            info = _info(key, result)
            data = bytes(result.bytes())
        if info.md5 is not None and _digest(data)[0] != info.md5:
            raise ChecksumError(f"{key} in {self.url} does not have its MD5 {info.md5}", key=key)
        return data, info

    def list(self, folder: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a folder: see `Store.list`."""
        return self._list(check_folder(folder))

    def _list(self, folder: str) -> Iterator[ObjectInfo]:
        with self._errors(folder):
            for batch in obstore.list(self._backend, prefix=folder or None):
                for meta in batch:
                    # "a/", by which some tools mark a folder, is listed as "a".
                    if not folder or meta["path"].startswith(f"{folder}/"):
                        yield _listed(meta)

    def fetch(self, key: str, path: Path, *, offset: int = 0) -> ObjectInfo:
        """Write an object to a file: see `Store.fetch`."""
        check_key(key)
        with self._errors(key):
            info = _info(key, result := self._ranged(key, offset))
            with local_errors(key, path), open_target(path, offset) as writer:
                if offset < info.size:
                    for chunk in result.stream(min_chunk_size=CHUNK):
                        write_all(writer, memoryview(chunk))
                if writer.tell() != info.size:
                    raise StoreError(
                        f"{key} in {self.url} was cut at {writer.tell()} of {info.size} bytes",
                        key=key,
                    )
        return info

    def _ranged(self, key: str, offset: int) -> GetResult:
        if not offset:
            return obstore.get(self._backend, key)
        # Services refuse a range that begins at the end: look first.
        head = self._head(key)
        size = head.meta["size"]
        check_offset(key, size=size, offset=offset)
        if offset == size:
            return head
        return obstore.get(
            self._backend,
            key,
            options={"range": {"offset": offset}, "if_match": head.meta["e_tag"]},
        )

    def delete(self, key: str) -> None:
        """Delete an object: see `Store.delete`."""
        check_key(key)
        try:
            with self._errors(key):
                obstore.delete(self._backend, key)
        except NotFoundError:
            return

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn what obstore raises into our errors; its texts may quote secrets."""
        try:
            yield
        except OrchardError:
            raise
        except (BaseError, OSError, ValueError) as exc:
            self._raise(exc, key)

    def _raise(self, exc: Exception, key: str) -> NoReturn:
        where = f"{key} in {self.url}" if key else self.url
        text = self._redact(str(exc))
        if isinstance(exc, FileNotFoundError):
            raise NotFoundError(f"{where} is not there (or its bucket is not)", key=key) from None
        if isinstance(exc, AlreadyExistsError):
            raise ConflictError(f"{where} is already there", key=key) from None
        if isinstance(exc, PreconditionError):
            raise ConflictError(
                f"{where} was written by somebody else or is gone since it was read", key=key
            ) from None
        if _no_credentials(text):
            raise AccessError(
                f"{where}: no credentials were found; give them as options or in the environment, "
                f"or anonymous=True for what is public ({text})",
                key=key,
            ) from None
        if isinstance(exc, PermissionDeniedError | UnauthenticatedError):
            raise AccessError(
                f"{where}: not allowed; check the credentials and their permissions ({text})",
                key=key,
            ) from None
        raise StoreError(f"{where}: {text}", key=key) from None


def _no_credentials(text: str) -> bool:
    """Whether a request failed because credentials could not be had (from a metadata service)."""
    return "169.254." in text or "metadata.google.internal" in text or "credential" in text.lower()


def _digest(data: bytes | Path) -> tuple[str, int]:
    """MD5 (32 hexadecimal digits) and size of what is to be stored."""
    if not isinstance(data, bytes):
        return md5_of(data), data.stat().st_size
    digest = md5()
    digest.update(data)
    return str(digest.hexdigest()), len(data)


def _bare(etag: str | None) -> str | None:
    """An ETag without its quotes: listings and headers differ in them."""
    return etag.strip('"') if etag else None


def _info(key: str, result: GetResult) -> ObjectInfo:
    digest: Mapping[str, str] = result.attributes
    return _listed(result.meta, key=key, md5=digest.get(_MD5))


def _listed(meta: ObjectMeta, *, key: str | None = None, md5: str | None = None) -> ObjectInfo:
    return ObjectInfo(
        key=meta["path"] if key is None else key,
        size=meta["size"],
        etag=_bare(meta["e_tag"]),
        md5=md5,
        modified=meta["last_modified"],
    )


_memories: dict[str, MemoryStore] = {}
_memories_lock = Lock()


def open_memory(url: str) -> ObjectStore:
    """Open ``memory://NAME``: one store per name within this process, gone with it."""
    name = url.removeprefix("memory://").rstrip("/")
    if "/" in name:
        raise InputError(f"{url}: a memory store has a name, memory://NAME, and no folders")
    with _memories_lock:
        backend = _memories.setdefault(name, MemoryStore())
    return ObjectStore(backend, url=url)
