"""A large result from the platform to the client: throughput against a plain file server, memory.

One gigabyte is downloaded (a) by the client from the platform, (b) by the same client from Python's
own file server, in turns; then once more with all that `download_results` does. Server and client
are processes of their own, whose peak memory is read in the end.

    python benchmarks/server.py [--size 1024] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

COLLECTION = "LANDSAT/LC08/C02/T1_L2"
GRID = {
    "name": "SMALL",
    "crs": (
        "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
    ),
    "ul": [-2565585.0, 3314805.0],
    "res": [30, 30],
    "size": [64, 64],
    "limits": [[0, 2000], [0, 3000]],
}
TILE = (596, 1510)

SERVER = """
import sys
from orchard.config import load_config
from orchard.server.app import create_app
from orchard.server.serve import listen, serve
with listen("127.0.0.1", 0) as opened:
    print(opened.getsockname()[1], flush=True)
    serve(create_app(load_config(sys.argv[1]), run=False), opened)
"""

PLAIN = """
import functools, http.server, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
handler = functools.partial(Quiet, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

CLIENT = """
import json, resource, sys, time
from pathlib import Path
from orchard.jobs.download import download
from orchard.jobs.http import PlatformClient
url, target = sys.argv[1:]
client = PlatformClient(url.split("/", 3)[0] + "//" + url.split("/", 3)[2])
begun = time.perf_counter()
size = download(client, lambda: url, Path(target))
seconds = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "bytes": size, "peak": peak}))
"""

WHOLE = """
import json, resource, sys, time
from orchard.jobs import authenticate, initialize_job
url, job, target = sys.argv[1:]
authenticate(project_id="local", base_url=url)
job = initialize_job(job)
begun = time.perf_counter()
files = job.download_results(target)
seconds = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "files": len(files), "peak": peak}))
"""


def make_platform(folder: Path, size: int) -> tuple[Path, str]:
    """Make a job whose last block has a result of `size` bytes; return configuration and job."""
    from orchard.config import load_config
    from orchard.demo.archive import make_archive
    from orchard.server.platform import Platform
    from orchard.server.records import BlockRecord

    catalog = make_archive(folder / "archive", size=128, dates=2)
    path = folder / "orchard.yaml"
    data = {
        "tile_grid": GRID,
        "store": "preard/",
        "engine": {"name": "local", "catalog": str(catalog)},
        "collections": {COLLECTION: {"bands": {"thermal": None}}},
    }
    path.write_text(yaml.safe_dump(data))
    platform = Platform(load_config(path))
    tracker = platform.tracker
    name, _ = tracker.submit(COLLECTION, [TILE], "2023-04-01", "2023-06-01")
    (status,) = tracker.wait(name).statuses
    platform.index.refresh(at_least=True)
    view = platform.job("local", status.id)
    for block in ("preard", "ard"):
        place = platform.results.begin(view.id, block)
        if block == "ard":
            with (place / "files" / "large.bin").open("wb") as file:
                for _ in range(size >> 20):
                    file.write(os.urandom(1 << 20))
        platform.results.commit(place, view.id, block, view.version, [])
        platform.records.put_block(
            BlockRecord(
                job=view.id, block=block, order=name, version=view.version, state="SUCCEEDED"
            )
        )
    platform.close()
    return path, view.id


class Process:
    """A server in a process of its own."""

    def __init__(self, code: str, *args: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True
        )
        assert self.popen.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.popen.stdout.readline())}"

    def peak(self) -> float:
        """Peak memory in MiB."""
        for line in Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def close(self) -> None:
        self.popen.terminate()
        self.popen.wait(30)


def run(code: str, *args: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def link(url: str, job: str) -> str:
    import httpx

    for _ in range(100):
        try:
            answer = httpx.get(f"{url}/projects/local/jobs/{job}/downloads/results/", timeout=10)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return str(answer.raise_for_status().json()["data"]["url"])
    raise SystemExit("the platform does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, job = make_platform(folder, options.size << 20)
        (large,) = folder.rglob("large.bin")
        platform, plain = Process(SERVER, str(config)), Process(PLAIN, str(large.parent))
        try:
            ours, theirs = [], []
            for _ in range(options.rounds):
                target = folder / "download"
                ours.append(run(CLIENT, link(platform.url, job), str(target)))
                theirs.append(run(CLIENT, f"{plain.url}/large.bin", str(target)))
                target.unlink()
            whole = run(WHOLE, platform.url, job, str(folder / "results"))
            rate = [statistics.median(o["bytes"] / o["seconds"] for o in x) for x in (ours, theirs)]
            print(f"platform      {rate[0] / 2**20:7.0f} MiB/s")
            print(f"file server   {rate[1] / 2**20:7.0f} MiB/s")
            print(f"ratio         {rate[0] / rate[1]:7.2f}   (budget: at least 0.7)")
            print(f"client peak   {max(o['peak'] for o in ours):7.0f} MiB (budget: below 200)")
            print(f"server peak   {platform.peak():7.0f} MiB (budget: below 200)")
            speed = options.size / whole["seconds"]
            print(f"download_results, unpacked: {speed:.0f} MiB/s, peak {whole['peak']:.0f} MiB")
        finally:
            platform.close()
            plain.close()


if __name__ == "__main__":
    main()
