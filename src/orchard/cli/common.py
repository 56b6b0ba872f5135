"""What the commands share: the configuration, progress, errors and exit codes, common options."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchard.config import Config

__all__ = [
    "INTERRUPTED",
    "PARTLY",
    "ExecutorCommand",
    "Group",
    "State",
    "example",
    "executor_option",
    "name_argument",
    "report_errors",
]

FAILED, USAGE, PARTLY, INTERRUPTED = 1, 2, 3, 130


class Group(click.Group):
    """A group that lists its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        del ctx
        return list(self.commands)


@dataclass(kw_only=True)
class State:
    """What the options before the command said."""

    config_file: str | None = None
    verbose: int = 0
    quiet: bool = False

    def config(self) -> Config:
        """Read the configuration; its warnings become lines on the error stream."""
        import warnings

        from orchard.config import load_config

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            config = load_config(self.config_file)
        for warning in caught:
            self.say(f"Warning: {warning.message}")
        return config

    def config_or_none(self) -> Config | None:
        """Read the configuration where there is one."""
        from orchard.config import find_config
        from orchard.errors import ConfigError

        try:
            find_config(self.config_file)
        except ConfigError:
            if self.config_file:
                raise
            return None
        return self.config()

    def say(self, text: str) -> None:
        """Tell what is going on, on the error stream: results alone go to the output."""
        if not self.quiet:
            click.echo(text, err=True)

    def configure_logging(self) -> None:
        """Let the libraries' log through as -v asks."""
        if self.verbose:
            import logging

            level = logging.DEBUG if self.verbose > 1 else logging.INFO
            logging.basicConfig(
                level=level,
                stream=sys.stderr,
                format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            )

    @contextlib.contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[..., None] | None]:
        """Show a progress bar on a terminal; give the callback that moves it."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[item]}", style="dim"),
            console=Console(stderr=True),
        )
        with bar:
            task = bar.add_task(label, total=total, item="")
            yield lambda item, n_steps: bar.update(task, advance=n_steps, item=str(item))


def report_errors(run: Callable[[], Any]) -> int:
    """Run a command line; turn what it raises into a message and an exit code."""
    from orchard.errors import BulkError, OrchardError

    try:
        result = run()
    except click.exceptions.Abort:
        click.echo("Interrupted", err=True)
        return INTERRUPTED
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("Interrupted", err=True)
        return INTERRUPTED
    except BulkError as error:
        click.echo(f"Error: {error}", err=True)
        return PARTLY
    except OrchardError as error:
        click.echo(f"Error: {error}", err=True)
        return FAILED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left
        return 0
    return result if isinstance(result, int) else 0


def example(*lines: str) -> str:
    """Write an example below a command's help, as it is."""
    return "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in lines)])


name_argument = click.argument("name")


class ExecutorCommand(click.Command):
    """A command whose ``--executor`` takes one word or two: ``threads``, ``threads 4``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the two words."""
        joined: list[str] = []
        words = iter(args)
        for word in words:
            joined.append(word)
            if word == "--executor":
                kind = next(words, None)
                if kind is not None:
                    joined.append(kind)
                    after = next(words, None)
                    if after is not None and (after.isdigit() or _is_address(after)):
                        joined[-1] = f"{kind} {after}"
                    elif after is not None:
                        joined.append(after)
        return super().parse_args(ctx, joined)


def _is_address(word: str) -> bool:
    host, _, port = word.rpartition(":")
    return bool(host) and port.isdigit() and "/" not in host.replace("tcp://", "")


class _Executor(click.ParamType[Any]):
    name = "KIND [N]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int | None]:
        if isinstance(value, tuple):
            return value
        kind, _, number = str(value).partition(" ")
        if kind not in ("synchronous", "threads", "processes"):
            self.fail(f"unknown executor {kind!r}: synchronous, threads or processes", param, ctx)
        if number and not number.isdigit():
            self.fail(f"{number!r} is not a number of workers", param, ctx)
        return kind, int(number) if number else None


executor_option = click.option(
    "--executor",
    type=_Executor(),
    metavar="KIND [N]",
    help="Where the work is done: synchronous, threads N or processes N.",
)
