"""Many tasks through a short queue: all done, few requests, fair turns."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from ee_world import PERIOD, SIMPLE, tiles
from hypothesis import given
from hypothesis import strategies as st

from orchard.engines.earthengine.lifecycle import choose
from orchard.engines.earthengine.operations import PartId
from orchard.testing.earthengine import Limits, service

# Most of the time goes into what the client library does to build and send each request: all 5,000
# on demand.
COUNT, QUEUE = (5000, 300) if os.environ.get("ORCHARD_LONG_TESTS") else (300, 20)


def test_thousands_of_tasks_through_a_short_queue(
    world, simple_archive, order, simple, monkeypatch
):
    monkeypatch.setattr(service, "write_files", _write_name_only)
    there = world(simple_archive, limits=Limits(queue=QUEUE, running=QUEUE - 5))
    engine = there.engine(queue=QUEUE, threads=2)
    tracker = order(engine)
    name, _ = tracker.submit(SIMPLE, tiles(COUNT), *PERIOD)
    planned = there.server.requests["compute"]
    assert planned * 50 <= COUNT
    rounds = []
    engine._sleep = rounds.append
    steps = []
    info = tracker.wait(name, callback=lambda item, n_steps: steps.append(n_steps))
    assert info.states == {"COMPLETED": COUNT}
    assert sum(steps) == COUNT
    assert QUEUE * 0.8 < there.service.most_pending <= QUEUE
    assert len(there.service.exports) == len(set(there.service.exports)) == COUNT
    assert there.server.requests["compute"] == planned
    assert there.server.requests["export"] == COUNT
    assert there.server.requests["get"] == 0
    # one look a round, and one each to submit, before and after the wait
    assert there.server.requests["operations"] <= len(rounds) + 1 + 3
    # which stops when it has seen enough
    assert there.server.pages <= there.server.requests["operations"] * 3


def _write_name_only(image, options, prefix, separator):
    yield f"{prefix}.tif", b"II*"


def test_the_queue_is_shared_with_others(world, simple_archive, order):
    there = world(simple_archive, limits=Limits(queue=20, running=4))
    other = there.engine(queue=15, ledger=there.folder / "other.sqlite")
    order(other, tracking_template="OTHER", prefix_template="OTHER").submit(
        SIMPLE, tiles(15), *PERIOD
    )
    engine = there.engine(queue=20)
    tracker = order(engine)
    name, _ = tracker.submit(SIMPLE, tiles(30), *PERIOD)
    assert there.service.pending <= 20
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 30}
    assert there.service.most_pending <= 20
    assert there.server.requests["export"] == len(there.service.exports) == 45


def test_a_full_queue_is_waited_for(world, simple_archive, order):
    """The feeder believes in more room than there is: 429 makes it wait, not fail."""
    there = world(simple_archive, limits=Limits(queue=5, running=2))
    tracker = order(there.engine(queue=100, threads=1))
    name, _ = tracker.submit(SIMPLE, tiles(12), *PERIOD)
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 12}
    assert len(there.service.exports) == 12


def test_one_round_from_cron(world, simple_archive, order):
    there = world(simple_archive, limits=Limits(queue=10, running=5))
    tracker = order(there.engine(queue=10))
    name, _ = tracker.submit(SIMPLE, tiles(30), *PERIOD)
    states = []
    for _ in range(20):
        # each time another process
        tracker = order(there.engine(queue=10))
        info = tracker.wait(name, timeout=0)
        states.append(dict(info.states))
        if info.ended:
            break
    assert states[-1] == {"COMPLETED": 30}
    assert len(there.service.exports) == 30


def test_priorities_and_fair_turns(world, simple_archive, order):
    there = world(simple_archive, limits=Limits(queue=6, running=6), live=False)
    engine = there.engine(queue=6, threads=1)
    orders = {}
    for name in ("FIRST", "SECOND"):
        tracker = order(engine, tracking_template=name, prefix_template=name)
        tracker.submit(SIMPLE, tiles(20), *PERIOD)
        orders[name] = tracker
    there.service.step()  # the six of FIRST run
    store = orders["FIRST"].store
    engine.work(None, store, timeout=0)
    waiting = [op for op in there.service.operations.values() if op.state == "PENDING"]
    counts = Counter(op.body["description"].rpartition(":")[2] for op in waiting)
    # SECOND has none yet, so it comes first
    assert counts == {"SECOND": 6}


@given(
    st.dictionaries(st.sampled_from("ABC"), st.lists(st.integers(0, 2), max_size=12), max_size=3),
    st.dictionaries(st.sampled_from("ABC"), st.integers(0, 5)),
    st.integers(0, 20),
)
def test_choose(priorities, outstanding, room):
    waiting = {
        order: [
            (priority, PartId(key=order, number=n))
            for n, priority in enumerate(sorted(theirs, reverse=True))
        ]
        for order, theirs in priorities.items()
    }
    chosen = choose(waiting, outstanding, room)
    total = sum(map(len, waiting.values()))
    assert len(chosen) == len(set(chosen)) == min(room, total)
    urgency = {part: priority for parts in waiting.values() for priority, part in parts}
    left = [urgency[part] for part in urgency if part not in chosen]
    # nothing more urgent is left behind
    assert not left or not chosen or max(left) <= min(urgency[part] for part in chosen)
    # within an order, first come first served
    for order in waiting:
        numbers = [part.number for part in chosen if part.key == order]
        assert numbers == list(range(len(numbers)))
    # of equal urgency, no order gets ahead of another that still waits by more than one
    if len({p for parts in waiting.values() for p, _ in parts}) == 1:
        busy = {
            order: outstanding.get(order, 0) + sum(part.key == order for part in chosen)
            for order in waiting
        }
        for order, parts in waiting.items():
            if sum(part.key == order for part in chosen) < len(parts):
                others = [b for o, b in busy.items() if b > outstanding.get(o, 0)]
                assert all(b <= busy[order] + 1 for b in others)


@pytest.mark.parametrize("order_name", ["A", "x" * 80, "mit Ümlaut/und mehr"])
def test_descriptions_lead_back(order_name):
    part = PartId(key="ABC234", generation=1, number=3, attempt=2)
    text = part.describe(order_name)
    assert len(text) <= 100
    read = PartId.read(text)
    assert read is not None
    assert read[0] == part
    assert order_name.startswith(read[1][:3])
    assert len(part.request_id) <= 60
    assert PartId.read("somebody else's") is None
