"""Watching orders: how fast they go, how long they will take, what fails."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tracking import TERMINAL, State, cause_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .tracking import TrackingInfo

__all__ = ["Meter", "Snapshot"]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How an order is at a moment.

    Parameters
    ----------
    name : str
    tasks, ended : int
        How many tasks it has, and how many of them have ended, one way or the other.
    states : mapping of str to int
    failures : mapping of str to int
        Failed tasks by cause, the most frequent first.
    rate : float or None
        Tasks that end in a second; None as long as that is not known.
    throughput : float or None
        Bytes of results in a second.
    eta : float or None
        Seconds until the last task has ended, if it goes on like this.
    """

    name: str
    tasks: int
    ended: int
    states: Mapping[str, int]
    failures: Mapping[str, int]
    rate: float | None = None
    throughput: float | None = None
    eta: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether every task has ended."""
        return self.ended == self.tasks


class Meter:
    """Measures an order from one look to the next.

    Parameters
    ----------
    window : float
        Seconds over which rates are measured.
    """

    def __init__(self, window: float = 120.0) -> None:
        self._window = window
        self._looks: deque[tuple[float, int, int]] = deque()

    def look(self, info: TrackingInfo, now: float) -> Snapshot:
        """Take note of an order's record at a moment (seconds on any clock that does not jump)."""
        ended = sum(n for state, n in info.states.items() if State(state) in TERMINAL)
        size = sum(
            file.get("size") or 0
            for order in info.orders
            for file in order["status"].get("files") or ()
        )
        while len(self._looks) > 1 and now - self._looks[1][0] >= self._window:
            self._looks.popleft()
        self._looks.append((now, ended, size))
        then, ended_then, size_then = self._looks[0]
        rate = throughput = None
        if now > then:
            # A retry makes tasks open again.
            rate = max(ended - ended_then, 0) / (now - then)
            throughput = max(size - size_then, 0) / (now - then)
        found = (cause_of(order["status"]) for order in info.orders)
        causes = Counter(cause for cause in found if cause is not None)
        left = len(info.orders) - ended
        return Snapshot(
            name=info.name,
            tasks=len(info.orders),
            ended=ended,
            states=dict(info.states),
            failures=dict(causes.most_common()),
            rate=rate,
            throughput=throughput,
            eta=left / rate if rate else (0.0 if left == 0 else None),
        )
