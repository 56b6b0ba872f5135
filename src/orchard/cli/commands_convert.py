"""Commands about cubes: convert."""

from __future__ import annotations

from pathlib import Path

import click

from .common import Executor, ExecutorCommand, State, example, executor_option

__all__ = ["COMMANDS"]


@click.command(
    "convert",
    cls=ExecutorCommand,
    epilog=example("orchard convert downloads/NAME --dest cubes --format zarr"),
)
@click.argument("preard", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
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
@click.option("--skip-metadata", is_flag=True, help="Do not copy the image metadata to the cubes.")
@click.pass_obj
def convert(
    state: State,
    preard: tuple[Path, ...],
    dest: str | None,
    format_: str | None,
    executor: Executor | None,
    overwrite: bool,
    skip_metadata: bool,
) -> None:
    """Convert pre-ARD to cubes; print their paths.

    PREARD are image metadata files, or folders of them. Needs no
    configuration: without one the cubes go to this folder, as NetCDF.
    """
    from orchard.ard import convert as run

    configured = state.config_or_none()
    ard = configured.ard if configured else None
    chosen = executor or Executor(kind="threads")
    total = sum(len(list(p.rglob("*.json"))) if p.is_dir() else 1 for p in preard)
    with state.progress("Converting", total) as callback:
        made = run(
            preard,
            dest or (ard.destination if ard else "."),
            format_ or (ard.format if ard else "netcdf"),
            executor=chosen.kind,
            workers=chosen.workers or 2,
            overwrite=overwrite,
            skip_metadata=skip_metadata,
            encoding=ard.encoding.given if ard else None,
            callback=callback,
        )
    for path in made:
        click.echo(path)


COMMANDS = (convert,)
