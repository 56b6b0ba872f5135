"""orchard status watch: orders as they go on."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from .commands_status import status
from .common import INTERRUPTED, PARTLY, State, example, names_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    from orchard.watching import Snapshot

__all__ = ["COMMANDS"]

_CAUSES = 5


@status.command("watch", epilog=example("orchard status watch NAME", "orchard status watch --all"))
@names_argument
@click.option("--all", "all_", is_flag=True, help="Every tracked order that has not ended.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@click.pass_obj
def status_watch(state: State, names: tuple[str, ...], all_: bool, interval: float) -> int:
    """Show how orders go on, until all have ended.

    A table that changes on a terminal, else a line for each order at each look.
    Exits with 3 when a task of them has failed.
    """
    if all_ == bool(names):
        raise click.UsageError("name orders, or say --all")
    tracker = state.config().get_tracker()
    wanted = names or tracker.list_open()
    snapshots: Sequence[Snapshot] = ()
    try:
        with _shown() as show:
            for snapshots in tracker.watch(wanted, interval) if wanted else ():
                show(snapshots)
    except KeyboardInterrupt:
        return INTERRUPTED
    return PARTLY if any(snapshot.failures for snapshot in snapshots) else 0


def _echo(snapshots: Sequence[Snapshot]) -> None:
    for snapshot in snapshots:
        click.echo(_line(snapshot))


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[Sequence[Snapshot]], None]]:
    """Give what shows a look: in place on a terminal, else line by line."""
    if not sys.stdout.isatty():
        yield _echo
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda snapshots: live.update(_table(snapshots), refresh=True)


def _line(snapshot: Snapshot) -> str:
    states = ", ".join(f"{n} {name}" for name, n in sorted(snapshot.states.items()))
    parts = [f"{snapshot.ended}/{snapshot.tasks}", states, *_speed(snapshot)]
    if snapshot.failures:
        cause, n = next(iter(snapshot.failures.items()))
        parts.append(f"failed: {cause} ({n})")
    return f"{snapshot.name}: {'; '.join(parts)}"


def _speed(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.is_over:
        return
    if snapshot.rate is not None:
        yield f"{60 * snapshot.rate:.3g} tasks/min"
    if snapshot.throughput is not None:
        yield f"{snapshot.throughput / 1e6:.3g} MB/s"
    if snapshot.eta is not None:
        yield f"{_span(snapshot.eta)} left"


def _table(snapshots: Sequence[Snapshot]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("order", "done", "states", "speed"):
        table.add_column(column)
    for snapshot in snapshots:
        states = "\n".join(f"{n:>7} {name}" for name, n in sorted(snapshot.states.items()))
        done = f"{snapshot.ended:,} of {snapshot.tasks:,}"
        table.add_row(escape(snapshot.name), done, states, "\n".join(_speed(snapshot)))
        for cause, n in list(snapshot.failures.items())[:_CAUSES]:
            table.add_row("", f"{n:,} failed", escape(cause))
    return table


def _span(seconds: float) -> str:
    """Write a span of time: ``2 d 3 h``, ``3 h 5 min``, ``5 min``, ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"


COMMANDS = ()
