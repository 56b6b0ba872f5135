"""Commands about Earth Engine's own tasks: the operations of a project."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from orchard.summary import counted

from .common import Group, State, example

if TYPE_CHECKING:
    from orchard.engines.earthengine import EarthEngine

__all__ = ["COMMANDS"]


@click.group("tasks", cls=Group, epilog=example("orchard tasks summary"))
def tasks() -> None:
    """List, count and cancel Earth Engine's tasks.

    Also those that others have started.
    """


def _engine(state: State) -> EarthEngine:
    """Return the configuration's engine, which must be Earth Engine."""
    from orchard.errors import InputError

    engine: Any = state.config().get_engine()
    if engine is None or engine.name != "earthengine":
        raise InputError(
            "the configuration's engine is not Earth Engine: 'orchard tasks' shows its operations "
            "only; 'orchard status' shows orders of any engine"
        )
    return engine  # type: ignore[no-any-return]


def _chosen(engine: EarthEngine, order: str | None, states: tuple[str, ...]) -> list[Any]:
    wanted = {name.upper() for name in states}
    return [
        operation
        for operation in engine.operations()
        if (order is None or operation.order == order)
        and (not wanted or str(operation.state) in wanted)
    ]


@tasks.command("list", epilog=example("orchard tasks list --state FAILED"))
@click.option("--order", help="Of this order only.")
@click.option("--state", "states", multiple=True, help="READY, RUNNING, FAILED, …; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def tasks_list(state: State, order: str | None, states: tuple[str, ...], as_json: bool) -> None:
    """List the project's operations, the newest first."""
    found = _chosen(_engine(state), order, states)
    if as_json:
        rows = [
            {
                "id": operation.id,
                "state": str(operation.state),
                "kind": operation.kind,
                "order": operation.order,
                "description": operation.description,
                "created": _iso(operation.created_ms),
                "error": operation.error,
                "attempt": operation.attempt,
                "eecu_seconds": operation.eecu_seconds,
                "uris": list(operation.uris),
            }
            for operation in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for operation in found:
        error = f"  {operation.error}" if operation.error else ""
        click.echo(f"{operation.id}  {operation.state:<16}  {operation.description}{error}")


@tasks.command("summary", epilog=example("orchard tasks summary"))
@click.pass_obj
def tasks_summary(state: State) -> None:
    """Count the project's operations by order and state."""
    for order, states in sorted(_engine(state).summary().items()):
        counts = ", ".join(f"{n} {name}" for name, n in sorted(states.items()))
        click.echo(f"{order or '(not of Orchard)'}: {counts}")


@tasks.command("cancel", epilog=example("orchard tasks cancel --order NAME"))
@click.argument("ids", nargs=-1)
@click.option("--order", help="All of this order that have not ended.")
@click.pass_obj
def tasks_cancel(state: State, ids: tuple[str, ...], order: str | None) -> None:
    """Cancel operations by id, or all of an order.

    Those that have ended stay as they are.
    """
    if bool(ids) == bool(order):
        raise click.UsageError("name operations, or an --order")
    engine = _engine(state)
    chosen = list(ids) or [o.id for o in _chosen(engine, order, ("READY", "RUNNING"))]
    engine.cancel_operations(chosen)
    state.say(f"Asked for {counted(len(chosen), 'operation')} to be cancelled")


def _iso(epoch_ms: int) -> str | None:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat() if epoch_ms else None


COMMANDS = (tasks,)
