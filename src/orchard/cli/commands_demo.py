"""The demo: the whole way of an order, on an archive made on the spot or on a real catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import example

if TYPE_CHECKING:
    from .common import State

__all__ = ["COMMANDS"]


@click.command(
    "demo",
    epilog=example(
        "orchard demo --dest demo",
        "orchard demo --catalog https://earth-search.aws.element84.com/v1 \\",
        "    --collection COPERNICUS/S2_SR_HARMONIZED --bbox 11.30 46.47 11.36 46.50",
    ),
)
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("orchard-demo"),
    show_default=True,
    help="Folder for all that the demo makes.",
)
@click.option("--catalog", help="A real STAC catalogue (file or URL) instead of the made one.")
@click.option("--collection", help="Id of a known collection; with --catalog.")
@click.option("--bbox", nargs=4, type=float, metavar="W S E N", help="Degrees; with --catalog.")
@click.option("--start", default="2023-06-01", show_default=True, help="With --catalog.")
@click.option("--end", default="2023-07-01", show_default=True, help="With --catalog.")
@click.pass_obj
def demo(
    state: State,
    dest: Path,
    catalog: str | None,
    collection: str | None,
    bbox: tuple[float, float, float, float] | None,
    start: str,
    end: str,
) -> None:
    """Go the whole way of an order; leave cubes and pictures.

    Plan, submit, wait, download, convert and clean, on an archive made on the spot or on a
    real catalogue.
    """
    from orchard.demo.run import Place, run_demo

    place = None
    if catalog or collection or bbox:
        if not (catalog and collection and bbox):
            raise click.UsageError("--catalog, --collection and --bbox go together")
        configured = state.config_or_none()
        place = Place(
            catalog=catalog,
            collection=collection,
            bbox=bbox,
            start=start,
            end=end,
            collections=configured.collections if configured else None,
        )
    run_demo(dest, place, tell=state.say, progress=state.progress)


COMMANDS = (demo,)
