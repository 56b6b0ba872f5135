"""Commands about jobs on a platform: a remote one, or Orchard's own in this process."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from .common import Group, State, example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchard.jobs import Job, JobTask, Session

__all__ = ["COMMANDS"]

_PAGE = 500
_ENVIRONMENT = ("ORCHARD_BASE_URL", "ORCHARD_PROJECT_ID", "ORCHARD_PROJECT_API_KEY")

_job = click.argument("job_id", metavar="JOB")
_jobs = click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
_block = click.option("--block", help="Of this block: preard, ard, composite, index, or its id.")
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group("jobs", cls=Group, epilog=example("orchard jobs list", "orchard jobs download JOB"))
def jobs() -> None:
    """Look at jobs of a platform and get their results.

    The platform is that of the configuration's 'platform' part, else of the environment
    (ORCHARD_BASE_URL, ORCHARD_PROJECT_ID, ORCHARD_PROJECT_API_KEY). Without either, the
    configuration's own orders are the jobs, one a task: a job is worked on while one waits for
    its results. Until then it is PENDING, though its image may be there.
    """


@jobs.command("list", epilog=example("orchard jobs list --status FAILED"))
@click.option("--order", help="Of this order only.")
@click.option("--status", help="Only SUCCEEDED, RUNNING, FAILED, …")
@_json
@click.pass_obj
def jobs_list(state: State, order: str | None, status: str | None, as_json: bool) -> None:
    """List the project's jobs: id, status, name.

    Those of the latest order first.
    """
    with _session(state) as session:
        found = [
            info
            for info in _listed(session)
            if (order is None or info.get("order") == order)
            and (status is None or str(info.get("status")) == status.upper())
        ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for info in found:
        click.echo(f"{info.get('id')}\t{info.get('status')}\t{info.get('name') or ''}")
    _tell_who_works(state, session, found)


@jobs.command("show", epilog=example("orchard jobs show JOB"))
@_job
@_json
@click.pass_obj
def jobs_show(state: State, job_id: str, as_json: bool) -> None:
    """Tell how a job and its blocks are."""
    with _session(state) as session:
        blocks, info = _told(session, job_id)
    if as_json:
        click.echo(json.dumps({**info, "jobtasks": blocks}, indent=2))
        return
    for key in ("id", "name", "status", "order", "startedAt", "finishedAt", "error"):
        if info.get(key) not in (None, ""):
            click.echo(f"{key:<12}{info[key]}")
    for block in blocks:
        error = f"  {block['error']}" if block.get("error") else ""
        click.echo(f"  {_name_of(block):<10}{block.get('status')}{error}")
    _tell_who_works(state, session, [info])


@jobs.command("logs", epilog=example("orchard jobs logs JOB --block ard"))
@_job
@_block
@click.pass_obj
def jobs_logs(state: State, job_id: str, block: str | None) -> None:
    """Show the logs of a job's blocks."""
    with _session(state) as session:
        job = _taken_up(session, job_id)
        wanted = None if block is None else _block_of(job, block).jobtask_id
        logs = job.get_logs(as_print=False, as_return=True) or {}
    for jobtask_id, log in logs.items():
        if wanted in (None, jobtask_id):
            click.echo(f"--- {jobtask_id}\n{log.rstrip()}")


@jobs.command("cancel", epilog=example("orchard jobs cancel JOB"))
@_jobs
@click.pass_obj
def jobs_cancel(state: State, job_ids: tuple[str, ...]) -> None:
    """Cancel jobs that are pending or running.

    Those that have ended stay as they are.
    """
    with _session(state) as session:
        for job in [_taken_up(session, job_id) for job_id in job_ids]:
            job.cancel_job()
            state.say(f"Job {job.job_id} is {job.status}")


@jobs.command(
    "download",
    epilog=example(
        "orchard jobs download JOB --dest results", "orchard jobs download JOB --block preard"
    ),
)
@_jobs
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the files; of several jobs, each has its own in it. Default: project_P/job_J.",
)
@_block
@click.option("--archive", is_flag=True, help="Keep the archive as it is; do not unpack it.")
@click.pass_obj
def jobs_download(
    state: State, job_ids: tuple[str, ...], dest: Path | None, block: str | None, archive: bool
) -> None:
    """Download the results of jobs, or of one block of a job.

    Print the files.

    The results of a job are those of its last block. Files of an earlier download are replaced.
    """
    if block is not None and (archive or len(job_ids) > 1):
        raise click.UsageError("--block is for one job, and is always unpacked")
    with _session(state) as session, state.progress("Downloading", len(job_ids)) as callback:
        if len(job_ids) > 1:
            from orchard.jobs import JobCollection

            several = [_taken_up(session, job_id) for job_id in job_ids]
            collection = JobCollection(session, session.project_id, several)
            by_job = collection.download_results(dest, unpacking=not archive, callback=callback)
            files = [file for group in by_job.values() for file in group]
        elif block is not None:
            task = _block_of(_taken_up(session, job_ids[0]), block)
            files = task.download_results(dest, callback=callback)
        else:
            job = _taken_up(session, job_ids[0])
            files = job.download_results(dest, unpacking=not archive, callback=callback)
    for file in files:
        click.echo(file)


@jobs.command("quicklooks", epilog=example("orchard jobs quicklooks JOB --dest quicklooks"))
@_job
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the pictures. Default: project_P/job_J.",
)
@click.pass_obj
def jobs_quicklooks(state: State, job_id: str, dest: Path | None) -> None:
    """Download a job's quicklooks, one an acquisition.

    Print the files.
    """
    with _session(state) as session, state.progress("Downloading", 1) as callback:
        files = _taken_up(session, job_id).download_quicklooks(dest, callback=callback)
    for file in files:
        click.echo(file)


@jobs.command("map", epilog=example("orchard jobs map JOB -o map.html"))
@_job
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("map.html"),
    show_default=True,
    help="The page, or a folder for it.",
)
@_block
@click.pass_obj
def jobs_map(state: State, job_id: str, output: Path, block: str | None) -> None:
    """Show the results of a job, or of one of its blocks, on a map.

    The page works without a network, and needs no other file: the results are not kept.
    """
    from orchard.viz.sources import map_sources

    with (
        _session(state) as session,
        TemporaryDirectory(prefix="orchard-") as folder,
        state.progress("Downloading", 1) as callback,
    ):
        job = _taken_up(session, job_id)
        source = job if block is None else _block_of(job, block)
        source.download_results(folder, callback=callback)
        map_sources([folder], save_html=output)
    state.say(f"Wrote {output}")


@contextmanager
def _session(state: State) -> Iterator[Session]:
    """Open the platform: the configuration's, the environment's, or one in this process."""
    from orchard.jobs import authenticate

    config = state.config_or_none()
    said: dict[str, Any] = {}
    if config is not None and config.platform is not None:
        said = config.platform.model_dump()
    elif config is not None and not any(map(os.environ.get, _ENVIRONMENT)):
        said = _in_process(config)
    session = authenticate(**said)
    try:
        yield session
    finally:
        session.client.close()


def _in_process(config: Any) -> dict[str, Any]:
    """Return what makes a session of this very configuration's orders."""
    from orchard.errors import MissingDependencyError
    from orchard.jobs.inprocess import InProcessTransport
    from orchard.jobs.session import IN_PROCESS_PROJECT, IN_PROCESS_URL

    try:
        from orchard.server.app import create_app
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "fastapi", "server") from error
    return {
        "base_url": IN_PROCESS_URL,
        "project_id": IN_PROCESS_PROJECT,
        "transport": InProcessTransport(create_app(config, in_process=True)),
    }


def _listed(session: Session) -> Iterator[dict[str, Any]]:
    """Give the metadata of all jobs of the project, page by page."""
    from orchard.jobs.names import url_path

    path = url_path("projects", session.project_id, "jobs")
    seen: set[str] = set()
    while True:
        page = session.client.data(f"{path}?limit={_PAGE}&offset={len(seen)}") or []
        new = [info for info in page if str(info.get("id")) not in seen]
        yield from new
        seen.update(str(info.get("id")) for info in new)
        # A platform that knows no pages gives the same jobs again.
        if not new or len(page) < _PAGE:
            return


def _tell_who_works(state: State, session: Session, jobs: list[dict[str, Any]]) -> None:
    """Say what becomes of jobs that nobody works on: those in this process."""
    from orchard.jobs.session import IN_PROCESS_URL

    here = str(session.client.base_url).rstrip("/") == IN_PROCESS_URL
    if here and any(job.get("status") == "PENDING" for job in jobs):
        state.say(
            "What is PENDING is made when it is asked for ('orchard jobs download JOB'), or by "
            "'orchard serve'"
        )


def _told(session: Session, job_id: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return what a platform tells of a job's blocks and of the job."""
    from orchard.jobs import PlatformError
    from orchard.jobs.jobtask import list_jobtasks
    from orchard.jobs.names import check_id, url_path

    check_id(job_id, "job")
    # In this process, who asks for the job itself has it worked on: its blocks would tell.
    blocks = list_jobtasks(session, session.project_id, job_id)
    info = session.client.data(url_path("projects", session.project_id, "jobs", job_id))
    if not isinstance(info, dict):
        raise PlatformError(f"the platform has no information on job {job_id}")
    return blocks, info


def _taken_up(session: Session, job_id: str) -> Job:
    from orchard.jobs import Job

    return Job(session, session.project_id, job_id)


def _name_of(block: dict[str, Any]) -> str:
    return str(block.get("name") or block.get("id"))


def _block_of(job: Job, name: str) -> JobTask:
    """Return the jobtask of a block, by the block's name or the jobtask's id."""
    blocks = job.get_jobtasks(return_json=True)
    for block in blocks:
        if name in (_name_of(block), str(block.get("id"))):
            from orchard.jobs import JobTask

            return JobTask(job.session, job.project_id, job.job_id, str(block["id"]), info=block)
    names = ", ".join(map(_name_of, blocks)) or "none"
    raise click.ClickException(f"job {job.job_id} has no block {name!r}; its blocks: {names}")


COMMANDS = (jobs,)
