"""Commands about delivery: download and clean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchard.summary import counted
from orchard.tracking import FAILED_STATES

from .common import PARTLY, State, example, name_argument

if TYPE_CHECKING:
    from collections.abc import Collection, Sized

    from orchard.tracker import Tracker
    from orchard.tracking import TrackingInfo

__all__ = ["COMMANDS"]


@click.command("download", epilog=example("orchard download NAME --dest downloads --update"))
@name_argument
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Root folder: the order gets a folder of its name in it. Default: here.",
)
@click.option(
    "--update", "update_", is_flag=True, help="Ask the engine for the tasks' states first."
)
@click.option("--overwrite", is_flag=True, help="Download again what is there, whole and verified.")
@click.option(
    "--clean",
    "clean_",
    is_flag=True,
    help="Then delete the order from the store, if it is done and all is here.",
)
@click.pass_obj
def download(
    state: State, name: str, dest: Path, update_: bool, overwrite: bool, clean_: bool
) -> int:
    """Download an order's images and metadata, verified.

    Goes on with what an interrupted download has left. Of an order that is not done it
    gets what there is, and says how to go on. Prints the folder.
    """
    tracker = state.config().get_tracker()
    info = tracker.update(name) if update_ else tracker.read(name)
    folder = dest / info.name
    with state.progress("Downloading", len(info.orders)) as callback:
        files = tracker.download(info, folder, overwrite=overwrite, callback=callback)
    here = [task for task in files.values() if task]
    state.say(f"{_files(here)} are in {folder}")
    if not info.complete:
        state.say(_missing(state, info))
    click.echo(folder)
    if clean_ and not info.complete:
        click.echo(
            f"Not cleaned: the order is not done. 'orchard run {info.name}' or "
            f"'orchard status update {info.name}' goes on with it",
            err=True,
        )
        return PARTLY
    if clean_:
        _clean(state, tracker, info, keep_tracking=False)
    return 0


def _missing(state: State, info: TrackingInfo) -> str:
    """Say of how many tasks there is no result yet, and how to go on."""
    left = {
        name: n for name, n in sorted(info.states.items()) if name not in ("COMPLETED", "EMPTY")
    }
    states = ", ".join(f"{n} {name}" for name, n in left.items())
    ways = []
    if not info.ended:
        ways.append(f"'{state.command('run', info.name)}' goes on with the order")
    if FAILED_STATES & left.keys():
        again = state.command("retry", info.name, "--all-failed")
        ways.append(f"'{again}' starts anew what has ended without one")
    return (
        f"There is no result of {sum(left.values())} of {len(info.orders)} tasks ({states}): "
        f"{', '.join(ways)}; then download again"
    )


@click.command("clean", epilog=example("orchard clean NAME --dry-run", "orchard clean NAME"))
@name_argument
@click.option("--keep-tracking", is_flag=True, help="Keep the order's record.")
@click.option("--dry-run", is_flag=True, help="Delete nothing: print the keys that would be.")
@click.pass_obj
def clean(state: State, name: str, keep_tracking: bool, dry_run: bool) -> None:
    """Delete an order from the store.

    Its images, their metadata and, at last, its record: exactly these.
    """
    tracker = state.config().get_tracker()
    info = tracker.read(name)
    if dry_run:
        _list(state, tracker, info, keep_tracking=keep_tracking)
    else:
        _clean(state, tracker, info, keep_tracking=keep_tracking)


def _list(state: State, tracker: Tracker, info: TrackingInfo, *, keep_tracking: bool) -> None:
    from orchard import delivery

    found = delivery.clean(info, tracker.store, dry_run=True)
    keys = [key for task in found.values() for key in task]
    for key in keys:
        click.echo(key)
    if not keep_tracking:
        click.echo(tracker.records.key(info.name))
    state.say(f"Would delete {_files(found.values())} from {tracker.store.url}")


def _clean(state: State, tracker: Tracker, info: TrackingInfo, *, keep_tracking: bool) -> None:
    with state.progress("Cleaning", len(info.orders)) as callback:
        cleaned = tracker.clean(info, None if keep_tracking else info.name, callback)
    state.say(f"Deleted {_files(cleaned.values())}")


def _files(tasks: Collection[Sized]) -> str:
    """Count the files of some tasks, given as what each has."""
    return f"{counted(sum(map(len, tasks)), 'file')} of {counted(len(tasks), 'task')}"


COMMANDS = (download, clean)
