"""SIGKILL at any moment of submit, run (runner and workers) and cancel loses and doubles nothing.

``ORCHARD_TEST_KILLS=300`` kills as often on an order of 400 tasks; by default it is a dozen times
on one of 36.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from test_runner import check_images
from tiny_world import World, files_below

from orchard.engines.local.lifecycle import Step
from orchard.errors import OrderNotFoundError

KILLS = int(os.environ.get("ORCHARD_TEST_KILLS", "12"))
SIDE = 20 if KILLS > 100 else 6
HERE = Path(__file__).parent


class Victim:
    """A process that does something with the order, and is killed in the midst of it."""

    def __init__(self, world, what, executor="threads 2"):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "killing.py", what, world.folder, str(SIDE), executor],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self.process.stdout.readline()

    def kill(self, after, rng, *, worker=False):
        """Kill it, or a worker of it, after some time; True: it was still alive."""
        time.sleep(after)
        alive = self.process.poll() is None
        victims = [self.process]
        if worker:
            victims = psutil.Process(self.process.pid).children(recursive=True) if alive else []
        if victims:
            try:
                os.kill(rng.choice(victims).pid, signal.SIGKILL)
            except ProcessLookupError:
                alive = False
        return alive and bool(victims)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.mark.timeout(3600)
def test_an_order_survives_whatever_is_killed(tmp_path, scratch):
    rng = random.Random(f"{KILLS}")
    world = World(tmp_path, tiles=(SIDE, SIDE), days=1)
    tracker = world.tracker()
    killed = Counter()
    share = max(KILLS // 6, 1)

    for _ in range(share):
        victim = Victim(world, "submit")
        killed["submit"] += victim.kill(rng.uniform(0, 0.8), rng)
        victim.end()
    name, _ = tracker.submit(*world.order())
    assert sum(tracker.read(name).states.values()) == SIDE * SIDE

    while sum(killed.values()) < KILLS:
        kind = rng.choice(["run", "run", "worker", "worker", "cancel"])
        if kind == "cancel":
            victim = Victim(world, "cancel")
            killed[kind] += victim.kill(rng.uniform(0, 0.3), rng)
            victim.end()
            tracker.update(name)
            tracker.retry(name)
            continue
        executor = "processes 2" if kind == "worker" else "threads 2"
        victim = Victim(world, "run", executor)
        if kind == "run":
            killed[kind] += victim.kill(rng.uniform(0, 1.0), rng)
        else:
            for _ in range(4):
                killed[kind] += victim.kill(rng.uniform(0.1, 1.2), rng, worker=True)
            killed["run"] += victim.kill(rng.uniform(0, 0.5), rng)
        victim.end()
        if tracker.update(name).complete:
            # All is done before all kills are spent: begin with the next order. Whoever waits also
            # tidies up after the dead.
            tracker.wait(name)
            check(world, tracker, name, scratch)
            tracker.clean(name, name)
            name, _ = tracker.submit(*world.order())

    # A task whose cancellation was asked for when its runner was killed ends CANCELLED only once
    # the dead runner's lease has ended: a second retry is for those.
    for _ in range(3):
        tracker.retry(name)
        info = tracker.wait(name)
    assert info.states == {"COMPLETED": SIDE * SIDE}, info.failures()
    check(world, tracker, name, scratch)
    print(dict(killed))
    tracker.clean(name, name)
    with pytest.raises(OrderNotFoundError):
        tracker.read(name)
    assert [f for f in files_below(tmp_path) if f.startswith("store/")] == []


def check(world, tracker, name, scratch):
    """Every output is right, recorded as it is, completed once, and nothing else is there."""
    info = tracker.read(name)
    folder = world.folder / "store/CEDAR_PREARD"
    check_images(world, folder)
    ledger = tracker.engine.ledger(tracker.store)
    for status in info.statuses:
        (file,) = status.files
        assert (folder / file.name).stat().st_size == file.size
        done = [e for e in ledger.events(status.id) if e.event == Step.COMPLETED]
        assert len(done) == 1
    assert ledger.held("") == {}
    files = files_below(world.folder / "store")
    tasks = len(info.statuses)
    assert len([f for f in files if f.endswith(".tif")]) == tasks
    assert len([f for f in files if f.endswith(".json")]) == tasks + 1
    assert len(files) == 2 * tasks + 1, [f for f in files if "orchard-tmp" in f]
    left = [f for f in files_below(scratch) if "orchard-scratch" in f]
    assert left == []
