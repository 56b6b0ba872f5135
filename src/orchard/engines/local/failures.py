"""Why a task failed, and what to do about it (pure)."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from enum import StrEnum

from orchard.errors import AccessError, InputError, SceneError, StoreError

__all__ = ["Failure", "Kind", "PoolLostError", "WorkerLostError", "backoff", "classify"]


class Kind(StrEnum):
    """What kind of failure it was."""

    TRANSIENT = "transient"
    """The network, a busy server, a lost worker: try again later."""
    MEMORY = "memory"
    """Too large a piece: try with smaller ones."""
    SCENE = "scene"
    """A scene that cannot be used, now or later."""
    FINAL = "final"
    """Anything else that trying again will not mend."""


class WorkerLostError(Exception):
    """The worker that made a shard has died.

    Parameters
    ----------
    message : str
    certain : bool
        Whether it is known that it died of this shard, and not of another one.
    """

    def __init__(self, message: str, *, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain


class PoolLostError(Exception):
    """All workers are gone, or cannot be reached; the shard is not to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure: its kind, its cause for people, and the scene that it is about."""

    kind: Kind
    cause: str
    scene: str | None = None


_MEMORY = re.compile(
    r"out of memory|cannot allocate memory|failed to allocate|unable to allocate|bad_?alloc",
    re.IGNORECASE,
)
# What GDAL, libcurl and the object stores' clients say when it is the network or the server.
_NETWORK = re.compile(
    r"HTTP(?: response| error)?(?: code| status)?[ :]*(?:408|425|429|5\d\d)"
    r"|(?:status|code)[ :]*(?:408|425|429|50[0-9])\b"
    r"|\b(?:429|50[0234])\b.{0,40}(?:Too Many|Server Error|Bad Gateway|Unavailable|Timeout)"
    r"|curl error|timed? ?out|time-?out|temporar(?:y|ily)|connection (?:reset|refused|aborted|"
    r"closed|error)|could not (?:resolve|connect)|couldn'?t (?:resolve|connect)|name resolution"
    r"|broken pipe|network is unreachable|no route to host|remote end closed|incomplete (?:read|"
    r"message)|error sending request|slow ?down|service unavailable|too many requests",
    re.IGNORECASE,
)

# What Python's thread pools say while the process ends, which is no fault of a task's.
_ENDING = "cannot schedule new futures after"


def classify(error: BaseException) -> Failure:
    """Tell what kind of failure an error is.

    An error that came back from another process has lost what caused it, so that the texts of
    errors count as much as their types.
    """
    text = str(error) or "no further message"
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return Failure(kind=Kind.MEMORY, cause=f"not enough memory: {text}")
    if isinstance(error, WorkerLostError | PoolLostError):
        return Failure(kind=Kind.TRANSIENT, cause=text)
    if isinstance(error, SceneError):
        transient = error.transient or _NETWORK.search(text)
        kind = Kind.TRANSIENT if transient else Kind.SCENE
        return Failure(kind=kind, cause=text, scene=error.scene)
    if isinstance(error, StoreError):
        # What a store refuses it will refuse again; all else that it says is about the way there.
        final = isinstance(error, AccessError)
        return Failure(kind=Kind.FINAL if final else Kind.TRANSIENT, cause=text)
    if isinstance(error, ConnectionError | TimeoutError):
        return Failure(kind=Kind.TRANSIENT, cause=f"{type(error).__name__}: {text}")
    if isinstance(error, RuntimeError) and _ENDING in text:
        return Failure(kind=Kind.TRANSIENT, cause=f"the process that worked on it ended: {text}")
    if isinstance(error, InputError):
        return Failure(kind=Kind.FINAL, cause=text)
    return Failure(kind=Kind.FINAL, cause=f"{type(error).__name__}: {text}")


def backoff(failures: int, base: float = 1.0, limit: float = 300.0) -> float:
    """Return how many seconds to wait after so many failures: exponential, with full jitter."""
    return random.uniform(0, min(limit, base * 2.0 ** min(failures, 30)))  # noqa: S311 - no secret
