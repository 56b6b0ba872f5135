"""The platform's runner: what is killed goes on, what failed says why, what is gone is remade."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import httpx
import pytest
from small_platform import make_config, order, serving, wait_for

from orchard.errors import DataError, InputError, OrderNotFoundError
from orchard.server import workshop as workshop_module
from orchard.server.app import create_app
from orchard.server.blocks import BlockStopped
from orchard.server.details import task_details
from orchard.server.platform import Platform
from orchard.server.records import BlockRecord
from orchard.server.workflow import Workflow
from orchard.server.workshop import Workshop
from orchard.tracking import State


@pytest.fixture
def config(tmp_path, archive):
    return make_config(tmp_path, archive)


@pytest.fixture
def platform(config):
    found = Platform(config)
    yield found
    found.close()


@pytest.fixture
def working():
    """Workshops that are stopped in the end."""
    started: list[Workshop] = []

    def start(platform: Platform) -> Workshop:
        started.append(Workshop(platform))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


def submit(platform, tiles, **workflow):
    name, jobs, _ = platform.submit(
        "local",
        Workflow(**workflow),
        {**order(tiles), "collections": ["LANDSAT/LC08/C02/T1_L2"]},
    )
    return name, jobs[0].id


def ended(platform, job):
    for _ in range(600):
        view = platform.job("local", job)
        if view.state in ("SUCCEEDED", "FAILED", "CANCELLED", "ERROR"):
            return view
        with platform.changed:
            platform.changed.wait(0.1)
    raise AssertionError(view.states)


def test_a_job_goes_through_its_states(platform, tiles, working):
    name, job = submit(platform, tiles[:1])
    assert platform.job("local", job).state == "PENDING"
    assert platform.job("local", job).states == ["PENDING", "NOT STARTED"]
    working(platform)
    view = ended(platform, job)
    assert view.states == ["SUCCEEDED", "SUCCEEDED"]
    assert platform.tracker.read(name).statuses[0].state is State.COMPLETED


def test_orders_of_the_command_line_are_worked_on_too(platform, tiles, working):
    wanted = order(tiles[:1])
    name, _ = platform.tracker.submit(
        wanted["collections"], tiles[:1], wanted["period_start"], wanted["period_end"]
    )
    (job,) = (status.id for status in platform.tracker.read(name).statuses)
    working(platform)
    view = ended(platform, job)
    assert view.workflow == Workflow()
    assert platform.result(view, "ard").data_json.exists()


def test_what_the_command_line_has_made_is_shown(platform, tiles, working):
    name, job = submit(platform, tiles[:1])
    platform.tracker.wait(name)
    working(platform)
    assert ended(platform, job).states == ["SUCCEEDED", "SUCCEEDED"]


def test_what_nobody_works_on_is_pending(platform, tiles, working):
    name, job = submit(platform, tiles[:1])
    platform.tracker.wait(name)
    view = platform.job("local", job)
    assert (view.state, view.states) == ("PENDING", ["PENDING", "PENDING"])
    done = BlockRecord(job=job, block="preard", order=name, version=view.version, state="SUCCEEDED")
    platform.records.put_block(done)
    view = platform.job("local", job)
    assert (view.state, view.states) == ("PENDING", ["SUCCEEDED", "PENDING"])
    platform.records.put_block(replace(done, block="ard", state="RUNNING"))
    assert platform.job("local", job).state == "RUNNING", "another process makes it"
    platform.records.put_block(replace(done, block="ard", state="PENDING"))
    platform.working = True
    view = platform.job("local", job)
    assert (view.state, view.states) == ("RUNNING", ["SUCCEEDED", "PENDING"])


def test_in_process_what_is_not_asked_for_is_pending(config, tiles, working):
    platform = Platform(config, in_process=True)
    name, job = submit(platform, tiles[:1])
    platform.asked.clear()
    platform.tracker.wait(name)
    working(platform)
    view = platform.job("local", job)
    assert (view.state, view.states) == ("PENDING", ["PENDING", "PENDING"])
    platform.ask(job)
    assert platform.job("local", job).state in ("RUNNING", "SUCCEEDED")
    assert ended(platform, job).states == ["SUCCEEDED", "SUCCEEDED"]


def test_a_killed_runner_leaves_nothing_half_done(platform, config, tiles, working):
    name, job = submit(platform, tiles[:1])
    platform.tracker.wait(name)
    # As if the process had been killed in the middle of the first block.
    view = platform.job("local", job)
    platform.records.put_block(
        BlockRecord(job=job, block="preard", order=name, version=view.version, state="RUNNING")
    )
    half = platform.results.begin(job, "preard")
    (half / "files" / "half.tif").write_bytes(b"half")
    assert platform.results.find(job, "preard", view.version) is None
    again = Platform(config)
    working(again)
    assert ended(again, job).states == ["SUCCEEDED", "SUCCEEDED"]
    assert not half.exists()
    assert sorted(path.name for path in half.parent.iterdir()) == ["ard", "preard"]


def test_a_failed_block_says_why_and_stops_the_job(platform, tiles, working, monkeypatch):
    calls = []

    def make(block, job, folder):
        calls.append(block)
        if block == "ard":
            raise InputError("this cannot be meant")
        return []

    monkeypatch.setattr(workshop_module, "make_block", make)
    name, job = submit(platform, tiles[:1], composite={})
    platform.tracker.wait(name)
    working(platform)
    view = ended(platform, job)
    assert view.state == "FAILED"
    assert view.states[:2] == ["SUCCEEDED", "FAILED"]
    assert view.records["ard"].error == "this cannot be meant"
    assert calls == ["preard", "ard"]
    assert "ard FAILED: this cannot be meant" in platform.logs(view, "ard")
    assert task_details(platform, view)["can"] == {"cancel": False, "retry": True}
    # What failed, and what follows, is made when somebody wants it retried; not what is there.
    monkeypatch.setattr(workshop_module, "make_block", lambda block, *_: calls.append(block) or [])
    platform.retry(view)
    assert ended(platform, job).state == "SUCCEEDED"
    assert calls == ["preard", "ard", "ard", "composite"]


def test_what_may_pass_is_tried_again(platform, tiles, working, monkeypatch):
    calls = []

    def make(block, job, folder):
        calls.append(block)
        if len(calls) < 3:
            raise DataError("the store does not answer")
        return []

    monkeypatch.setattr(workshop_module, "make_block", make)
    name, job = submit(platform, tiles[:1])
    platform.tracker.wait(name)
    working(platform)
    assert ended(platform, job).state == "SUCCEEDED"
    assert calls == ["preard", "preard", "preard", "ard"]


def test_what_never_passes_ends(platform, tiles, working, monkeypatch):
    def make(block, job, folder):
        raise RuntimeError("a bug")

    monkeypatch.setattr(workshop_module, "make_block", make)
    name, job = submit(platform, tiles[:1])
    platform.tracker.wait(name)
    working(platform)
    view = ended(platform, job)
    assert view.state == "FAILED"
    assert view.records["preard"].error == "RuntimeError: a bug"
    assert view.records["preard"].attempt == 3


def test_deleted_results_are_made_again(platform, tiles, working):
    _name, job = submit(platform, tiles[:1])
    working(platform)
    view = ended(platform, job)
    shutil.rmtree(platform.results.folder / job / "preard")
    result = platform.result(view, "preard", patience=60)
    assert result.archive().size > 1000


def test_results_go_with_a_cleaned_order(platform, config, tiles, working):
    name, job = submit(platform, tiles[:1])
    runner = working(platform)
    view = ended(platform, job)
    result = platform.result(view, "preard")
    platform.tracker.clean(name)
    with pytest.raises(DataError, match="cleaned"):
        result.archive()
    platform.tracker.clean(name, tracking_name=name)
    platform.index.refresh(at_least=True)  # by itself it looks once a second
    with pytest.raises(OrderNotFoundError):
        platform.job("local", job)
    runner.stop()
    folder = platform.results.folder / job
    assert folder.exists()
    again = Platform(config)
    one = Workshop(again)
    one._tidy()
    again.close()
    assert not folder.exists()


def test_a_task_that_was_made_anew_gives_new_results(platform, tiles, working):
    name, job = submit(platform, tiles[:1])
    working(platform)
    first = ended(platform, job)
    etag = platform.result(first, "preard").archive().etag
    platform.tracker.clean(name, tracking_name=name)
    platform.index.refresh(at_least=True)
    assert submit(platform, tiles[:1])[1] == job
    second = ended(platform, job)
    assert second.version != first.version
    assert platform.result(second, "preard").archive().etag != etag


def test_cancelling_a_pending_job(platform, tiles):
    name, job = submit(platform, tiles[:1])
    platform.cancel(platform.job("local", job))
    view = platform.job("local", job)
    assert view.state == "CANCELLED"
    assert view.states == ["CANCELLED", "CANCELLED"]
    assert platform.tracker.read(name).statuses[0].state is State.CANCELLED


def test_cancelling_between_the_blocks(platform, tiles, working):
    name, job = submit(platform, tiles[:1])
    platform.tracker.wait(name)
    platform.index.refresh(at_least=True)
    platform.cancel(platform.job("local", job))
    working(platform)
    assert ended(platform, job).states == ["CANCELLED", "CANCELLED"]


@pytest.fixture
def interrupting(monkeypatch):
    """Do something when a block begins; tells how the block took it."""
    monkeypatch.setattr(workshop_module, "_LOOK", 0)
    real, said = workshop_module.make_block, []

    def interrupt(wanted, act):
        def make(block, job, folder):
            if block == wanted and not said:
                said.append("begun")
                act()
                try:
                    return real(block, job, folder)
                except BlockStopped:
                    said.append("stopped")
                    raise
            return real(block, job, folder)

        monkeypatch.setattr(workshop_module, "make_block", make)
        return said

    return interrupt


BLOCKS = ["preard", "ard", "composite", "index"]
ALL_BLOCKS = {"composite": {"method": "best"}, "index": {"name": "NDVI"}}


@pytest.mark.parametrize("block", BLOCKS)
def test_cancelling_ends_the_block_that_is_being_made(
    platform, tiles, working, interrupting, block
):
    name, job = submit(platform, tiles[:1], **ALL_BLOCKS)
    platform.tracker.wait(name)
    platform.index.refresh(at_least=True)

    def cancel():
        platform.cancel(platform.job("local", job))
        assert platform.job("local", job).state == "CANCELLING"

    said = interrupting(block, cancel)
    working(platform)
    view = ended(platform, job)
    at = BLOCKS.index(block)
    assert view.states == ["SUCCEEDED"] * at + ["CANCELLED"] * (4 - at)
    assert said == ["begun", "stopped"]  # inside of the work, not after it
    assert sorted(p.name for p in (platform.results.folder / job).iterdir()) == sorted(BLOCKS[:at])


@pytest.mark.parametrize("block", BLOCKS)
def test_stopping_gives_back_the_block_that_is_being_made(
    platform, config, tiles, working, interrupting, block
):
    name, job = submit(platform, tiles[:1], **ALL_BLOCKS)
    platform.tracker.wait(name)
    runner = Workshop(platform)
    said = interrupting(block, runner._over.set)
    runner.start()
    for thread in runner._threads:
        thread.join(30)
        assert not thread.is_alive()
    assert said == ["begun", "stopped"]
    view = platform.job("local", job)
    assert (view.current(block).state, view.current(block).attempt) == ("PENDING", 0)
    done = BLOCKS[: BLOCKS.index(block)]
    assert sorted(p.name for p in (platform.results.folder / job).iterdir()) == sorted(done)
    working(Platform(config))
    assert ended(platform, job).states == ["SUCCEEDED"] * 4


def test_a_cancelled_block_of_a_dead_runner_is_cancelled_by_the_next(platform, tiles, working):
    name, job = submit(platform, tiles[:1])
    platform.tracker.wait(name)
    platform.index.refresh(at_least=True)
    view = platform.job("local", job)
    platform.records.put_block(
        BlockRecord(job=job, block="preard", order=name, version=view.version, state="RUNNING")
    )
    platform.cancel(platform.job("local", job))
    assert platform.job("local", job).state == "CANCELLING"
    working(platform)
    assert ended(platform, job).states == ["CANCELLED", "CANCELLED"]


def test_a_retried_task_is_worked_on_again(platform, tiles, working):
    name, job = submit(platform, tiles[:1])
    platform.cancel(platform.job("local", job))
    platform.tracker.retry(name)
    platform.index.refresh(at_least=True)
    working(platform)
    assert ended(platform, job).state == "SUCCEEDED"


def test_two_runners_make_each_block_once(platform, config, tiles, working, monkeypatch):
    calls, real = [], workshop_module.make_block

    def make(block, job, folder):
        calls.append((job.job, block))
        return real(block, job, folder)

    monkeypatch.setattr(workshop_module, "make_block", make)
    _name, _job = submit(platform, tiles[:2])
    other = Platform(config)
    working(platform)
    working(other)
    jobs = [view.id for view in platform.jobs("local")[0]]
    for one in jobs:
        ended(platform, one)
    assert sorted(calls) == sorted((one, block) for one in jobs for block in ("preard", "ard"))


def test_stopping_gives_back_what_is_being_made(platform, tiles):
    _name, job = submit(platform, tiles[:1])
    runner = Workshop(platform)
    runner._over.set()
    runner.start()
    runner.stop()
    assert platform.job("local", job).state == "PENDING"
    assert not any(thread.is_alive() for thread in runner._threads)


def test_stopping_in_the_middle_gives_back_and_the_next_goes_on(platform, tiles, working):
    """More tasks than are made at a time: a task a week."""
    wanted = {**order(tiles[:2], period_freq="W"), "collections": ["LANDSAT/LC08/C02/T1_L2"]}
    _, views, count = platform.submit("local", Workflow(), wanted)
    open_ = [view.id for view in views if view.status.state is not State.EMPTY]
    assert count > len(open_) > 4
    runner = Workshop(platform)
    runner.start()
    while all(platform.job("local", job).status.state is State.READY for job in open_):
        threading.Event().wait(0.01)
    runner.stop()
    states = {platform.job("local", job).status.state for job in open_}
    assert states <= {State.READY, State.COMPLETED}
    working(platform)
    assert {ended(platform, job).state for job in open_} == {"SUCCEEDED"}


def test_a_platform_without_engine_shows_what_there_is(config, tiles, tmp_path, archive, caplog):
    _name, _ = config.get_tracker().submit(
        "LANDSAT/LC08/C02/T1_L2", tiles[2:], "2023-04-01", "2023-08-01"
    )
    bare = make_config(tmp_path, archive, engine=None)
    with serving(create_app(bare)) as url, httpx.Client(base_url=url, timeout=30) as client:
        (job,) = client.get("/projects/local/jobs").json()["data"]
        assert job["status"] == "SUCCEEDED"
        answer = client.post("/projects/local/jobs", json=order(tiles))
        assert answer.status_code == 422
        assert "no engine" in answer.json()["error"]["message"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_results_that_are_not_there_yet(config, tiles):
    app = create_app(config, run=False)
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        answer = client.post("/projects/local/jobs", json=order(tiles[:1]))
        job = answer.json()["data"]["jobs"][0]["id"]
        base = f"/projects/local/jobs/{job}"
        for path in ("outputs/data-json/", "downloads/results/"):
            answer = client.get(f"{base}/{path}")
            assert answer.status_code == 409
            assert "NOT STARTED" in answer.json()["error"]["message"]
        app.state.platform.tracker.wait(client.get(base).json()["data"]["order"])
        answer = client.get(f"{base}/tasks/{job}-preard/outputs/quicklooks/")
        assert answer.status_code == 409
        assert answer.headers["retry-after"] == "2"  # the image is there: it is being made
        assert client.post(f"{base}/cancel/").json()["data"]["status"] == "CANCELLED"
        assert wait_for(client, base)["status"] == "CANCELLED"


def test_a_remote_store(tiles, archive, tmp_path, monkeypatch, working):
    """Not a folder: images are fetched, verified, and kept beside the results."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = make_config(tmp_path, archive, store="memory://platform-test")
    platform = Platform(config)
    _name, job = submit(platform, tiles[:1])
    working(platform)
    view = ended(platform, job)
    assert view.state == "SUCCEEDED", [record.error for record in view.records.values()]
    files = [entry.name for entry in platform.result(view, "preard").archive().entries]
    assert f"output/{view.name}/{view.name}.tif" in files
    assert f"output/{view.name}/{view.name}.json" in files
    assert platform.folder.is_relative_to(tmp_path / "state")


def test_waiting_threads_are_woken(platform):
    seen, woken = threading.Event(), []

    def wait():
        with platform.changed:
            woken.append(platform.changed.wait(10))
        seen.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while not seen.wait(0.01):
        platform.tell()
    thread.join()
    assert woken == [True], "it has not just waited long enough"
