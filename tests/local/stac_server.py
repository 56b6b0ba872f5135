"""Catalogues on loopback: static files, and a STAC API with paging, as pystac-client speaks it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Stac:
    """What is served. ``faults``: statuses that the next requests are answered with."""

    url: str = ""
    files: dict[str, Any] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    faults: list[int] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)

    def landing(self) -> dict[str, Any]:
        core = "https://api.stacspec.org/v1.0.0"
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "api",
            "description": "for tests",
            "conformsTo": [f"{core}/core", f"{core}/item-search"],
            "links": [
                {"rel": "self", "href": self.url, "type": "application/json"},
                {"rel": "root", "href": self.url, "type": "application/json"},
                {
                    "rel": "search",
                    "href": f"{self.url}/search",
                    "type": "application/geo+json",
                    "method": "POST",
                },
            ],
        }

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        self.searches.append(body)
        found = [item for item in self.items if _matches(item, body)]
        first = int(body.get("token", 0))
        links = []
        if first + self.page < len(found):
            links.append(
                {
                    "rel": "next",
                    "href": f"{self.url}/search",
                    "method": "POST",
                    "body": {**body, "token": str(first + self.page)},
                }
            )
        page = found[first : first + self.page]
        return {"type": "FeatureCollection", "features": page, "links": links}


def _matches(item: dict[str, Any], body: dict[str, Any]) -> bool:
    if item["collection"] not in body["collections"]:
        return False
    start, end = (datetime.fromisoformat(part) for part in body["datetime"].split("/"))
    when = item["properties"].get("datetime") or item["properties"]["start_datetime"]
    time = datetime.fromisoformat(when)
    if time.tzinfo is not None and not start <= time <= end:
        return False
    return shape(item["geometry"]).intersects(shape(body["intersects"]))


@contextmanager
def serve() -> Iterator[Stac]:
    stac = Stac()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, document: Any) -> None:
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(data)

        def _handle(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else {}
            stac.requests.append((self.command, self.path))
            if stac.faults:
                self._answer(stac.faults.pop(0), {"description": "a fault that was asked for"})
            elif self.path in stac.files:
                self._answer(200, stac.files[self.path])
            elif self.path in ("", "/"):
                self._answer(200, stac.landing())
            elif self.path == "/search":
                self._answer(200, stac.search(body))
            else:
                self._answer(404, {"description": "no such document"})

        do_GET = do_POST = _handle  # noqa: N815 - the names of the base class

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stac.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stac
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
