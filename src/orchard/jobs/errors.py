"""What can go wrong with a job platform; the whole tree is drawn in `orchard.errors`."""

from __future__ import annotations

from orchard.errors import DataError, OrchardError

__all__ = [
    "ArchiveError",
    "AuthenticationError",
    "JobFailedError",
    "PlatformError",
    "TransferError",
    "UnknownJobError",
]


class PlatformError(OrchardError):
    """A call to the platform failed.

    Parameters
    ----------
    message : str
        What was called, what came back, and what to do.
    status : int, optional
        The HTTP status of the answer; None where no answer came.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class AuthenticationError(PlatformError):
    """The credentials, or the token made of them, were refused."""


class UnknownJobError(PlatformError):
    """The platform knows no such job, jobtask or result (in this project)."""


class TransferError(PlatformError):
    """A download broke off for good, or is not what was announced."""


class JobFailedError(OrchardError, ValueError):
    """The job failed or was cancelled.

    Parameters
    ----------
    message : str
        Which job, its status, and the end of its logs where it failed.
    status : str
        The job's status.
    """

    def __init__(self, message: str, *, status: str) -> None:
        super().__init__(message)
        self.status = status


class ArchiveError(DataError):
    """A result archive is broken, or unpacking it would not be safe."""
