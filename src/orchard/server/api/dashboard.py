"""GET /: the dashboard's page, and the scripts and styles that belong to it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from .packed import Packed, send

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_STATIC = files("orchard.report") / "static"
_FILES = {"dashboard.js": "text/javascript", "dashboard.css": "text/css"}
_HEADERS = {
    # Nothing but the page's own files; no script or style in the page itself, no frame around it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Orchard</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="dashboard/static/dashboard.css">
</head>
<body>
<div id="app"></div>
<noscript>The dashboard needs JavaScript. <a href="docs">The calls of this platform</a>.</noscript>
<script src="dashboard/static/dashboard.js"></script>
</body>
</html>
"""


@router.get("/", response_class=HTMLResponse)
def get_page() -> Response:
    """Show the dashboard; without its scripts, in a checkout where they were not built, the API."""
    if not (_STATIC / "dashboard.js").is_file():
        return RedirectResponse("docs")
    return HTMLResponse(_PAGE, headers=_HEADERS)


@router.get("/dashboard/static/{name}")
def get_static(request: Request, name: str) -> Response:
    """Give a script or a style sheet of the dashboard."""
    path = _STATIC / name
    if name not in _FILES or not path.is_file():
        raise HTTPException(404, "there is no such file")
    return send(request, _packed(name, path.read_bytes()), **{
        "Cache-Control": "no-cache",
        "Cross-Origin-Resource-Policy": "same-origin",
    })  # fmt: skip


@lru_cache(8)
def _packed(name: str, content: bytes) -> Packed:
    etag = hashlib.sha256(content).hexdigest()[:32]
    return Packed.of(content, etag=etag, media_type=_FILES[name])
