"""The page at /docs: the OpenAPI document for people, without scripts and without a network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a202c; background: #fff }
code, pre { font: 0.9em ui-monospace, monospace }
pre { background: #f4f6f8; padding: 0.8rem; overflow-x: auto; border-radius: 6px }
details { border: 1px solid #d8dee6; border-radius: 6px; margin: 0.5rem 0; padding: 0.4rem 0.8rem }
summary { cursor: pointer }
.method { display: inline-block; min-width: 3.5rem; font-weight: 700; color: #2b6cb0 }
.POST { color: #2f855a }
td, th { text-align: left; padding: 0.15rem 1rem 0.15rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) {
  body { color: #e2e8f0; background: #14181f } pre { background: #1f2630 }
  details { border-color: #344050 } .method { color: #7fb2ea } .POST { color: #7bd0a0 }
}
"""


@router.get("/docs", response_class=HTMLResponse)
def get_page(request: Request) -> str:
    """Show all calls."""
    return "".join(_page(request.app.openapi()))


@router.get("/health")
def get_health() -> JSONResponse:
    """Say that the server is up."""
    return JSONResponse({"status": "ok"})


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    about = document["info"]
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield f"<title>{escape(about['title'])}</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    yield f"<h1>{escape(about['title'])} <small>{escape(about['version'])}</small></h1>"
    yield f"<p>{escape(about.get('description', ''))}</p>"
    yield "<p>For programs: <a href='openapi.json'>openapi.json</a></p>"
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            yield from _call(document, path, method.upper(), call)
    yield "</html>"


def _call(
    document: Mapping[str, Any], path: str, method: str, call: Mapping[str, Any]
) -> Iterator[str]:
    text = call.get("description", "")
    yield f"<details><summary><span class='method {method}'>{method}</span> "
    yield f"<code>{escape(path)}</code><br>{escape(text.splitlines()[0] if text else '')}</summary>"
    rest = "\n".join(text.splitlines()[1:]).strip()
    yield f"<p>{escape(rest)}</p>" if rest else ""
    rows = [(p["name"], p["in"], p.get("description", "")) for p in call.get("parameters", ())]
    if rows:
        yield "<table><tr><th>parameter<th>in<th>meaning</tr>"
        for row in rows:
            yield "<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) + "</tr>"
        yield "</table>"
    if example := _example(document, call):
        yield f"<p>Body, for example:</p><pre>{escape(example)}</pre>"
    answers = ", ".join(
        f"{code} {escape(answer.get('description', ''))}"
        for code, answer in call["responses"].items()
    )
    yield f"<p>Answers: {answers}</p></details>"


def _example(document: Mapping[str, Any], call: Mapping[str, Any]) -> str:
    import json

    body = call.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
    schema = document.get("components", {}).get("schemas", {}).get(name, {})
    found = schema.get("examples")
    return json.dumps(found[0], indent=2) if found else ""
