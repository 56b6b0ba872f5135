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
    """Work on orders, all at once and in fair turns; return the exit code."""
    if not names:
        return 0
    total = sum(len(tracker.read(name).orders) for name in names)
    label = names[0] if len(names) == 1 else f"{len(names)} orders"
    try:
        with state.progress(label, total) as callback:
            infos = tracker.run(names, timeout, callback)
    except KeyboardInterrupt:
        again = state.command("run", *names)
        click.echo(f"Interrupted: nothing is lost. Go on with: {again}", err=True)
        return INTERRUPTED
    return max(tell(state, infos[name]) for name in names)


def tell(state: State, info: TrackingInfo) -> int:
    """Tell how an order is, and each cause of failure once; return the exit code."""
    states = ", ".join(f"{n} {name}" for name, n in sorted(info.states.items()))
    state.say(f"{info.name}: {states}")
    for cause, tasks in info.failures().items():
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        click.echo(f"Failed: {tasks[0]}{more}: {cause}", err=True)
    return 0 if info.complete else PARTLY
