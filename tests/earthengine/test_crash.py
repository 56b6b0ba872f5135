"""Killed at any point, an order goes on: each task is exported exactly once."""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager

import pytest
from ee_world import PERIOD, PROJECT, SIMPLE, Bucket, tiles

from orchard.testing.earthengine import Interpreter, Service

N_TASKS = 4
N_KILLS = 100


class Killed(BaseException):
    """The process is gone: nothing it does has an effect any more."""


class Fuse:
    """Burns with each thing that reaches the world, and kills the process at its end."""

    def __init__(self, length: float) -> None:
        self.length = length
        self.burnt = 0
        self._lock = threading.Lock()

    def burn(self) -> None:
        with self._lock:
            if self.burnt >= self.length:
                raise Killed
            self.burnt += 1

    def around(self, owner, name: str) -> None:
        """Burn before and after each call of a method: in between lies the point of no return."""
        method = getattr(owner, name)

        def call(*args, **kwargs):
            self.burn()
            result = method(*args, **kwargs)
            self.burn()
            return result

        setattr(owner, name, call)

    def through(self, owner, name: str) -> None:
        """Burn at both ends of a context manager: killed at its end, it is undone."""
        method = getattr(owner, name)

        @contextmanager
        def call(*args, **kwargs):
            self.burn()
            with method(*args, **kwargs) as value:
                yield value
                self.burn()

        setattr(owner, name, call)


class Through:
    """Passes on to another object, so that a fuse can be laid around one user's calls only."""

    def __init__(self, other) -> None:
        self._other = other

    def __getattr__(self, name):
        return getattr(self._other, name)


class Life:
    """One process: a tracker and an engine on what is outside."""

    def __init__(self, there, client, order, bucket, fuse=None) -> None:
        self.engine = there.engine(threads=2)
        # The session is not what is tested, and it takes long to open.
        self.engine._client = self.engine._feeder.client = Through(client)
        store = Through(bucket)
        if fuse:
            for name in ("export", "compute", "pages"):
                fuse.around(self.engine._client, name)
            fuse.around(store, "put")
            fuse.through(self.engine._ledger, "change")
        self.tracker = order(self.engine, store=store)

    def run(self):
        name, _ = self.tracker.submit(SIMPLE, tiles(N_TASKS), *PERIOD)
        return self.tracker.wait(name)

    def end(self):
        self.engine._ledger.close()


@pytest.mark.parametrize("lost", ["nothing", "the ledger", "the request ids", "both"])
def test_killed_at_random_points(lost, world, order, simple_archive, tmp_path):
    there = world(simple_archive)
    client = there.engine()._client

    def outside():
        bucket = Bucket()
        there.service = Service(Interpreter(simple_archive), bucket.sink, project=PROJECT)
        there.server.service = there.service
        (tmp_path / "ledger.sqlite").unlink(missing_ok=True)
        return bucket

    fuse = Fuse(float("inf"))
    life = Life(there, client, order, outside(), fuse)
    assert life.run().states == {"COMPLETED": N_TASKS}
    life.end()
    points = random.Random(lost)
    for _ in range(N_KILLS // 4):
        bucket = outside()
        length = points.randrange(fuse.burnt)
        life = Life(there, client, order, bucket, Fuse(length))
        with pytest.raises(Killed):
            life.run()
        life.end()
        if lost in {"the ledger", "both"}:
            (tmp_path / "ledger.sqlite").unlink(missing_ok=True)
        if lost in {"the request ids", "both"}:
            there.service.forget_requests()
        life = Life(there, client, order, bucket)
        info = life.run()
        life.end()
        assert info.states == {"COMPLETED": N_TASKS}, (length, info.summary(tasks=True))
        keys = [request.split("-")[1] for request in there.service.exports]
        assert sorted(keys) == sorted(status.id for status in info.statuses), length
