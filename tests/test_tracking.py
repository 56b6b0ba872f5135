"""Tracking: states, the record of an order as JSON, and what it says to people."""

from __future__ import annotations

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchard.errors import MetadataError
from orchard.preard import ImageMetadata
from orchard.tracking import (
    FAILED_STATES,
    TERMINAL,
    FileInfo,
    Runtimes,
    State,
    TaskStatus,
    TrackingInfo,
    can_become,
)

states = st.sampled_from(State)
OPEN = frozenset(State) - TERMINAL
DONE = {State.COMPLETED, State.EMPTY}


# States


@given(states, states)
def test_what_has_ended_stays_as_it_is_unless_it_is_retried(state, other):
    assert can_become(state, other) <= (state in OPEN and other is not state)
    assert can_become(state, other, retry=True) == (
        state in FAILED_STATES and other in (State.READY, State.EMPTY)
    )


@given(states)
def test_nothing_is_ever_unsubmitted_again_and_every_task_can_end(state):
    assert not can_become(state, State.UNSUBMITTED)
    if state in OPEN:
        assert any(can_become(state, end) for end in TERMINAL)
        assert can_become(state, State.LOST)


class TaskLife(RuleBasedStateMachine):
    """A task, told of states in any order as an engine, a crash and a user may tell them."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.UNSUBMITTED
        self.retries = 0
        self.past = [State.UNSUBMITTED]

    def _become(self, state):
        self.state = state
        self.past.append(state)

    @rule(other=states)
    def tell(self, other):
        if can_become(self.state, other):
            self._become(other)

    @precondition(lambda self: self.state in TERMINAL)
    @rule()
    def retry(self):
        if can_become(self.state, State.READY, retry=True):
            self.retries += 1
            self._become(State.READY)

    @invariant()
    def endings_are_as_many_as_retries_and_one(self):
        ends = sum(state in TERMINAL for state in self.past)
        assert ends == self.retries + (self.state in TERMINAL)

    @invariant()
    def what_is_done_is_done_for_ever(self):
        for state in DONE:
            assert state not in self.past[:-1]

    @invariant()
    def empty_is_never_started(self):
        if self.state is State.EMPTY:
            assert self.past == [State.UNSUBMITTED, State.EMPTY]

    @invariant()
    def a_cancelled_request_ends_or_stays(self):
        for before, after in zip(self.past, self.past[1:], strict=False):
            if before is State.CANCEL_REQUESTED:
                assert after in TERMINAL


TestTaskLife = TaskLife.TestCase


# JSON

milliseconds = st.integers(0, 2**45)
files = st.builds(
    FileInfo,
    name=st.text(min_size=1),
    size=st.none() | st.integers(0),
    md5=st.none() | st.text(),
    crc32=st.none() | st.text(),
)
statuses = st.builds(
    TaskStatus,
    id=st.text(),
    state=states,
    creation_timestamp_ms=milliseconds,
    update_timestamp_ms=milliseconds,
    start_timestamp_ms=milliseconds,
    output_url=st.lists(st.text()).map(tuple),
    error_message=st.none() | st.text(),
    attempt=st.integers(0, 9),
    files=st.lists(files, max_size=3).map(tuple),
)


def _document(*statuses: TaskStatus, **tracking: object) -> dict:
    return {
        "program": {"name": "orchard", "version": "1"},
        "submission": {},
        "tracking": {"name": "N", **tracking},
        "orders": [
            {"name": f"task{n}", "prefix": "P", "status": status.to_dict()}
            for n, status in enumerate(statuses)
        ],
        "metadata": [],
    }


@given(statuses)
def test_a_status_is_the_same_after_json(status):
    assert TaskStatus.from_dict(json.loads(json.dumps(status.to_dict()))) == status


@given(st.lists(statuses, max_size=5))
def test_a_record_is_the_same_after_json_and_counts_every_task(some):
    info = TrackingInfo(_document(*some))
    again = TrackingInfo(json.loads(json.dumps(dict(info))))
    assert again == info == pickle.loads(pickle.dumps(info))
    assert again.statuses == tuple(some)
    assert sum(info.states.values()) == len(some)
    assert info.progress == (sum(s.state in DONE for s in some) / len(some) if some else 1.0)
    assert info.complete == (info.progress == 1.0)
    assert info.ended == all(s.state in TERMINAL for s in some)
    failed = sum(s.state in (State.FAILED, State.LOST) for s in some)
    assert sum(map(len, info.failures().values())) == failed
    assert info.runtimes.n == sum(s.start_timestamp_ms > 0 for s in some)
    info.summary(True)
    info._repr_html_()


def test_an_order_with_an_empty_task_is_complete():
    def info(*states):
        return TrackingInfo(_document(*(TaskStatus(id="", state=s) for s in states)))

    assert info(State.COMPLETED, State.EMPTY).complete
    assert info(State.EMPTY).progress == 1
    assert not info(State.COMPLETED, State.FAILED).complete
    assert info(State.COMPLETED, State.FAILED).ended
    assert info(State.COMPLETED, State.RUNNING).progress == 0.5


def test_a_changed_status_leaves_the_old_record_as_it_was():
    old = TrackingInfo(_document(*(TaskStatus(id=i, state=State.READY) for i in "ab")))
    new = old.with_statuses({1: TaskStatus(id="b", state=State.RUNNING)})
    assert [s.state for s in old.statuses] == ["READY", "READY"]
    assert [s.state for s in new.statuses] == ["READY", "RUNNING"]
    assert new.orders[1]["name"] == "task1"


def test_moved_is_updated_and_keeps_the_rest():
    status = TaskStatus(id="a", state=State.READY, creation_timestamp_ms=5, attempt=2)
    moved = status.moved(State.FAILED, error_message="why")
    assert moved.update_timestamp_ms > status.update_timestamp_ms
    assert (moved.id, moved.attempt, moved.error_message) == ("a", 2, "why")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("orders"), "'orders' is missing or not a list"),
        (lambda d: d.update(orders={}), "'orders' is missing or not a list"),
        (lambda d: d.pop("program"), "'program' is missing or not a JSON object"),
        (lambda d: d.update(submission=[]), "'submission' is missing or not a JSON object"),
        (lambda d: d["tracking"].pop("name"), r"'tracking\.name' is missing"),
        (lambda d: d["orders"].append({"name": "x"}), r"'orders\[1\]' is not a task"),
        (lambda d: d["orders"].append(5), r"'orders\[1\]' is not a task"),
        (lambda d: d["orders"][0].update(status="READY"), r"'orders\[0\]\.status' is no object"),
        (lambda d: d["orders"][0]["status"].update(state="DONE"), "unknown state 'DONE': known"),
        (lambda d: d["orders"][0]["status"].update(state=[1]), "unknown state"),
        (lambda d: d["orders"][0]["status"].pop("state"), "unknown state None"),
    ],
)
def test_what_is_no_record_is_refused_and_the_part_named(change, message):
    document = _document(TaskStatus(id="a", state=State.READY))
    change(document)
    with pytest.raises(MetadataError, match=message):
        TrackingInfo(document)


def test_what_is_no_json_object_is_refused():
    with pytest.raises(MetadataError, match="must be a JSON object, not list"):
        TrackingInfo([])


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"state": "READY", "attempt": "x"}, "attempt is not a number"),
        ({"state": "READY", "start_timestamp_ms": []}, None),
        ({"state": "READY", "update_timestamp_ms": [1]}, "update_timestamp_ms is not a number"),
        ({"state": "READY", "files": [{}]}, "has no name"),
    ],
)
def test_a_status_that_cannot_be_read_is_named(status, message):
    if message is None:
        assert TaskStatus.from_dict(status).start_timestamp_ms == 0
        return
    with pytest.raises(MetadataError, match=message):
        TaskStatus.from_dict(status)


# What CEDAR wrote


def test_cedars_tracking_document_is_read_as_it_is(scenes):
    document = json.loads((scenes / "cedar" / "example_metadata_tracking.json").read_text())
    info = TrackingInfo(document)
    assert info.name == document["tracking"]["name"]
    assert info.states == {"COMPLETED": 1}
    assert info.complete
    assert {key: info[key] for key in document} == document
    # From its milliseconds: (1560973859435 - 1560973082955) / 1000
    assert info.runtimes.seconds == (776.48,)
    assert "12.94 ± 0.00 minutes" in info.summary()
    status = info.statuses[0]
    assert status.id == "6XKXWIQNWYF6MKYXA2NA77O7"
    assert (status.attempt, status.files, status.error_message) == (0, (), None)


def test_cedars_image_metadata_is_read_as_it_is(scenes):
    path = scenes / "cedar" / "example_metadata_image.json"
    document = json.loads(path.read_text())
    metadata = ImageMetadata.from_json(path.read_bytes(), document=path.name)
    assert metadata.collection_id == document["order"]["collection"]
    assert list(metadata.bands) == document["image"]["bands"]
    assert len(metadata.acquisitions) == len(document["image"]["images"])
    assert TaskStatus.from_dict(document["task"]["status"]).state is State.UNSUBMITTED


# For people


def test_runtimes_are_of_what_has_started():
    def task(state, start, end):
        return TaskStatus(id="", state=state, start_timestamp_ms=start, update_timestamp_ms=end)

    info = TrackingInfo(
        _document(
            task(State.COMPLETED, 1_000, 61_000),
            task(State.FAILED, 1_000, 181_000),
            task(State.CANCELLED, 0, 99_000),
            task(State.COMPLETED, 5_000, 4_000),
        )
    )
    assert info.task_runtimes == [60, 180, None, 0]
    assert info.runtimes == Runtimes(seconds=(60, 180, 0))
    assert (info.runtimes.n, info.runtimes.total, info.runtimes.mean) == (3, 240, 80)
    assert str(info.runtimes) == "1.33 ± 1.25 minutes (mean ± std of 3)"
    none = TrackingInfo(_document()).runtimes
    assert math.isnan(none.mean)
    assert str(none) == "no task has started yet"


def test_failures_are_told_by_cause():
    info = TrackingInfo(
        _document(
            TaskStatus(id="", state=State.FAILED, error_message="disk"),
            TaskStatus(id="", state=State.COMPLETED),
            TaskStatus(id="", state=State.FAILED, error_message="disk"),
            TaskStatus(id="", state=State.LOST),
            TaskStatus(id="", state=State.CANCELLED, error_message="somebody said so"),
        )
    )
    assert info.failures() == {"disk": ["task0", "task2"], "LOST": ["task3"]}


def test_one_is_no_plural_and_seconds_are_no_minutes():
    def info(*seconds):
        times = [
            {"start_timestamp_ms": 1, "update_timestamp_ms": 1 + round(1000 * s)} for s in seconds
        ]
        return TrackingInfo(
            _document(*(TaskStatus(id="", state=State.COMPLETED, **at) for at in times))
        )

    assert ": 1 task (COMPLETED: 1)" in repr(info(2))
    assert "</b>: 1 task, 100% done" in info(2)._repr_html_()
    assert "runtime 3.0 ± 1.0 seconds (mean ± std of 2)<" in info(2, 4)._repr_html_()
    assert "runtime 1.50 ± 0.50 minutes (mean ± std of 2)<" in info(60, 120)._repr_html_()
    assert "0.05 ± 0.02 minutes" in info(2, 4).summary()  # as CEDAR prints it
    assert "0.0050 ± 0.0017 minutes" in info(0.2, 0.4).summary()
    assert "0.00 ± 0.00 minutes" in info(0, 0).summary()


def test_a_notebook_shows_no_foreign_markup():
    status = TaskStatus(id="", state=State.FAILED, error_message="<script>alert(1)</script>")
    shown = TrackingInfo(_document(status, name="<b>&x"))._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; (1)" in shown
    assert "&lt;b&gt;&amp;x" in shown
    assert "FAILED" in shown


def test_the_summary_tells_everything_of_an_order_and_its_tasks():
    document = _document(
        TaskStatus(
            id="K1", state=State.COMPLETED, creation_timestamp_ms=1_000,
            start_timestamp_ms=61_000, update_timestamp_ms=151_000, attempt=2,
            output_url=("https://a/b.tif",),
            files=(FileInfo(name="b.tif", size=12, md5="00ff"),),
        ),
        TaskStatus(id="K2", state=State.FAILED, error_message="no disk"),
        prefix="TP", collections=["A/B"], name_template="{n}", prefix_template="{p}",
        filters={"A/B": [{"function": "lte"}]}, export_image_kwds={"shardSize": 256},
        engine="local", key="ABC",
    )  # fmt: skip
    document["submission"] = {
        "submitted": "2026-01-01", "tile_grid": {"name": "GRID"},
        "tile_indices": [[n, 7] for n in range(14)], "period_start": "2022", "period_end": "2023",
        "period_freq": "MS",
    }  # fmt: skip
    info = TrackingInfo(document)
    short, full = info.summary(), info.summary(True)
    for word in (
        "Order N", "orchard 1", "2026-01-01", "A/B", "GRID", "(11, 7) and 2 more", "2022 to 2023",
        "MS", '"function": "lte"', '"shardSize": 256', "local", "{p}/{n}", "TP/N.json", "ABC",
        "2, 50% done", "COMPLETED", "FAILED",
    ):  # fmt: skip
        assert word in short
    assert "Task 0" not in short
    for word in (
        "Task 0: task0", "K1", "1970-01-01 00:00:01+00:00", "1970-01-01 00:01:01+00:00",
        "1.50 minutes", "https://a/b.tif", "b.tif, 12 bytes, md5 00ff", "Task 1: task1", "no disk",
    ):  # fmt: skip
        assert word in full
    assert "Task 0" not in info.summary([1])
    assert "Task 1" in info.summary([1])
