"""POST /oauth/token: a token for a project's id and key (OAuth2 client credentials)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from .access import PlatformOf
from .models import Failure, Token, TokenData

router = APIRouter(tags=["authentication"])

_basic = HTTPBasic(auto_error=False, description="Project id and project API key")
_FORM = {
    "requestBody": {
        "required": False,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "grant_type": {"type": "string", "enum": ["client_credentials"]},
                    },
                }
            }
        },
    }
}


async def _grant_type(request: Request) -> str:
    form = parse_qs((await request.body()).decode(errors="replace"))
    return form.get("grant_type", ["client_credentials"])[0]


@router.post(
    "/oauth/token",
    openapi_extra=_FORM,
    responses={status: {"model": Failure} for status in (400, 401, 413, 429)},
)
async def get_token(
    request: Request,
    platform: PlatformOf,
    credentials: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> Token:
    """Give a token for a project's id and key."""
    if await _grant_type(request) != "client_credentials":
        raise HTTPException(400, "grant_type must be client_credentials")
    token = None
    if credentials is not None:
        token = await run_in_threadpool(
            platform.auth.token, credentials.username, credentials.password
        )
    if token is None:
        raise HTTPException(
            401,
            "project id and project API key do not belong together",
            headers={"WWW-Authenticate": "Basic"},
        )
    return Token(
        data=TokenData(accessToken=token),
        access_token=token,
        expires_in=platform.auth.token_seconds,
    )
