"""The command line: parse, make one library call, show what came of it.

Nothing heavy is imported before a command runs, so that ``orchard --help`` answers at once.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import click

from orchard import __version__

from . import commands_config, commands_convert, commands_delivery, commands_demo, commands_orders
from .common import Group, State, report_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

_PLUGINS = "orchard.plugins"

EPILOG = """\b
Exit codes:
  0    done
  1    it could not be done: the message says why
  2    the command line cannot be meant
  3    a part was done: what failed is named
  130  interrupted; nothing is lost, the message says how to go on

\b
Example, the whole way of an order:
  orchard config template -o orchard.yaml
  orchard plan   LANDSAT/LC08/C02/T1_L2 -i 10 3 --start 2023-01-01 --end 2024-01-01 --freq QS
  orchard submit LANDSAT/LC08/C02/T1_L2 -i 10 3 --start 2023-01-01 --end 2024-01-01 --freq QS --wait
  orchard download NAME --dest downloads
  orchard convert downloads/NAME
  orchard clean NAME
"""


class _Root(Group):
    """The commands of this package, and those that others add through entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(p.name for p in _plugins())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for plugin in _plugins():
            if plugin.name == cmd_name:
                loaded: Any = plugin.load()
                return loaded if isinstance(loaded, click.Command) else None
        return None


def _plugins() -> Sequence[Any]:
    return tuple(entry_points(group=_PLUGINS))


@click.group(cls=_Root, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "--config",
    "config_file",
    envvar="ORCHARD_CONFIG",
    type=click.Path(dir_okay=False),
    help="Configuration file; else $ORCHARD_CONFIG, else orchard.yaml in this folder.",
)
@click.option("-v", "--verbose", count=True, help="Say more; twice: all that can be said.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what was asked for.")
@click.version_option(__version__, prog_name="orchard")
@click.pass_context
def cli(ctx: click.Context, config_file: str | None, verbose: int, quiet: bool) -> None:
    """Order, track and deliver analysis-ready satellite data."""
    ctx.obj = State(config_file=config_file, verbose=verbose, quiet=quiet)
    ctx.obj.configure_logging()


for _module in (
    commands_config,
    commands_orders,
    commands_delivery,
    commands_convert,
    commands_demo,
):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(report_errors(lambda: cli.main(args=args, standalone_mode=False)))
