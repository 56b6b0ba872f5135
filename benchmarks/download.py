"""How fast a download is: verified and resumable, against plain reads of the same objects.

    python benchmarks/download.py [--rounds 3] [--small 2000] [--large 4] [--stores folder s3]

One order of many small files (20 kB) and a few large ones (256 MB), in a folder store and in an S3
server on loopback (moto, a process of its own). Each round downloads it three ways, in turn:

- orchard: several files at a time; length and checksum compared, renamed, metadata last;
- parallel: plain reads with as many threads, written to files, nothing compared;
- sequential: the same, one after the other.

Printed are the medians, the ratio of throughputs (orchard / the others; the budget is 0.8 of
parallel), and the peak of memory, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SMALL, LARGE = 20_000, 256 * 2**20
WORKERS = 16


def make(store, small: int, large: int) -> dict:
    """Put an order into the store: `small` tasks of one small file, `large` of one large."""
    source = random.Random(7)
    block = source.randbytes(2**20)
    orders = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(small + large):
            name = f"TASK_{number:05d}"
            if number < small:
                data = source.randbytes(SMALL)
                stored = store.put(f"P/{name}.tif", data)
                crc = zlib.crc32(data)
            else:
                path = Path(scratch, name)
                crc = 0
                with path.open("wb") as file:
                    for part in range(LARGE // len(block)):
                        piece = part.to_bytes(4, "big") + block[4:]
                        crc = zlib.crc32(piece, crc)
                        file.write(piece)
                stored = store.put(f"P/{name}.tif", path)
                path.unlink()
            status = {
                "id": name,
                "state": "COMPLETED",
                "files": [
                    {"name": f"{name}.tif", "size": stored.size, "md5": stored.md5,
                     "crc32": f"{crc:08x}"}
                ],
            }  # fmt: skip
            store.put(f"P/{name}.json", json.dumps(metadata(name, status)).encode())
            orders.append({"name": name, "prefix": "P", "status": status})
    return {
        "program": {}, "submission": {}, "tracking": {"name": "BENCH"}, "orders": orders,
        "metadata": [],
    }  # fmt: skip


def metadata(name: str, status: dict) -> dict:
    return {
        "program": {},
        "order": {"collection": "C", "date_start": "2022-01-01", "date_end": "2023-01-01"},
        "tile": {"index": [0, 0], "crs": "EPSG:32633", "bounds": [0, 0, 640, 640],
                 "res": [10, 10], "size": [64, 64]},
        "store": {"service": "bench", "export_image_kwds": {}},
        "task": {"name": name, "prefix": "P", "status": status},
        "image": {"bands": ["b"], "nodata": 0, "dtype": "uint8", "dates": ["2022-04-15"],
                  "images": [[{"id": "S", "system:time_start": 1650000000000}]]},
        "collection": {"id": "C", "bands": {"b": {}}},
    }  # fmt: skip


def plain(store, keys: list[str], dest: Path, workers: int) -> None:
    """Read objects and write them to files; nothing else."""
    dest.mkdir(parents=True)

    def read(key: str) -> None:
        store.fetch(key, dest / key.rsplit("/", 1)[-1])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, keys))


def work(url: str, options: dict, way: str, record: Path, dest: Path) -> None:
    """Run one way and print seconds and the peak of memory (MB)."""
    import resource

    from orchard import delivery
    from orchard.stores import open_store
    from orchard.tracking import TrackingInfo

    store = open_store(url, **options)
    info = TrackingInfo(json.loads(record.read_text()))
    keys = [f"P/{order['name']}.{end}" for order in info.orders for end in ("tif", "json")]
    keys.sort(key=lambda key: key.endswith("json"))
    start = time.perf_counter()
    if way == "orchard":
        delivery.download(info, store, dest, workers=WORKERS)
    else:
        plain(store, keys, dest, WORKERS if way == "parallel" else 1)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak]))


@contextlib.contextmanager
def s3():
    """A moto server in a process of its own; gives the URL and options of a store in it."""
    words = [sys.executable, "-c", _SERVER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as p:
        try:
            endpoint = p.stdout.readline().strip()
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bench", method="PUT"))
            yield "s3://bench/order", {
                "endpoint": endpoint, "region": "us-east-1", "access_key_id": "k",
                "secret_access_key": "s", "allow_http": True,
            }  # fmt: skip
        finally:
            p.kill()


_SERVER = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"http://{host}:{port}", flush=True)
server._thread.join()
"""


def run(url: str, options: dict, args: argparse.Namespace, scratch: Path) -> None:
    from orchard.stores import open_store

    info = make(open_store(url, **options), args.small, args.large)
    record = scratch / "record.json"
    record.write_text(json.dumps(info))
    size = sum(order["status"]["files"][0]["size"] for order in info["orders"])
    ways = ("orchard", "parallel", "sequential")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, float] = dict.fromkeys(ways, 0.0)
    for number in range(args.rounds):
        for way in ways if number % 2 == 0 else reversed(ways):
            dest = scratch / "dest"
            shutil.rmtree(dest, ignore_errors=True)
            os.sync()
            job = json.dumps([url, options, way, str(record), str(dest)])
            words = [sys.executable, __file__, "--work", job]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            took, peak = json.loads(done.stdout)
            seconds[way].append(took)
            peaks[way] = max(peaks[way], peak)
    median = {way: statistics.median(seconds[way]) for way in ways}
    kind = "s3" if url.startswith("s3:") else "folder"
    print(f"{kind}: {args.small} x 20 kB, {args.large} x 256 MB, {args.rounds} rounds")
    for way in ways:
        ratio = median[way] / median["orchard"]
        print(
            f"  {way:<11}{median[way]:7.2f} s  {size / 1e6 / median[way]:7.0f} MB/s  "
            f"peak {peaks[way]:4.0f} MB  orchard / this: {ratio:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=2000)
    parser.add_argument("--large", type=int, default=4)
    parser.add_argument("--stores", nargs="+", default=["folder", "s3"])
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        url, options, way, record, dest = json.loads(args.work)
        work(url, options, way, Path(record), Path(dest))
        return
    with tempfile.TemporaryDirectory(prefix="orchard-bench-") as folder:
        scratch = Path(folder)
        if "folder" in args.stores:
            run(str(scratch / "store"), {}, args, scratch)
        if "s3" in args.stores:
            with s3() as (url, options):
                run(url, options, args, scratch)


if __name__ == "__main__":
    main()
