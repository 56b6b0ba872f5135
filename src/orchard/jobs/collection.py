"""JobCollection: several jobs of one project, worked on together."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from orchard.errors import BulkError, InputError, OrchardError
from orchard.jobs.placing import write_atomically
from orchard.jobs.viewing import Viewing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from orchard.jobs.job import Job
    from orchard.jobs.results import Callback
    from orchard.jobs.session import Session

__all__ = ["JobCollection"]

T = TypeVar("T")

_DATA_PATH = "up42.data_path"
_DOWNLOADS = 4


class JobCollection(Viewing):
    """A sequence of jobs.

    Parameters
    ----------
    session : Session
        The platform.
    project_id : str
        The project.
    jobs : sequence of Job
        The jobs.
    """

    def __init__(self, session: Session, project_id: str, jobs: Sequence[Job]) -> None:
        self.session = session
        self.project_id = project_id
        self.jobs = list(jobs)
        self.jobs_id = [job.job_id for job in self.jobs]

    def __repr__(self) -> str:
        return f"JobCollection(project_id={self.project_id!r}, jobs={self.jobs!r})"

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        return self.jobs[index]

    @property
    def info(self) -> dict[str, dict[str, Any]]:
        """The jobs' metadata by job id, asked for anew."""
        return self.apply(lambda job: job.info, only_succeeded=False)

    @property
    def status(self) -> dict[str, str]:
        """The jobs' status by job id, asked for anew."""
        return self.apply(lambda job: job.status, only_succeeded=False)

    def apply(
        self, worker: Callable[..., T], only_succeeded: bool = True, **kwargs: Any
    ) -> dict[str, T]:
        """Call a function with each job, one after the other.

        Parameters
        ----------
        worker : callable
            Gets the job, and `kwargs`.
        only_succeeded : bool
            Leave out the jobs that have not succeeded.
        **kwargs
            For `worker`.

        Returns
        -------
        dict
            What `worker` returned, by job id.

        Raises
        ------
        InputError
            There is no job to apply it to.
        BulkError
            It failed for some jobs, each of which is named; it was called for all the others.
        """
        jobs = self._chosen(only_succeeded=only_succeeded)
        return _each(worker, jobs, threads=1, **kwargs)

    def download_results(
        self,
        output_directory: str | os.PathLike[str] | None = None,
        merge: bool = True,
        unpacking: bool = True,
        *,
        callback: Callback | None = None,
    ) -> dict[str, list[str]]:
        """Download the results of the jobs that have succeeded, several at a time.

        Parameters
        ----------
        output_directory : path, optional
            Each job's results go into ``job_J`` below it. Default ``./project_P``.
        merge : bool
            Also write ``data.json`` there: the features of all jobs, each with its ``job_id`` and
            with ``up42.data_path`` relative to that file. Archives that are not unpacked cannot be
            merged; `merge` says nothing then.
        unpacking : bool
            Unpack the archives.
        callback : callable, optional
            Progress: ``callback(item=job id, n_steps=part of that job's download)``.

        Returns
        -------
        dict
            The files by job id; with `merge`, the merged file under ``merged_result``.

        Raises
        ------
        InputError
            No job has succeeded.
        BulkError
            Some downloads failed, each of which is named; the others are there.
        """
        folder = (
            Path.cwd() / f"project_{self.project_id}"
            if output_directory is None
            else Path(output_directory)
        ).absolute()

        def worker(job: Job) -> list[str]:
            return job.download_results(
                folder / f"job_{job.job_id}", unpacking=unpacking, callback=callback
            )

        results = _each(worker, self._chosen(only_succeeded=True), threads=_DOWNLOADS)
        if merge and unpacking:
            merged = folder / "data.json"
            write_atomically(merged, json.dumps(_merged(results)).encode())
            results["merged_result"] = [str(merged)]
        self.results = results
        return dict(results)

    def _downloaded(self) -> list[str]:
        """Return the files to look at: features come from the merged file, where there is one."""
        if not isinstance(self.results, dict) or "merged_result" not in self.results:
            return super()._downloaded()
        single = [
            file
            for job_id, files in self.results.items()
            for file in files
            if job_id != "merged_result" and Path(file).suffix not in (".json", ".geojson")
        ]
        return [*self.results["merged_result"], *single]

    def _chosen(self, *, only_succeeded: bool) -> list[Job]:
        if not self.jobs:
            raise InputError("this JobCollection is empty")
        jobs = [job for job in self.jobs if not only_succeeded or job.is_succeeded]
        if not jobs:
            raise InputError(
                "none of the jobs has succeeded: " + ", ".join(f"{job!r}" for job in self.jobs)
            )
        return jobs


def _each(
    worker: Callable[..., T], jobs: Sequence[Job], *, threads: int, **kwargs: Any
) -> dict[str, T]:
    """Call a function with every job, whatever happens with the others."""
    results: dict[str, T] = {}
    failures: dict[str, Exception] = {}
    with ThreadPoolExecutor(threads) as pool:
        futures = {job.job_id: pool.submit(worker, job, **kwargs) for job in jobs}
        for job_id, future in futures.items():
            try:
                results[job_id] = future.result()
            except Exception as exc:  # noqa: BLE001 - a worker may raise anything; all is told
                failures[job_id] = exc
    if failures:
        raise BulkError.of("some jobs could not be worked on", failures)
    return results


def _merged(results: dict[str, list[str]]) -> dict[str, Any]:
    """Return the features of all jobs as one collection."""
    features = []
    for job_id, files in results.items():
        for feature in _features(files):
            properties = {**(feature.get("properties") or {}), "job_id": job_id}
            if isinstance(properties.get(_DATA_PATH), str):
                properties[_DATA_PATH] = f"job_{job_id}/{properties[_DATA_PATH]}"
            features.append({**feature, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _features(files: list[str]) -> list[dict[str, Any]]:
    """Return the features of one job's data.json; a job may have none."""
    for file in files:
        if Path(file).name == "data.json":
            try:
                return list(json.loads(Path(file).read_bytes())["features"])
            except (ValueError, KeyError, TypeError) as exc:
                raise OrchardError(f"{file} is not a GeoJSON FeatureCollection") from exc
    return []
