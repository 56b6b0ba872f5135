"""An ASGI application spoken to within the process: no socket, no port, no second program.

httpx has such a transport for its asynchronous client only. This one serves the synchronous client:
an event loop in a thread of its own runs the application; a request's body goes to it and the
answer's body comes back chunk by chunk, so that neither is ever held whole.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping

    Message = MutableMapping[str, Any]
    Application = Callable[
        [
            MutableMapping[str, Any],
            Callable[[], Awaitable[Message]],
            Callable[[Message], Awaitable[None]],
        ],
        Awaitable[None],
    ]

__all__ = ["InProcessTransport"]

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Chunks of an answer that wait for the reader; the application is held back beyond.
_AHEAD = 4


class InProcessTransport(httpx.BaseTransport):
    """Carries requests to an ASGI application in this process.

    The application's lifespan begins with the first request and ends with `close`, at the latest
    when the interpreter ends.

    Parameters
    ----------
    app : ASGI application
        For example a FastAPI or Starlette one.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._loop: _Loop | None = None
        self._lifespan: _Lifespan | None = None
        self._state: dict[str, Any] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; returns when the answer's headers are there."""
        loop = self._started()
        exchange = loop.run(_Exchange.begin(self._app, request, self._state))
        try:
            status, headers = loop.run(exchange.head())
        except BaseException:
            loop.run(exchange.end())
            raise
        return httpx.Response(status, headers=headers, stream=_Body(loop, exchange))

    def close(self) -> None:
        """End the application's lifespan and its thread."""
        with self._lock:
            if self._loop is None:
                return
            if self._lifespan is not None:
                self._loop.run(self._lifespan.end())
            self._loop.stop()
            self._loop = self._lifespan = None

    def _started(self) -> _Loop:
        with self._lock:
            if self._loop is None:
                self._loop = _Loop()
                self._lifespan = self._loop.run(_Lifespan.begin(self._app, self._state))
                # The thread is a daemon: at exit it still runs, and can end the lifespan.
                atexit.register(_close, weakref.ref(self))
            return self._loop


def _close(reference: weakref.ref[InProcessTransport]) -> None:
    transport = reference()
    if transport is not None:
        transport.close()


class _Loop:
    """An event loop in a daemon thread, which other threads give work to and wait for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="orchard-in-process", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        self.run(self._loop.shutdown_asyncgens())  # of answers that were left in the middle
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Exchange:
    """One request and its answer; lives in the loop."""

    def __init__(self, request: httpx.Request, state: dict[str, Any]) -> None:
        self._request = request
        self._state = state
        self._body = iter(request.stream)  # type: ignore[arg-type]  # synchronous here
        self._started: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.Future()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self._gone = asyncio.Event()
        self._complete = False  # the application has sent all
        self._finished = False  # and the reader has been told
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    @classmethod
    async def begin(
        cls, app: Application, request: httpx.Request, state: dict[str, Any]
    ) -> _Exchange:
        self = cls(request, state)
        self._task = asyncio.ensure_future(self._run(app))
        return self

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Wait for status and headers."""
        return await asyncio.shield(self._started)

    async def next_chunk(self) -> bytes | None:
        """Wait for the next chunk of the answer; None at its end."""
        chunk = await self._chunks.get()
        if chunk is None and self._failure is not None:
            raise self._failure
        return chunk

    async def end(self) -> None:
        """The reader has gone: tell the application, and see it end unless it has sent all.

        After its last byte it may have work to do in the background.
        """
        self._gone.set()
        if self._task is not None and not self._finished:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._task = None  # it holds on to all that the application had open

    async def _run(self, app: Application) -> None:
        try:
            scope = _scope(self._request) | {"state": dict(self._state)}
            await app(scope, self._receive, self._send)
            self._fail("the application ended without an answer")
        except Exception as exc:  # noqa: BLE001 - whatever the application raises is its answer
            if self._complete:  # it has answered, perhaps with a 500, and raises for its own log
                logger.debug("the application failed after its answer: %r", exc)
                return
            self._failure = httpx.RemoteProtocolError(f"the application failed: {exc!r}")
            self._failure.__cause__ = exc
            self._fail("")
        finally:
            await self._finish()

    async def _finish(self) -> None:
        if not self._finished and not self._gone.is_set():
            await self._chunks.put(None)
            self._finished = True

    def _fail(self, message: str) -> None:
        if not self._started.done():
            self._started.set_exception(self._failure or httpx.RemoteProtocolError(message))

    async def _receive(self) -> Message:
        # The body comes from the caller's iterator, which may read a file: not in the loop.
        chunk = await asyncio.to_thread(next, self._body, None)
        if chunk is not None:
            return {"type": "http.request", "body": chunk, "more_body": True}
        if self._body is not _NO_BODY:
            self._body = _NO_BODY
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started.set_result((message["status"], list(message.get("headers", []))))
        elif message["type"] == "http.response.body" and not self._gone.is_set():
            if message.get("body"):
                await self._chunks.put(bytes(message["body"]))
            if not message.get("more_body"):
                self._complete = True
                await self._finish()


_NO_BODY: Iterator[bytes] = iter(())


class _Body(httpx.SyncByteStream):
    """The answer's body, read from the caller's thread."""

    def __init__(self, loop: _Loop, exchange: _Exchange) -> None:
        self._loop = loop
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self._loop.run(self._exchange.next_chunk())) is not None:
            yield chunk

    def close(self) -> None:
        self._loop.run(self._exchange.end())


class _Lifespan:
    """The application's start-up and shutdown; one without is served all the same."""

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def begin(cls, app: Application, state: dict[str, Any]) -> _Lifespan:
        self = cls()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
        self._task = asyncio.ensure_future(self._run(app, scope))
        await self._tell("startup")
        return self

    async def end(self) -> None:
        if self._task is not None and not self._task.done():
            await self._tell("shutdown")
            await self._task

    async def _tell(self, event: str) -> None:
        await self._inbox.put({"type": f"lifespan.{event}"})
        answer = await self._answers.get()
        if answer["type"] == f"lifespan.{event}.failed":
            problem = answer.get("message", "")
            raise httpx.ConnectError(f"the application did not manage its {event}: {problem}")

    async def _run(self, app: Application, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._inbox.get, self._answers.put)
        except Exception as exc:  # noqa: BLE001 - the specification's "there is no lifespan here"
            logger.debug("the application has no lifespan: %r", exc)
        finally:
            await self._answers.put({"type": "lifespan.ended"})


def _scope(request: httpx.Request) -> dict[str, Any]:
    """Return the ASGI scope of a request; its client is None, as nobody is on a socket."""
    url = request.url
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.split(b"?")[0],
        "query_string": url.query,
        "server": (url.host, url.port or 80),
        "client": None,
        "root_path": "",
    }
