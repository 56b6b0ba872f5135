"""What goes wrong at Earth Engine, by what can be done about it (pure)."""

from __future__ import annotations

import re
from enum import StrEnum

from orchard.errors import EngineError

__all__ = ["Failure", "QueueFullError", "RefusedError", "UnavailableError", "classify"]


class Failure(StrEnum):
    """Classes of failure; the class decides the remedy."""

    TOO_LARGE = "too large"
    """Out of memory or time: make the task smaller."""
    TRANSIENT = "transient"
    """The service's own trouble: try again."""
    QUEUE = "queue"
    """The queue is full: wait for room."""
    PERMANENT = "permanent"
    """It would fail again: tell the user at once."""


class UnavailableError(EngineError):
    """Earth Engine did not answer, or only with errors that pass, however often it was tried."""


class QueueFullError(EngineError):
    """The project has as many waiting tasks as it may have; nothing was started."""


class RefusedError(EngineError):
    """Earth Engine does not take the request, and never will."""


_QUEUE = re.compile(r"too many tasks already in the queue", re.IGNORECASE)
_TOO_LARGE = re.compile(
    r"memory limit exceeded|out of memory|computation timed out|execution timed out"
    r"|timed out while|too many (concurrent )?pixels? .*memory|output .*too large"
    r"|exceeded the (time|memory)",
    re.IGNORECASE,
)
_TRANSIENT = re.compile(
    r"internal error|try again|unavailable|too many (concurrent )?(requests|aggregations)"
    r"|quota exceeded|rate limit|deadline exceeded|connection (reset|aborted|closed)|backend error"
    r"|failed to (connect|contact)",
    re.IGNORECASE,
)


def classify(message: str | None, status: int | None = None) -> Failure:
    """Tell the class of a failure.

    Parameters
    ----------
    message : str, optional
        What the service said.
    status : int, optional
        HTTP status of the answer; None for a task that failed, or where there was no answer.
    """
    text = message or ""
    if _QUEUE.search(text):
        return Failure.QUEUE
    if _TOO_LARGE.search(text):
        return Failure.TOO_LARGE
    if status == 429 or (status is not None and status >= 500):
        return Failure.TRANSIENT
    return Failure.TRANSIENT if _TRANSIENT.search(text) else Failure.PERMANENT
