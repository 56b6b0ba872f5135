"""GET /dashboard/events: what changes in orders and in the tasks of one, as server-sent events.

Whoever reads slowly holds up nothing: the next look at what has changed is taken when the last one
was read, and tells all that came in between at once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from orchard.errors import OrchardError, OrderNotFoundError
from orchard.server.auth import Busy
from orchard.server.platform import Platform

from .access import PlatformOf
from .live import changes
from .sessions import Viewer, viewer_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

logger = logging.getLogger(__name__)

_MOST = 64
_PAUSE = 1.0
_BEAT = 10.0  # seconds of silence after which the page is told that the line is open
_slots = threading.BoundedSemaphore(_MOST)


@router.get("/dashboard/events")
async def get_events(
    request: Request,
    platform: PlatformOf,
    viewer: Viewer,
    order: Annotated[str | None, Query(max_length=300)] = None,
    have: Annotated[str | None, Query(max_length=100)] = None,
    task: Annotated[int | None, Query(ge=0, le=10**9)] = None,
) -> StreamingResponse:
    """Tell of changes until the page goes.

    ``order`` events ``{order, states, progress, tasks, submitted}``, all orders first, then
    ``listed``, which also tells whether anybody works on what is queued; ``tasks`` events with the
    columns of what has changed in `order` since the version it `have`s; ``again`` where the whole
    model must be got anew; ``task`` when more than columns may have changed of one `task`;
    ``beat``; ``trouble`` when the store does not answer; ``out`` when the session has ended.
    """
    if not _slots.acquire(blocking=False):
        raise Busy(30, "too many are looking on")
    have = request.headers.get("last-event-id") or have
    look = _Look(request, platform, viewer, order, have, task)
    return StreamingResponse(
        _events(look),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(look: _Look) -> AsyncIterator[bytes]:
    last = time.monotonic()
    ending = look.request.app.state.ending
    try:
        while not (ending.is_set() or look.over or await look.request.is_disconnected()):
            found = await anyio.to_thread.run_sync(look)
            if not found and time.monotonic() - last >= _BEAT:
                found = _event("beat", {})
            if found:
                yield found
                last = time.monotonic()
            await anyio.sleep(_PAUSE)
    finally:
        _slots.release()


@dataclass
class _Look:
    """One page that looks on: what it was told last."""

    request: Request
    platform: Platform
    viewer: str
    order: str | None
    have: str | None
    task: int | None
    seen: dict[str, Any] | None = None
    task_seen: Any = None
    trouble: str | None = None
    over: bool = field(default=False, init=False)

    def __call__(self) -> bytes:
        """Return the events that tell what is new; none: nothing."""
        if viewer_of(self.request, self.platform) != self.viewer:
            self.over = True
            return _event("out", {})
        try:
            found, trouble = self._news(), None
        except OrchardError as error:  # the store or the engine: the next look may do better
            found, trouble = b"", str(error)
        if trouble not in (None, self.trouble):
            logger.warning("what changes cannot be told: %s", trouble)
            found = _event("trouble", {"message": trouble})
        self.trouble = trouble
        return found

    def _news(self) -> bytes:
        found = self._orders()
        if self.order is not None and self.order in (self.seen or {}):
            with contextlib.suppress(OrderNotFoundError):  # the next look says that it has gone
                found += [*self._tasks(self.order), *self._one_task(self.order)]
        return b"".join(found)

    def _orders(self) -> list[bytes]:
        seen, now = self.seen or {}, self.platform.summaries(self.viewer)
        found = [
            _event("order", {"order": order, **(now.get(order) or {"states": None})})
            for order in {**seen, **now}
            if seen.get(order) != now.get(order)
        ]
        if self.seen is None:
            works = self.request.app.state.works
            found.append(_event("listed", {"count": len(now), "works": works}))
        self.seen = now
        return found

    def _tasks(self, order: str) -> list[bytes]:
        if self.have is None:
            return []
        changed = self.platform.feed.since(order, self.have)
        if changed.version == self.have:
            return []
        before, self.have = self.have, changed.version
        eta = self.platform.feed.eta(order)
        data: dict[str, Any] = {"order": order, "from": before, "version": changed.version}
        if changed.positions is None:
            return [_event("again", data)]
        return [_event("tasks", {**data, "eta": eta, **changes(changed)}, changed.version)]

    def _one_task(self, order: str) -> list[bytes]:
        if self.task is None:
            return []
        view = self.platform.task(self.viewer, order, self.task)
        now = (view.states, view.status)
        if now == self.task_seen:
            return []
        self.task_seen = now
        return [_event("task", {"order": order, "task": self.task})]


def _event(name: str, data: dict[str, Any], number: str | None = None) -> bytes:
    mark = f"id: {number}\n".encode() if number else b""
    return b"event: " + name.encode() + b"\n" + mark + b"data: " + orjson.dumps(data) + b"\n\n"
