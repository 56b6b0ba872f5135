"""Commands that order and work: plan, submit, run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .common import (
    Executor,
    ExecutorCommand,
    State,
    example,
    executor_option,
    names_argument,
)
from .order_options import OrderOptions, order_options
from .work import keep_working, work

if TYPE_CHECKING:
    from orchard.engines import Coverage
    from orchard.tracker import OrderPlan, Tracker

__all__ = ["COMMANDS"]


@click.command(
    "plan",
    epilog=example(
        "orchard plan LANDSAT/LC08/C02/T1_L2 -i 10 3 --start 2023-01-01 --end 2024-01-01 --freq QS"
    ),
)
@order_options
@click.option("--json", "as_json", is_flag=True, help="As JSON, task by task.")
@click.pass_obj
def plan(state: State, wanted: OrderOptions, as_json: bool) -> None:
    """Tell what an order would make: tasks, scenes, pixels, bytes. Writes nothing."""
    tracker = _tracker(state, None, wanted.name)
    order = tracker.plan(**wanted.arguments(tracker.tile_grid))
    if as_json:
        click.echo(json.dumps(_plan_json(order), indent=2))
        return
    click.echo(f"Order {order.name}")
    click.echo(f"  Tasks     {len(order.plans):,} ({order.n_empty:,} of them empty)")
    click.echo(f"  Scenes    {order.n_scenes:,}")
    click.echo(f"  Dates     {order.n_acquisitions:,} over all tasks")
    click.echo(f"  Pixels    {order.n_pixels:,} over all bands and dates")
    click.echo(f"  Bytes     {order.n_bytes:,} ({_size(order.n_bytes)}) before compression")
    for task in order.plans if state.verbose else ():
        click.echo(f"  {task.request.name}: {len(task.acquisitions)} dates")
    if order.n_empty == len(order.plans):
        _tell_why_empty(tracker, wanted)


def _tell_why_empty(tracker: Tracker, wanted: OrderOptions) -> None:
    """Say what the archive has of the collections, of which nothing was found."""
    from orchard.collections import get_collection
    from orchard.engines import Covers
    from orchard.errors import CatalogError

    click.echo("Nothing was found for this place, period and filters.", err=True)
    if not isinstance(tracker.engine, Covers):
        return
    for name in dict.fromkeys(wanted.collections):
        try:
            there = tracker.engine.coverage(get_collection(name, tracker.collections))
        except CatalogError:
            continue  # the plan is told all the same
        click.echo(f"{name}: {_covered(there)}", err=True)


def _covered(there: Coverage) -> str:
    where = f"{there.archive} (there {there.name!r})"
    if there.times is None or there.bounds is None:
        return f"{where} has no scene of it; if it has another name there, say so in 'collections'"
    first, last = (f"{time:%Y-%m-%d}" if time else "…" for time in there.times)
    left, bottom, right, top = there.bounds
    return (
        f"{where} has scenes from {first} to {last}, between {left:.2f} and {right:.2f} degrees "
        f"east, {bottom:.2f} and {top:.2f} north"
    )


def _plan_json(order: OrderPlan) -> dict[str, Any]:
    return {
        "name": order.name,
        "tasks": len(order.plans),
        "empty": order.n_empty,
        "scenes": order.n_scenes,
        "pixels": order.n_pixels,
        "bytes": order.n_bytes,
        "orders": [
            {
                "name": plan.request.name,
                "prefix": plan.request.prefix,
                "collection": plan.request.collection,
                "tile": list(plan.request.tile.index),
                "period": [
                    plan.request.period.start.isoformat(),
                    plan.request.period.end.isoformat(),
                ],
                "dates": {a.day.isoformat(): [s.id for s in a.scenes] for a in plan.acquisitions},
                "pixels": order.pixels(plan),
            }
            for plan in order.plans
        ],
    }


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


@click.command(
    "submit",
    cls=ExecutorCommand,
    epilog=example(
        "orchard submit LANDSAT/LC08/C02/T1_L2 -r 10 -c 3 -c 4 \\",
        "    --start 2023-01-01 --end 2024-01-01 --freq QS --wait",
    ),
)
@order_options
@click.option(
    "--wait", is_flag=True, help="Work until every task has ended, as 'orchard run' does."
)
@click.option(
    "--skip-empty-metadata", is_flag=True, help="Leave no metadata for tasks without images."
)
@click.option("--error-if-empty", is_flag=True, help="Refuse an order without any image.")
@executor_option
@click.pass_obj
def submit(
    state: State,
    wanted: OrderOptions,
    wait: bool,
    skip_empty_metadata: bool,
    error_if_empty: bool,
    executor: Executor | None,
) -> int:
    """Submit an order: collections x tiles x periods. Prints its name.

    Submitting the same order again goes on where it was left.
    """
    tracker = _tracker(state, executor, wanted.name)
    name, key = tracker.submit(
        **wanted.arguments(tracker.tile_grid),
        save_empty_metadata=not skip_empty_metadata,
        error_if_empty=error_if_empty,
    )
    info = tracker.read(name)
    if wanted.name and tracker.template_name(info) != name:
        state.say(
            f"This order is there already as {name!r}: going on with it; --name {wanted.name} was "
            "not used"
        )
    state.say(f"Recorded in {tracker.store.url} as {key}")
    if set(info.states) == {"EMPTY"}:
        state.say(
            "Nothing was found for this place, period and filters: 'orchard plan' with the same "
            f"words says what there is, 'orchard clean {name}' deletes the order"
        )
    click.echo(name)
    return work(state, tracker, [name]) if wait else 0


@click.command(
    "run",
    cls=ExecutorCommand,
    epilog=example("orchard run NAME --executor threads 4", "orchard run", "orchard run --watch"),
)
@names_argument
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop after so long.")
@click.option("--watch", is_flag=True, help="Stay, and take up orders that are submitted later.")
@executor_option
@click.pass_obj
def run(
    state: State,
    names: tuple[str, ...],
    timeout: float | None,
    executor: Executor | None,
    *,
    watch: bool,
) -> int:
    """Work on orders until every task has ended.

    On those named, else on all that have not ended. Stopped at any moment, it goes
    on where it was when it is run again: with --timeout also from cron.
    """
    if watch and names:
        raise click.UsageError("--watch works on all orders: leave out the names, or --watch")
    tracker = _tracker(state, executor)
    if watch:
        return keep_working(state, tracker, timeout)
    wanted = list(names) or tracker.list_open()
    if not wanted:
        state.say(f"Every order in {tracker.store.url} has ended")
    return work(state, tracker, wanted, timeout)


def _tracker(state: State, executor: Executor | None, name: str | None = None) -> Tracker:
    options = {"executor": str(executor)} if executor else {}
    return state.config().get_tracker(tracking_template=name, **options)


COMMANDS = (plan, submit, run)
