"""What the commands share: the configuration, progress, and options of several of them."""

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
    "FAILED",
    "INTERRUPTED",
    "PARTLY",
    "USAGE",
    "Executor",
    "ExecutorCommand",
    "Group",
    "State",
    "example",
    "executor_option",
    "name_argument",
    "names_argument",
]

FAILED, USAGE, PARTLY, INTERRUPTED = 1, 2, 3, 130
"""Exit codes, beside 0; the help of `orchard` says what they mean."""


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
        """Read the configuration."""
        from orchard.config import load_config

        return load_config(self.config_file)

    def config_or_none(self) -> Config | None:
        """Read the configuration; None when there is none and none was named."""
        from orchard.config import has_config

        return self.config() if has_config(self.config_file) else None

    def say(self, text: str) -> None:
        """Tell what is going on, on the error stream: results alone go to the output."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextlib.contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[..., None] | None]:
        """Give the callback that shows progress: a bar on a terminal, or a line a step with -v."""
        if self.verbose:
            yield lambda item, n_steps: click.echo(f"{label}: {item} (+{n_steps:.3g})", err=True)
        elif self.quiet or not sys.stderr.isatty():
            yield None
        else:
            with _bar(label, total) as callback:
                yield callback


@contextlib.contextmanager
def _bar(label: str, total: float) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[item]}", style="dim", markup=False),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(label, total=total, item="")
        yield lambda item, n_steps: bar.update(task, advance=n_steps, item=str(item))


def example(*lines: str) -> str:
    """Write an example below a command's help, as it is."""
    return "\b\n" + "\n".join(["Example:", *(f"  {line}" for line in lines)])


def _order_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Take the file name of an order's record for its name, too."""
    del ctx, param
    return value.removesuffix(".json")


name_argument = click.argument("name", callback=_order_name)
names_argument = click.argument(
    "names",
    nargs=-1,
    metavar="[NAME]...",
    callback=lambda ctx, param, values: tuple(_order_name(ctx, param, v) for v in values),
)


class ExecutorCommand(click.Command):
    """A command whose ``--executor`` takes one word or two: ``threads``, ``threads 4``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the two words into one, as click's options have a fixed number of them."""
        words, joined = list(args), []
        while words:
            word = words.pop(0)
            if word == "--executor" and words:
                kind = words.pop(0)
                number = words.pop(0) if words and _is_number(words[0]) else ""
                word = f"--executor={kind} {number}".rstrip()
            elif word == "--":
                joined += [word, *words]
                break
            joined.append(word)
        return super().parse_args(ctx, joined)


def _is_number(word: str) -> bool:
    return word.isascii() and word.lstrip("-").isdigit()


@dataclass(frozen=True, kw_only=True)
class Executor:
    """What ``--executor`` said: ``kind``, and how many ``workers`` if it said so."""

    kind: str
    workers: int | None = None


class _ExecutorType(click.ParamType[Any]):
    name = "KIND [N]"
    kinds = ("synchronous", "threads", "processes")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Executor:
        if isinstance(value, Executor):
            return value
        kind, _, number = str(value).partition(" ")
        if kind not in self.kinds:
            self.fail(f"unknown executor {kind!r}: {', '.join(self.kinds)}", param, ctx)
        if number and int(number) < 1:
            self.fail(f"{number} workers: there must be at least 1", param, ctx)
        return Executor(kind=kind, workers=int(number) if number else None)


executor_option = click.option(
    "--executor",
    type=_ExecutorType(),
    metavar="KIND [N]",
    help="Where the work is done: synchronous, threads N or processes N.",
)
