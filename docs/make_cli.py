"""Write docs/cli.md, the reference of the command line, from what ``--help`` says.

python docs/make_cli.py [--print]
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchard.cli import cli

HEADER = """\
# The command line

All that `orchard` understands, as its `--help` says it. (Written by `docs/make_cli.py`.)
"""
WIDTH = 88


def sections(command: click.Command, parent: click.Context | None, name: str) -> list[str]:
    """Return the section of a command and of those below it."""
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    found = [f"## {context.command_path}\n\n```text\n{text}\n```\n"]
    for below, inner in getattr(command, "commands", {}).items():
        found += sections(inner, context, below)
    return found


def reference() -> str:
    """Return the whole reference; plugins are not of it."""
    return "\n".join([HEADER, *sections(cli, None, "orchard")])


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(reference())
    else:
        Path(__file__).with_name("cli.md").write_text(reference(), encoding="utf-8")
