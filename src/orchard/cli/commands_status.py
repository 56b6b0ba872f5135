"""Commands that follow orders: status, retry."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .common import PARTLY, Group, State, example, name_argument, names_argument
from .work import tell

__all__ = ["COMMANDS"]


@click.group(
    "status",
    cls=Group,
    epilog=example("orchard status list", "orchard status print NAME"),
)
def status() -> None:
    """List, show, update and cancel orders."""


@status.command("list", epilog=example('orchard status list "TRACKING_*2023*"'))
@click.argument("pattern", required=False)
@click.option("--long", "-l", "long_", is_flag=True, help="With the states of their tasks.")
@click.pass_obj
def status_list(state: State, pattern: str | None, long_: bool) -> None:
    """List the tracked orders.

    All of them, or those whose name holds (or, with * and ?, matches) PATTERN.
    """
    tracker = state.config().get_tracker()
    for name in tracker.list(pattern):
        if long_:
            states = tracker.read(name).states
            click.echo(f"{name}: {', '.join(f'{n} {s}' for s, n in sorted(states.items()))}")
        else:
            click.echo(name)


@status.command(
    "print",
    epilog=example(
        "orchard status print NAME --task 0 --task 3", "orchard status print NAME --json"
    ),
)
@name_argument
@click.option(
    "--task",
    "--order",
    "tasks",
    type=int,
    multiple=True,
    help="Number of a task to show in full; repeatable.",
)
@click.option("--all", "all_", is_flag=True, help="Show every task in full.")
@click.option("--failed", is_flag=True, help="Show what failed, by cause.")
@click.option("--json", "as_json", is_flag=True, help="The whole record, as JSON.")
@click.pass_obj
def status_print(
    state: State, name: str, tasks: tuple[int, ...], all_: bool, failed: bool, as_json: bool
) -> None:
    """Show the record of an order, as it was last updated."""
    info = state.config().get_tracker().read(name)
    if bad := [task for task in tasks if not 0 <= task < len(info.orders)]:
        raise click.UsageError(
            f"there is no task {bad[0]}: they count from 0 to {len(info.orders) - 1}"
        )
    if as_json:
        click.echo(json.dumps(dict(info), indent=2))
    elif failed:
        for cause, names in info.failures().items():
            click.echo(f"{cause} ({len(names)})")
            for task in names:
                click.echo(f"  {task}")
    else:
        click.echo(info.summary(all_ or tasks))


@status.command("update", epilog=example("orchard status update --all"))
@names_argument
@click.option("--all", "all_", is_flag=True, help="Every tracked order.")
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save a copy of the record to this folder.",
)
@click.pass_obj
def status_update(state: State, names: tuple[str, ...], all_: bool, dest: Path | None) -> None:
    """Ask the engine how orders are and record it."""
    if all_ == bool(names):
        raise click.UsageError("name orders, or say --all")
    tracker = state.config().get_tracker()
    for name in tracker.list() if all_ else names:
        info = tracker.update(name)
        tell(state, info)
        if dest:
            dest.mkdir(parents=True, exist_ok=True)
            (dest / f"{info.name}.json").write_text(json.dumps(dict(info), indent=2))


@status.command(
    "completed", epilog=example("orchard status completed NAME && orchard download NAME")
)
@name_argument
@click.option("--update", "update_", is_flag=True, help="Ask the engine first.")
@click.pass_obj
def status_completed(state: State, name: str, update_: bool) -> int:
    """Exit with 0 when an order is done, else with 3.

    It is done when each of its tasks is COMPLETED or EMPTY.
    """
    tracker = state.config().get_tracker()
    info = tracker.update(name) if update_ else tracker.read(name)
    state.say(f"{info.name}: {info.progress:.0%} done")
    return 0 if info.complete else PARTLY


@status.command("cancel", epilog=example("orchard status cancel NAME"))
@name_argument
@click.pass_obj
def status_cancel(state: State, name: str) -> None:
    """Cancel what has not ended; results and the record stay."""
    tell(state, state.config().get_tracker().cancel(name))


@click.command("cancel", epilog=example("orchard cancel NAME"))
@name_argument
@click.pass_obj
def cancel(state: State, name: str) -> None:
    """Cancel what has not ended, as 'status cancel' does."""
    tell(state, state.config().get_tracker().cancel(name))


@click.command("retry", epilog=example("orchard retry NAME --all-failed && orchard run NAME"))
@name_argument
@click.option("--task", "tasks", multiple=True, help="Name or id of a task; repeatable.")
@click.option("--all-failed", is_flag=True, help="Every task that ended without a result.")
@click.pass_obj
def retry(state: State, name: str, tasks: tuple[str, ...], all_failed: bool) -> None:
    """Start anew tasks that failed, were cancelled or got lost."""
    if all_failed == bool(tasks):
        raise click.UsageError("name tasks with --task, or say --all-failed")
    tell(state, state.config().get_tracker().retry(name, tasks or None))


COMMANDS = (status, cancel, retry)
