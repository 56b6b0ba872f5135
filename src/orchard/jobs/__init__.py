"""Jobs on a platform: `Job`, `JobTask`, `JobCollection`, and how to get at them.

Say once which platform (`authenticate`; with nothing said, Orchard's own runs in this process),
then take up a job by its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchard.errors import MissingDependencyError

try:
    import httpx  # noqa: F401 - asked for here, where it can be said what to install
except ImportError as exc:
    raise MissingDependencyError("httpx", "jobs") from exc

from orchard.jobs.collection import JobCollection
from orchard.jobs.errors import (
    ArchiveError,
    AuthenticationError,
    JobFailedError,
    PlatformError,
    TransferError,
    UnknownJobError,
)
from orchard.jobs.job import Job
from orchard.jobs.jobtask import JobTask
from orchard.jobs.retries import Retries
from orchard.jobs.session import Session, authenticate, current_session

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ArchiveError",
    "AuthenticationError",
    "Job",
    "JobCollection",
    "JobFailedError",
    "JobTask",
    "PlatformError",
    "Retries",
    "Session",
    "TransferError",
    "UnknownJobError",
    "authenticate",
    "current_session",
    "initialize_job",
    "initialize_jobcollection",
    "initialize_jobtask",
]


def initialize_job(job_id: str, project_id: str | None = None) -> Job:
    """Take up a job.

    Parameters
    ----------
    job_id : str
        Its id.
    project_id : str, optional
        The project it is in, if that is not the one of `authenticate`.

    Raises
    ------
    UnknownJobError
        There is no such job in the project.

    Examples
    --------
    >>> job = initialize_job(job_id="de5806aa-5ef1-4dc9-ab1d-06d7ec1a5021")  # doctest: +SKIP
    """
    session = current_session()
    return Job(session, project_id or session.project_id, job_id)


def initialize_jobtask(jobtask_id: str, job_id: str, project_id: str | None = None) -> JobTask:
    """Take up one block of a job.

    Parameters
    ----------
    jobtask_id, job_id : str
        Their ids.
    project_id : str, optional
        The project it is in, if that is not the one of `authenticate`.

    Raises
    ------
    UnknownJobError
        There is no such job in the project, or no such jobtask in the job.
    """
    session = current_session()
    return JobTask(session, project_id or session.project_id, job_id, jobtask_id)


def initialize_jobcollection(
    job_ids: Sequence[str], project_id: str | None = None
) -> JobCollection:
    """Take up several jobs.

    Parameters
    ----------
    job_ids : sequence of str
        Their ids.
    project_id : str, optional
        The project they are in, if that is not the one of `authenticate`.

    Raises
    ------
    UnknownJobError
        One of them is not in the project.
    """
    session = current_session()
    project = project_id or session.project_id
    return JobCollection(session, project, [Job(session, project, job_id) for job_id in job_ids])
