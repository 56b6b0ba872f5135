"""JobTask: the results of one block of a job's workflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchard.jobs.errors import PlatformError, UnknownJobError
from orchard.jobs.names import check_id, quicklook_name, url_path
from orchard.jobs.placing import write_atomically
from orchard.jobs.results import Outputs

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from orchard.jobs.results import Callback
    from orchard.jobs.session import Session

__all__ = ["JobTask", "list_jobtasks"]

# Platforms have been seen to spell a task's success in two ways.
_SUCCEEDED = ("SUCCEEDED", "SUCCESSFULL")


class JobTask(Outputs):
    """Access to the results of one block.

    Parameters
    ----------
    session : Session
        The platform.
    project_id, job_id, jobtask_id : str
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
        jobtask_id: str,
        *,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(session, project_id, job_id)
        self.jobtask_id = check_id(jobtask_id, "jobtask")
        self._info = dict(info) if info is not None else self._ask_info()

    def __repr__(self) -> str:
        block = (self._info.get("block") or {}).get("name")
        return (
            f"JobTask(name={self._info.get('name')!r}, jobtask_id={self.jobtask_id!r}, "
            f"job_id={self.job_id!r}, status={self._info.get('status')!r}, block={block!r})"
        )

    @property
    def info(self) -> dict[str, Any]:
        """The jobtask's metadata, asked for anew."""
        self._info = self._ask_info()
        return dict(self._info)

    @property
    def status(self) -> str:
        """The jobtask's status as the platform says it, asked for anew."""
        return str(self.info.get("status"))

    @property
    def is_succeeded(self) -> bool:
        """Whether the block has done its work, asked for anew."""
        return self.status in _SUCCEEDED

    def download_results(
        self,
        output_directory: str | os.PathLike[str] | None = None,
        *,
        callback: Callback | None = None,
    ) -> list[str]:
        """Download and unpack the block's results; files of an earlier download are replaced.

        Parameters
        ----------
        output_directory : path, optional
            Default ``./project_P/job_J/jobtask_T``.
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
        return self._download(output_directory, unpacking=True, callback=callback)

    def download_quicklooks(
        self,
        output_directory: str | os.PathLike[str] | None = None,
        *,
        callback: Callback | None = None,
    ) -> list[str]:
        """Download the block's quicklooks.

        Parameters
        ----------
        output_directory : path, optional
            Default ``./project_P/job_J``: that of the job, as only its first block has any.
        callback : callable, optional
            Progress: ``callback(item=file, n_steps=part of all)``.

        Returns
        -------
        list of str
            The pictures, ``quicklook_ID`` with a suffix; empty if there are none.
        """
        folder = (
            self._default_directory().parent if output_directory is None else Path(output_directory)
        ).absolute()
        ids = self.session.client.data(self._url("outputs", "quicklooks", slash=True)) or []
        if not isinstance(ids, list):
            raise PlatformError(f"the quicklooks of {self!r} are not a list")
        files = []
        for quicklook_id in map(str, ids):
            check_id(quicklook_id, "quicklook")
            content, kind = self.session.client.content(
                self._url("outputs", "quicklooks", quicklook_id)
            )
            path = folder / quicklook_name(quicklook_id, kind, content[:16])
            write_atomically(path, content)
            files.append(str(path))
            if callback is not None:
                callback(item=str(path), n_steps=1 / len(ids))
        folder.mkdir(parents=True, exist_ok=True)
        self.quicklooks = files
        return list(files)

    def _url(self, *parts: str, slash: bool = False) -> str:
        return super()._url("tasks", self.jobtask_id, *parts, slash=slash)

    def _default_directory(self) -> Path:
        return super()._default_directory() / f"jobtask_{self.jobtask_id}"

    def _scenes(self) -> dict[str, Any]:
        return self.get_results_json()

    def _ask_info(self) -> dict[str, Any]:
        found = list_jobtasks(self.session, self.project_id, self.job_id)
        for info in found:
            if str(info.get("id")) == self.jobtask_id:
                return info
        known = ", ".join(str(info.get("id")) for info in found) or "none"
        raise UnknownJobError(
            f"job {self.job_id} has no jobtask {self.jobtask_id}; its jobtasks: {known}", status=404
        )


def list_jobtasks(session: Session, project_id: str, job_id: str) -> list[dict[str, Any]]:
    """Return the metadata of a job's tasks, one dict a block, in the order of the workflow."""
    data = session.client.data(
        url_path("projects", project_id, "jobs", job_id, "tasks", slash=True)
    )
    if not isinstance(data or [], list) or not all(isinstance(info, dict) for info in data or []):
        raise PlatformError(f"the tasks of job {job_id} are not a list of objects")
    return [dict(info) for info in data or []]
