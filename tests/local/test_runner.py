"""The runner: every executor, failures by class, cancel, splitting, skipping, fencing."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_world import SIDE, World, files_below, pixels

import orchard
from orchard.engines.local import failures, pools, runner, work
from orchard.engines.local.amend import amended_document, smaller
from orchard.engines.local.executors import Executor
from orchard.engines.local.failures import Failure, Kind, PoolLostError, WorkerLostError, classify
from orchard.engines.local.publish import Place, publish_metadata
from orchard.engines.local.runner import Runner
from orchard.errors import (
    AccessError,
    ChecksumError,
    InputError,
    OrderExistsError,
    SceneError,
    StoreError,
)
from orchard.preard import expected_files
from orchard.tracking import State

EXECUTORS = ["synchronous", "threads 2", "processes 2"]
MEMORY = "the pixels of a shard"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Look twice as often as a second has tenths, and do not wait between attempts."""
    monkeypatch.setattr(runner, "_TICK", 0.02)
    monkeypatch.setattr(runner, "backoff", lambda _: 0)


@pytest.fixture
def made(monkeypatch):
    """Which shards were made; calling it with a function has that decide before each."""
    done, decide = [], []
    real = work.make_shard

    def make_shard(job, cancelled):
        for rule in decide:
            rule(job, cancelled)
        info = real(job, cancelled)
        done.append(job.key)
        return info

    monkeypatch.setattr(pools, "make_shard", make_shard)
    make_shard.done, make_shard.before = done, decide.append
    return make_shard


def run(world, *, timeout=60, **options):
    tracker = world.tracker(**options)
    name, _ = tracker.submit(*world.order())
    return tracker, tracker.wait(name, timeout=timeout)


def check_images(world, folder, days=None, acquisitions=None):
    """Every image that the world has: right in every pixel."""
    numbers = acquisitions or range(world.days)
    for row, col in world.indices:
        name = f"TINY_SCENES_h{col:03d}v{row:03d}_2022-06-01_2022-06-{world.days + 1:02d}"
        expected = np.array([world.value(n, row, col, b) for n in numbers for b in (0, 1)])
        document = json.loads((folder / f"{name}.json").read_text())
        dimensions = document["store"]["export_image_kwds"].get("fileDimensions")
        files = expected_files(name, (SIDE, SIDE), dimensions)
        there = {path.name for path in folder.glob(f"{name}*.tif")}
        assert there == set(files)
        for file, window in files.items():
            found = pixels(folder / file)
            assert found.shape == (len(expected), window.height, window.width)
            np.testing.assert_array_equal(
                found, np.broadcast_to(expected[:, None, None], found.shape)
            )


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_gives_the_same_images(world, executor):
    tracker, info = run(world, engine_options={"executor": executor})
    assert info.states == {"COMPLETED": 4}
    check_images(world, world.folder / "store/CEDAR_PREARD")
    for order, status in zip(info.orders, info.statuses, strict=True):
        (file,) = status.files
        path = world.folder / "store/CEDAR_PREARD" / file.name
        assert file.size == path.stat().st_size
        assert file.md5 is not None
        assert order["status"]["output_url"] == [str(path)]
    events = [e.event for e in tracker.engine.ledger(tracker.store).events(info.statuses[0].id)]
    assert events == ["intent", "started", "completed"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_bad_scene_fails_its_tasks_and_no_others(tmp_path, executor):
    world = World(tmp_path, tiles=(1, 2), days=2)
    (world.scenes / "s1_nir.tif").write_bytes(b"II*\x00 no image at all")
    tracker = world.tracker(engine_options={"executor": executor})
    name, _ = tracker.submit(*world.order("D"))
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 2, "FAILED": 2}
    (cause,) = info.failures()
    assert "s1" in cause
    assert "nir" in cause
    assert all(s.attempt == 1 for s in info.statuses)


def test_steps_add_up_to_the_tasks(world, made):
    failed = []

    def fail_once(job, _):
        if not failed:
            failed.append(job.key)
            raise ConnectionError("once")

    made.before(fail_once)
    tracker = world.tracker(export_image_kwds={"fileDimensions": 16})
    name, _ = tracker.submit(*world.order())
    steps = []
    tracker.wait(name, callback=lambda item, n_steps: steps.append(n_steps))
    assert sum(steps) == pytest.approx(4)


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (MemoryError(), Kind.MEMORY),
            (np._core._exceptions._ArrayMemoryError((9,), np.dtype("u1")), Kind.MEMORY),
            (SceneError("cannot allocate memory", scene="s"), Kind.MEMORY),
            (SceneError("HTTP response code: 503", scene="s"), Kind.TRANSIENT),
            (SceneError("HTTP error code : 429", scene="s"), Kind.TRANSIENT),
            (SceneError("CURL error: Connection reset by peer", scene="s"), Kind.TRANSIENT),
            (SceneError("Operation timed out", scene="s"), Kind.TRANSIENT),
            (SceneError("a broken block", scene="s", transient=True), Kind.TRANSIENT),
            (SceneError("HTTP response code: 404", scene="s"), Kind.SCENE),
            (SceneError("not a TIFF file, 5003 bytes", scene="s"), Kind.SCENE),
            (WorkerLostError("died"), Kind.TRANSIENT),
            (PoolLostError("gone"), Kind.TRANSIENT),
            (ConnectionResetError("peer"), Kind.TRANSIENT),
            (TimeoutError(), Kind.TRANSIENT),
            (StoreError("busy"), Kind.TRANSIENT),
            (ChecksumError("differs"), Kind.TRANSIENT),
            (AccessError("denied"), Kind.FINAL),
            (InputError("no such projection"), Kind.FINAL),
            (KeyError("x"), Kind.FINAL),
            (
                RuntimeError("cannot schedule new futures after interpreter shutdown"),
                Kind.TRANSIENT,
            ),
        ],
    )
    def test_their_kinds(self, error, kind):
        assert classify(error).kind is kind

    def test_a_scene_is_named(self):
        assert classify(SceneError("broken", scene="s7")) == Failure(
            kind=Kind.SCENE, cause="broken", scene="s7"
        )

    def test_backoff_grows_to_a_limit_with_jitter(self, monkeypatch):
        monkeypatch.setattr(failures.random, "uniform", lambda low, high: (low, high))
        bounds = [failures.backoff(n) for n in (0, 1, 5, 20, 10**6)]
        assert bounds == [(0, 1), (0, 2), (0, 32), (0, 300), (0, 300)]

    def test_a_transient_one_is_tried_again_up_to_the_limit(self, world, made):
        def fail(job, _):
            raise ConnectionError("no route")

        made.before(fail)
        _, info = run(world, engine_options={"attempts": 3})
        assert info.states == {"FAILED": 4}
        assert {s.attempt for s in info.statuses} == {3}
        assert {s.error_message for s in info.statuses} == {"ConnectionError: no route"}

    def test_one_that_passes_is_forgotten(self, world, made):
        failed = set()

        def fail_once(job, _):
            if job.key not in failed:
                failed.add(job.key)
                raise ConnectionError("once")

        made.before(fail_once)
        _, info = run(world)
        assert info.states == {"COMPLETED": 4}
        assert {s.error_message for s in info.statuses} == {None}

    def test_a_final_one_is_not_tried_again_but_retried(self, world, made):
        broken = [True]

        def fail(job, _):
            if broken:
                raise ValueError("a mistake")

        made.before(fail)
        tracker, info = run(world)
        assert info.states == {"FAILED": 4}
        assert {s.attempt for s in info.statuses} == {1}
        broken.clear()
        chosen = info.orders[1]["name"]
        assert tracker.retry("order", [chosen]).states == {"FAILED": 3, "READY": 1}
        assert tracker.wait("order").states == {"FAILED": 3, "COMPLETED": 1}
        assert tracker.retry("order").states == {"READY": 3, "COMPLETED": 1}
        assert tracker.wait("order").states == {"COMPLETED": 4}


class TestMemory:
    def test_shards_become_smaller_until_they_fit(self, world, made):
        def limit(job, _):
            if job.window.height * job.window.width > 16 * 16:
                raise MemoryError(MEMORY)

        made.before(limit)
        tracker, info = run(world, engine_options={"creation": {"blocksize": 16}})
        assert info.states == {"COMPLETED": 4}
        folder = world.folder / "store/CEDAR_PREARD"
        check_images(world, folder)
        assert len(list(folder.glob("*.tif"))) == 16
        assert all(len(status.files) == 4 for status in info.statuses)
        events = tracker.engine.ledger(tracker.store).events(info.statuses[0].id)
        assert [e.event for e in events] == [
            "intent", "started", "amended", "started", "completed"
        ]  # fmt: skip
        assert MEMORY in events[2].detail

    def test_what_was_made_in_the_old_layout_is_removed(self, world, made):
        def limit(job, _):
            if job.window.width > 16 and job.window.row_off:
                raise MemoryError(MEMORY)

        made.before(limit)
        run(
            world,
            engine_options={"creation": {"blocksize": 16}, "executor": "synchronous"},
            export_image_kwds={"fileDimensions": [32, 16]},
        )
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_cubes_are_made_of_the_smaller_shards(self, world, made, tmp_path):
        def limit(job, _):
            if job.window.width > 16:
                raise MemoryError(MEMORY)

        made.before(limit)
        tracker, info = run(world, engine_options={"creation": {"blocksize": 16}})
        tracker.download(info, tmp_path / "got")
        for cube in orchard.convert(tmp_path / "got", tmp_path / "ard"):
            with orchard.open_ard(cube) as found:
                assert found["red"].shape == (2, SIDE, SIDE)

    def test_the_smallest_is_tried_a_few_times_and_fails(self, world, made):
        def never(job, _):
            raise MemoryError(MEMORY)

        made.before(never)
        _, info = run(world, engine_options={"attempts": 2})
        assert info.states == {"FAILED": 4}
        assert {s.error_message for s in info.statuses} == {f"not enough memory: {MEMORY}"}

    @pytest.mark.parametrize(
        ("size", "dimensions", "expected"),
        [
            ((5000, 5000), None, [2560, 2560]), ((5000, 5000), 2560, [1536, 1536]),
            ((5000, 5000), [5000, 512], [2560, 512]), ((512, 512), None, None),
            ((300, 5000), None, [300, 2560]), ((5000, 5000), 256, None),
        ],
    )  # fmt: skip
    def test_smaller(self, size, dimensions, expected):
        amended = smaller(size, dimensions, {}, 512)
        assert (amended and amended["file_dimensions"]) == expected


class TestBadScenes:
    def world(self, tmp_path, *bad):
        world = World(tmp_path, tiles=(1, 1), days=3)
        for number in bad:
            (world.scenes / f"s{number}_red.tif").write_bytes(b"II*\x00 no image at all")
        return world

    def test_they_are_left_out_and_recorded(self, tmp_path):
        world = self.world(tmp_path, 1)
        _, info = run(world, engine_options={"on_bad_scene": "skip"})
        assert info.states == {"COMPLETED": 1}
        folder = world.folder / "store/CEDAR_PREARD"
        check_images(world, folder, acquisitions=[0, 2])
        (document,) = [json.loads(path.read_text()) for path in folder.glob("*.json")]
        assert [s["id"] for (s,) in document["image"]["images"]] == ["s0", "s2"]
        assert document["image"]["dates"] == ["2022-06-01", "2022-06-03"]
        (skipped,) = document["image"]["skipped"]
        assert (skipped["id"], skipped["date"]) == ("s1", "2022-06-02")
        assert "s1_red.tif" in skipped["error"]

    def test_without_any_other_the_task_fails(self, tmp_path):
        world = self.world(tmp_path, 0, 1, 2)
        _, info = run(world, engine_options={"on_bad_scene": "skip", "executor": "synchronous"})
        assert info.states == {"FAILED": 1}

    def test_a_scene_that_is_mended_is_there_after_a_retry(self, tmp_path):
        world = self.world(tmp_path, 0, 1, 2)
        tracker, _ = run(world, engine_options={"on_bad_scene": "skip"})
        World(tmp_path, tiles=(1, 1), days=3)
        tracker.retry("order")
        assert tracker.wait("order").states == {"COMPLETED": 1}
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_a_document_tells_what_is_amended(self):
        document = {
            "store": {"service": "x", "export_image_kwds": {"a": 1}},
            "image": {"dates": ["d"], "images": [[{"id": "p"}, {"id": "q"}]]},
        }
        assert amended_document(document, {}) == document
        changed = amended_document(
            document, {"file_dimensions": [8, 8], "skipped": {"p": "broken", "elsewhere": "x"}}
        )
        assert changed["store"]["export_image_kwds"] == {"a": 1, "fileDimensions": [8, 8]}
        assert changed["image"] == {
            "dates": ["d"], "images": [[{"id": "q"}]],
            "skipped": [{"id": "p", "date": "d", "error": "broken"}],
        }  # fmt: skip

    def test_what_to_do_with_them_must_be_meant(self, world):
        with pytest.raises(InputError, match="on_bad_scene"):
            world.engine(on_bad_scene="hope")


class Held:
    """Shards that wait until they are let go or stopped."""

    def __init__(self):
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, job, cancelled):
        self.begun.set()
        while not (self.go.is_set() or cancelled()):
            time.sleep(0.005)


class TestStopping:
    @pytest.mark.parametrize("executor", ["synchronous", "threads 2"])
    def test_running_tasks_are_cancelled(self, world, made, executor):
        held = Held()
        made.before(held)
        tracker = world.tracker(engine_options={"executor": executor})
        name, _ = tracker.submit(*world.order())
        waiting = threading.Thread(target=tracker.wait, args=(name,))
        waiting.start()
        assert held.begun.wait(10)
        states = world.tracker().cancel(name).states
        assert states["CANCELLED"] >= 2
        assert states.get("CANCEL_REQUESTED", 0) >= 1
        waiting.join(10)
        assert not waiting.is_alive()
        info = tracker.read(name)
        assert info.states == {"CANCELLED": 4}
        assert list((world.folder / "store").rglob("*.tif")) == []
        assert tracker.list() == [name]
        tracker.retry(name)
        held.go.set()
        assert tracker.wait(name).states == {"COMPLETED": 4}

    def test_completed_results_stay(self, world, made):
        held = Held()
        held.go.set()
        made.before(held)
        tracker = world.tracker(engine_options={"executor": "synchronous"})
        name, _ = tracker.submit(*world.order())

        def hold(item, n_steps):
            held.go.clear()

        tracker.wait(name, timeout=0.5, callback=hold)
        info = tracker.cancel(name)
        assert info.states == {"COMPLETED": 1, "CANCELLED": 3}
        assert len(list((world.folder / "store").rglob("*.tif"))) == 1

    @pytest.mark.parametrize("executor", ["synchronous", "threads 2"])
    def test_an_interrupt_gives_everything_back(self, world, made, executor):
        def interrupt(*_, **__):
            raise KeyboardInterrupt

        tracker = world.tracker(engine_options={"executor": executor})
        name, _ = tracker.submit(*world.order())
        with pytest.raises(KeyboardInterrupt):
            tracker.wait(name, callback=interrupt)
        states = tracker.read(name).states
        assert "RUNNING" not in states
        assert sum(states.values()) == 4
        assert tracker.wait(name).states == {"COMPLETED": 4}
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_a_second_interrupt_does_not_wait(self, world, made, monkeypatch):
        held = Held()
        made.before(held)
        tracker = world.tracker()
        name, _ = tracker.submit(*world.order())
        calls, real = [], Runner._react

        def react(self, timeout):
            if not held.begun.is_set():
                return real(self, timeout)
            calls.append(timeout)
            raise KeyboardInterrupt

        monkeypatch.setattr(Runner, "_react", react)
        with pytest.raises(KeyboardInterrupt):
            tracker.wait(name)
        assert len(calls) == 2
        assert tracker.read(name).states == {"READY": 4}

    def test_a_timeout_stops_in_time(self, world, made):
        made.before(Held())
        tracker = world.tracker()
        name, _ = tracker.submit(*world.order())
        assert tracker.wait(name, timeout=0.2).states == {"READY": 4}


class TestSharing:
    def test_two_orders_have_fair_turns(self, world, made):
        tracker = world.tracker(
            engine_options={"executor": "synchronous"}, tracking_template="{date_end}"
        )
        names = [
            tracker.submit("TINY/SCENES", world.indices, "2022-06-01", end)[0]
            for end in ("2022-06-02", "2022-06-03")
        ]
        infos = tracker.run(names)
        assert [info.states for info in infos.values()] == [{"COMPLETED": 4}] * 2
        ends = [key.removesuffix(".tif")[-2:] for key in made.done]
        assert ends == ["02", "03"] * 4

    def test_a_higher_priority_goes_first(self, world, made):
        tracker = world.tracker(
            engine_options={"executor": "synchronous"}, tracking_template="{date_end}"
        )
        first, _ = tracker.submit("TINY/SCENES", world.indices, "2022-06-01", "2022-06-02")
        second, _ = tracker.submit(
            "TINY/SCENES", world.indices, "2022-06-01", "2022-06-03", priority=5
        )
        tracker.run([first, second])
        ends = [key.removesuffix(".tif")[-2:] for key in made.done]
        assert ends == ["03"] * 4 + ["02"] * 4

    def test_one_order_is_worked_on_alone(self, world, made):
        tracker = world.tracker(tracking_template="{date_end}")
        first, _ = tracker.submit("TINY/SCENES", world.indices, "2022-06-01", "2022-06-02")
        second, _ = tracker.submit("TINY/SCENES", world.indices, "2022-06-01", "2022-06-03")
        tracker.wait(second)
        assert tracker.update(first).states == {"READY": 4}

    def test_only_a_few_tasks_are_claimed_at_a_time(self, tmp_path, made):
        world = World(tmp_path, tiles=(4, 4), days=1)
        tracker = world.tracker()
        name, _ = tracker.submit(*world.order())
        most = []
        made.before(lambda *_: most.append(tracker.update(name).states.get("RUNNING", 0)))
        tracker.wait(name)
        assert max(most) <= 2


class TestFencing:
    def test_a_late_worker_cannot_overwrite_the_winners_result(self, world):
        tracker, _ = run(world)
        path = next((world.folder / "store").rglob("*.tif"))
        before = path.read_bytes()
        with pytest.raises(orchard.errors.ConflictError):
            tracker.store.put(f"CEDAR_PREARD/{path.name}", b"late", if_absent=True)
        assert path.read_bytes() == before

    def test_a_runner_that_lost_its_lease_leaves_the_winners_result(self, tmp_path, made):
        world = World(tmp_path, tiles=(1, 1), days=1)
        tracker = world.tracker()
        name, _ = tracker.submit(*world.order())
        held = Held()
        late = []

        def first_is_late(job, cancelled):
            if not late:
                late.append(job)
                held.begun.set()
                held.go.wait(20)

        made.before(first_is_late)
        waiting = threading.Thread(target=tracker.wait, args=(name,))
        waiting.start()
        assert held.begun.wait(10)
        # The machine of the first runner slept: its lease ended, and another took over.
        other = world.tracker(engine_options={"ledger": tmp_path / "store.ledger.sqlite"})
        ledger = other.engine.ledger(other.store)
        with ledger._write() as db:
            db.execute("UPDATE tasks SET lease_until = 0")
        ledger.reclaim()
        claim = ledger.claim("other", 60)
        key = f"CEDAR_PREARD/{claim.name}.tif"
        other.store.put(key, b"the winner's", if_absent=True)
        ledger.complete(claim, [orchard.tracking.FileInfo(name=f"{claim.name}.tif", size=12)])
        held.go.set()
        waiting.join(20)
        assert not waiting.is_alive()
        assert other.store.get(key)[0] == b"the winner's"
        status = other.update(name).statuses[0]
        assert (status.state, status.attempt, status.files[0].size) == (State.COMPLETED, 2, 12)

    def test_a_file_of_an_earlier_attempt_is_replaced(self, world):
        tracker = world.tracker()
        name, _ = tracker.submit(*world.order())
        image = tracker.read(name).orders[0]["name"]
        tracker.store.put(f"CEDAR_PREARD/{image}.tif", b"half a file")
        assert tracker.wait(name).states == {"COMPLETED": 4}
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_shards_that_are_made_are_not_made_again(self, world, made):
        calls = []

        def interrupt(item, n_steps):
            calls.append(item)
            if len(calls) == 3:
                raise KeyboardInterrupt

        tracker = world.tracker(
            engine_options={"executor": "synchronous"}, export_image_kwds={"fileDimensions": 16}
        )
        name, _ = tracker.submit(*world.order())
        with pytest.raises(KeyboardInterrupt):
            tracker.wait(name, callback=interrupt)
        assert tracker.wait(name).states == {"COMPLETED": 4}
        assert len(made.done) <= 17
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_an_image_of_another_order_fails_the_task(self, world):
        place = Place(store=orchard.open_store(world.folder / "s"), prefix="P", name="n")
        assert publish_metadata(place, {"order": {"name": "A"}})
        assert not publish_metadata(place, {"order": {"name": "A"}, "more": 1})
        with pytest.raises(OrderExistsError, match="'A'"):
            publish_metadata(place, {"order": {"name": "B"}})
        assert json.loads(place.store.get("P/n.json")[0])["more"] == 1

    def test_two_runners_of_one_ledger_do_each_task_once(self, tmp_path, made):
        world = World(tmp_path, tiles=(20, 25), days=1)
        trackers = [world.tracker() for _ in range(2)]
        name, _ = trackers[0].submit(*world.order())
        threads = [threading.Thread(target=t.wait, args=(name,)) for t in trackers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert trackers[0].read(name).states == {"COMPLETED": 500}
        assert len(made.done) == len(set(made.done)) == 500
        ledger = trackers[0].engine.ledger(trackers[0].store)
        owners = {
            e.detail.split(" by ")[1]
            for s in trackers[0].read(name).statuses
            for e in ledger.events(s.id)
            if e.event == "started"
        }
        assert len(owners) == 2


class TestExecutors:
    @pytest.mark.parametrize(
        ("text", "workers", "expected"),
        [
            ("threads", None, Executor(kind="threads", workers=2)),
            ("threads 4", 2, Executor(kind="threads", workers=4)),
            ("processes", 3, Executor(kind="processes", workers=3)),
            ("distributed 2", None, Executor(kind="distributed", workers=2)),
            ("distributed host:8786", None, Executor(kind="distributed", address="host:8786")),
            ("distributed tls://h:1", None, Executor(kind="distributed", address="tls://h:1")),
            ("dask_jobqueue.SLURMCluster", 9,
             Executor(kind="dask_jobqueue.SLURMCluster", workers=9)),
        ],
    )  # fmt: skip
    def test_their_names(self, text, workers, expected):
        assert Executor.parse(text, workers) == expected

    @pytest.mark.parametrize(
        ("text", "workers", "options", "says"),
        [
            ("magic", None, None, "unknown executor 'magic'"),
            ("threads 0", None, None, "at least 1"),
            ("threads many", None, None, "not a number"),
            ("threads host:1", None, None, "not a number"),
            ("distributed host", None, None, "HOST:PORT"),
            ("threads", 0, None, "at least 1"),
            ("threads", 1, {"a": 1}, "takes no options"),
        ],
    )
    def test_what_cannot_be_meant(self, text, workers, options, says):
        with pytest.raises(InputError, match=says):
            Executor.parse(text, workers, options)

    def test_memory_cannot_go_to_another_process(self, world):
        tracker = world.tracker(
            orchard.open_store("memory://m"),
            engine_options={"executor": "processes 1", "ledger": world.folder / "ledger.sqlite"},
        )
        name, _ = tracker.submit(*world.order())
        with pytest.raises(InputError, match="one process"):
            tracker.wait(name)
        assert tracker.read(name).states == {"READY": 4}


def test_nothing_is_left_beside_the_results(world, scratch):
    run(world)
    files = files_below(world.folder / "store")
    assert len(files) == 4 + 4 + 1
    assert [f for f in files_below(scratch) if "orchard-scratch" in f] == []
    assert Path(world.folder, "store.ledger.sqlite").exists()
