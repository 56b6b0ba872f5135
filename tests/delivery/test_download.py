"""Download: every file arrives whole or its failure is named; nothing is fetched twice."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING

import pytest

from orchard import delivery
from orchard.delivery.transfer import DiskFullError, Transfer
from orchard.errors import (
    AccessError,
    BulkError,
    ChecksumError,
    NotFoundError,
    ShardError,
    StoreError,
)
from orchard.stores import open_store
from orchard.tracking import TrackingInfo
from orders import make_order

if TYPE_CHECKING:
    from pathlib import Path


class Flaky:
    """A store between us and a real one: fails, cuts and spoils as it is told."""

    def __init__(self, store) -> None:
        self.store = store
        self.url = store.url
        self.fetches: list[tuple[str, int]] = []
        self.faults: dict[str, list] = {}

    def __getattr__(self, name):
        return getattr(self.store, name)

    def fetch(self, key: str, path: Path, *, offset: int = 0):
        self.fetches.append((key, offset))
        fault = self.faults.get(key, [])
        if fault:
            what = fault.pop(0)
            if isinstance(what, Exception):
                raise what
            info = self.store.fetch(key, path, offset=offset)
            what(path)
            return info
        return self.store.fetch(key, path, offset=offset)


def cut(length: int):
    """Lose the connection after `length` bytes."""

    def fault(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:length])
        raise StoreError("connection reset by peer")

    return fault


def spoil(path: Path) -> None:
    """Flip a byte; the length stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path):
    return Flaky(open_store(tmp_path / "store"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(Transfer, "backoff", 0.0)
    monkeypatch.setattr("orchard.delivery.transfer.random.uniform", lambda low, high: 0.0)


def check(dest: Path, contents: dict[str, bytes]) -> None:
    """All of it is there, whole, and nothing else but documents."""
    found = {path.name: path.read_bytes() for path in dest.iterdir() if path.suffix != ".json"}
    assert found == contents


def test_everything_arrives_and_the_steps_add_up(store, tmp_path):
    info, contents = make_order(store, tasks=5, shards=3, states={4: "EMPTY"})
    steps = []
    done = delivery.download(
        info, store, tmp_path / "d", callback=lambda item, n_steps: steps.append(n_steps)
    )
    check(tmp_path / "d", contents)
    assert sum(steps) == pytest.approx(5)
    assert {task: len(paths) for task, paths in done.items()} == {
        "ORDER-0": 4, "ORDER-1": 4, "ORDER-2": 4, "ORDER-3": 4, "ORDER-4": 1,
    }  # fmt: skip


def test_metadata_says_what_the_record_says(store, tmp_path):
    info, _ = make_order(store, tasks=1)
    delivery.download(info, store, tmp_path / "d")
    status = json.loads((tmp_path / "d" / "ORDER_0.json").read_text())["task"]["status"]
    assert status["state"] == "COMPLETED"
    assert [file["size"] for file in status["files"]] == [1000, 1000]


@pytest.mark.parametrize("recorded", [True, False])
def test_what_is_there_and_whole_is_not_fetched_again(store, tmp_path, recorded):
    info, contents = make_order(store, recorded=recorded)
    delivery.download(info, store, tmp_path / "d")
    partial, altered, missing = sorted(contents)[:3]
    (tmp_path / "d" / partial).write_bytes(contents[partial][:500])
    (tmp_path / "d" / altered).write_bytes(b"x" + contents[altered][1:])
    (tmp_path / "d" / missing).unlink()
    store.fetches.clear()
    delivery.download(info, store, tmp_path / "d", overwrite=False)
    fetched = {key for key, _ in store.fetches}
    wanted = {f"P/{partial}", f"P/{missing}"} | ({f"P/{altered}"} if recorded else set())
    assert wanted <= fetched
    assert recorded is False or fetched == wanted
    if recorded:
        check(tmp_path / "d", contents)


def test_overwrite_fetches_all_again(store, tmp_path):
    info, contents = make_order(store)
    delivery.download(info, store, tmp_path / "d")
    store.fetches.clear()
    delivery.download(info, store, tmp_path / "d", overwrite=True)
    assert len(store.fetches) == len(contents)


def test_a_cut_connection_is_gone_on_with_where_it_was_cut(store, tmp_path):
    info, contents = make_order(store, tasks=1, shards=1)
    store.faults["P/ORDER_0.tif"] = [cut(400), cut(700), StoreError("503")]
    delivery.download(info, store, tmp_path / "d")
    check(tmp_path / "d", contents)
    assert [offset for _, offset in store.fetches] == [0, 400, 700, 700]


def test_a_crash_leaves_a_part_that_the_next_run_goes_on_with(store, tmp_path):
    info, contents = make_order(store, tasks=1, shards=1)
    store.faults["P/ORDER_0.tif"] = [_interrupt]
    with pytest.raises(KeyboardInterrupt):
        delivery.download(info, store, tmp_path / "d")
    assert not (tmp_path / "d" / "ORDER_0.tif").exists()
    assert not (tmp_path / "d" / "ORDER_0.json").exists()
    store.fetches.clear()
    delivery.download(info, store, tmp_path / "d")
    check(tmp_path / "d", contents)
    assert store.fetches in ([("P/ORDER_0.tif", 1000)], [("P/ORDER_0.tif", 600)])


def _interrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:600])
    raise KeyboardInterrupt


def test_the_part_of_another_version_is_not_gone_on_with(store, tmp_path):
    info, _ = make_order(store, tasks=1, shards=1, seed=1)
    store.faults["P/ORDER_0.tif"] = [_interrupt]
    with pytest.raises(KeyboardInterrupt):
        delivery.download(info, store, tmp_path / "d")
    info, contents = make_order(store, tasks=1, shards=1, seed=2)
    delivery.download(info, store, tmp_path / "d")
    check(tmp_path / "d", contents)


def test_a_flipped_byte_never_passes(store, tmp_path):
    info, contents = make_order(store, tasks=2, shards=1)
    store.faults["P/ORDER_0.tif"] = [spoil, spoil]
    store.faults["P/ORDER_1.tif"] = [spoil] * 20
    with pytest.raises(BulkError) as caught:
        delivery.download(info, store, tmp_path / "d")
    assert caught.value.names == ("P/ORDER_1.tif",)
    assert isinstance(caught.value.exceptions[0], ChecksumError)
    check(tmp_path / "d", {"ORDER_0.tif": contents["ORDER_0.tif"]})
    assert not (tmp_path / "d" / "ORDER_1.json").exists()


def test_a_permanent_failure_fails_that_file_and_the_rest_goes_on(store, tmp_path):
    info, contents = make_order(store, tasks=3, shards=1)
    store.delete("P/ORDER_1.tif")
    store.faults["P/ORDER_2.tif"] = [StoreError("503")] * 99
    with pytest.raises(BulkError) as caught:
        delivery.download(info, store, tmp_path / "d")
    failures = dict(zip(caught.value.names, caught.value.exceptions, strict=True))
    assert isinstance(failures["P/ORDER_1.tif"], NotFoundError)
    assert type(failures["P/ORDER_2.tif"]) is StoreError
    assert len([key for key, _ in store.fetches if key == "P/ORDER_1.tif"]) == 1
    check(tmp_path / "d", {"ORDER_0.tif": contents["ORDER_0.tif"]})


def test_a_missing_shard_is_named_when_the_record_knows_no_files(store, tmp_path):
    info, _ = make_order(store, tasks=1, shards=4, recorded=False)
    store.delete("P/ORDER_0-0000000000-0000000032.tif")
    with pytest.raises(BulkError) as caught:
        delivery.download(info, store, tmp_path / "d")
    assert isinstance(caught.value.exceptions[0], ShardError)
    assert "ORDER_0-0000000000-0000000032.tif" in str(caught.value)


def test_shards_that_were_left_out_as_empty_are_not_missed(store, tmp_path):
    """As Earth Engine does when asked to; the record knows no files, as those of CEDAR."""
    info, contents = make_order(store, tasks=1, shards=4, recorded=False)
    left_out = "ORDER_0-0000000000-0000000032.tif"
    store.delete(f"P/{left_out}")
    document = json.loads(store.get("P/ORDER_0.json")[0])
    document["store"]["export_image_kwds"]["skipEmptyTiles"] = True
    store.put("P/ORDER_0.json", json.dumps(document).encode())
    delivery.download(info, store, tmp_path / "d")
    del contents[left_out]
    assert {path.name for path in (tmp_path / "d").rglob("*.tif")} == contents.keys()


def test_a_full_disk_stops_cleanly_and_room_lets_it_go_on(store, tmp_path):
    info, contents = make_order(store, tasks=4, shards=1)

    def full(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:300])
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise StoreError("no space; make room and try again") from error

    store.faults["P/ORDER_1.tif"] = [full]
    with pytest.raises(DiskFullError, match="make room and download again"):
        delivery.download(info, store, tmp_path / "d", workers=1)
    assert not (tmp_path / "d" / "ORDER_1.tif").exists()
    delivery.download(info, store, tmp_path / "d", overwrite=False)
    check(tmp_path / "d", contents)
    assert ("P/ORDER_1.tif", 300) in store.fetches


def test_a_destination_that_is_a_file_is_refused(store, tmp_path):
    info, _ = make_order(store)
    (tmp_path / "d").write_text("in the way")
    with pytest.raises(AccessError, match=str(tmp_path / "d")):
        delivery.download(info, store, tmp_path / "d")


def test_download_tracked_is_lazy(store, tmp_path):
    info, contents = make_order(store, tasks=3, shards=2)
    tasks = delivery.download_tracked(dict(info), store, tmp_path / "d")
    task_id, n_images, metadata, images = next(tasks)
    assert (task_id, n_images) == ("ORDER-0", 2)
    assert store.fetches == []
    assert next(images).read_bytes() == contents["ORDER_0-0000000000-0000000000.tif"]
    assert len(store.fetches) == 1
    assert [path.name for path in metadata] == ["ORDER_0.json"]


def test_tasks_that_are_not_done_are_left_alone(store, tmp_path):
    info, contents = make_order(store, tasks=3, shards=1, states={0: "RUNNING", 1: "FAILED"})
    store.put("P/ORDER_0.tif", b"half of it")
    done = delivery.download(info, store, tmp_path / "d")
    check(tmp_path / "d", contents)
    assert done["ORDER-0"] == done["ORDER-1"] == []


def test_images_of_one_name_in_two_folders_do_not_meet(store, tmp_path):
    one, first = make_order(store, tasks=1, shards=1, prefix="A", seed=1)
    two, second = make_order(store, tasks=1, shards=1, prefix="B", seed=2)
    both = TrackingInfo({**dict(one), "orders": [*one.orders, *two.orders]})
    delivery.download(both, store, tmp_path / "d")
    assert (tmp_path / "d" / "A" / "ORDER_0.tif").read_bytes() == first["ORDER_0.tif"]
    assert (tmp_path / "d" / "B" / "ORDER_0.tif").read_bytes() == second["ORDER_0.tif"]
