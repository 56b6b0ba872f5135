"""A job platform on loopback, written from the contract alone, with odd corners to switch on.

Its answers are what the contract says a platform may answer; it shares no code with the client or
with Orchard's own server.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = "p-1"
KEY = "k-1"


@dataclass
class Fault:
    """Something that goes wrong with the next `times` requests whose path contains `path`."""

    path: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None  # bytes of the body, then the connection is cut
    announce: int | None = None  # a wrong Content-Length
    times: int = 1


@dataclass
class Link:
    """A file behind a signed link."""

    content: bytes
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"v1"'
    total: str | None = None  # what Content-Range says instead of the size


class ContractServer:
    """The server; `url` is its base URL."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, list[dict[str, Any]]] = {}
        self.features: dict[str, Any] = {}  # by "J" or "J/T"
        self.quicklooks: dict[str, dict[str, tuple[str | None, bytes]]] = {}  # by "J/T"
        self.archives: dict[str, Link] = {}  # by "J" or "J/T"
        self.logs: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.tokens: set[str] = set()
        self.token_shape: tuple[str, ...] = ("data", "access_token")
        self.token_count = 0
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.cancelled: list[str] = []
        self.status_sequence: dict[str, list[str]] = {}
        self.signature = "s1"
        self._lock = threading.Lock()
        server = self

        class Handler(_Handler):
            platform = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def add_job(self, job: str, *tasks: dict[str, Any], **info: Any) -> None:
        self.jobs[job] = {"id": job, "name": f"name of {job}", "status": "SUCCEEDED", **info}
        self.tasks[job] = list(tasks)

    def count(self, text: str) -> int:
        return sum(text in path for _, path, _ in self.requests)

    @property
    def counts(self) -> Counter[str]:
        return Counter(path.partition("?")[0] for _, path, _ in self.requests)

    def take_fault(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    platform: ContractServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self._note()
        if self.path == "/oauth/token" and not self._faulty(b""):
            self._token()
        elif found := re.fullmatch(rf"/projects/{PROJECT}/jobs/([^/]+)/cancel/", self.path):
            if self._allowed() and not self._faulty(b""):
                self.platform.cancelled.append(found[1])
                self._data(None)
        elif self.path != "/oauth/token":
            self._error(404, "no such call")

    def do_GET(self) -> None:
        self._note()
        if self.path.startswith("/signed/"):
            self._link()
        elif self._allowed() and not self._faulty(b""):
            self._api()

    def _note(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.platform.requests.append((self.command, self.path, headers))

    def _token(self) -> None:
        expected = "Basic " + base64.b64encode(f"{PROJECT}:{KEY}".encode()).decode()
        if self.headers.get("authorization") != expected:
            self._error(401, "Bad credentials")
            return
        self.platform.token_count += 1
        token = f"token-{self.platform.token_count}"
        self.platform.tokens = {token}
        answer: dict[str, Any] = {"token_type": "bearer", "expires_in": 3600}
        if "data" in self.platform.token_shape:
            answer["data"] = {"accessToken": token}
        if "access_token" in self.platform.token_shape:
            answer["access_token"] = token
        self._json(answer)

    def _allowed(self) -> bool:
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        if token in self.platform.tokens:
            return True
        self._error(401, "token expired")
        return False

    def _api(self) -> None:
        platform = self.platform
        found = re.fullmatch(rf"/projects/{PROJECT}/jobs/([^/]+)(/.*)?", self.path)
        if found is None or found[1] not in platform.jobs:
            self._error(404, "Job not found")
            return
        job, rest = found[1], found[2] or ""
        if rest == "":
            info = dict(platform.jobs[job])
            sequence = platform.status_sequence.get(job)
            if sequence:
                info["status"] = sequence.pop(0) if len(sequence) > 1 else sequence[0]
            self._data(info)
        elif rest == "/tasks/":
            self._data(platform.tasks[job])
        elif rest == "/credits":
            self._data({"creditsUsed": 7})
        elif rest in ("/outputs/data-json/", "/outputs/data-json"):
            self._geojson(job)
        elif rest == "/downloads/results/":
            self._signed(job)
        elif task := re.fullmatch(r"/tasks/([^/]+)(/.*)", rest):
            self._task(job, task[1], task[2])
        else:
            self._error(404, "no such call")

    def _task(self, job: str, task: str, rest: str) -> None:
        key = f"{job}/{task}"
        if rest == "/logs":
            self._bytes(self.platform.logs.get(key, "").encode(), "text/plain; charset=utf-8")
        elif rest in ("/outputs/data-json/", "/outputs/data-json"):
            self._geojson(key)
        elif rest == "/downloads/results/":
            self._signed(key)
        elif rest == "/outputs/quicklooks/":
            self._data(list(self.platform.quicklooks.get(key, {})))
        elif rest.startswith("/outputs/quicklooks/"):
            kind, content = self.platform.quicklooks[key][rest.rpartition("/")[2]]
            self._bytes(content, kind)
        else:
            self._error(404, "no such call")

    def _geojson(self, key: str) -> None:
        self._json(self.platform.features.get(key, {"type": "FeatureCollection", "features": []}))

    def _signed(self, key: str) -> None:
        if key not in self.platform.archives:
            self._error(404, "no results")
            return
        url = f"{self.platform.url}/signed/{key}?sig={self.platform.signature}"
        self._data({"url": url})

    def _link(self) -> None:
        """The store behind signed links: knows no token, knows ranges."""
        key, _, query = self.path.removeprefix("/signed/").partition("?")
        link = self.platform.archives[key]
        if query != f"sig={self.platform.signature}":
            self._bytes(b"<Error>expired</Error>", "application/xml", status=403)
            return
        headers = dict(link.headers)
        if link.etag:
            headers["ETag"] = link.etag
        content, status = link.content, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or "")
        same = self.headers.get("if-range") in (None, link.etag)
        if asked and link.ranges and same:
            start = int(asked[1])
            content, status = content[start:], 206
            total = link.total or len(link.content)
            headers["Content-Range"] = f"bytes {start}-{len(link.content) - 1}/{total}"
        if not self._faulty(content, headers, status):
            self._bytes(content, "application/gzip", status=status, headers=headers)

    def _faulty(
        self, content: bytes, headers: dict[str, str] | None = None, status: int = 200
    ) -> bool:
        fault = self.platform.take_fault(self.path)
        if fault is None:
            return False
        if fault.status is not None:
            self._bytes(fault.body, "text/plain", status=fault.status, headers=fault.headers)
            return True
        if fault.announce is not None:
            self._bytes(content, None, status=status, headers=headers, length=fault.announce)
            self.close_connection = True
            return True
        if fault.cut_after is not None and content:
            self._head(status, {**(headers or {}), "Content-Length": str(len(content))})
            self.wfile.write(content[: fault.cut_after])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        return True

    def _data(self, data: Any) -> None:
        self._json({"data": data, "error": {}})

    def _error(self, status: int, message: str) -> None:
        answer = {"error": {"code": status, "message": message}, "data": None}
        self._bytes(json.dumps(answer).encode(), "application/json", status=status)

    def _json(self, value: Any) -> None:
        self._bytes(json.dumps(value).encode(), "application/json")

    def _bytes(
        self,
        content: bytes,
        kind: str | None,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        head = {"Content-Length": str(len(content) if length is None else length)}
        if kind:
            head["Content-Type"] = kind
        self._head(status, {**head, **(headers or {})})
        self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
