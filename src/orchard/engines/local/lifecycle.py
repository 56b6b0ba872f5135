"""The life of a task in the local engine: which step leads from which state to which (pure)."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from orchard.tracking import State

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OPEN", "Step", "after", "moves"]

OPEN = (State.READY, State.RUNNING, State.CANCEL_REQUESTED)
"""States of tasks that have not ended."""


class Step(StrEnum):
    """What can happen to a task; the values are the names of its events."""

    STARTED = "started"
    """A runner has claimed it."""
    COMPLETED = "completed"
    FAILED = "failed"
    """For good, with its cause."""
    ATTEMPT = "attempt failed"
    """It is to be tried again."""
    AMENDED = "amended"
    """It is to be made otherwise: in smaller shards, or without a scene."""
    RETURNED = "given back"
    """Its runner was stopped."""
    LAPSED = "lease ended"
    """Its runner has died, or did not renew its lease."""
    CANCEL = "cancel requested"
    CANCELLED = "cancelled"
    """Its runner has stopped it."""
    RETRIED = "retried"
    """A user wants it made after all."""


_ENDING = {State.RUNNING, State.CANCEL_REQUESTED}
# A task whose cancellation was asked for is not made ready again.
_BACK = {State.RUNNING: State.READY, State.CANCEL_REQUESTED: State.CANCELLED}

_MOVES: dict[Step, dict[State, State]] = {
    Step.STARTED: {State.READY: State.RUNNING},
    # Its files were there before the cancellation came through: they stay.
    Step.COMPLETED: dict.fromkeys(_ENDING, State.COMPLETED),
    Step.FAILED: dict.fromkeys(_ENDING, State.FAILED),
    Step.ATTEMPT: _BACK,
    Step.AMENDED: _BACK,
    Step.RETURNED: _BACK,
    Step.LAPSED: _BACK,
    Step.CANCEL: {State.READY: State.CANCELLED, State.RUNNING: State.CANCEL_REQUESTED},
    Step.CANCELLED: {State.CANCEL_REQUESTED: State.CANCELLED},
    Step.RETRIED: dict.fromkeys((State.FAILED, State.CANCELLED, State.LOST), State.READY),
}


def after(state: State, step: Step) -> State | None:
    """Return the state that a step leads to; None: it cannot happen in this state."""
    return _MOVES[step].get(state)


def moves(step: Step) -> Mapping[State, State]:
    """Return all states in which a step can happen, and where it leads."""
    return MappingProxyType(_MOVES[step])
