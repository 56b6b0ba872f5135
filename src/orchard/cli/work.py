"""Work on orders, and tell how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import INTERRUPTED, PARTLY, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchard.tracker import Tracker
    from orchard.tracking import TrackingInfo

__all__ = ["tell", "work"]


def work(state: State, tracker: Tracker, names: Sequence[str], timeout: float | None = None) -> int:
    """Work on orders, one after the other; return the exit code."""
    code = 0
    for name in names:
        total = len(tracker.read(name).orders)
        try:
            with state.progress(name, total) as callback:
                info = tracker.wait(name, timeout, callback)
        except KeyboardInterrupt:
            again = state.command("run", name)
            click.echo(f"Interrupted: nothing is lost. Go on with: {again}", err=True)
            return INTERRUPTED
        code = max(code, tell(state, info))
    return code


def tell(state: State, info: TrackingInfo) -> int:
    """Tell how an order is, and each cause of failure once; return the exit code."""
    states = ", ".join(f"{n} {name}" for name, n in sorted(info.states.items()))
    state.say(f"{info.name}: {states}")
    for cause, tasks in info.failures().items():
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        click.echo(f"Failed: {tasks[0]}{more}: {cause}", err=True)
    return 0 if info.complete else PARTLY
