"""GET /events: what changes in the project's jobs, as server-sent events."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from orchard.server.auth import Busy

from .access import Caller, PlatformOf
from .models import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchard.server.platform import Platform

__all__ = ["router"]

router = APIRouter(tags=["jobs"])

_MOST = 64
_PAUSE = 1.0
_BEAT = 15  # turns after which a comment keeps the connection alive
_slots = threading.BoundedSemaphore(_MOST)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Server-sent events", "content": {"text/event-stream": {}}},
        401: {"model": Failure},
        429: {"model": Failure},
    },
)
async def get_events(request: Request, platform: PlatformOf, caller: Caller) -> StreamingResponse:
    """Tell of changes: ``order`` events ``{order, states, progress, tasks, submitted}``, all first.

    ``states`` counts the order's tasks by state. An order that is gone has ``states`` null.
    """
    if not _slots.acquire(blocking=False):
        raise Busy(30, "too many are listening")
    return StreamingResponse(
        _events(request, platform, caller),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(request: Request, platform: Platform, project: str) -> AsyncIterator[bytes]:
    seen: dict[str, Any] = {}
    turn = 0
    try:
        while not (request.app.state.ending.is_set() or await request.is_disconnected()):
            now = await anyio.to_thread.run_sync(platform.summaries, project)
            for order in {**seen, **now}:
                if seen.get(order) != now.get(order):
                    data = orjson.dumps({"order": order, **(now.get(order) or {"states": None})})
                    yield b"event: order\ndata: " + data + b"\n\n"
            seen, turn = now, turn + 1
            if turn % _BEAT == 0:
                yield b": still here\n\n"
            await anyio.sleep(_PAUSE)
    finally:
        _slots.release()
