"""When to try a call again, and after how long (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["TRANSIENT_STATUS", "Retries", "retry_after"]

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often, and for how long, one call is tried.

    Parameters
    ----------
    attempts : int
        Tries altogether; 1 means no second one.
    first : float
        Seconds before the second try; every further wait is twice as long.
    longest : float
        Longest single wait in seconds, unless the server names one itself.
    total : float
        Longest sum of all waits of one call in seconds. A server that asks for more is not waited
        for: its error, with the time it asked for, is raised at once.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 30.0
    total: float = 120.0

    def wait(
        self, attempt: int, *, waited: float = 0.0, asked: float | None = None, jitter: float = 1.0
    ) -> float | None:
        """Return the seconds to wait after a failed try, or None to give up.

        Parameters
        ----------
        attempt : int
            Number of the try that failed, from 1.
        waited : float
            Seconds this call has waited already.
        asked : float, optional
            What ``Retry-After`` says, in seconds.
        jitter : float
            Factor in (0, 1] that keeps many clients from coming back at the same moment; a wait
            that the server asked for is never shortened.
        """
        if attempt >= self.attempts:
            return None
        pause = min(self.longest, self.first * 2.0 ** (attempt - 1)) * jitter
        pause = max(pause, asked or 0.0)
        return None if waited + pause > self.total else pause


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read a ``Retry-After`` header: seconds, or an HTTP date (RFC 9110, 10.2.3).

    Returns
    -------
    float or None
        Seconds from `now` (aware, UTC), never negative; None where there is nothing to read.
    """
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": a date in UTC of unknown origin
        return None
    return max(0.0, (moment - now).total_seconds())
