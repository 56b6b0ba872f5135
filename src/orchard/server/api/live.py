"""What the dashboard shows and does: orders, their models and changes, tasks, retry and cancel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException

import orchard
from orchard.report import build_model, make_report
from orchard.report.model import task_columns
from orchard.server.auth import Busy
from orchard.server.details import task_details
from orchard.tracking import TrackingInfo, cause_of

from .access import PlatformOf
from .packed import Packed, Shelf, send
from .sessions import Asked, Viewer

if TYPE_CHECKING:
    from orchard.server.feed import Changed

__all__ = ["changes", "router"]

router = APIRouter(prefix="/dashboard/orders/{order}", include_in_schema=False)

Order = Annotated[str, Path(max_length=300)]
Position = Annotated[int, Path(ge=0, le=10**9)]

_shelf = Shelf(4)
_REPORTED = 500
_reporting = threading.BoundedSemaphore(2)
# The report's own page says what it may do; here, that it is nobody's origin: even a script that
# somebody got into it could not call the platform in the reader's name.
_ALONE = "sandbox allow-scripts allow-popups allow-downloads; frame-ancestors 'none'"
_PRIVATE = {"Cache-Control": "private, no-cache", "Cross-Origin-Resource-Policy": "same-origin"}


def changes(changed: Changed) -> dict[str, Any]:
    """Return the columns of the tasks that have changed, and why those of them failed that did."""
    positions = changed.positions or []
    some = [changed.info.orders[position] for position in positions]
    part = TrackingInfo({**changed.info, "orders": some})
    causes: dict[str, list[int]] = {}
    for position, order in zip(positions, some, strict=True):
        if (cause := cause_of(order["status"])) is not None:
            causes.setdefault(cause, []).append(position)
    return {
        "positions": positions,
        "tasks": task_columns(part),
        "causes": [{"text": text, "tasks": tasks} for text, tasks in causes.items()],
    }


@router.get("/model")
def get_model(request: Request, platform: PlatformOf, viewer: Viewer, order: Order) -> Response:
    """Give the model of an order, and of which version of it."""
    platform.check_order(viewer, order)
    version, info = platform.feed.now(order)

    def make() -> Packed:
        content = orjson.dumps({"version": version, "model": build_model(info)})
        # Another Orchard may make another model of the same record.
        return Packed.of(
            content, etag=f"{version}-{orchard.__version__}", media_type="application/json"
        )

    # The version tells two stores' orders of one name apart.
    return send(request, _shelf.get(f"{version} {order}", make))


@router.get("/report")
def get_report(platform: PlatformOf, viewer: Viewer, order: Order) -> Response:
    """Give the report of an order, as a page of its own."""
    platform.check_order(viewer, order)
    _, info = platform.feed.now(order)
    if not _reporting.acquire(blocking=False):
        raise Busy(5, "other reports are being written")
    try:
        page = make_report(info, store=platform.store, max_tasks=_REPORTED).html
    finally:
        _reporting.release()
    return HTMLResponse(page, headers=_PRIVATE | {"Content-Security-Policy": _ALONE})


@router.post("/cancel", dependencies=[Asked], status_code=204)
def cancel_order(platform: PlatformOf, viewer: Viewer, order: Order) -> None:
    """Cancel what has not ended."""
    platform.check_order(viewer, order)
    platform.cancel_order(order)


@router.post("/retry", dependencies=[Asked], status_code=204)
def retry_order(platform: PlatformOf, viewer: Viewer, order: Order) -> None:
    """Start anew what has no result."""
    platform.check_order(viewer, order)
    platform.retry_order(order)


@router.get("/tasks/{position}")
def get_task(platform: PlatformOf, viewer: Viewer, order: Order, position: Position) -> Response:
    """Tell all about one task."""
    found = task_details(platform, platform.task(viewer, order, position))
    return Response(
        orjson.dumps(found), media_type="application/json", headers={"Cache-Control": "no-store"}
    )


@router.post("/tasks/{position}/cancel", dependencies=[Asked], status_code=204)
def cancel_task(platform: PlatformOf, viewer: Viewer, order: Order, position: Position) -> None:
    """Cancel a task that has not ended, or what is still to be made of it."""
    platform.cancel(platform.task(viewer, order, position))


@router.post("/tasks/{position}/retry", dependencies=[Asked], status_code=204)
def retry_task(platform: PlatformOf, viewer: Viewer, order: Order, position: Position) -> None:
    """Start a task anew, or what failed to be made of it."""
    platform.retry(platform.task(viewer, order, position))


@router.get("/tasks/{position}/quicklooks/{name}")
def get_quicklook(
    platform: PlatformOf,
    viewer: Viewer,
    order: Order,
    position: Position,
    name: Annotated[str, Path(max_length=300)],
) -> Response:
    """Give a quicklook of a task."""
    view = platform.task(viewer, order, position)
    result = platform.results.find(view.id, "preard", view.version)
    path = result.quicklook(name) if result else None
    if path is None:
        raise HTTPException(404, "there is no such quicklook")
    return FileResponse(path, media_type="image/png", headers=_PRIVATE)
