"""Pre-ARD from scenes behind HTTP: requests, bytes, and whether it waits for more than the server.

    python benchmarks/preard_http.py [--latency 0.02] [--rate 50] [--rounds 3]

The scenes of `preard.py` are served by a process of its own, which answers every request after
`--latency` seconds and sends `--rate` MB a second to all clients together. `plain` fetches the same
ranges over as many connections, and does nothing with them: it is as fast as the server allows.
Ways take turns; medians of one invocation are printed.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import json
import multiprocessing
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from preard import made_case, make_scenes, orchard_request

PIECE = 64 << 10


class Tap:
    """Bytes, at so many a second, for all who ask."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = time.monotonic()

    def take(self, size: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - 0.05) + size / self._rate
            wait = self._free - now
        if wait > 0:
            time.sleep(wait)


def serve(folder: str, latency: float, rate: float, pipe: Any) -> None:
    """Serve ranges of files; tell what was asked for when told to."""
    tap, asked, lock = Tap(rate), [], threading.Lock()
    files = {f"/{p.name}": p.read_bytes() for p in Path(folder).glob("*.tif")}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(latency)
            data = memoryview(files[self.path])
            start, end = self.headers["Range"].removeprefix("bytes=").split("-")
            part = data[int(start) : int(end) + 1]
            with lock:
                asked.append((self.path, int(start), len(part)))
            self.send_response(206)
            last = int(start) + len(part) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(data)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            for place in range(0, len(part), PIECE):
                piece = part[place : place + PIECE]
                tap.take(len(piece))
                self.wfile.write(piece)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pipe.send(server.server_port)
        while pipe.recv() == "asked":
            with lock:
                pipe.send(list(asked))
                asked.clear()


def run_orchard(case: dict[str, Any]) -> float:
    """Make the image in a process of its own, so that nothing is remembered."""
    from orchard.engines.local.pixels import Window, write_shard

    request = orchard_request(case)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        write_shard(request, Window.whole(request.tile), Path(folder, "x.tif"), threads=2)
        return time.perf_counter() - began


def run_plain(port: int, ranges: list[tuple[str, int, int]], connections: int) -> float:
    """Fetch ranges, each connection the next one that nobody has."""
    local = threading.local()

    def fetch(item: tuple[str, int, int]) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port)
        path, start, size = item
        local.connection.request(
            "GET", path, headers={"Range": f"bytes={start}-{start + size - 1}"}
        )
        local.connection.getresponse().read()

    began = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(fetch, ranges))
    return time.perf_counter() - began


def needed(case: dict[str, Any]) -> int:
    """Bytes of the blocks that contribute, of the same scenes on disk."""
    from preard import contributing

    read, _ = contributing(case)
    return sum(len(data[0]) + len(data[1]) for _, _, data, _ in read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--rate", type=float, default=50, help="MB/s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dates", type=int, default=2)
    parser.add_argument("--size", type=int, default=2500)
    args = parser.parse_args()
    scenes = Path(tempfile.gettempdir(), "orchard-scenes")
    scenes.mkdir(exist_ok=True)
    make_scenes(scenes)
    case = made_case(scenes, args.dates, 8, args.size)
    enough = needed(case)

    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(
        target=serve, args=(str(scenes), args.latency, args.rate * 1e6, theirs), daemon=True
    )
    server.start()
    port = ours.recv()
    remote = json.loads(json.dumps(case).replace(f'"{scenes}/', f'"http://127.0.0.1:{port}/'))
    walls: dict[str, list[float]] = {"orchard": [], "plain": []}
    ranges: list[tuple[str, int, int]] = []
    from orchard.engines.local.pixels import files

    for _ in range(args.rounds):
        with spawn.Pool(1) as pool:
            walls["orchard"].append(pool.apply(run_orchard, (remote,)))
        ours.send("asked")
        ranges = ours.recv()
        walls["plain"].append(run_plain(port, ranges, files.REQUESTS))
        ours.send("asked")
        ours.recv()
    ours.send("stop")
    server.join(10)

    bands = len(case["scenes"]) * 8
    sent = sum(size for _, _, size in ranges)
    print(f"{args.latency * 1000:.0f} ms a request, {args.rate:.0f} MB/s; {bands} files")
    print(
        f"requests {len(ranges)} ({len(ranges) / bands:.1f} a file): one after the other they would"
        f" wait {len(ranges) * args.latency:.1f} s"
    )
    print(f"bytes {sent / 1e6:.1f} MB, of which needed {enough / 1e6:.1f} ({sent / enough:.2f} x)")
    for way, found in walls.items():
        print(f"{way:8} {median(found):6.2f} s {sent / 1e6 / median(found):6.1f} MB/s")
    print(f"orchard / plain: {median(walls['orchard']) / median(walls['plain']):.2f}")


if __name__ == "__main__":
    main()
