"""Job: a workflow of blocks that runs, or has run, on a platform."""

from __future__ import annotations

import logging
import sys
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, overload

from orchard.jobs.errors import JobFailedError, PlatformError
from orchard.jobs.jobtask import JobTask, list_jobtasks
from orchard.jobs.names import url_path
from orchard.jobs.results import Outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchard.jobs.results import Callback
    from orchard.jobs.session import Session
    from orchard.stores import ObjectInfo, Store

__all__ = ["Job"]

logger = logging.getLogger(__name__)

_UNFINISHED = ("NOT STARTED", "PENDING", "RUNNING")
_FAILED = ("FAILED", "ERROR")
_CANCELLED = ("CANCELLED", "CANCELLING")
_POLL_SECONDS = 5.0
_LOG_LINES = 20


class Job(Outputs):
    """Access to one job: its state, its blocks, its results.

    Parameters
    ----------
    session : Session
        The platform.
    project_id, job_id : str
        Where it is.
    info : mapping, optional
        The metadata, if it is known already; else it is asked for, so that a wrong id is told at
        once.
    """

    def __init__(
        self,
        session: Session,
        project_id: str,
        job_id: str,
        *,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(session, project_id, job_id)
        self._info = dict(info) if info is not None else self._ask_info()

    def __repr__(self) -> str:
        return (
            f"Job(name={self._info.get('name')!r}, job_id={self.job_id!r}, "
            f"project_id={self.project_id!r}, status={self._info.get('status')!r})"
        )

    @property
    def info(self) -> dict[str, Any]:
        """The job's metadata, asked for anew."""
        self._info = self._ask_info()
        return dict(self._info)

    @property
    def status(self) -> str:
        """The job's status as the platform says it, asked for anew.

        ``NOT STARTED``, ``PENDING``, ``RUNNING``, ``CANCELLING``, ``CANCELLED``, ``SUCCEEDED``,
        ``FAILED`` or ``ERROR``.
        """
        return str(self.info.get("status"))

    @property
    def is_succeeded(self) -> bool:
        """Whether the job has succeeded, asked for anew."""
        return self.status == "SUCCEEDED"

    def track_status(
        self,
        report_time: float = 30,
        *,
        timeout: float | None = None,
        callback: Callback | None = None,
    ) -> str:
        """Wait until the job has finished; asks every five seconds.

        Parameters
        ----------
        report_time : float
            Every so many seconds the status is logged (``orchard.jobs.job``, INFO).
        timeout : float, optional
            Longest wait in seconds; the status is returned then as it is.
        callback : callable, optional
            ``callback(item=status, n_steps=0)`` after every question.

        Returns
        -------
        str
            ``SUCCEEDED``; after `timeout`, or when the platform says a status that is not known
            here, that status.

        Raises
        ------
        JobFailedError
            The job has failed (with the end of its logs) or was cancelled.
        """
        waited = reported = 0.0
        pause = min(_POLL_SECONDS, max(report_time, 0.1))
        while True:
            status = self.status
            if callback is not None:
                callback(item=status, n_steps=0)
            if status not in _UNFINISHED:
                return self._finished(status)
            if timeout is not None and waited >= timeout:
                return status
            if waited - reported >= report_time:
                logger.info("job %s is %s after %.0f s", self.job_id, status, waited)
                reported = waited
            self.session.client.sleep(pause)
            waited += pause

    def cancel_job(self) -> None:
        """Cancel the job if it is pending or running."""
        self.session.client.post(self._url("cancel", slash=True))

    @overload
    def get_jobtasks(self, return_json: Literal[False] = ...) -> list[JobTask]: ...
    @overload
    def get_jobtasks(self, return_json: Literal[True]) -> list[dict[str, Any]]: ...
    @overload
    def get_jobtasks(self, return_json: bool) -> list[JobTask] | list[dict[str, Any]]: ...
    def get_jobtasks(self, return_json: bool = False) -> list[JobTask] | list[dict[str, Any]]:
        """Get the job's tasks, one a block, in the order of the workflow.

        Parameters
        ----------
        return_json : bool
            Return their metadata instead of `JobTask` objects.
        """
        found = list_jobtasks(self.session, self.project_id, self.job_id)
        if return_json:
            return found
        return [
            JobTask(self.session, self.project_id, self.job_id, str(info.get("id")), info=info)
            for info in found
        ]

    def get_logs(self, as_print: bool = True, as_return: bool = False) -> dict[str, str] | None:
        """Get the logs of all the job's tasks.

        Parameters
        ----------
        as_print : bool
            Write them to standard output.
        as_return : bool
            Return them.

        Returns
        -------
        dict or None
            Logs by jobtask id, if `as_return`.
        """
        logs = {
            str(info["id"]): self.session.client.text(self._url("tasks", str(info["id"]), "logs"))
            for info in self.get_jobtasks(return_json=True)
        }
        if as_print:  # the one place that writes to the screen: it is what is asked for
            for jobtask_id, log in logs.items():
                sys.stdout.write(f"--- jobtask {jobtask_id}\n{log.rstrip()}\n")
        return logs if as_return else None

    def get_jobtasks_results_json(self) -> dict[str, dict[str, Any]]:
        """Get the ``data.json`` of each of the job's tasks, by jobtask id."""
        return {task.jobtask_id: task.get_results_json() for task in self.get_jobtasks()}

    def get_credits(self) -> dict[str, Any]:
        """Get what the job has used up: ``{"creditsUsed": …}``."""
        data = self.session.client.data(self._url("credits"))
        if not isinstance(data, dict):
            raise PlatformError(f"the credits of job {self.job_id} are not an object")
        return dict(data)

    def download_results(
        self,
        output_directory: str | PathLike[str] | None = None,
        unpacking: bool = True,
        *,
        callback: Callback | None = None,
    ) -> list[str]:
        """Download the job's results; files of an earlier download are replaced.

        Parameters
        ----------
        output_directory : path, optional
            Default ``./project_P/job_J``.
        unpacking : bool
            Unpack the archive; otherwise it is kept as ``output.tgz`` or ``output.zip``.
        callback : callable, optional
            Progress: ``callback(item=job id, n_steps=part of the download)``.

        Returns
        -------
        list of str
            The files.

        Raises
        ------
        PlatformError
            The platform or the store behind its link does not give them.
        ArchiveError
            The archive is broken, or it would not be safe to unpack it; nothing is left then.
        """
        return self._download(output_directory, unpacking=unpacking, callback=callback)

    def download_quicklooks(
        self,
        output_directory: str | PathLike[str] | None = None,
        *,
        callback: Callback | None = None,
    ) -> list[str]:
        """Download the quicklooks of the job's first task, which is the one that finds the data.

        See `JobTask.download_quicklooks`.
        """
        task = self._data_task()
        self.quicklooks = task.download_quicklooks(output_directory, callback=callback)
        return list(self.quicklooks)

    def upload_results_to_store(
        self,
        store: Store | str | PathLike[str],
        folder: str = "",
        extension: str | None = None,
        version: str = "v0",
    ) -> ObjectInfo:
        """Copy the job's result archive to a store of one's own.

        Parameters
        ----------
        store : Store, path or URL
            See `orchard.open_store`.
        folder : str
            Folder in the store.
        extension : str, optional
            Default: that of the archive, ``.tgz`` or ``.zip``.
        version : str
            The first part of the key, ``VERSION/FOLDER/JOB_ID.EXTENSION``; may be empty.

        Returns
        -------
        ObjectInfo
            What was written. The archive passes over the disk, never through memory.
        """
        from orchard.stores import open_store

        target = open_store(store) if isinstance(store, (str, PathLike)) else store
        with TemporaryDirectory() as workplace:
            archive = self._download_archive(Path(workplace), None)
            name = self.job_id + (archive.suffix if extension is None else extension)
            key = "/".join(part for part in (version, *folder.split("/"), name) if part)
            return target.put(key, archive)

    def _ask_info(self) -> dict[str, Any]:
        data = self.session.client.data(url_path("projects", self.project_id, "jobs", self.job_id))
        if not isinstance(data, dict):
            raise PlatformError(f"the platform has no information on job {self.job_id}")
        return dict(data)

    def _data_task(self) -> JobTask:
        tasks = self.get_jobtasks()
        if not tasks:
            raise PlatformError(f"job {self.job_id} has no jobtasks yet, and so no quicklooks")
        return tasks[0]

    def _scenes(self) -> dict[str, Any]:
        return self._data_task().get_results_json()

    def _finished(self, status: str) -> str:
        if status in _CANCELLED:
            raise JobFailedError(f"job {self.job_id} is {status}", status=status)
        if status in _FAILED:
            raise JobFailedError(
                f"job {self.job_id} is {status}; its logs end with\n{self._last_lines()}",
                status=status,
            )
        return status

    def _last_lines(self) -> str:
        try:
            logs = self.get_logs(as_print=False, as_return=True) or {}
        except PlatformError as exc:  # the failure itself matters more
            return f"(no logs: {exc})"
        lines = [f"{task}: {line}" for task, log in logs.items() for line in log.splitlines()]
        return "\n".join(lines[-_LOG_LINES:]) or "(empty)"
