"""The command line: parse, make one library call, show what came of it.

Nothing heavy is imported before a command runs, so that ``orchard --help`` answers at once.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import click

from orchard import __version__

from . import (
    commands_auth,
    commands_config,
    commands_console,
    commands_convert,
    commands_delivery,
    commands_demo,
    commands_jobs,
    commands_orders,
    commands_report,
    commands_server,
    commands_status,
    commands_tasks,
    commands_view,
    commands_watch,
)
from .common import State
from .errors import report_errors
from .root import RootGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

EPILOG = """\b
Exit codes:
  0    done
  1    it could not be done: the message says why
  2    what was said cannot be meant: on the command line, in the configuration
  3    a part was done, or an order is not done: what failed is named
  130  interrupted; nothing is lost, the message says how to go on

\b
Example, the whole way of an order:
  orchard config template -o orchard.yaml
  orchard plan   LANDSAT/LC08/C02/T1_L2 -i 10 3 --start 2023 --end 2024 --freq QS
  orchard submit LANDSAT/LC08/C02/T1_L2 -i 10 3 --start 2023 --end 2024 --freq QS --wait
  orchard download NAME --dest downloads
  orchard convert downloads/NAME
  orchard clean NAME
"""


@click.group(cls=RootGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "--config",
    "--config_file",
    "config_file",
    envvar="ORCHARD_CONFIG",
    type=click.Path(dir_okay=False),
    help="Configuration file; else $ORCHARD_CONFIG, else orchard.yaml in this folder.",
)
@click.option("-v", "--verbose", count=True, help="Say more; twice: all that can be said.")
@click.option("-q", "--quiet", is_flag=True, help="Give the results and errors alone.")
@click.version_option(__version__, prog_name="orchard")
@click.pass_context
def cli(ctx: click.Context, config_file: str | None, verbose: int, quiet: bool) -> None:
    """Order, track and deliver analysis-ready satellite data."""
    if verbose and quiet:
        raise click.UsageError("-v and -q say the opposite of each other")
    state = ctx.obj = State(config_file=config_file, verbose=verbose, quiet=quiet)
    _show_warnings(state)
    if verbose:
        _show_log(verbose)


for _module in (
    commands_config,
    commands_orders,
    commands_status,
    commands_watch,
    commands_tasks,
    commands_delivery,
    commands_convert,
    commands_demo,
    commands_server,
    commands_jobs,
    commands_view,
    commands_report,
    commands_console,
    commands_auth,
):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    with warnings.catch_warnings():
        code = report_errors(
            lambda: cli.main(args=args, prog_name="orchard", standalone_mode=False)
        )
    sys.exit(code)


def _show_warnings(state: State) -> None:
    """Show what concerns the user as one line; what concerns programmers only with -vv."""

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        del where, more
        state.say(f"Warning: {message}")

    warnings.simplefilter("default" if state.verbose > 1 else "ignore")
    warnings.simplefilter("default", UserWarning)
    warnings.showwarning = show


def _show_log(verbose: int) -> None:
    """Let through what Orchard logs (-v), and what everybody logs (-vv)."""
    import logging

    logging.basicConfig(
        level=logging.DEBUG if verbose > 1 else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("orchard").setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
