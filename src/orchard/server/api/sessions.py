"""The dashboard's sessions: who looks at it, and that it is the dashboard that asks.

A person signs in once with a project's id and key; from then on a cookie says who it is, which no
script can read and which other sites' pages do not send. Only the dashboard's own calls take it.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

import orchard
from orchard.server.auth import LOCAL
from orchard.server.platform import Platform

from .access import PlatformOf, is_local

__all__ = ["MARK", "Asked", "Viewer", "router", "viewer_of"]

MARK = "x-orchard-dashboard"
"""A header that another site's page cannot send without being asked for leave first."""


class SignIn(BaseModel):
    """Who signs in."""

    model_config = ConfigDict(extra="forbid")

    project: str = Field(max_length=100)
    key: str = Field(max_length=1000)


def viewer_of(request: Request, platform: Platform) -> str | None:
    """Return the project of whom is looking; None: nobody that may."""
    if platform.is_open:
        return LOCAL if platform.in_process or is_local(request) else None
    project = platform.auth.session_of(request.cookies.get(platform.auth.cookie, ""))
    return project.id if project else None


def get_viewer(request: Request, platform: PlatformOf) -> str:
    """Return the project of whom is looking.

    Raises
    ------
    HTTPException
        401 without a session, unless the platform is open and the call comes from here.
    """
    project = viewer_of(request, platform)
    if project is None:
        raise HTTPException(401, "sign in with the id and the key of a project")
    request.state.project = project
    return project


def check_asked(request: Request) -> None:
    """Check that it is the dashboard's own page that asks for a change.

    Raises
    ------
    HTTPException
        403 when another page may have had the browser make the call.
    """
    headers = request.headers
    if site := headers.get("sec-fetch-site"):
        is_own = site == "same-origin"
    else:  # over plain HTTP from elsewhere browsers do not say; `Host` may be a proxy's then
        origin = headers.get("origin")
        is_own = not origin or urlsplit(origin).netloc == headers.get("host")
    if not is_own or headers.get(MARK) is None:
        raise HTTPException(403, "only the dashboard's own page may ask for this")


Viewer = Annotated[str, Depends(get_viewer)]
Asked = Depends(check_asked)

router = APIRouter(prefix="/dashboard/session", include_in_schema=False)


@router.get("")
def get_session(platform: PlatformOf, viewer: Viewer) -> JSONResponse:
    """Tell who is signed in."""
    return _told(platform, viewer)


@router.post("", dependencies=[Asked])
def sign_in(request: Request, platform: PlatformOf, wanted: SignIn) -> JSONResponse:
    """Begin a session of a project."""
    if platform.is_open:
        raise HTTPException(409, "this platform has no projects: there is nothing to sign in to")
    held = platform.auth.session(wanted.project, wanted.key)
    if held is None:
        raise HTTPException(401, "project id and project API key do not belong together")
    answer = _told(platform, wanted.project)
    # No Max-Age: it ends with the browser, at the latest when what it holds expires.
    answer.set_cookie(platform.auth.cookie, held, **_cookie(request))
    return answer


@router.delete("", dependencies=[Asked], status_code=204)
def sign_out(request: Request, platform: PlatformOf) -> Response:
    """End the session."""
    answer = Response(status_code=204)
    answer.delete_cookie(platform.auth.cookie, **_cookie(request))
    return answer


def _cookie(request: Request) -> dict[str, Any]:
    return {
        "path": request.scope.get("root_path") or "/",
        "httponly": True,
        "samesite": "strict",
        "secure": request.url.scheme == "https",
    }


def _told(platform: Platform, project: str) -> JSONResponse:
    found = platform.records.project(project)
    data = {
        "project": project,
        "name": found.name if found else "This machine's orders",
        "open": platform.is_open,
        "version": orchard.__version__,
    }
    return JSONResponse(data, headers={"Cache-Control": "no-store"})
