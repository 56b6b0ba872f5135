"""Real servers on loopback for the tests of the stores: S3, GCS's XML API, Azure Blob.

Each is a context manager that gives what `open_store` needs to speak to it. They choose their own
port and are gone at its end.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
BUCKET = "orchard"
# Azurite's account is the same everywhere and no secret:
# https://learn.microsoft.com/azure/storage/common/storage-use-azurite
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a server is, and how its store is opened.

    ``url`` is that of a bucket; ``endpoint`` that of the server, so that a test can put a proxy in
    between; ``faults`` makes the server itself misbehave.
    """

    url: str
    endpoint: str
    options: dict[str, Any] = field(default_factory=dict)
    faults: Faults | None = None


class Faults:
    """A WSGI application in front of another that misbehaves when told to, and keeps a record.

    ``plan`` holds ``(method, fault)`` pairs; the next request of that method gets the fault:
    an int (answered with this status), ``"lost"`` (done, but the answer is lost), ``"dropped"``
    (not even done), ``"cut"`` (half of the body), ``"stalled"`` (half of the body, then silence for
    as long as the client bears it), ``"silent"`` (no answer at all), ``"flipped"`` (one bit is
    wrong) or None (none). ``broken`` holds the faults of all GETs of some paths, by their ends.
    ``retry_after`` is what answers with a status say of it. ``seen`` holds ``(method, path,
    headers)`` of all requests.
    """

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.plan: list[tuple[str, int | str | None]] = []
        self.broken: dict[str, int | str] = {}
        self.retry_after = "0"
        self.seen: list[tuple[str, str, dict[str, str]]] = []

    def _next(self, method: str, path: str) -> int | str | None:
        for end, fault in self.broken.items():
            if method == "GET" and path.endswith(end):
                return fault
        with self._lock:
            for number, (wanted, fault) in enumerate(self.plan):
                if wanted == method:
                    del self.plan[number]
                    return fault
        return None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        method = environ["REQUEST_METHOD"]
        asked = {k[5:].lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
        self.seen.append((method, environ["PATH_INFO"], asked))
        fault = self._next(method, environ["PATH_INFO"])
        if fault is None:
            return self._application(environ, start_response)
        if isinstance(fault, int):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            headers = [("Content-Length", "0"), ("Retry-After", self.retry_after)]
            start_response(f"{fault} Fault", headers)
            return [b""]
        if fault == "dropped":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if fault == "lost":
            list(self._application(environ, lambda *_: None))
        if fault == "silent":
            _wait_for_the_client_to_leave(environ)
        if fault in ("dropped", "lost", "silent"):
            _hang_up(environ)
            start_response("200 Nobody hears it", [("Connection", "close")])
            return [b""]
        body = b"".join(self._application(environ, start_response))
        half = len(body) // 2
        if fault in ("cut", "stalled"):
            return _cut(environ, body[:half], stalls=fault == "stalled")
        return [body[:half], bytes([body[half] ^ 1]), body[half + 1 :]]


def _hang_up(environ: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the client has left
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def _wait_for_the_client_to_leave(environ: dict[str, Any]) -> None:
    connection = environ["werkzeug.socket"]
    connection.settimeout(90)
    with contextlib.suppress(OSError):
        connection.recv(1)


def _cut(environ: dict[str, Any], body: bytes, *, stalls: bool) -> Iterator[bytes]:
    yield body
    if stalls:
        _wait_for_the_client_to_leave(environ)
    _hang_up(environ)


@contextmanager
def serve(application: Callable[..., Any]) -> Iterator[str]:
    """Serve a WSGI application with threads; give its URL."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *args: Any) -> None:
            pass

        def connection_dropped(self, *args: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    # The default poll of 0.5 s is how long each server would take to stop.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def s3_server() -> Iterator[Server]:
    """Moto's S3."""
    faults = Faults(Atomic(_moto()))
    with serve(faults) as endpoint:
        _request(endpoint, "PUT", f"/{BUCKET}")
        options = {
            "endpoint": endpoint,
            "region": "us-east-1",
            "access_key_id": "an-access-key",
            "secret_access_key": "a-secret-key",
        }
        yield Server(url=f"s3://{BUCKET}", endpoint=endpoint, options=options, faults=faults)


@contextmanager
def gcs_server() -> Iterator[Server]:
    """GCS's XML API: moto's S3 behind a translation of headers."""
    faults = Faults(Atomic(GoogleHeaders(_moto())))
    with serve(faults) as endpoint:
        _request(endpoint, "PUT", f"/{BUCKET}")
        options = {"endpoint": endpoint, "bearer_token": "a-bearer-token"}
        yield Server(url=f"gs://{BUCKET}", endpoint=endpoint, options=options, faults=faults)


def _moto() -> Callable[..., Any]:
    from moto.server import create_backend_app

    return create_backend_app("s3")


class Atomic:
    """Let one request be done after the other, as if each were one instant.

    The real services are like that; moto checks a condition and then writes, and can close an
    object that is being read.
    """

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with self._lock:
            return list(self._application(environ, start_response))


class GoogleHeaders:
    """Translate between GCS's XML API and S3: header names, and generations of objects.

    One request at a time: see `Atomic`.
    """

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._generations: dict[str, int] = {}
        self._next = 1

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        for name in [name for name in environ if name.startswith("HTTP_X_GOOG_")]:
            environ[name.replace("GOOG", "AMZ", 1)] = environ.pop(name)
        wanted = environ.pop("HTTP_X_AMZ_IF_GENERATION_MATCH", None)
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method in ("GET", "HEAD"):
            return self._forward(environ, start_response, path)
        if wanted is not None and wanted != str(self._generations.get(path, 0)):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("412 Precondition Failed", [("Content-Length", "0")])
            return [b""]
        whole = "uploadId" not in environ["QUERY_STRING"] or method == "POST"
        if whole:
            self._generations[path] = self._next
            self._next += 1
        body = list(self._forward(environ, start_response, path))
        if method == "DELETE" and whole:
            self._generations.pop(path, None)
        return body

    def _forward(
        self, environ: dict[str, Any], start_response: Callable[..., Any], path: str
    ) -> Any:
        def answer(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            theirs = re.compile("^x-amz-", re.IGNORECASE)
            translated = [(theirs.sub("x-goog-", name), value) for name, value in headers]
            generation = str(self._generations.get(path, 0))
            return start_response(status, [*translated, ("x-goog-generation", generation)])

        return self._application(environ, answer)


def azurite_missing() -> str | None:
    """Why Azurite cannot run here; None: it can."""
    if shutil.which("node") is None:
        return "needs node (https://nodejs.org), which runs Azurite"
    if not _azurite_program().exists():
        return "needs Azurite: npm ci --prefix tests/stores/azurite"
    return None


def _azurite_program() -> Path:
    return HERE / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


@contextmanager
def azure_server(folder: Path) -> Iterator[Server]:
    """Azurite, which keeps its files in a folder."""
    command = ["node", "--no-deprecation", str(_azurite_program()), "--blobPort", "0", "--silent"]
    command += ["--location", str(folder), "--skipApiVersionCheck", "--disableTelemetry"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = None
            while found is None:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError("Azurite ended before it listened")
                found = re.search(r"listens on (http://[\d.]+:\d+)", line)
            endpoint = f"{found[1]}/{AZURITE_ACCOUNT}"
            _make_container(found[1])
            options = {
                "endpoint": endpoint,
                "account_name": AZURITE_ACCOUNT,
                "account_key": AZURITE_KEY,
            }
            yield Server(url=f"az://{BUCKET}", endpoint=endpoint, options=options)
        finally:
            process.kill()  # there is nothing to keep


def _make_container(server: str) -> None:
    """Create the container, with a shared-key signature (no SDK needed for one request).

    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    """
    path = f"/{AZURITE_ACCOUNT}/{BUCKET}"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03"}
    canonical = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    text = f"PUT{chr(10) * 12}{canonical}/{AZURITE_ACCOUNT}{path}\nrestype:container"
    digest = hmac.digest(base64.b64decode(AZURITE_KEY), text.encode(), hashlib.sha256)
    signature = base64.b64encode(digest).decode()
    headers["Authorization"] = f"SharedKey {AZURITE_ACCOUNT}:{signature}"
    _request(server, "PUT", f"{path}?restype=container", headers)


def _request(server: str, method: str, path: str, headers: dict[str, str] | None = None) -> None:
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body=b"", headers=headers or {})
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read()[:300]!r}")
    finally:
        connection.close()


if __name__ == "__main__":
    # For benchmarks, which want the server in another process: prints its URL and options, and
    # serves until its input is closed.
    with {"s3": s3_server, "gcs": gcs_server}[sys.argv[1]]() as running:
        print(json.dumps({"url": running.url, "options": running.options}), flush=True)
        sys.stdin.read()
