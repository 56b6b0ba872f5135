"""Around every call: its body is limited, an open platform guarded, the call logged."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from .api.errors import failure

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Around"]

access = logging.getLogger("orchard.server.access")

_LARGEST_BODY = 2**20
_SIGNED = re.compile(r"^/downloads/[^/]+")
# Browsers may be led to a server on their own machine by any page: such calls name another host.
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "orchard.invalid", "testserver"})


class Around:
    """ASGI middleware of the platform.

    Parameters
    ----------
    app : ASGI application
    is_open : callable
        Whether the platform needs no key now: then calls that another web page had a browser make
        are refused.
    """

    def __init__(self, app: ASGIApp, is_open: Any) -> None:
        self.app = app
        self.is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, sent, status = time.monotonic(), 0, 0
        scope.setdefault("state", {})

        async def counted(message: Message) -> None:
            nonlocal sent, status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            sent += len(message.get("body", b""))
            await send(message)

        try:
            if problem := self._refused(scope):
                await failure(*problem)(scope, receive, counted)
            else:
                await self.app(scope, _limited(receive), counted)
        finally:
            client = scope.get("client")
            access.info(
                "%s %s %s %s %d bytes %.0f ms project=%s",
                client[0] if client else "in-process",
                scope["method"],
                _SIGNED.sub("/downloads/…", scope["path"]),
                status or "broken off",
                sent,
                1000 * (time.monotonic() - begun),
                scope["state"].get("project", "-"),
            )

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            return 413, f"the body is too large: at most {_LARGEST_BODY} bytes"
        if not self.is_open():
            return None
        if urlsplit(f"//{headers.get('host', '')}").hostname not in _LOCAL_HOSTS:
            return 403, "a platform without projects is reached as localhost or 127.0.0.1 only"
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != headers.get("host"):
            return 403, "calls made by other web pages are not served"
        return None


def _limited(receive: Receive) -> Receive:
    """Limit a body whose length was not announced."""
    got = 0

    async def limited() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > _LARGEST_BODY:
            raise HTTPException(413, f"the body is too large: at most {_LARGEST_BODY} bytes")
        return message

    return limited
