"""From what a command raised to a message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from .common import FAILED, INTERRUPTED, PARTLY, USAGE
from .root import ReaderLeftError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["report_errors"]


def report_errors(run: Callable[[], Any]) -> int:
    """Run a command line; turn what it raises into a message on the error stream.

    Only a fault of this program itself gets through.

    Returns
    -------
    int
        The exit code.
    """
    from orchard.errors import OrchardError

    try:
        result = run()
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("Interrupted: nothing is lost, the same command goes on", err=True)
        return INTERRUPTED
    except ReaderLeftError:
        _forget_output()
        return 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OrchardError as error:
        click.echo(f"Error: {error}", err=True)
        return _code(error)
    except OSError as error:
        click.echo(f"Error: {_of_system(error)}", err=True)
        return FAILED
    return result if isinstance(result, int) else 0


def _forget_output() -> None:
    """Keep Python from trying again, when it ends, to write what nobody reads."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _code(error: Exception) -> int:
    from orchard.errors import BulkError, InputError

    if isinstance(error, BulkError):
        return PARTLY if error.partly else FAILED
    return USAGE if isinstance(error, InputError) else FAILED


def _of_system(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}" if error.filename else what
