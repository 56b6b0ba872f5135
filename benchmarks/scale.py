"""How planning, tracking and dispatching scale with the number of tasks.

    python benchmarks/scale.py [TASKS]

Plans, submits, lists and updates orders of 1,000 tasks up to TASKS (default 100,000) with a
synthetic catalogue, and has tasks that make nothing dispatched through threads and through a Dask
cluster of two workers. Prints one line of JSON per measurement; each size has a process of its own,
so that its peak of memory is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

BUDGET = {"planned_and_listed_s": 10.0, "peak_mb": 1000.0, "update_s": 2.0}
DISPATCHED = 1000


def plan_and_track(tasks: int, folder: Path) -> dict[str, float]:
    """Plan, submit, list, change 1 % and update an order of so many tasks."""
    tracker, arguments = _tracker(tasks, folder)
    tracker.plan(*arguments[:1], arguments[1][0], "1990-01-01", "1990-01-03", "D")  # imports
    times: dict[str, float] = {}

    def timed(name: str, work):
        began, cpu = time.perf_counter(), time.process_time()
        result = work()
        times[f"{name}_s"] = round(time.perf_counter() - began, 3)
        times[f"{name}_cpu_s"] = round(time.process_time() - cpu, 3)
        return result

    name, _ = timed("submit", lambda: tracker.submit(*arguments))
    timed("list", tracker.list)
    info = timed("read", lambda: tracker.read(name))
    assert info.states == {"READY": tasks}, info.states
    ledger = tracker.engine.ledger(tracker.store)
    # One in a hundred, spread over the whole order: every part of the record changes.
    claims = [ledger.claim("bench", 60) for _ in range(tasks // 100)]
    for number, claim in enumerate(claims):
        (ledger.complete(claim, []) if number % 2 else ledger.fail(claim, "a cause"))
    timed("update_some", lambda: tracker.update(name))
    spread = [status["status"]["id"] for status in info.orders[tasks // 50 :: 100]]
    ledger.cancel(spread)
    changed = timed("update", lambda: tracker.update(name))
    assert changed.states["CANCELLED"] == len(spread), changed.states
    timed("update_nothing", lambda: tracker.update(name))
    timed("cancel", lambda: tracker.cancel(name))
    times["planned_and_listed_s"] = round(times["submit_s"] + times["list_s"] + times["read_s"], 3)
    times["calibration_cpu_s"] = _calibration()
    times["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    times["ms_per_task"] = round(1000 * times["planned_and_listed_s"] / tasks, 4)
    return times


def _calibration() -> float:
    """CPU seconds of ten million additions: how fast this machine is at the moment."""
    began, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return round(time.process_time() - began, 3)


def dispatch(executor: str, tasks: int, folder: Path) -> dict[str, float]:
    """Have tasks that make nothing dispatched."""
    from orchard.engines.local import pools

    tracker, arguments = _tracker(tasks, folder, executor)
    name, _ = tracker.submit(*arguments)
    began = time.perf_counter()
    with (
        mock.patch.object(pools, "make_shard", nothing),
        mock.patch("orchard.engines.local.distributed._on_worker", nothing),
        mock.patch("orchard.engines.local.job.publish_metadata", return_value=True),
    ):
        info = tracker.wait(name)
    seconds = time.perf_counter() - began
    assert info.states == {"COMPLETED": tasks}, info.failures()
    return {"seconds": round(seconds, 2), "ms_per_task": round(1000 * seconds / tasks, 3)}


def nothing(job, _cancelled=None):
    """Make no shard."""
    from orchard.tracking import FileInfo

    return FileInfo(name=job.key.rsplit("/", 1)[-1], size=0)


def _tracker(tasks: int, folder: Path, executor: str = "threads 2"):
    """Return a tracker over a synthetic catalogue, and the arguments of an order."""
    import orchard
    from orchard.collections import load_collections

    grid = orchard.TileGrid(
        ul=(0, 6_000_000), crs="EPSG:32632", res=(30, 30), size=(1000, 1000),
        limits=((0, 9), (0, 9)), name="BENCH",
    )  # fmt: skip
    tiles = [(row, col) for row in range(10) for col in range(10)]
    days = tasks // len(tiles)
    catalog = folder / "catalog.json"
    # A scene a day over the whole grid: each task has one.
    catalog.write_text(json.dumps(_items(days)))
    collections = load_collections(
        {
            "BENCH/SCENES": {
                "dtype": "uint16",
                "nodata": 0,
                "bands": {name: {"asset": name} for name in ("red", "green", "blue", "nir")},
                "stac": {"collection": "bench"},
            }
        }
    )
    tracker = orchard.Tracker(
        grid,
        orchard.open_store(folder / "store"),
        engine=orchard.open_engine("local", catalog=catalog, executor=executor),
        collections=collections,
    )
    start = datetime(1990, 1, 1, tzinfo=UTC)
    return tracker, ("BENCH/SCENES", tiles, start, start + timedelta(days=days), "D")


def _items(days: int) -> dict:
    west, south, east, north = 0, 48, 12, 58
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    start = datetime(1990, 1, 1, 10, tzinfo=UTC)
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": f"scene-{day:05d}",
                "collection": "bench",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"datetime": (start + timedelta(days=day)).isoformat()},
                "assets": {b: {"href": f"{day}_{b}.tif"} for b in ("red", "green", "blue", "nir")},
                "links": [],
            }
            for day in range(days)
        ],
    }


def main() -> int:
    """Measure one thing, or, without being told which, all of them."""
    if len(sys.argv) > 2:
        what, tasks = sys.argv[1], int(sys.argv[2])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            result = (
                plan_and_track(tasks, path)
                if what == "track"
                else dispatch(what.replace("-", " "), tasks, path)
            )
        print(json.dumps({"what": what, "tasks": tasks, **result}), flush=True)
        return 0
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most]
    runs = [("track", size) for size in sizes]
    runs += [(kind, DISPATCHED) for kind in ("threads-2", "distributed-2")]
    results = []
    for what, tasks in runs:
        done = subprocess.run(
            [sys.executable, __file__, what, str(tasks)], check=True, stdout=subprocess.PIPE
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(results[-1]), flush=True)
    largest = results[len(sizes) - 1]
    over = {key: largest[key] for key, limit in BUDGET.items() if largest[key] > limit}
    print("over the budget: " + json.dumps(over) if over else "within the budget", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
