"""What the commands share: the configuration, progress, and options of several of them."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import threading
import time
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

PAUSE = 10.0
"""Seconds between two lines on progress where there is no terminal."""


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

    def command(self, *words: str) -> str:
        """Return a command line as it must be typed here, on the same configuration."""
        file = ["-C", self.config_file] if self.config_file else []
        return shlex.join(["orchard", *file, *words])

    def say(self, text: str) -> None:
        """Tell what is going on, on the error stream: results alone go to the output."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextlib.contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[..., None] | None]:
        """Give the callback that shows progress.

        A bar on a terminal, a line now and then elsewhere, a line a step with -v.
        """
        if self.verbose:
            yield lambda item, n_steps: click.echo(f"{label}: {item} (+{n_steps:.3g})", err=True)
        elif self.quiet:
            yield None
        elif not sys.stderr.isatty():
            yield _lines(label, total)
        else:
            with _bar(label, total) as callback:
                yield callback


def _lines(label: str, total: float) -> Callable[..., None]:
    """Return a callback that tells how far it is, in words, when it has not done so for a while."""
    done, told = 0.0, time.monotonic()
    lock = threading.Lock()

    def callback(item: object, n_steps: float) -> None:
        del item
        nonlocal done, told
        with lock:
            done += n_steps
            if time.monotonic() - told < PAUSE:
                return
            told = time.monotonic()
        click.echo(f"{label}: {done:,.0f} of {total:,.0f}", err=True)

    return callback


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
                more = words.pop(0) if words and _HOW_MANY.fullmatch(words[0]) else ""
                word = f"--executor={kind} {more}".rstrip()
            elif word == "--":
                joined += [word, *words]
                break
            joined.append(word)
        return super().parse_args(ctx, joined)


# A number of workers, or HOST:PORT of a Dask scheduler.
_HOW_MANY = re.compile(
    r"-?[0-9]+|(tcp://|tls://)?[\w.\-]+:[0-9]+|(tcp://|tls://)?\[[\w:]+\]:[0-9]+"
)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """What ``--executor`` said: its first word, and its second (or nothing)."""

    kind: str
    more: str = ""

    @property
    def workers(self) -> int | None:
        """How many workers, if it said so."""
        return int(self.more) if self.more.isdigit() else None

    def __str__(self) -> str:
        return f"{self.kind} {self.more}".rstrip()


class _ExecutorType(click.ParamType[Any]):
    name = "KIND [N]"

    _kinds = ("synchronous", "threads", "processes", "distributed")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Executor:
        if isinstance(value, Executor):
            return value
        kind, _, more = str(value).partition(" ")
        a_class = "." in kind
        if kind not in self._kinds and not a_class:
            self.fail(f"unknown executor {kind!r}: {', '.join(self._kinds)}", param, ctx)
        if ":" in more and kind != "distributed":
            self.fail(f"{more} is an address, which only 'distributed' has", param, ctx)
        if more and ":" not in more and int(more) < 1:
            self.fail(f"{more} workers: there must be at least 1", param, ctx)
        return Executor(kind=kind, more=more)


executor_option = click.option(
    "--executor",
    type=_ExecutorType(),
    metavar="KIND [N]",
    help="Where the work is done: synchronous, threads N, processes N, distributed N or "
    "distributed HOST:PORT (Dask), or the path of a Dask cluster class.",
)
