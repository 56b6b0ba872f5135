"""Projects and jobs: listed, told, ordered, cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

import orchard
from orchard.server.auth import LOCAL, Busy
from orchard.server.workflow import COMPOSITE, INDEX, PREARD, task_id, text_time

from .access import PlatformOf, ProjectOf
from .models import (
    BlockName,
    Credits,
    Envelope,
    Failure,
    JobInfo,
    JobRequest,
    ProjectInfo,
    Submitted,
    TaskInfo,
)

if TYPE_CHECKING:
    from orchard.preard import ImageMetadata
    from orchard.server.views import JobView

__all__ = ["FAILURES", "JobId", "TaskId", "router"]

FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure} for status in (400, 401, 403, 404, 409, 413, 422, 429, 502)
}
router = APIRouter(prefix="/projects/{project_id}", tags=["jobs"], responses=FAILURES)

JobId = Annotated[str, Path(max_length=100, description="the job: the id of an order's task")]
TaskId = Annotated[str, Path(max_length=140, description="the jobtask: one block of the job")]


@router.get("")
def get_project(project: ProjectOf, platform: PlatformOf) -> Envelope[ProjectInfo]:
    """Tell of the project."""
    found = platform.records.project(project)
    return Envelope(
        data=ProjectInfo(
            id=project,
            workspaceId=LOCAL,
            name=found.name if found else "This machine's orders",
            description=found.description if found else "",
            createdAt=text_time(found.created_ms) if found else None,
        )
    )


@router.get("/jobs")
def list_jobs(
    project: ProjectOf,
    platform: PlatformOf,
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=1000, description="jobs on one page")] = 500,
    offset: Annotated[int, Query(ge=0, le=10**9, description="jobs before this page")] = 0,
    order: Annotated[str | None, Query(max_length=300, description="of this order only")] = None,
) -> Envelope[list[JobInfo]]:
    """List the project's jobs, those of the latest order first.

    ``X-Total-Count`` says how many there are; ``Link`` leads to the next page.
    """
    views, total = platform.jobs(project, offset=offset, limit=limit, order=order)
    response.headers["X-Total-Count"] = str(total)
    if offset + limit < total:
        following = request.url.include_query_params(limit=limit, offset=offset + limit)
        response.headers["Link"] = f'<{following}>; rel="next"'
    return Envelope(data=[_job(view) for view in views])


@router.post("/jobs", status_code=201)
def submit(project: ProjectOf, platform: PlatformOf, wanted: JobRequest) -> Envelope[Submitted]:
    """Order collections x tiles x periods; each task becomes a job.

    The same order again gives the same jobs, and starts nothing twice.
    """
    if not platform.submitting.acquire(blocking=False):
        raise Busy(5, "other orders are being planned")
    try:
        order, views, count = platform.submit(project, wanted.workflow, wanted.arguments)
    finally:
        platform.submitting.release()
    return Envelope(data=Submitted(order=order, count=count, jobs=[_job(view) for view in views]))


@router.get("/jobs/{job_id}")
def get_job(project: ProjectOf, platform: PlatformOf, job_id: JobId) -> Envelope[JobInfo]:
    """Tell of a job."""
    view = platform.job(project, job_id)
    platform.ask(view.id)
    return Envelope(data=_job(view, platform.image_metadata(view)))


@router.get("/jobs/{job_id}/tasks", include_in_schema=False)
@router.get("/jobs/{job_id}/tasks/")
def list_tasks(project: ProjectOf, platform: PlatformOf, job_id: JobId) -> Envelope[list[TaskInfo]]:
    """List a job's tasks, one a block, in the order of the workflow."""
    return Envelope(data=_tasks(platform.job(project, job_id)))


@router.get(
    "/jobs/{job_id}/tasks/{task}/logs",
    response_class=Response,
    responses=FAILURES | {200: {"description": "A line each", "content": {"text/plain": {}}}},
)
def get_logs(
    project: ProjectOf, platform: PlatformOf, job_id: JobId, task: TaskId
) -> PlainTextResponse:
    """Give the log of a jobtask: what happened when, in UTC."""
    view = platform.job(project, job_id)
    return PlainTextResponse(platform.logs(view, block_of(view, task)))


@router.post("/jobs/{job_id}/cancel", include_in_schema=False)
@router.post("/jobs/{job_id}/cancel/")
def cancel(project: ProjectOf, platform: PlatformOf, job_id: JobId) -> Envelope[JobInfo]:
    """Cancel a job that is pending or running; one that has ended stays as it is."""
    platform.cancel(platform.job(project, job_id))
    return Envelope(data=_job(platform.job(project, job_id)))


@router.get("/jobs/{job_id}/credits")
def get_credits(project: ProjectOf, platform: PlatformOf, job_id: JobId) -> Envelope[Credits]:
    """Tell what a job has used up: nothing here."""
    platform.job(project, job_id)
    return Envelope(data=Credits(creditsUsed=0))


def block_of(view: JobView, task: str) -> str:
    """Return the block of a jobtask.

    Raises
    ------
    HTTPException
        404 when it is none of this job.
    """
    block = view.block_of(task)
    if block is None:
        raise HTTPException(404, f"job {view.id} has no such task")
    return block


def _job(view: JobView, metadata: ImageMetadata | None = None) -> JobInfo:
    status, wanted, submission = view.status, view.workflow, view.submission
    image: dict[str, Any] = {
        "order": view.ref.order,
        "name": view.name,
        "prefix": view.prefix,
        "collections": submission.get("collections"),
        "period_start": submission.get("period_start"),
        "period_end": submission.get("period_end"),
        "period_freq": submission.get("period_freq"),
    }
    if metadata is not None:
        start, end = metadata.period
        image |= {
            "collections": [metadata.collection_id],
            "tile_indices": [list(metadata.tile.index)],
            "period_start": start.isoformat(),
            "period_end": end.isoformat(),
            "acquisitions": len(metadata.acquisitions),
        }
    inputs = {PREARD: image}
    if wanted.composite is not None:
        inputs[COMPOSITE] = wanted.composite.model_dump()
    if wanted.index is not None:
        inputs[INDEX] = {"name": wanted.index.name, "formula": wanted.index.expression}
    errors = [status.error_message, *(record.error for record in view.records.values())]
    return JobInfo(
        id=view.id,
        name=view.name,
        mode="DEFAULT",
        description="",
        status=view.state,
        startedAt=text_time(status.start_timestamp_ms or status.creation_timestamp_ms),
        finishedAt=text_time(view.finished_ms),
        workflowName=wanted.name,
        workflowId=wanted.id,
        order=view.ref.order,
        error=next((error for error in errors if error), None),
        inputs=inputs,
    )


def _tasks(view: JobView) -> list[TaskInfo]:
    found = []
    for block, state in zip(view.workflow.blocks, view.states, strict=True):
        current = view.current(block)
        started = current.started_ms if current else 0
        finished = current.finished_ms if current else 0
        error = current.error if current else None
        if block == PREARD:
            started = view.status.start_timestamp_ms or started
            error = view.status.error_message or error
        if state not in ("SUCCEEDED", "FAILED", "CANCELLED", "ERROR"):
            finished = 0
        found.append(
            TaskInfo(
                id=task_id(view.id, block),
                name=block,
                status=state,
                startedAt=text_time(started),
                finishedAt=text_time(finished),
                block=BlockName(name=block),
                blockVersion=orchard.__version__,
                error=error,
            )
        )
    return found
