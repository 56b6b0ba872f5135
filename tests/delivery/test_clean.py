"""Clean: exactly the files of an order, and never another's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchard import delivery
from orchard.stores import open_store
from orders import make_order


def keys(store) -> set[str]:
    return {info.key for info in store.list()}


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def test_only_the_order_goes_also_where_its_name_begins_another(store):
    store.put("P/ORDER_00.tif", b"another task's")
    store.put("P/ORDER_0-more.tif", b"another task's")
    store.put("P/ORDER_0-0000000000-0000000000-0000000000-0000000000.tif", b"another's shard")
    store.put("P/ORDER_0.txt", b"somebody's notes")
    store.put("P/sub/ORDER_0.tif", b"another folder's")
    others = keys(store)
    info, _ = make_order(store, tasks=2, shards=2)
    cleaned = delivery.clean(info, store)
    assert keys(store) == others | {"T/ORDER.json"}
    assert sorted(map(len, cleaned.values())) == [3, 3]


def test_dry_run_lists_and_deletes_nothing(store):
    info, _contents = make_order(store, tasks=2, shards=2)
    before = keys(store)
    listed = delivery.clean(info, store, dry_run=True)
    assert {key for names in listed.values() for key in names} == before - {"T/ORDER.json"}
    assert keys(store) == before


def test_shards_that_the_record_does_not_know_go_too(store):
    info, _ = make_order(store, tasks=1, shards=4, recorded=False, states={})
    delivery.clean(info, store)
    assert keys(store) == {"T/ORDER.json"}


def test_clean_can_be_repeated(store):
    info, _ = make_order(store, tasks=2)
    delivery.clean(info, store)
    assert all(names == [] for names in delivery.clean(info, store).values())


def test_clean_tracked_is_lazy(store):
    info, _ = make_order(store, tasks=2, shards=1)
    tasks = delivery.clean_tracked(info, store)
    task_id, names = next(tasks)
    before = keys(store)
    assert task_id == "ORDER-0"
    assert next(names) == "P/ORDER_0.tif"
    assert before - keys(store) == {"P/ORDER_0.tif"}


SCRIPT = """
import sys
from orchard import delivery
from orchard.stores import open_store
from orchard.tracking import TrackingInfo
import orjson
verb, folder, dest = sys.argv[1:]
store = open_store(folder)
info = TrackingInfo(orjson.loads(store.get("T/ORDER.json")[0]))
print("ready", flush=True)
if verb == "download":
    delivery.download(info, store, dest, overwrite=False)
else:
    delivery.clean(info, store)
    store.delete("T/ORDER.json")
"""


@pytest.mark.parametrize("verb", ["download", "clean"])
def test_killed_at_any_moment_a_rerun_ends_right(tmp_path, verb):
    """SIGKILL at moments spread over the run; ORCHARD_KILLS=100 makes it a long one."""
    kills = int(os.environ.get("ORCHARD_KILLS", "6"))
    store = open_store(tmp_path / "store")
    dest = tmp_path / "d"

    def run(delay: float | None) -> None:
        words = [sys.executable, "-c", SCRIPT, verb, str(tmp_path / "store"), str(dest)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            if delay is not None:
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
            process.wait()

    for number in range(kills):
        info, contents = make_order(store, tasks=12, shards=3, size=20_000, seed=number)
        store.put("P/OTHER.tif", b"another order's")
        run(0.08 * number / kills)
        for path in dest.glob("[!.]*") if dest.exists() else ():
            assert path.suffix == ".json" or path.read_bytes() == contents[path.name]
        if verb == "download":
            run(None)
            found = {p.name: p.read_bytes() for p in dest.iterdir() if p.suffix == ".tif"}
            assert found == contents
            assert len(list(dest.glob("*.json"))) == len(info.orders)
            assert not [path for path in dest.iterdir() if path.name.startswith(".")]
            for path in dest.iterdir():
                path.unlink()
        elif any(i.key == "T/ORDER.json" for i in store.list("T")):
            run(None)
            assert keys(store) == {"P/OTHER.tif"}
        assert Path(tmp_path / "store" / "P" / "OTHER.tif").read_bytes() == b"another order's"
