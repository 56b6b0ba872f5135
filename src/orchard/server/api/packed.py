"""Answers that are sent once, compressed, and not again as long as they have not changed."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response
from isal import igzip

__all__ = ["Packed", "Shelf", "is_unchanged", "send"]

_LEVEL = 2  # of isal's 0 to 3: a few megabytes take some ten milliseconds


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Content, compressed.

    Parameters
    ----------
    etag : str
        Quoted.
    media_type : str
    gzipped : bytes
    """

    etag: str
    media_type: str
    gzipped: bytes

    @classmethod
    def of(cls, content: bytes, *, etag: str, media_type: str) -> Packed:
        """Compress."""
        # The same content gives the same bytes: no time in it.
        packed = igzip.compress(content, _LEVEL, mtime=0)
        return cls(etag=f'"{etag}"', media_type=media_type, gzipped=packed)


class Shelf:
    """Keeps what was packed last; makes each thing once, however many ask for it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, Packed] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Packed]) -> Packed:
        """Return what is kept under a key, or make it."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = make()
                while len(self._kept) > self._size:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return found


def is_unchanged(request: Request, etag: str) -> bool:
    """Whether the caller has this already (RFC 9110, 13.1.2)."""
    known = request.headers.get("if-none-match", "")
    return known == "*" or etag in (one.strip().removeprefix("W/") for one in known.split(","))


def send(request: Request, packed: Packed, **headers: str) -> Response:
    """Answer with what is packed, as the caller can read it, or that it is unchanged."""
    headers = {
        "ETag": packed.etag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding, Cookie",
        **headers,
    }
    if is_unchanged(request, packed.etag):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(packed.gzipped, media_type=packed.media_type, headers=headers)
    content = zlib.decompress(packed.gzipped, wbits=31)
    return Response(content, media_type=packed.media_type, headers=headers)
