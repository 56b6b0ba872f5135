"""What blocks have made: features, quicklooks, links to the archives of their files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from orchard.server.auth import Link
from orchard.server.results import feature_collection

from .access import PlatformOf, ProjectOf
from .jobs import FAILURES, JobId, TaskId, block_of
from .models import DownloadLink, Envelope

__all__ = ["router"]

router = APIRouter(prefix="/projects/{project_id}/jobs/{job_id}", tags=["results"])

_GEOJSON = "application/geo+json"
_FEATURES = FAILURES | {
    200: {
        "description": "A FeatureCollection, EPSG:4326",
        "content": {_GEOJSON: {"schema": {"type": "object", "required": ["type", "features"]}}},
    }
}
_PICTURE = FAILURES | {200: {"description": "A picture", "content": {"image/png": {}}}}
# In process, who asks for a result waits for it; the client's patience is 60 s.
_PATIENCE = 30.0


@router.get("/outputs/data-json", include_in_schema=False)
@router.get("/outputs/data-json/", response_class=Response, responses=_FEATURES)
def get_job_features(project: ProjectOf, platform: PlatformOf, job_id: JobId) -> Response:
    """Give the features of the job's last block."""
    view = platform.job(project, job_id)
    return _features(platform, project, job_id, view.workflow.blocks[-1])


@router.get("/tasks/{task}/outputs/data-json", include_in_schema=False)
@router.get("/tasks/{task}/outputs/data-json/", response_class=Response, responses=_FEATURES)
def get_task_features(
    project: ProjectOf, platform: PlatformOf, job_id: JobId, task: TaskId
) -> Response:
    """Give the features of a block."""
    view = platform.job(project, job_id)
    return _features(platform, project, job_id, block_of(view, task))


def _features(platform: PlatformOf, project: str, job_id: str, block: str) -> Response:
    result = platform.result(platform.job(project, job_id), block, _patience(platform))
    if result is None:
        return JSONResponse(feature_collection(()), media_type=_GEOJSON)
    return FileResponse(result.data_json, media_type=_GEOJSON)


@router.get("/tasks/{task}/outputs/quicklooks", include_in_schema=False)
@router.get("/tasks/{task}/outputs/quicklooks/", responses=FAILURES)
def list_quicklooks(
    project: ProjectOf, platform: PlatformOf, job_id: JobId, task: TaskId
) -> Envelope[list[str]]:
    """List the ids of a block's quicklooks; only ``preard`` has any."""
    view = platform.job(project, job_id)
    result = platform.result(view, block_of(view, task), _patience(platform))
    return Envelope(data=result.quicklooks() if result else [])


@router.get(
    "/tasks/{task}/outputs/quicklooks/{quicklook}", response_class=Response, responses=_PICTURE
)
def get_quicklook(
    project: ProjectOf,
    platform: PlatformOf,
    job_id: JobId,
    task: TaskId,
    quicklook: Annotated[str, Path(max_length=300, description="with or without its suffix")],
) -> Response:
    """Give a quicklook."""
    view = platform.job(project, job_id)
    result = platform.result(view, block_of(view, task), _patience(platform))
    path = result.quicklook(quicklook) if result else None
    if path is None:
        raise HTTPException(404, "there is no such quicklook")
    return FileResponse(path, media_type="image/png")


@router.get("/downloads/results", include_in_schema=False)
@router.get("/downloads/results/", responses=FAILURES)
def get_job_link(
    project: ProjectOf, platform: PlatformOf, request: Request, job_id: JobId
) -> Envelope[DownloadLink]:
    """Give a link to the archive of the job's last block."""
    view = platform.job(project, job_id)
    return _link(platform, request, project, job_id, view.workflow.blocks[-1])


@router.get("/tasks/{task}/downloads/results", include_in_schema=False)
@router.get("/tasks/{task}/downloads/results/", responses=FAILURES)
def get_task_link(
    project: ProjectOf, platform: PlatformOf, request: Request, job_id: JobId, task: TaskId
) -> Envelope[DownloadLink]:
    """Give a link to the archive of a block; it needs no token, and expires."""
    view = platform.job(project, job_id)
    return _link(platform, request, project, job_id, block_of(view, task))


def _link(
    platform: PlatformOf, request: Request, project: str, job_id: str, block: str
) -> Envelope[DownloadLink]:
    platform.result(platform.job(project, job_id), block, _patience(platform))
    signed = platform.auth.sign(Link(project=project, job=job_id, block=block))
    url = request.url_for("download", signed=signed, name=f"{job_id}_{block}.zip")
    return Envelope(data=DownloadLink(url=str(url)))


def _patience(platform: PlatformOf) -> float:
    return _PATIENCE if platform.in_process else 0.0
