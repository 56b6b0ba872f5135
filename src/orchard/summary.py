"""The record of an order as a text, or a table, for people (pure)."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .errors import PeriodError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .tracking import Runtimes, TrackingInfo

__all__ = ["counted", "in_minutes", "summarize", "summarize_html"]

_SHOWN = 12
"""Tiles that are named; more are counted."""
_SHORT = 0.05
"""Minutes of which two digits after the point say too little."""


def counted(n: int, noun: str) -> str:
    """Return ``1 task``, ``2,000 tasks``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def in_minutes(first: float, *others: float) -> list[str]:
    """Return seconds as minutes, with two digits after the point, more where the first is small."""
    minutes = first / 60
    digits = 1 - math.floor(math.log10(minutes)) if 1e-6 < minutes < _SHORT else 2
    return [f"{seconds / 60:.{digits}f}" for seconds in (first, *others)]


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
        yield "Runtime", f"{in_minutes(runtime)[0]} minutes"
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


# As in the pages (web/src/parts/theme.css): told apart with any colour vision. Fill, ink, letter.
_LOOK = {
    "COMPLETED": ("#2b9a74", "#000", "C"),
    "EMPTY": ("#f0eee7", "#4a5156", "E"),
    "RUNNING": ("#56b4e9", "#000", "R"),
    "READY": ("#bccfe0", "#000", "Q"),
    "UNSUBMITTED": ("#5c6063", "#fff", "U"),
    "CANCEL_REQUESTED": ("#f0e442", "#000", "K"),
    "CANCELLED": ("#cc79a7", "#000", "X"),
    "LOST": ("#e69f00", "#000", "L"),
    "FAILED": ("#d55e00", "#000", "F"),
}
_ROWS, _COLUMNS = 24, 60
"""Tiles and periods of the largest order that is shown task by task."""


def summarize_html(info: TrackingInfo) -> str:
    """Return an order as HTML for notebooks: states, a matrix if there is room, causes of failures.

    It is static, so that a saved notebook keeps it; `orchard.make_report` gives the whole page.
    """
    states = sorted(info.states.items(), key=lambda item: [*_LOOK].index(item[0]))
    rows = "".join(
        f"<tr><td>{_patch(state)} {state}</td><td style='text-align:right'>{n}</td></tr>"
        for state, n in states
    )
    failed = "".join(
        f"<li>{html.escape(cause)} ({len(names)})</li>" for cause, names in info.failures().items()
    )
    bar = "".join(
        f"<span style='flex:{n} 0 2px;background:{_LOOK[state][0]}'></span>" for state, n in states
    )
    return (
        f"<div><b>{html.escape(info.name)}</b>: {counted(len(info.orders), 'task')}, "
        f"{info.progress:.0%} done"
        f"<div style='display:flex;height:8px;max-width:480px;margin:4px 0'>{bar}</div>"
        f"<table><thead><tr><th>state</th><th>tasks</th></tr></thead><tbody>{rows}</tbody></table>"
        f"{_matrix(info)}"
        + (f"<ul>{failed}</ul>" if failed else "")
        + f"<small>runtime {html.escape(_runtime(info.runtimes))}</small></div>"
    )


def _runtime(runtimes: Runtimes) -> str:
    """Return runtimes in seconds where minutes would say little."""
    if runtimes.n == 0 or runtimes.mean >= 60:
        return str(runtimes)
    mean, std = runtimes.mean, runtimes.std
    return f"{mean:.1f} ± {std:.1f} seconds (mean ± std of {runtimes.n})"


def _matrix(info: TrackingInfo) -> str:
    """Return collections and tiles x periods as a table; nothing when there are too many."""
    rows = [
        f"h{tile['index'][1]:03d}v{tile['index'][0]:03d} {collection}"
        for collection in info["tracking"].get("collections") or ()
        for tile in info["tracking"].get("tiles") or ()
    ]
    columns = _starts(info["submission"])
    n = len(columns)
    if not rows or len(rows) * n != len(info.orders) or len(rows) > _ROWS or n > _COLUMNS:
        return ""
    body = []
    for number, row in enumerate(rows):
        tasks = info.orders[number * n : (number + 1) * n]
        cells = "".join(
            f"<td style='padding:1px' title='{html.escape(row)}, from {start}: {state}'>"
            f"{_patch(state)}</td>"
            for start, state in zip(columns, (t["status"]["state"] for t in tasks), strict=True)
        )
        label = html.escape(row)
        body.append(f"<tr><th style='text-align:left;font-weight:400'>{label}</th>{cells}</tr>")
    return f"<table><tbody>{''.join(body)}</tbody></table>"


def _starts(submission: Mapping[str, Any]) -> list[str]:
    """Return the first day of each period."""
    from .orders import split_period

    keys = ("period_start", "period_end", "period_freq")
    try:
        periods = split_period(*(submission.get(key) for key in keys))  # type: ignore[arg-type]
    except PeriodError:
        return []
    return [f"{period.start:%Y-%m-%d}" for period in periods]


def _patch(state: str) -> str:
    fill, ink, letter = _LOOK[state]
    return (
        f"<span style='display:inline-block;width:1.3em;line-height:1.3em;text-align:center;"
        f"border-radius:3px;font-size:11px;background:{fill};color:{ink}'>{letter}</span>"
    )
