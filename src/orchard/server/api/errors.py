"""Errors as answers: the contract's envelope, with the library's own words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from orchard.errors import (
    ConflictError,
    DataError,
    EmptyOrderError,
    EngineError,
    InputError,
    NotFoundError,
    OrchardError,
    OrderError,
    OrderNotFoundError,
    StoreError,
)
from orchard.server.auth import Busy
from orchard.server.platform import NotReadyError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request


__all__ = ["add_handlers", "failure", "status_of"]

logger = logging.getLogger(__name__)

# The first that fits.
_STATUS: tuple[tuple[type[OrchardError], int], ...] = (
    (OrderNotFoundError, 404),
    (NotFoundError, 404),
    (EmptyOrderError, 422),
    (OrderError, 409),
    (ConflictError, 409),
    (DataError, 409),
    (InputError, 422),
    (StoreError, 502),
    (EngineError, 502),
)


def status_of(error: OrchardError) -> int:
    """Return the HTTP status that an error of the library is answered with."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error in the contract's envelope."""
    content = {"error": {"code": status, "message": message}, "data": None}
    return JSONResponse(content, status_code=status, headers=headers)


def add_handlers(app: FastAPI) -> None:
    """Have every error of an application answered in the envelope."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(OrchardError, _of_library)
    app.add_exception_handler(Busy, _of_business)
    app.add_exception_handler(Exception, _of_bug)


def _of_http(request: Request, error: Any) -> JSONResponse:
    del request
    return failure(error.status_code, str(error.detail), error.headers)


def _of_validation(request: Request, error: Any) -> JSONResponse:
    del request
    problems = [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
    ]
    return failure(422, "; ".join(problems[:10])[:2000])


def _of_library(request: Request, error: Any) -> JSONResponse:
    status = status_of(error)
    if status >= 500:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
    soon = isinstance(error, NotReadyError) and error.soon
    return failure(status, str(error), {"Retry-After": "2"} if soon else None)


def _of_business(request: Request, error: Any) -> JSONResponse:
    del request
    return failure(429, str(error), {"Retry-After": str(error.seconds)})


def _of_bug(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return failure(500, "the platform failed; its log says why")
