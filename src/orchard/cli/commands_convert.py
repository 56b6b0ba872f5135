"""Commands about cubes: convert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import Executor, ExecutorCommand, State, example, executor_option

if TYPE_CHECKING:
    from orchard.config import Config
    from orchard.stores import Store

__all__ = ["COMMANDS"]


class _Source(click.Path):
    """A path that is there, or the URL of a store, which stays a text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and "://" in value:
            return value
        return super().convert(value, param, ctx)


@click.command(
    "convert",
    cls=ExecutorCommand,
    epilog=example(
        "orchard convert downloads/NAME --dest cubes --format zarr",
        "orchard convert downloads/NAME --join --mask --dilate 3",
        "orchard convert s3://bucket/preard --dest cubes",
    ),
)
@click.argument("preard", nargs=-1, required=True, type=_Source(exists=True, path_type=Path))
@click.option(
    "--dest", help="Folder of the cubes, a template as 'destination' of the configuration."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["netcdf", "zarr", "cog"]),
    help="Default: the configuration's, else netcdf.",
)
@executor_option
@click.option("--overwrite", is_flag=True, help="Make again cubes that are there.")
@click.option(
    "--join",
    is_flag=True,
    help="One cube a tile, over all periods; adds to the cube that is there.",
)
@click.option("--mask", is_flag=True, help="Make nodata of what is not clear.")
@click.option(
    "--mask-flag",
    "flags",
    multiple=True,
    metavar="FLAG",
    help="Make nodata of what has this quality flag; repeatable.",
)
@click.option(
    "--dilate",
    type=click.IntRange(min=0),
    default=0,
    metavar="PIXELS",
    help="Grow what is not clear by so many pixels.",
)
@click.option("--scale", is_flag=True, help="Physical numbers instead of stored ones.")
@click.option("--skip-metadata", is_flag=True, help="Leave the scenes' metadata out of the cubes.")
@click.pass_obj
def convert(
    state: State,
    preard: tuple[Path | str, ...],
    dest: str | None,
    format_: str | None,
    executor: Executor | None,
    overwrite: bool,
    join: bool,
    mask: bool,
    flags: tuple[str, ...],
    dilate: int,
    scale: bool,
    skip_metadata: bool,
) -> None:
    """Convert pre-ARD to cubes; print their paths.

    PREARD are image metadata files, folders of them, or the URL of a store.
    Needs no configuration: without one the cubes go to this folder, as NetCDF.
    """
    from orchard.ard import convert as run

    if mask and flags:
        raise click.UsageError(
            "--mask is about all that is not clear, --mask-flag about single flags"
        )
    paths = [source for source in preard if isinstance(source, Path)]
    if len(paths) < len(preard) > 1:
        raise click.UsageError("the URL of a store stands alone")
    configured = state.config_or_none()
    ard = configured.ard if configured else None
    chosen = executor or Executor(kind="threads")
    total = sum(len(list(p.rglob("*.json"))) if p.is_dir() else 1 for p in paths) or 1
    source, store = _in_store(configured, preard[0]) if not paths else (paths, None)
    # Only the local engine keeps a history; another need not be opened for it.
    history = configured and configured.engine_options("local")
    note = configured.get_tracker().note if configured and history else None
    with state.progress("Converting", total) as callback:
        made = run(
            source,
            dest or (ard.destination if ard else "."),
            format_ or (ard.format if ard else "netcdf"),
            executor=str(chosen),
            workers=chosen.workers or 2,
            overwrite=overwrite,
            join=join,
            mask=list(flags) or mask,
            dilate=dilate,
            scale=scale,
            skip_metadata=skip_metadata,
            encoding=ard.encoding.given if ard else None,
            store=store,
            callback=callback,
            note=note,
        )
    for path in made:
        click.echo(path)


def _in_store(config: Config | None, url: Path | str) -> tuple[str, Store | None]:
    """Return what to convert of which store: the configuration's, with its options, if it is in it.

    None: `orchard.convert` opens it, with what the environment says.
    """
    text = str(url).rstrip("/")
    ours = config.store.url.rstrip("/") if config else None
    if config is None or ours is None or not f"{text}/".startswith(f"{ours}/"):
        return text, None
    return text.removeprefix(ours).strip("/") or ".", config.store


COMMANDS = (convert,)
