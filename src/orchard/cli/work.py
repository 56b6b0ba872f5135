"""Work on orders, and tell how they are."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import click

from orchard.errors import DataError, EngineError, OrderError, StoreError

from .common import INTERRUPTED, PARTLY, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchard.tracker import Tracker
    from orchard.tracking import TrackingInfo

__all__ = ["keep_working", "tell", "work"]

_LOOK = 5.0
"""Seconds between two looks for new orders."""


def work(state: State, tracker: Tracker, names: Sequence[str], timeout: float | None = None) -> int:
    """Work on orders, all at once and in fair turns; return the exit code."""
    if not names:
        return 0
    try:
        infos = _run(state, tracker, names, timeout)
    except KeyboardInterrupt:
        return _interrupted(state.command("run", *names))
    return max(tell(state, infos[name]) for name in names)


def keep_working(state: State, tracker: Tracker, timeout: float | None = None) -> int:
    """Work on all orders, also those that come later, until interrupted; return the exit code."""
    until = math.inf if timeout is None else time.monotonic() + timeout
    left, trouble = _LOOK, ""
    try:
        while left > 0:
            before, trouble = trouble, _keep(state, tracker, until - time.monotonic())
            if trouble not in ("", before):
                click.echo(f"{trouble}: trying again", err=True)
            left = min(_LOOK, until - time.monotonic())
            time.sleep(max(left, 0))
    except KeyboardInterrupt:
        return _interrupted(state.command("run", "--watch"))
    return 0


def _keep(state: State, tracker: Tracker, timeout: float) -> str:
    """Work on what is open now, and on what comes meanwhile; return what went wrong."""
    try:
        names = tracker.list_open()
        if names:
            left = None if math.isinf(timeout) else timeout
            for info in _run(state, tracker, names, left, others=True).values():
                tell(state, info)
    except (DataError, EngineError, OrderError, StoreError) as exc:
        # Who stays through the night outlasts a service that is away, and an order that somebody
        # cleans, or whose record is being mended.
        return str(exc)
    return ""


def _run(
    state: State,
    tracker: Tracker,
    names: Sequence[str],
    timeout: float | None,
    *,
    others: bool = False,
) -> dict[str, TrackingInfo]:
    total = sum(len(tracker.read(name).orders) for name in names)
    label = names[0] if len(names) == 1 else f"{len(names)} orders"
    with state.progress(label, total) as callback:
        return tracker.run(None if others else names, timeout, callback)


def _interrupted(again: str) -> int:
    click.echo(f"Interrupted: nothing is lost. Go on with: {again}", err=True)
    return INTERRUPTED


def tell(state: State, info: TrackingInfo) -> int:
    """Tell how an order is, and each cause of failure once; return the exit code."""
    states = ", ".join(f"{n} {name}" for name, n in sorted(info.states.items()))
    state.say(f"{info.name}: {states}")
    for cause, tasks in info.failures().items():
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        click.echo(f"Failed: {tasks[0]}{more}: {cause}", err=True)
    if {"FAILED", "LOST"} & info.states.keys():
        state.say(f"To try these again: orchard retry {info.name} --all-failed, then orchard run")
    return 0 if info.complete else PARTLY
