"""Who is calling: the token of a call, and whether it may see a project."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from orchard.server.auth import LOCAL
from orchard.server.platform import Platform

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

__all__ = ["Caller", "PlatformOf", "ProjectOf", "is_local"]

_bearer = HTTPBearer(auto_error=False, description="A token of POST /oauth/token")


def get_platform(request: Request) -> Platform:
    """Return the platform of the application."""
    platform: Platform = request.app.state.platform
    return platform


PlatformOf = Annotated[Platform, Depends(get_platform)]


def is_local(connection: HTTPConnection) -> bool:
    """Whether a call comes from this machine, or from this very process."""
    if connection.client is None:
        return True
    try:
        return ipaddress.ip_address(connection.client.host).is_loopback
    except ValueError:
        return False


def get_caller(
    request: Request,
    platform: PlatformOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    """Return the project that is calling.

    Raises
    ------
    HTTPException
        401 without a valid token, unless the platform is open and the call comes from here.
    """
    if platform.is_open:
        if platform.in_process or is_local(request):
            return LOCAL
        raise _unauthorised("this platform has no projects yet, and so serves its own machine only")
    project = platform.auth.project_of(credentials.credentials) if credentials else None
    if project is None:
        raise _unauthorised("a valid token is needed: see POST /oauth/token")
    request.state.project = project.id
    return project.id


Caller = Annotated[str, Depends(get_caller)]


def get_project(
    caller: Caller,
    project_id: Annotated[str, Path(max_length=100, description="the project")],
) -> str:
    """Return the project of the call's path, which is the caller's own.

    Raises
    ------
    HTTPException
        404 for any other: whether it exists is nobody else's business.
    """
    if project_id != caller:
        raise HTTPException(404, "there is no such project")
    return project_id


ProjectOf = Annotated[str, Depends(get_project)]


def _unauthorised(message: str) -> HTTPException:
    return HTTPException(401, message, headers={"WWW-Authenticate": "Bearer"})
