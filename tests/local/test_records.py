"""Records: compare-and-swap among processes, large orders in parts, what counts as news."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import pytest

import orchard
from orchard import records as module
from orchard.errors import ConflictError, MetadataError
from orchard.records import Records, is_news
from orchard.tracking import FileInfo, State, TaskStatus
from orchard.watching import Meter


def document(tasks, key="KEY"):
    return {
        "program": {"name": "orchard"},
        "submission": {},
        "tracking": {"name": "order", "key": key},
        "orders": [
            {"name": f"t{i}", "prefix": "P", "status": status(i, State.READY).to_dict()}
            for i in range(tasks)
        ],
        "metadata": [f"P/t{i}.json" for i in range(tasks)],
    }


def status(number, state, at=1, **changes):
    return TaskStatus(id=f"id{number}", state=state, update_timestamp_ms=at, **changes)


@pytest.fixture
def records(tmp_path):
    return Records(orchard.open_store(tmp_path), "T")


@pytest.fixture(params=[False, True], ids=["one document", "parts"])
def parts(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(module, "PART", 10)
    return request.param


def test_what_is_created_is_read(records, parts):
    records.create(document(25))
    info = records.read("order").info
    assert dict(info) == {**document(25), "metadata": info["metadata"]}
    assert info["metadata"] == document(25)["metadata"]
    assert list(records.versions()) == ["order"]
    with pytest.raises(ConflictError):
        records.create(document(25, "OTHER"))


def test_only_what_changes_is_written(records, parts):
    records.create(document(25))
    before = {info.key: info.etag for info in records.store.list()}
    changed = records.read("order").change({12: status(12, State.RUNNING, 2)})
    after = {info.key: info.etag for info in records.store.list()}
    written = [key for key in after if before[key] != after[key]]
    assert written == (["T/order.tasks/KEY-00001.json"] if parts else ["T/order.json"])
    assert changed == records.read("order").info
    assert changed.statuses[12].state is State.RUNNING
    assert records.read("order").change({12: status(12, State.RUNNING, 2)}) == changed


def test_results_get_their_addresses(records, parts):
    records.create(document(12))
    done = status(3, State.COMPLETED, 2, files=(FileInfo(name="t3.tif"),))
    info = records.read("order").change({3: done})
    assert info.statuses[3].output_url == (f"{records.store.url}/P/t3.tif",)


def test_an_older_reader_does_not_undo_what_others_wrote(records, parts):
    records.create(document(25))
    early = records.read("order")
    records.read("order").change({1: status(1, State.COMPLETED, 5), 2: status(2, State.FAILED, 5)})
    info = early.change(
        {1: status(1, State.RUNNING, 3), 2: status(2, State.RUNNING, 3, attempt=1),
         3: status(3, State.RUNNING, 3)}
    )  # fmt: skip
    assert [info.statuses[i].state for i in (1, 2, 3)] == [
        State.COMPLETED, State.FAILED, State.RUNNING
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (status(1, State.READY), status(1, State.RUNNING), True),
        (status(1, State.READY), status(1, State.READY), False),
        (status(1, State.RUNNING, 5, attempt=1), status(1, State.RUNNING, 9, attempt=2), True),
        (status(1, State.RUNNING, 5, attempt=2), status(1, State.RUNNING, 4, attempt=1), False),
        (status(1, State.COMPLETED, 5), status(1, State.RUNNING, 9), False),
        (status(1, State.COMPLETED, 5), status(1, State.FAILED, 9), False),
        (status(1, State.FAILED, 5, attempt=1), status(1, State.READY, 6, attempt=1), True),
        (status(1, State.FAILED, 5, attempt=1), status(1, State.COMPLETED, 9, attempt=2), True),
        (status(1, State.FAILED, 5, attempt=1), status(1, State.READY, 4, attempt=1), False),
        (status(1, State.LOST, 5), status(1, State.EMPTY, 9), True),
        (status(1, State.LOST, 5), status(1, State.EMPTY, 4), False),
        (status(1, State.COMPLETED, 5), status(1, State.EMPTY, 9), False),
        (status(1, State.EMPTY, 5), status(1, State.READY, 9), False),
        (status(1, State.UNSUBMITTED, 9), status(1, State.COMPLETED, 2), True),
    ],
)
def test_what_is_news(old, new, expected):
    assert is_news(old.to_dict(), new) is expected


def test_deleting_leaves_nothing_and_can_be_repeated(records, parts, monkeypatch):
    records.create(document(25))
    real, left = records.store.delete, [2]

    def dying(key):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(key)

    monkeypatch.setattr(records.store, "delete", dying)
    if parts:
        with pytest.raises(KeyboardInterrupt):
            records.delete("order")
        assert records.read("order").info.orders == []
        assert records.head("order")["tracking"]["key"] is None
    monkeypatch.setattr(records.store, "delete", real)
    records.delete("order")
    records.delete("order")
    assert list(records.store.list()) == []


def test_a_missing_part_is_named(records, monkeypatch):
    monkeypatch.setattr(module, "PART", 10)
    records.create(document(25))
    records.store.delete("T/order.tasks/KEY-00001.json")
    with pytest.raises(MetadataError, match="KEY-00001"):
        records.read("order")


def test_parts_of_an_interrupted_submit_are_written_anew(records, monkeypatch):
    monkeypatch.setattr(module, "PART", 10)
    records.store.put("T/order.tasks/KEY-00001.json", b'{"orders": []}')
    records.create(document(25))
    assert len(records.read("order").info.orders) == 25


def _update(folder, part, first, times):
    module.PART = part
    records = Records(orchard.open_store(folder), "T")
    for number in range(times):
        position = 2 * (number % 10) + first
        found = records.read("order")
        attempt = found.info.statuses[position].attempt + 1
        changed = replace(
            found.info.statuses[position], state=State.RUNNING, attempt=attempt,
            update_timestamp_ms=attempt + 1,
        )  # fmt: skip
        found.change({position: changed})


@pytest.mark.parametrize("part", [1000, 7])
def test_two_processes_of_500_updates_each_lose_none(tmp_path, monkeypatch, part):
    monkeypatch.setattr(module, "PART", part)
    records = Records(orchard.open_store(tmp_path), "T")
    records.create(document(20))
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_update, args=(tmp_path, part, first, 500)) for first in (0, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert [s.attempt for s in records.read("order").info.statuses] == [50] * 20


def test_an_order_is_measured_between_looks(records):
    records.create(document(10))
    meter = Meter(window=60)
    info = records.read("order").info
    first = meter.look(info, 100.0)
    assert (first.rate, first.throughput, first.eta, first.is_over) == (None, None, None, False)
    files = (FileInfo(name="t.tif", size=3000),)
    changes = {i: status(i, State.COMPLETED, 2, files=files) for i in range(4)}
    changes |= {i: status(i, State.FAILED, 2, error_message="a cause") for i in (4, 5)}
    info = records.read("order").change(changes)
    second = meter.look(info, 130.0)
    assert second.rate == pytest.approx(6 / 30)
    assert second.throughput == pytest.approx(12000 / 30)
    assert second.eta == pytest.approx(4 / (6 / 30))
    assert second.failures == {"a cause": 2}
    assert second.states == {"COMPLETED": 4, "FAILED": 2, "READY": 4}
    later = meter.look(info, 500.0)
    assert (later.rate, later.eta) == (0.0, None)


def test_cedars_shape_is_what_is_stored(records):
    records.create(document(3))
    stored = json.loads(records.store.get("T/order.json")[0])
    assert stored == document(3)
