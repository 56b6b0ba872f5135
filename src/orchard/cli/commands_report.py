"""orchard report: one page on an order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import example, name_argument

if TYPE_CHECKING:
    from .common import State

__all__ = ["COMMANDS"]


@click.command(
    "report",
    epilog=example(
        "orchard report NAME -o report.html",
        "orchard report NAME --cubes cubes --quicklooks 60 -o report.html",
    ),
)
@name_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
@click.option(
    "--cubes",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the cubes made of it: for clear fractions, pictures and links.",
)
@click.option(
    "--quicklooks",
    type=click.IntRange(0),
    default=24,
    show_default=True,
    metavar="N",
    help="How many pictures, at most.",
)
@click.option(
    "--max-tasks",
    type=click.IntRange(0),
    default=2000,
    show_default=True,
    metavar="N",
    help="Of how many results to read the metadata, at most; evenly spread ones of more.",
)
@click.option("--update", "update_", is_flag=True, help="Ask the engine first.")
@click.pass_obj
def report(
    state: State,
    name: str,
    output: Path,
    cubes: Path | None,
    quicklooks: int,
    max_tasks: int,
    update_: bool,
) -> None:
    """Write a report of an order: one HTML page.

    Tasks by state on a map and as a matrix of tiles and periods, failures by cause, acquisitions,
    pictures, configuration and links to cubes. The page works without a network.
    """
    from orchard.report import make_report

    tracker = state.config().get_tracker()
    info = tracker.update(name) if update_ else tracker.read(name)
    total = min(info.states.get("COMPLETED", 0), max_tasks)
    with state.progress("Reading", max(total, 1)) as callback:
        made = make_report(
            info,
            store=tracker.store,
            cubes=cubes,
            beside=output.parent,
            pictures=quicklooks,
            max_tasks=max_tasks,
            callback=callback,
        )
    made.save(output)
    for note in made.model["notes"]:
        state.say(note)
    state.say(f"Wrote {output}")


COMMANDS = (report,)
