"""Dask: the same results, and an order that ends right whatever is lost on the way."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import pytest
from test_runner import check_images
from tiny_world import World

from orchard.engines.local import distributed as pool_of_dask
from orchard.engines.local import runner
from orchard.engines.local.executors import Executor
from orchard.errors import EngineError, InputError

pytestmark = pytest.mark.filterwarnings(
    # Dask's own, when what it speaks to is killed
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(runner, "_TICK", 0.05)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, tiles=(6, 6), days=1)


def submit(world, executor, **options):
    tracker = world.tracker(engine_options={"executor": executor, **options})
    name, _ = tracker.submit(*world.order())
    return tracker, name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def python(*args):
    return subprocess.Popen(
        [sys.executable, "-m", *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


class Cluster:
    """A scheduler and workers in processes of their own, as on other machines."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.workers = []

    def start(self, workers=2):
        self.scheduler = python(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port),
            "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
        )  # fmt: skip
        until = time.monotonic() + 60
        while True:  # it is up when it answers
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            assert time.monotonic() < until
            time.sleep(0.05)
        for _ in range(workers):
            self.add_worker()
        return self

    def add_worker(self):
        self.workers.append(
            python(
                "distributed.cli.dask_worker", f"tcp://{self.address}", "--nthreads", "1",
                "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder),
            )
        )  # fmt: skip

    def stop(self):
        for process in [self.scheduler, *self.workers]:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        self.workers.clear()


@pytest.fixture
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("dask")).start()
    yield cluster
    cluster.stop()


def working(tracker, name, done=1, timeout=60):
    """Wait in a thread, and return once some tasks are done."""
    thread = threading.Thread(target=tracker.wait, args=(name,), daemon=True)
    thread.start()
    until = time.monotonic() + timeout
    while tracker.update(name).states.get("COMPLETED", 0) < done:
        assert thread.is_alive()
        assert time.monotonic() < until
        time.sleep(0.02)
    return thread


def check(world, tracker, name, thread):
    thread.join(120)
    assert not thread.is_alive()
    info = tracker.read(name)
    assert info.states == {"COMPLETED": 36}, info.failures()
    check_images(world, world.folder / "store/CEDAR_PREARD")


def test_workers_of_this_machine(world):
    tracker, name = submit(world, "distributed 2")
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 36}, info.failures()
    check_images(world, world.folder / "store/CEDAR_PREARD")


def test_a_cluster_class_with_its_arguments(world):
    tracker, name = submit(
        world, "distributed.LocalCluster",
        cluster={"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"},
    )  # fmt: skip
    assert tracker.wait(name).states == {"COMPLETED": 36}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("distributed 1", None),
        (
            "distributed.LocalCluster",
            {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"},
        ),
    ],
)
def test_workers_that_we_start_do_not_watch_their_threads(monkeypatch, kind, options):
    """Before CPython 3.12 that may stop them for ever."""
    monkeypatch.delenv("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", raising=False)
    with dask.config.set({"distributed.worker.profile.enabled": True}):
        pool = pool_of_dask.DaskPool(Executor.parse(kind, options=options))
    try:
        found = pool._client.run(lambda dask_worker: list(dask_worker.periodic_callbacks))
    finally:
        pool.close(wait=True)
    (callbacks,) = found.values()
    assert "heartbeat" in callbacks
    assert "profile" not in callbacks


def test_running_tasks_are_cancelled_within_seconds(world, cluster):
    tracker, name = submit(world, f"distributed {cluster.address}")
    thread = working(tracker, name)
    began = time.monotonic()
    tracker.cancel(name)
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - began < 15
    states = tracker.read(name).states
    assert set(states) == {"COMPLETED", "CANCELLED"}


def test_a_worker_is_killed(world, cluster):
    tracker, name = submit(world, f"distributed {cluster.address}")
    thread = working(tracker, name)
    cluster.workers[0].kill()
    cluster.add_worker()
    check(world, tracker, name, thread)


def test_the_scheduler_is_killed_and_comes_back(world, cluster):
    tracker, name = submit(world, f"distributed {cluster.address}")
    thread = working(tracker, name)
    cluster.stop()
    time.sleep(0.5)
    cluster.start()
    check(world, tracker, name, thread)


class Relay:
    """A way to the scheduler that can be cut."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.open = True
        self.pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                if not self.open:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.target))
                self.pairs += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.open = False
        for end in self.pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.pairs.clear()

    def close(self):
        self.cut()
        self.listener.close()


def test_the_connection_is_cut_and_restored(world, cluster):
    relay = Relay(cluster.port)
    tracker, name = submit(world, f"distributed {relay.address}")
    thread = working(tracker, name)
    relay.cut()
    time.sleep(0.5)
    relay.open = True
    check(world, tracker, name, thread)
    relay.close()


def test_what_is_not_there_is_named(world, monkeypatch):
    monkeypatch.setattr(pool_of_dask, "_CONNECT", 0.2)
    tracker, name = submit(world, f"distributed 127.0.0.1:{free_port()}")
    with pytest.raises(EngineError, match="cannot be reached"):
        tracker.wait(name)
    tracker, name = submit(world, "nowhere.SomeCluster")
    with pytest.raises(InputError, match=r"nowhere\.SomeCluster"):
        tracker.wait(name)
    tracker, name = submit(world, "distributed.SpecCluster", cluster={"wings": 2})
    with pytest.raises(InputError, match="wings"):
        tracker.wait(name)
    assert tracker.update(name).states == {"READY": 36}


def test_workers_go_when_their_runner_is_killed(world):
    # The runner of another process; its cluster has no other parent.
    tracker, name = submit(world, "threads")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom tiny_world import World\n"
        "import orchard\n"
        "if __name__ == '__main__':\n"
        "    world = World(Path(sys.argv[2]), tiles=(6, 6), days=1)\n"
        "    world.tracker(engine_options={'executor': sys.argv[3]}).wait('order')\n"
    )
    here = Path(__file__).parent
    script = world.folder / "run.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, script, here, world.folder, "processes 2"], start_new_session=True
    )
    until = time.monotonic() + 60
    while tracker.update(name).states.get("COMPLETED", 0) < 1:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.wait()
    group = process.pid
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < until
        time.sleep(0.05)
    assert tracker.wait(name).states == {"COMPLETED": 36}
    check_images(world, world.folder / "store/CEDAR_PREARD")
