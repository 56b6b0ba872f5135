"""Work on orders, and tell how they are."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import click

from orchard.errors import EngineError, StoreError

from .common import INTERRUPTED, PARTLY, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchard.tracker import Tracker
    from orchard.tracking import TrackingInfo

__all__ = ["keep_working", "tell", "work"]

_LOOK = 10.0
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
    left = _LOOK
    try:
        while left > 0:
            names = tracker.list_open()
            if names:
                for info in _keep(state, tracker, names, until - time.monotonic()).values():
                    tell(state, info)
            left = min(_LOOK, until - time.monotonic())
            time.sleep(max(left, 0))
    except KeyboardInterrupt:
        return _interrupted(state.command("run", "--watch"))
    return 0


def _keep(
    state: State, tracker: Tracker, names: Sequence[str], timeout: float
) -> dict[str, TrackingInfo]:
    try:
        return _run(state, tracker, names, None if math.isinf(timeout) else timeout, others=True)
    except (EngineError, StoreError) as exc:
        # Who stays through the night outlasts a service that is away.
        click.echo(f"{exc}: trying again", err=True)
        return {}


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
    return 0 if info.complete else PARTLY
