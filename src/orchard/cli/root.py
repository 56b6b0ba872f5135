"""The root of all commands, with those that other packages add by entry points."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import click

from .common import Group

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PLUGINS", "ReaderLeftError", "RootGroup"]

PLUGINS = "orchard.plugins"
"""Entry points of this group name click commands."""


class RootGroup(Group):
    """The commands of this package, then those that others add; no plugin replaces our own."""

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {found.name: found for found in entry_points(group=PLUGINS)}

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        with _for_a_reader():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _for_a_reader():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        own = super().list_commands(ctx)
        return [*own, *sorted(self._plugins.keys() - set(own))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in self._plugins:
            return own
        return _loaded(self._plugins[cmd_name])


class ReaderLeftError(Exception):
    """Whoever read our output has read enough."""


@contextmanager
def _for_a_reader() -> Iterator[None]:
    """Tell a closed pipe from failures, before click makes an exit code of both."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderLeftError from None


def _loaded(plugin: EntryPoint) -> click.Command:
    try:
        command = plugin.load()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other commands must go on
        return _broken(plugin, f"{type(error).__name__}: {error}")
    if not isinstance(command, click.Command):
        return _broken(plugin, "it is not a click command")
    return command


def _broken(plugin: EntryPoint, why: str) -> click.Command:
    """Stand in for a plugin that cannot be loaded: the help of all others must still work."""

    def fail() -> None:
        raise click.ClickException(f"the plugin {plugin.name} ({plugin.value}) is broken: {why}")

    return click.Command(plugin.name, callback=fail, help=f"Broken: {why}", add_help_option=False)
