"""Commands that other packages add: entry points of the group ``orchard.plugins``."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import EntryPoint, entry_points

import click

from .common import Group

__all__ = ["PLUGINS", "PluginGroup"]

PLUGINS = "orchard.plugins"
"""Entry points of this group name click commands."""


class PluginGroup(Group):
    """The commands of this package, then those that others add; no plugin replaces our own."""

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {found.name: found for found in entry_points(group=PLUGINS)}

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
