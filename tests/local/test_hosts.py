"""Two hosts, as network namespaces: the runner on one, Dask on the other, and the link between cut.

Needs root and iproute2 (``ip``).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_distributed import free_port
from test_runner import check_images
from tiny_world import World

TILES = (6, 8)
COUNT = TILES[0] * TILES[1]
# After so many seconds without an answer Dask gives a connection up; it takes no fewer.
PATIENCE = 11
NOTICE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{PATIENCE}s"}
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tiny_world import World
world = World(Path(sys.argv[2]), tiles=(6, 8), days=1)
world.tracker(engine_options={"executor": sys.argv[3]}).wait("order")
"""


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


class Hosts:
    """Two hosts and a link; what runs on them ends with them."""

    names = ("dask", "runner")

    def __init__(self):
        self.spaces = {name: f"orchard-{os.getpid()}-{name}" for name in self.names}
        self.addresses = {"dask": "198.18.7.1", "runner": "198.18.7.2"}
        self.processes = []

    def __enter__(self):
        for space in self.spaces.values():
            ip("netns", "add", space)
        dask, runner = (self.spaces[name] for name in self.names)
        ip(
            "-n",
            dask,
            "link",
            "add",
            "wire",
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            runner,
        )
        for name, space in self.spaces.items():
            ip("-n", space, "address", "add", f"{self.addresses[name]}/24", "dev", "wire")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "wire", "up")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def start(self, host, *words, log=subprocess.DEVNULL):
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.spaces[host], sys.executable, *words],
            env={**os.environ, **NOTICE}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def link(self, state):
        ip("-n", self.spaces["runner"], "link", "set", "wire", state)


@pytest.fixture
def hosts():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2, to make network namespaces")
    hosts = Hosts()
    try:
        hosts.__enter__()
    except OSError as error:
        hosts.__exit__()
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield hosts
    hosts.__exit__()


def test_the_link_between_two_hosts_is_cut_and_restored(hosts, tmp_path):
    world = World(tmp_path, tiles=TILES, days=1)
    tracker = world.tracker(engine_options={"executor": "threads"})
    name, _ = tracker.submit(*world.order())
    ledger = tracker.engine.ledger(tracker.store)
    port = free_port()
    hosts.start(
        "dask", "-m", "distributed.cli.dask_scheduler", "--host", "0.0.0.0",
        "--port", str(port), "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
    )  # fmt: skip
    hosts.start(
        "dask", "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1",
        "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path / "dask"),
    )  # fmt: skip
    script = tmp_path / "run.py"
    script.write_text(RUN)
    log = tmp_path / "run.log"
    with log.open("wb") as output:
        runner = hosts.start(
            "runner", str(script), str(Path(__file__).parent), str(tmp_path),
            f"distributed {hosts.addresses['dask']}:{port}", log=output,
        )  # fmt: skip

    def done():
        return tracker.update(name).states.get("COMPLETED", 0)

    def until(condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)

    until(lambda: done() >= 3 or runner.poll() is not None, 60)
    hosts.link("down")
    time.sleep(0.5)
    before = done()
    assert 3 <= before < COUNT, log.read_text()
    time.sleep(PATIENCE + 1)
    assert done() == before, "nothing comes through a link that is down"
    assert runner.poll() is None, log.read_text()
    hosts.link("up")
    until(lambda: runner.poll() is not None, 60)
    assert runner.returncode == 0, log.read_text()
    info = tracker.update(name)
    assert info.states == {"COMPLETED": COUNT}, info.failures()
    check_images(world, tmp_path / "store/CEDAR_PREARD")
    events = [e.event for status in info.statuses for e in ledger.events(status.id)]
    assert events.count("completed") == COUNT
