"""The simulator's loopback server: the paths of the REST API over a `Service`."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from .service import Service, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EarthEngineServer", "RequestFault"]


class RequestFault:
    """What goes wrong with the next requests of a kind.

    Parameters
    ----------
    kind : str
        ``export``, ``compute``, ``operations``, ``cancel``, ``get``.
    what : int or str
        An HTTP status to answer with, ``"drop"`` (the connection is closed, nothing was done) or
        ``"drop-reply"`` (it was done, but the answer is lost).
    times : int
        How many requests.
    message : str
    """

    def __init__(self, kind: str, what: int | str, times: int = 1, message: str = "") -> None:
        self.kind = kind
        self.what = what
        self.left = times
        self.message = message


class EarthEngineServer:
    """Serves a `Service` at ``http://127.0.0.1:PORT``; a context manager.

    Parameters
    ----------
    service : Service
    live : bool
        Whether time passes: one step before each listing of operations.

    Attributes
    ----------
    requests : Counter
        How many requests of each kind came.
    pages : int
        How many pages of operations were given.
    faults : list of RequestFault
    hook : callable, optional
        Called as ``hook(kind, "before" | "after")`` around each request.
    """

    def __init__(self, service: Service, *, live: bool = False) -> None:
        self.service = service
        self.live = live
        self.requests: Counter[str] = Counter()
        self.pages = 0
        self.faults: list[RequestFault] = []
        self.headers: dict[str, str] = {}
        self._documents = _documents()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def fault(self, kind: str) -> RequestFault | None:
        """Take the fault that is due for a request."""
        with self._lock:
            for fault in self.faults:
                if fault.kind == kind and fault.left > 0:
                    fault.left -= 1
                    return fault
        return None

    def answer(self, kind: str, name: str, query: dict[str, str], body: bytes) -> Any:
        """Return the JSON for a request."""
        service = self.service
        match kind:
            case "discovery" | "algorithms":
                return self._documents[kind]
            case "compute":
                return service.compute(json.loads(body), len(body))
            case "export":
                return service.export(json.loads(body), len(body))
            case "operations":
                self.pages += 1
                if self.live and not query.get("pageToken"):
                    service.step()
                return service.page(int(query.get("pageSize", 100)), query.get("pageToken", ""))
            case "get":
                return service.get(name).to_json(service.project)
            case "cancel":
                return service.cancel(name)
        raise ServiceError(404, "NOT_FOUND", "Not Found")

    def count(self, kind: str, query: dict[str, str]) -> None:
        """Count a request; the further pages of a listing are one request with the first."""
        with self._lock:
            self.requests[kind] += not query.get("pageToken")


def _documents() -> dict[str, bytes]:
    """Return the discovery document and the list of algorithms that the client's own tests use."""
    folder = resources.files("ee") / "tests"
    discovery = (folder / "cloud_api_discovery_document.json").read_bytes()
    return {
        "discovery": discovery.replace(b"v1alpha", b"v1"),
        "algorithms": (folder / "algorithms.json").read_bytes(),
    }


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    owner: EarthEngineServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: without it an answer takes 45 ms
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._serve(b"")

    def do_POST(self) -> None:
        """Answer a POST."""
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _serve(self, body: bytes) -> None:
        owner = self.owner
        kind, name, query = _route(self.command, self.path, owner.service.project)
        owner.count(kind, query)
        owner.headers = {k.lower(): v for k, v in self.headers.items()}
        fault = owner.fault(kind)
        if fault and fault.what == "drop":
            self.close_connection = True
            return
        try:
            if fault and isinstance(fault.what, int):
                raise ServiceError(fault.what, _STATUS.get(fault.what, "UNKNOWN"), fault.message)
            status, content = 200, owner.answer(kind, name, query, body)
        except ServiceError as error:
            status, content = error.code, error.body
        if fault and fault.what == "drop-reply":
            self.close_connection = True
            return
        self._send(status, content if isinstance(content, bytes) else json.dumps(content).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def _route(method: str, target: str, project: str) -> tuple[str, str, dict[str, str]]:
    """Return the kind of a request, the operation it names and its query."""
    parts = urlsplit(target)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    root = f"/v1/projects/{project}/"
    path = parts.path.removeprefix(root) if parts.path.startswith(root) else parts.path
    plain = {
        ("GET", "/$discovery/rest"): "discovery",
        ("GET", "algorithms"): "algorithms",
        ("POST", "value:compute"): "compute",
        ("POST", "image:export"): "export",
        ("GET", "operations"): "operations",
    }
    if (method, path) in plain:
        return plain[method, path], "", query
    if path.startswith("operations/"):
        name = path.removeprefix("operations/")
        if method == "POST" and name.endswith(":cancel"):
            return "cancel", name.removesuffix(":cancel"), query
        if method == "GET":
            return "get", name, query
    return "unknown", path, query


@contextmanager
def offline_client() -> Iterator[None]:
    """Keep the client from asking a public host for its list of deprecated data sets."""
    import ee
    from ee import deprecation

    kept: Callable[..., Any] = deprecation._FetchDataCatalogStac  # noqa: SLF001 - no other way
    deprecation._FetchDataCatalogStac = dict  # noqa: SLF001
    try:
        yield
    finally:
        ee.Reset()
        deprecation._FetchDataCatalogStac = kept  # noqa: SLF001
