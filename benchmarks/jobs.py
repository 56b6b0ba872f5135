"""A large result through the jobs client: seconds and memory, against plain reads of one server.

Run ``python benchmarks/jobs.py [MB]``. A file server on loopback serves an archive of random bytes.
Each line is a process of its own; its peak memory is that of the whole interpreter.

- ``plain``: `http.client` into a file, a megabyte at a time: the least that can be done;
- ``download``: the client's download, length checked;
- ``hashed``: the same with the MD5 that the server announces;
- ``unpacked``: `Job.download_results`, through the platform's calls to the unpacked files;
- ``in process``: the client's download of the same bytes from an ASGI application in the process.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WAYS = ("plain", "download", "hashed", "unpacked", "in process")
REPEATS = 3


def make_archive(path: Path, megabytes: int) -> None:
    """Write a .tgz of random bytes, which no compression makes smaller."""
    block = os.urandom(1 << 20)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("output/picture.tif")
        info.size = megabytes << 20
        archive.addfile(info, io.BufferedReader(Repeated(block, megabytes)))


class Repeated(io.RawIOBase):
    """One block, many times."""

    def __init__(self, block: bytes, times: int) -> None:
        self._block, self._left = block, times * len(block)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        start = -self._left % len(self._block)
        count = min(len(buffer), self._left, len(self._block) - start)
        buffer[:count] = self._block[start : start + count]
        self._left -= count
        return count


def serve(path: Path) -> ThreadingHTTPServer:
    """Serve a platform with one job, whose results are the archive."""
    size = path.stat().st_size
    with path.open("rb") as file:
        md5 = base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.startswith("/file"):
                url = f"http://{self.headers['host']}/file"
                answer = json.dumps({"data": {"id": "j", "status": "SUCCEEDED", "url": url}})
                self._head(len(answer))
                self.wfile.write(answer.encode())
                return
            self._head(size, {"Content-MD5": md5} if self.path == "/file-md5" else {})
            self.wfile.flush()
            with path.open("rb") as file:
                self.connection.sendfile(file)

        def _head(self, length: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(200)
            for name, value in {"Content-Length": str(length), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def plain(url: str, folder: Path) -> None:
    host = url.removeprefix("http://")
    connection = HTTPConnection(host)
    connection.request("GET", "/file")
    answer = connection.getresponse()
    with (folder / "file").open("wb") as file:
        while chunk := answer.read(1 << 20):
            file.write(chunk)


def one(way: str, url: str, folder: Path, archive: Path) -> None:
    """Do it once, and print seconds and peak memory."""
    if way == "plain":
        start = time.perf_counter()
        plain(url, folder)
    else:
        from orchard.jobs import Job, Session
        from orchard.jobs.download import download
        from orchard.jobs.http import PlatformClient
        from orchard.jobs.inprocess import InProcessTransport

        client = PlatformClient(
            url, transport=InProcessTransport(app_of(archive)) if way == "in process" else None
        )
        start = time.perf_counter()
        if way == "unpacked":
            Job(Session(project_id="p", client=client), "p", "j").download_results(folder)
        else:
            link = "/file-md5" if way == "hashed" else "/file"
            download(client, lambda: link, folder / "file")
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "memory": memory}))


def app_of(archive: Path):
    """An ASGI application that sends one file."""

    async def app(scope, _receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        length = str(archive.stat().st_size).encode()
        start = {"status": 200, "headers": [(b"content-length", length)]}
        await send({"type": "http.response.start", **start})
        with archive.open("rb") as file:
            while chunk := file.read(1 << 18):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def main(megabytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, archive = Path(name), Path(name) / "archive.tgz"
        make_archive(archive, megabytes)
        server = serve(archive)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(REPEATS):
            for way in WAYS:
                target = folder / "target"
                target.mkdir()
                done = subprocess.run(
                    [sys.executable, __file__, "--one", way, url, str(target), str(archive)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                found[way].append(json.loads(done.stdout))
                shutil.rmtree(target)
        server.shutdown()
    base = statistics.median(run["seconds"] for run in found["plain"])
    print(f"{megabytes} MB, median of {REPEATS}")
    for way, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        memory = max(run["memory"] for run in runs)
        print(
            f"{way:12} {seconds:6.2f} s {megabytes / seconds:7.0f} MB/s "
            f"{base / seconds:5.2f} x plain {memory:6.0f} MB of memory"
        )


if __name__ == "__main__":
    if "--one" in sys.argv:
        how, where, target_folder, source = sys.argv[2:]
        one(how, where, Path(target_folder), Path(source))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
