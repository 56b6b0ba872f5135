"""Bytes of files: local ones, ``https://`` and ``s3://``."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["File", "is_remote", "local_path", "open_file"]

REMOTE = ("http", "https", "s3")
# Ranges closer than this are read as one: a request costs more than so many bytes.
GAP_BYTES = 16 << 10
# Longer reads are cut, so that one scene's bytes come through many connections.
REQUEST_BYTES = 4 << 20
# Requests under way at once, of all shards of the process: bounded for the server's sake.
REQUESTS = 24


class File(Protocol):
    """A file that gives ranges of its bytes."""

    def read(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each (offset, size); a span that reaches over the end is cut.

        Raises
        ------
        OSError
            They cannot be read; a `ConnectionError` or `TimeoutError` where trying again may help.
        """


def is_remote(href: str) -> bool:
    """Whether a file is read through the network."""
    return urlsplit(href).scheme in REMOTE


def local_path(href: str) -> str:
    """Path of a local file."""
    return unquote(urlsplit(href).path) if href.startswith("file:") else href


def open_file(href: str) -> File:
    """Open a file by path or URL; nothing is read yet."""
    return RemoteFile(href) if is_remote(href) else LocalFile(Path(local_path(href)))


class LocalFile:
    """A file of this machine; it is open only while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each (offset, size)."""
        fd = os.open(self._path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            return [os.pread(fd, size, offset) for offset, size in spans]
        finally:
            os.close(fd)


class RemoteFile:
    """A file behind HTTP or S3, read in parallel ranges."""

    def __init__(self, href: str) -> None:
        parts = urlsplit(href)
        if parts.scheme == "s3":
            self._store = _s3(parts.netloc)
        else:
            query = f"?{parts.query}" if parts.query else ""
            self._store = _http(f"{parts.scheme}://{parts.netloc}/{query}")
        self._path = unquote(parts.path).lstrip("/")

    def read(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each (offset, size), by as few requests as waste little."""
        requests = merge(spans)
        if len(requests) == 1:
            parts = [self._get(requests[0])]
        else:
            parts = list(_pool(os.getpid()).map(self._get, requests))
        found: list[bytes] = [b""] * len(spans)
        for request, data in zip(requests, parts, strict=True):
            for number in request.members:
                offset, size = spans[number]
                found[number] = data[offset - request.start : offset + size - request.start]
        return found

    def _get(self, request: Request) -> bytes:
        import obstore
        from obstore.exceptions import BaseError

        try:
            data = obstore.get_range(self._store, self._path, start=request.start, end=request.stop)
        except BaseError as exc:
            kind = ConnectionError if is_passing(exc) else OSError
            raise kind(str(exc).split("\n")[0]) from exc
        return bytes(data)


_REFUSED = re.compile(r"\b(?:status|code)[ a-z:]*4(?!08|25|29)\d\d\b", re.IGNORECASE)


def is_passing(error: Exception) -> bool:
    """Whether an error of the object store's client may pass.

    What is not there, or not ours to see, has classes of its own. All else (a connection that
    breaks, a server that is busy) is one class; where there is an HTTP status, its text has it.
    """
    from obstore.exceptions import GenericError

    return type(error) is GenericError and not _REFUSED.search(str(error))


@dataclass(kw_only=True)
class Request:
    """One range request: its bytes, and which spans it brings."""

    start: int
    stop: int
    members: list[int]


def merge(spans: Sequence[tuple[int, int]]) -> list[Request]:
    """Requests that cover spans (offset, size), each span within one of them."""
    requests: list[Request] = []
    for number in sorted(range(len(spans)), key=spans.__getitem__):
        offset, size = spans[number]
        last = requests[-1] if requests else None
        near = last and offset <= last.stop + GAP_BYTES
        if last and near and offset + size - last.start <= REQUEST_BYTES:
            last.stop = max(last.stop, offset + size)
            last.members.append(number)
        else:
            requests.append(Request(start=offset, stop=offset + size, members=[number]))
    return requests


@lru_cache(maxsize=1)
def _pool(_pid: int) -> ThreadPoolExecutor:
    # By process: threads do not live on in a forked one.
    return ThreadPoolExecutor(REQUESTS, thread_name_prefix="orchard-range")


@lru_cache(maxsize=64)
def _http(url: str) -> Any:
    from obstore.store import HTTPStore

    return HTTPStore.from_url(url, client_options={"allow_http": True, "user_agent": "orchard"})


@lru_cache(maxsize=64)
def _s3(bucket: str) -> Any:
    """A bucket, configured by the environment as the AWS tools and GDAL are."""
    from obstore.store import S3Store

    options: dict[str, Any] = {}
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1"):
        options["skip_signature"] = True
    if os.environ.get("AWS_REQUEST_PAYER") == "requester":
        options["request_payer"] = True
    return S3Store(bucket, client_options={"allow_http": True}, **options)
