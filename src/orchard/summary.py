"""The record of an order as a text for people (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .tracking import TrackingInfo

__all__ = ["summarize"]

_SHOWN = 12
"""Tiles that are named; more are counted."""


def summarize(info: TrackingInfo, tasks: Iterable[int] = ()) -> Iterator[str]:
    """Give the lines of a summary of an order, and of some of its tasks (by position) in full."""
    for title, value in _order(info):
        if value not in (None, ""):
            yield f"  {title:<13}{value}" if title else str(value)
    runtimes = info.task_runtimes
    for position in tasks:
        yield f"Task {position}: {info.orders[position]['name']}"
        for title, value in _task(info, position, runtimes[position]):
            if value not in (None, ""):
                yield f"  {title:<13}{value}"


def _order(info: TrackingInfo) -> Iterator[tuple[str, Any]]:
    submission, tracking = info["submission"], info["tracking"]
    yield "", f"Order {info.name}"
    yield "Made by", _program(info["program"])
    yield "Submitted", submission.get("submitted")
    yield "Collections", ", ".join(tracking.get("collections") or [])
    yield "Tile grid", _of(submission.get("tile_grid")).get("name")
    yield "Tiles", _tiles(submission.get("tile_indices") or [])
    yield "Period", f"{submission.get('period_start')} to {submission.get('period_end')}"
    yield "Split at", submission.get("period_freq")
    yield "Filters", _json(tracking.get("filters"))
    yield "Export", _json(tracking.get("export_image_kwds"))
    yield "Engine", tracking.get("engine")
    yield "Images", f"{tracking.get('prefix_template')}/{tracking.get('name_template')}"
    yield "Record", f"{tracking.get('prefix')}/{info.name}.json"
    yield "Key", tracking.get("key")
    yield "Tasks", f"{len(info.orders)}, {info.progress:.0%} done"
    for state, n in sorted(info.states.items()):
        yield "", f"    {state:<17}{n:>7}"
    yield "Runtime", info.runtimes
    yield "Cost", _cost(sum(status.eecu_seconds for status in info.statuses))


def _task(info: TrackingInfo, position: int, runtime: float | None) -> Iterator[tuple[str, Any]]:
    order, status = info.orders[position], info.statuses[position]
    yield "Folder", order["prefix"]
    yield "Id", status.id
    yield "State", status.state
    yield "Created", _moment(status.creation_timestamp_ms)
    yield "Started", _moment(status.start_timestamp_ms)
    yield "Updated", _moment(status.update_timestamp_ms)
    if runtime is not None:
        yield "Runtime", f"{runtime / 60:.2f} minutes"
    yield "Attempt", status.attempt or None
    yield "Cost", _cost(status.eecu_seconds)
    yield "Error", status.error_message
    for url in dict.fromkeys(status.output_url):
        yield "Output", url
    for file in status.files:
        size = "" if file.size is None else f", {file.size} bytes"
        digest = f", md5 {file.md5}" if file.md5 else ""
        yield "File", f"{file.name}{size}{digest}"


def _cost(seconds: float) -> str | None:
    return f"{seconds:.1f} EECU seconds of Earth Engine" if seconds else None


def _program(program: Mapping[str, Any]) -> str:
    libraries = [
        f"{key} {value}"
        for key, value in program.items()
        if key not in {"name", "version"} and isinstance(value, str)
    ]
    return ", ".join([f"{program.get('name')} {program.get('version')}", *libraries])


def _tiles(indices: list[Any]) -> str:
    shown = ", ".join(str(tuple(index)) for index in indices[:_SHOWN] if isinstance(index, list))
    return f"{shown} and {len(indices) - _SHOWN} more" if len(indices) > _SHOWN else shown


def _moment(ms: int) -> str | None:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(" ", "seconds") if ms else None


def _json(value: Any) -> str | None:
    return json.dumps(value) if value else None


def _of(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
