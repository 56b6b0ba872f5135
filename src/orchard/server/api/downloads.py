"""The signed links: archives sent as they are worked out, whole or in part."""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from orchard.server.auth import Busy
from orchard.server.results import empty_archive, is_as_recorded

from .access import PlatformOf
from .models import Failure
from .packed import is_unchanged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orchard.server.archives import Archive, Entry
    from orchard.server.platform import Platform

__all__ = ["Range", "parse_range", "router"]

router = APIRouter(tags=["results"])

_MOST = 512
# What all downloads together read ahead; each has at least the least.
_BUDGET = 32 * 2**20
_LEAST, _LARGEST = 64 * 2**10, 2**20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

Range = tuple[int, int]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A zip archive", "content": {"application/zip": {}}},
    206: {"description": "A part of it", "content": {"application/zip": {}}},
    304: {"description": "It has not changed"},
    416: {"model": Failure},
    **{status: {"model": Failure} for status in (404, 409, 410, 422, 429)},
}


class _Counter:
    """Counts the downloads that are under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        with self._lock:
            self.count += 1
        try:
            yield
        finally:
            with self._lock:
                self.count -= 1

    @property
    def chunk(self) -> int:
        """Bytes that one download may read at a time."""
        return min(_LARGEST, max(_LEAST, _BUDGET // max(self.count, 1)))


_running = _Counter()


def parse_range(header: str | None, size: int) -> Range | None:
    """Read a ``Range`` header (RFC 9110, 14.2).

    Returns
    -------
    (start, stop) or None
        Stop is excluded. None: the whole, also where the header asks for several parts or for
        something that is no range of bytes.

    Raises
    ------
    ValueError
        Nothing of it is in the file.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, stop = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        stop = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        raise ValueError(f"the file has {size} bytes")
    return start, stop


@router.head("/downloads/{signed}/{name}", include_in_schema=False)
@router.get(
    "/downloads/{signed}/{name}",
    name="download",
    response_class=Response,
    responses=_RESPONSES,
)
def download(
    request: Request,
    platform: PlatformOf,
    signed: Annotated[str, Path(max_length=1000, description="what a link was signed for")],
    name: Annotated[str, Path(max_length=300, description="for people")],
) -> Response:
    """Give an archive by its signed link; needs no token."""
    archive = _archive(platform, signed)
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": archive.etag,
        "Cache-Control": "private, no-transform",
        "Content-Disposition": f'attachment; filename="{safe}"',
    }
    if is_unchanged(request, archive.etag):
        return Response(status_code=304, headers=headers)
    start, stop, status = 0, archive.size, 200
    if request.headers.get("if-range", archive.etag) == archive.etag:
        try:
            part = parse_range(request.headers.get("range"), archive.size)
        except ValueError as error:
            whole = {"Content-Range": f"bytes */{archive.size}"}
            raise HTTPException(416, str(error), headers=whole) from None
        if part is not None:
            start, stop, status = *part, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{archive.size}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/zip")
    if _running.count >= _MOST:
        raise Busy(5, "too many downloads at once")
    return StreamingResponse(
        _sent(archive, start, stop, request.app.state.reading),
        status_code=status,
        headers=headers,
        media_type="application/zip",
    )


def _archive(platform: Platform, signed: str) -> Archive:
    try:
        link = platform.auth.read_link(signed, is_open=platform.is_open)
    except TimeoutError as error:
        raise HTTPException(410, f"{error}: ask for a new one") from None
    if link is None:
        raise HTTPException(404, "there is no such download")
    view = platform.job(link.project, link.job)
    result = platform.result(view, link.block)
    return result.archive() if result else empty_archive()


async def _sent(
    archive: Archive, start: int, stop: int, reading: anyio.CapacityLimiter
) -> AsyncIterator[bytes]:
    """Give the bytes of an archive; a file that has changed meanwhile breaks it off."""
    with _running.one_more():
        file: _File | None = None
        try:
            for piece in archive.pieces(start, stop):
                if piece.entry is None:
                    yield piece.data
                    continue
                file = await anyio.to_thread.run_sync(
                    _File, piece.entry, piece.offset, limiter=reading
                )
                left = piece.length
                while left:
                    count = min(left, _running.chunk)
                    data = await anyio.to_thread.run_sync(file.read, count, limiter=reading)
                    left -= len(data)
                    yield data
                file.close()
        finally:
            if file is not None:
                file.close()


class _File:
    """A file of an archive, open for reading from somewhere on."""

    def __init__(self, entry: Entry, offset: int) -> None:
        assert entry.path is not None  # only pieces of files come here
        self._name = entry.name
        self._file: IO[bytes] = open(entry.path, "rb", buffering=0)  # noqa: SIM115, PTH123 - closed by its user
        if not is_as_recorded(entry, self._file.fileno()):
            self._file.close()
            raise OSError(f"{entry.name} was replaced while it was being downloaded")
        self._file.seek(offset)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), offset, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, length: int) -> bytes:
        data = self._file.read(length)
        if not data:
            raise OSError(f"{self._name} has become shorter while it was being downloaded")
        return data

    def close(self) -> None:
        self._file.close()
