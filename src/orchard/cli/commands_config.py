"""Commands about the configuration, the grids and the collections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .common import Group, State, example

__all__ = ["COMMANDS"]


@click.group(
    "config",
    cls=Group,
    epilog=example("orchard config template -o orchard.yaml", "orchard config check"),
)
def config() -> None:
    """Make, show or check a configuration file."""


@config.command("template", epilog=example("orchard config template -o orchard.yaml"))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write it to this file.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def template(state: State, output: str | None, overwrite: bool) -> None:
    """Give a configuration file to begin with, with comments."""
    from orchard.config import template as text

    if output is None:
        click.echo(text(), nl=False)
        return
    path = Path(output)
    if path.exists() and not overwrite:
        raise click.ClickException(f"{path} is there already: --overwrite replaces it")
    path.write_text(text(), encoding="utf-8")
    state.say(f"Wrote {path}")


@config.command("print", epilog=example("orchard -C orchard.yaml config print"))
@click.pass_obj
def print_(state: State) -> None:
    """Show the configuration with all defaults, without secrets."""
    import yaml

    click.echo(yaml.safe_dump(state.config().data, sort_keys=False, allow_unicode=True), nl=False)


@config.command("check", epilog=example("orchard -C orchard.yaml config check"))
@click.pass_obj
def check(state: State) -> None:
    """Check a configuration.

    Its keys, grid, collections, filters, templates, store and engine, and that a
    catalogue on this machine is one. Nothing is asked of a service.
    """
    found = state.config()
    found.check()
    click.echo(f"{found.path} is fine")


@click.group(
    "grid",
    cls=Group,
    epilog=example("orchard grid list", "orchard grid show LANDSAT_ARD_CU --tile 10 3"),
)
def grid() -> None:
    """List the named tile grids, or show tiles as GeoJSON."""


@grid.command("list", epilog=example("orchard grid list"))
def grid_list() -> None:
    """List the named tile grids."""
    from orchard.grid import load_grids

    for name, found in load_grids().items():
        (first, last), (left, right) = found.limits or ((0, -1), (0, -1))
        size = f"{found.size[0]} x {found.size[1]} px of {found.res[0]:g} x {found.res[1]:g}"
        click.echo(f"{name:<24}rows {first}-{last}, columns {left}-{right}, {size}")


@grid.command(
    "show", epilog=example("orchard grid show LANDSAT_ARD_CU --aoi field.geojson > tiles.geojson")
)
@click.argument("name", required=False)
@click.option(
    "--tile", "-t", "tiles", nargs=2, type=int, multiple=True, help="ROW COL; repeatable."
)
@click.option("--aoi", type=click.Path(exists=True, dir_okay=False), help="GeoJSON file (lon/lat).")
@click.pass_obj
def grid_show(
    state: State, name: str | None, tiles: tuple[tuple[int, int], ...], aoi: str | None
) -> None:
    """Show tiles as GeoJSON, in longitude and latitude.

    All tiles of the grid NAME, by default of the configuration's, or those that are chosen.
    """
    from orchard.grid import get_grid

    found = get_grid(name) if name else state.config().tile_grid
    if tiles or aoi:
        chosen = [found[index] for index in tiles]
        chosen += found.roi_to_tiles(Path(aoi)) if aoi else []
        features = [tile.geojson() for tile in dict.fromkeys(chosen)]
        shown: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    else:
        shown = found.geojson()
    click.echo(json.dumps(shown))


@click.command("collections", epilog=example("orchard collections LANDSAT/LC09/C02/T1_L2"))
@click.argument("collection_id", metavar="[COLLECTION]", required=False)
@click.pass_obj
def collections(state: State, collection_id: str | None) -> None:
    """List the known collections, or show one.

    One is shown as a configuration would have it.
    """
    from orchard.collections import get_collection, load_collections

    configured = state.config_or_none()
    known = configured.collections if configured else load_collections()
    if collection_id is None:
        for name, found in known.items():
            click.echo(f"{name:<32}{found.title or ', '.join(found.bands)}")
        return
    import yaml

    found = get_collection(collection_id, known)
    data = found.model_dump(mode="json", exclude_defaults=True)
    click.echo(
        yaml.safe_dump({data.pop("id"): data}, sort_keys=False, allow_unicode=True), nl=False
    )


COMMANDS = (config, grid, collections)
