"""All about one task: how it is, what happened to it, what was found and made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchard.tracking import FAILED_STATES, TERMINAL, State

from .workflow import PREARD, text_time

if TYPE_CHECKING:
    from orchard.preard import ImageMetadata

    from .platform import Platform
    from .views import JobView

__all__ = ["task_details"]

_ACQUISITIONS = 500
_FILES = 1000
_MADE_AGAIN = ("FAILED", "CANCELLED")


def task_details(platform: Platform, view: JobView) -> dict[str, Any]:
    """Return what the page of a task shows, as JSON; times are ISO 8601 in UTC."""
    status = view.status
    result = platform.results.find(view.id, PREARD, view.version)
    return {
        "id": view.id,
        "name": view.name,
        "prefix": view.prefix,
        "state": str(status.state),
        "job": view.state,
        "attempt": status.attempt,
        "error": status.error_message,
        "created": text_time(status.creation_timestamp_ms),
        "started": text_time(status.start_timestamp_ms),
        "updated": text_time(status.update_timestamp_ms),
        "files": [{"name": file.name, "bytes": file.size} for file in status.files[:_FILES]],
        "blocks": _blocks(view),
        "log": {block: platform.logs(view, block) for block in view.workflow.blocks},
        "image": _image(platform.image_metadata(view)),
        "quicklooks": result.quicklooks() if result else [],
        "can": {"cancel": _can_cancel(view), "retry": _can_retry(view)},
    }


def _blocks(view: JobView) -> list[dict[str, Any]]:
    found = []
    for block, state in zip(view.workflow.blocks, view.states, strict=True):
        record = view.current(block)
        found.append(
            {
                "name": block,
                "state": state,
                "started": text_time(record.started_ms) if record else None,
                "finished": text_time(record.finished_ms) if record else None,
                "error": record.error if record else None,
            }
        )
    return found


def _image(metadata: ImageMetadata | None) -> dict[str, Any] | None:
    """Tell of an image what its metadata have; of very many acquisitions, of the first ones."""
    if metadata is None:
        return None
    start, end = metadata.period
    return {
        "collection": metadata.collection_id,
        "tile": list(metadata.tile.index),
        "period": [start.isoformat(), end.isoformat()],
        "bands": list(metadata.bands),
        "count": len(metadata.acquisitions),
        "acquisitions": [
            {
                "day": acquisition.day.isoformat(),
                "scenes": [
                    {"id": scene.id, "time": scene.time.isoformat(), **_plain(scene.metadata)}
                    for scene in acquisition.scenes
                ],
            }
            for acquisition in metadata.acquisitions[:_ACQUISITIONS]
        ],
    }


def _plain(metadata: Any) -> dict[str, Any]:
    kept = (str, int, float, bool)
    own = ("id", "system:time_start")
    return {k: v for k, v in metadata.items() if isinstance(v, kept) and k not in own}


def _can_cancel(view: JobView) -> bool:
    if view.status.state not in TERMINAL:
        return view.status.state is not State.CANCEL_REQUESTED
    return view.state in ("RUNNING", "PENDING")


def _can_retry(view: JobView) -> bool:
    return view.status.state in FAILED_STATES or (
        view.status.state is State.COMPLETED and any(s in _MADE_AGAIN for s in view.states)
    )
