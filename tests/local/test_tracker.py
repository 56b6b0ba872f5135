"""The tracker over the local engine: submit, adopt, clash, resume, update, download, clean."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from test_runner import check_images
from tiny_world import COLLECTION, World, files_below

import orchard
from orchard.errors import (
    BulkError,
    EmptyOrderError,
    InputError,
    MetadataError,
    OrchardError,
    OrderError,
    OrderExistsError,
    OrderNotFoundError,
)
from orchard.stores.folder import FolderStore
from orchard.tracking import State

SHARED = Path(__file__).parents[3] / "shared/data/cedar"


@pytest.fixture
def tracker(world):
    return world.tracker()


@pytest.fixture
def name(world, tracker):
    return tracker.submit(*world.order())[0]


class TestSubmit:
    def test_it_records_before_it_starts(self, world, tracker):
        name, key = tracker.submit(*world.order())
        assert (name, key) == ("order", "CEDAR_TRACKING/order.json")
        info = tracker.read(name)
        assert info.states == {"READY": 4}
        assert len({s.id for s in info.statuses}) == 4
        assert [o["key"] for o in info.orders] == [s.id for s in info.statuses]
        assert json.loads(tracker.store.get(key)[0]) == dict(info)

    def test_the_same_order_again_is_adopted(self, world, tracker, name):
        tracker.wait(name)
        before = files_below(world.folder / "store")
        again = world.tracker()
        assert again.submit(*world.order())[0] == name
        assert again.read(name).states == {"COMPLETED": 4}
        assert files_below(world.folder / "store") == before

    def test_also_under_another_name(self, world, tracker, name):
        other = world.tracker(tracking_template="another")
        assert other.submit(*world.order())[0] == name
        assert other.list() == [name]

    def test_another_order_of_the_name_is_refused(self, world, tracker, name):
        with pytest.raises(OrderExistsError, match="'order'"):
            tracker.submit(COLLECTION, (0, 0), "2022-06-01", "2022-06-02")
        assert tracker.read(name).states == {"READY": 4}

    @pytest.mark.parametrize("worked", [False, True])
    def test_images_of_another_order_are_refused(self, world, tracker, name, worked):
        if worked:
            tracker.wait(name)
        other = world.tracker(tracking_template="another")
        with pytest.raises(OrderExistsError, match="'order'"):
            other.submit(COLLECTION, (0, 0), *world.order()[2:])
        assert other.list() == ["order"]

    def test_what_a_lost_record_has_left_is_taken_over(self, world, tracker, name):
        tracker.wait(name)
        (world.folder / "store/CEDAR_TRACKING/order.json").unlink()
        other = world.tracker(tracking_template="another")
        assert other.submit(*world.order())[0] == "another"
        assert other.read("another").states == {"COMPLETED": 4}
        info = other.wait("another")
        other.clean(info, "another")
        assert files_below(world.folder / "store") == []

    def test_other_options_are_another_order(self, world, tracker, name):
        other = world.tracker(
            tracking_template="another", name_template="x{tile}", export_image_kwds={"a": 1}
        )
        other.submit(*world.order())
        ids = [{s.id for s in other.read(n).statuses} for n in other.list()]
        assert not ids[0] & ids[1]

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("NO/SUCH", (0, 0), "2022-06-01", "2022-06-02"), "NO/SUCH"),
            (([], (0, 0), "2022-06-01", "2022-06-02"), "empty"),
            ((COLLECTION, [], "2022-06-01", "2022-06-02"), "empty"),
            ((COLLECTION, (7, 7), "2022-06-01", "2022-06-02"), "7"),
            ((COLLECTION, (0, 0), "2022-06-02", "2022-06-02"), "not before"),
            ((COLLECTION, (0, 0), "someday", "2022-06-02"), "someday"),
            ((COLLECTION, (0, 0), "2022-06-01", "2022-06-02", "now and then"), "now and then"),
        ],
    )
    def test_bad_input_leaves_the_store_unchanged(self, world, tracker, name, arguments, says):
        def content():
            store = world.folder / "store"
            return {file: (store / file).read_bytes() for file in files_below(store)}

        before = content()
        with pytest.raises(InputError, match=says):
            tracker.submit(*arguments)
        assert content() == before

    @pytest.mark.parametrize(
        "options", [{"name_template": "same"}, {"name_template": "{nope}"},
                    {"filters": [{"function": "lte", "name": "NO_SUCH", "value": 1}]}]
    )  # fmt: skip
    def test_bad_options_leave_the_store_unchanged(self, world, options):
        with pytest.raises(InputError):
            world.tracker(**options).submit(*world.order())
        assert not (world.folder / "store").exists()


class TestEmpty:
    ORDER = (COLLECTION, [(0, 0)], "2022-06-01", "2022-06-05", "2D")

    def test_tasks_without_images_are_empty_and_count_as_done(self, world, tracker):
        name, _ = tracker.submit(*self.ORDER)
        info = tracker.wait(name)
        assert info.states == {"COMPLETED": 1, "EMPTY": 1}
        assert info.complete
        files = files_below(world.folder / "store/CEDAR_PREARD")
        assert [Path(f).suffix for f in files] == [".json", ".tif", ".json"]

    def test_without_their_metadata(self, world, tracker, tmp_path):
        name, _ = tracker.submit(*self.ORDER, save_empty_metadata=False)
        info = tracker.wait(name)
        assert len(files_below(world.folder / "store/CEDAR_PREARD")) == 2
        assert [len(f) for f in tracker.download(info, tmp_path / "got").values()] == [2, 0]

    def test_an_order_without_any_image_can_be_refused(self, world, tracker):
        order = (COLLECTION, (0, 0), "2021-01-01", "2021-01-02")
        with pytest.raises(EmptyOrderError):
            tracker.submit(*order, error_if_empty=True)
        assert not (world.folder / "store").exists()
        name, _ = tracker.submit(*order)
        assert tracker.wait(name).states == {"EMPTY": 1}


class Killed(BaseException):
    """The process ends here."""


class Dying(FolderStore):
    """A store whose process dies before or after its n-th change."""

    def __init__(self, path, at, *, after):
        super().__init__(path)
        self.left, self.after = at, after

    def put(self, key, data, **conditions):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        info = super().put(key, data, **conditions)
        if self.left == 0:
            raise Killed
        return info


@pytest.mark.parametrize("part", [1000, 2])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("goes_on_with", ["submit", "wait"])
def test_an_interrupted_submit_goes_on(world, monkeypatch, at, after, part, goes_on_with):
    monkeypatch.setattr("orchard.records.PART", part)
    folder = world.folder / "store"
    order = (COLLECTION, world.indices, "2022-06-01", "2022-06-05", "2D")
    with contextlib.suppress(Killed):
        world.tracker(Dying(folder, at, after=after)).submit(*order)
    tracker = world.tracker(FolderStore(folder))
    if goes_on_with == "submit":
        tracker.submit(*order)
    elif tracker.list():
        assert tracker.read("order").states.keys() <= {"UNSUBMITTED", "EMPTY", "READY"}
    else:
        return  # it was killed before anything was recorded
    info = tracker.wait("order")
    assert info.states == {"COMPLETED": 4, "EMPTY": 4}
    assert len([f for f in files_below(folder) if f.startswith("CEDAR_PREARD")]) == 12
    tracker.clean(info, "order")
    assert files_below(folder) == []


def test_a_changed_configuration_cannot_resume(world):
    with pytest.raises(Killed):
        world.tracker(Dying(world.folder / "store", 2, after=False)).submit(*world.order())
    changed = world.tracker(export_image_kwds={"fileDimensions": 16})
    with pytest.raises(OrderError, match="configuration has changed"):
        changed.wait("order")


def test_images_and_records_have_folders_of_their_own(world):
    tracker = world.tracker(prefix_template="CEDAR_{tile}", tracking_prefix="/CEDAR_h000v001/")
    with pytest.raises(InputError, match=r"'CEDAR_h000v001', the folder of the records"):
        tracker.submit(*world.order())
    assert list(tracker.store.list()) == []


class TestRecords:
    def test_names_by_pattern(self, world):
        for template in ("a-1", "b-1", "b-2"):
            world.tracker(tracking_template=template, prefix_template=template).submit(
                *world.order()
            )
        tracker = world.tracker()
        assert tracker.list() == ["a-1", "b-1", "b-2"]
        assert tracker.list("b") == tracker.list("b*") == ["b-1", "b-2"]
        assert tracker.list("?-1") == ["a-1", "b-1"]
        before = tracker.tracked()
        assert list(before) == tracker.list()
        tracker.cancel("a-1")
        changed = {n for n, version in tracker.tracked().items() if version != before[n]}
        assert changed == {"a-1"}

    @pytest.mark.parametrize("bad", ["", "a/b", "/"])
    def test_what_is_no_name(self, tracker, bad):
        with pytest.raises(InputError):
            tracker.read(bad)

    def test_what_is_not_there(self, tracker):
        with pytest.raises(OrderNotFoundError, match="'nothing'"):
            tracker.read("nothing")

    def test_what_is_no_record(self, tracker):
        for bad in (b"not json", b"[]", b"{}"):
            tracker.store.put("CEDAR_TRACKING/bad.json", bad)
            with pytest.raises(MetadataError, match=r"CEDAR_TRACKING/bad\.json"):
                tracker.read("bad")

    def test_those_of_cedar_are_read(self, tracker):
        path = SHARED / "example_metadata_tracking.json"
        if not path.exists():
            pytest.skip("CEDAR's examples are not beside the project (../shared/data/cedar)")
        tracker.store.put("CEDAR_TRACKING/theirs.json", path.read_bytes())
        info = tracker.read("theirs")
        assert len(info.orders) == len(json.loads(path.read_bytes())["orders"])
        assert tracker.list() == ["theirs"]

    def test_a_tracker_without_an_engine_reads(self, world, name, tmp_path):
        other = orchard.Tracker(world.grid, orchard.open_store(world.folder / "store"))
        assert other.read(name).states == {"READY": 4}
        with pytest.raises(InputError, match="no engine: say 'engine:' in the configuration"):
            other.update(name)


class TestUpdate:
    def test_a_task_that_the_engine_has_forgotten(self, world, tracker, name):
        tracker.wait(name, timeout=0)
        world.tracker().wait(name)
        statuses = tracker.read(name).statuses
        for state in (State.READY, State.RUNNING):
            record = tracker.records.read(name)
            orders = [{**o, "status": {**o["status"], "state": str(state), "files": []}}
                      for o in record.info.orders]  # fmt: skip
            tracker.store.put(
                "CEDAR_TRACKING/order.json", json.dumps({**record.info, "orders": orders}).encode()
            )
            tracker.engine.forget([s.id for s in statuses], tracker.store)
            images = world.folder / "store/CEDAR_PREARD"
            (images / statuses[0].files[0].name).unlink(missing_ok=True)
            info = tracker.update(name)
            assert info.states == {"LOST": 1, "COMPLETED": 3}

    def test_what_the_engine_has_forgotten_starts_anew(self, world, tracker, name):
        """The ledger was lost with the disk of the machine that had it."""
        for path in world.folder.glob("store.ledger.sqlite*"):
            path.unlink()
        tracker = world.tracker()
        assert tracker.update(name).states == {"LOST": 4}
        first, *others = [order["name"] for order in tracker.read(name).orders]
        assert tracker.retry(name, [first]).states == {"READY": 1, "LOST": 3}
        assert tracker.retry(name, others).states == {"READY": 4}
        assert tracker.wait(name).states == {"COMPLETED": 4}
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_what_is_forgotten_and_gone_from_the_catalogue_is_empty(self, world, tracker, name):
        for path in world.folder.glob("store.ledger.sqlite*"):
            path.unlink()
        world.items.clear()
        world.save()
        tracker = world.tracker()
        assert tracker.update(name).states == {"LOST": 4}
        info = tracker.retry(name)
        assert info.states == {"EMPTY": 4}
        assert {status.error_message for status in info.statuses} == {None}
        assert tracker.update(name) == tracker.read(name) == info
        assert info.complete
        assert tracker.wait(name).states == {"EMPTY": 4}
        for key in info["metadata"]:
            document = json.loads(tracker.store.get(key)[0])
            assert document["task"]["status"]["state"] == "EMPTY"
            assert document["image"]["images"] == []

    def test_a_dry_clean_deletes_nothing(self, world, tracker, name):
        tracker.wait(name)
        before = files_below(world.folder / "store")
        listed = tracker.clean(name, tracking_name=name, dry_run=True)
        assert files_below(world.folder / "store") == before
        assert tracker.list() == [name]
        assert tracker.clean(name, tracking_name=name) == listed
        assert sum(map(len, listed.values())) == len(before) - 1
        assert files_below(world.folder / "store") == []

    def test_nothing_to_ask_writes_nothing(self, tracker, name):
        tracker.wait(name)
        before = tracker.store.get("CEDAR_TRACKING/order.json")[1].etag
        tracker.update(name)
        assert tracker.store.get("CEDAR_TRACKING/order.json")[1].etag == before

    def test_watching_ends_with_the_order(self, tracker, name):
        looks = tracker.watch(name, 0)
        (first,) = next(looks)
        assert not first.is_over
        tracker.wait(name)
        ((first,),) = looks
        assert first.is_over
        assert (first.tasks, first.ended, first.states, first.eta) == (4, 4, {"COMPLETED": 4}, 0.0)

    def test_retrying_what_is_not_a_task(self, tracker, name):
        with pytest.raises(InputError, match="'nobody'"):
            tracker.retry(name, ["nobody"])


class TestDelivery:
    @pytest.mark.parametrize("join", [False, True])
    def test_the_whole_way_is_in_the_ledger(self, world, tracker, name, tmp_path, join):
        info = tracker.wait(name)
        tracker.download(info, tmp_path / "got")
        broken = info.statuses[0].id
        (tmp_path / "got" / info.statuses[0].files[0].name).write_bytes(b"no image")
        with pytest.raises(BulkError):
            orchard.convert(tmp_path / "got", tmp_path / "ard", join=join, note=tracker.note)
        ledger = tracker.engine.ledger(tracker.store)
        whole = ["intent", "started", "completed", "downloaded", "verified", "converted"]
        for status in info.statuses:
            events = [event.event for event in ledger.events(status.id)]
            assert events == (whole[:-1] if status.id == broken else whole)

    @pytest.fixture
    def neighbours(self, world):
        """Two orders whose names and image names are prefixes of each other's."""
        short = world.tracker(tracking_template="o", name_template="t{tile}")
        long = world.tracker(tracking_template="oo", name_template="t{tile}-1")
        for tracker, dimensions in ((short, None), (long, 16)):
            if dimensions:
                tracker.export_image_kwds["fileDimensions"] = dimensions
            name, _ = tracker.submit(*world.order())
            tracker.wait(name)
        return short, long

    def test_downloads_are_exact(self, neighbours, tmp_path):
        short, long = neighbours
        for tracker, name, count in ((short, "o", 1), (long, "oo", 4)):
            got = tracker.download(name, tmp_path / name)
            assert all(len(files) == count + 1 for files in got.values())
            assert len(files_below(tmp_path / name)) == 4 * (count + 1)
            ledger = tracker.engine.ledger(tracker.store)
            (task, *_) = got
            assert [e.event for e in ledger.events(task)][-2:] == ["downloaded", "verified"]

    @pytest.mark.parametrize("first", [0, 1])
    def test_cleaning_takes_nothing_of_others(self, world, neighbours, first):
        mine, other = neighbours[first], neighbours[1 - first]
        name, others = ("o", "oo") if first == 0 else ("oo", "o")
        theirs = {s for status in other.read(others).statuses for s in status.files}
        mine.clean(name, name)
        left = files_below(world.folder / "store")
        assert len(left) == len(theirs) + 4 + 1
        assert {Path(f).name for f in left} >= {file.name for file in theirs}
        other.clean(others, others)
        assert files_below(world.folder / "store") == []

    def test_a_cleaned_order_is_made_anew(self, world, tracker, name):
        tracker.wait(name)
        tracker.clean(name, name)
        tracker.submit(*world.order())
        assert tracker.read(name).states == {"READY": 4}
        assert tracker.wait(name).states == {"COMPLETED": 4}
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_also_where_its_ledger_was_not_told(self, world, tracker, name):
        tracker.wait(name)
        orchard.Tracker(world.grid, tracker.store).clean(tracker.read(name), name)
        assert files_below(world.folder / "store") == []
        tracker.submit(*world.order())
        assert tracker.wait(name).states == {"COMPLETED": 4}
        check_images(world, world.folder / "store/CEDAR_PREARD")

    def test_cancelled_tasks_have_nothing_to_deliver(self, tracker, name, tmp_path):
        tracker.cancel(name)
        assert set(map(len, tracker.download(name, tmp_path / "got").values())) == {0}


def test_every_error_is_ours(tmp_path):
    world = World(tmp_path)
    world.catalog.unlink()
    with pytest.raises(OrchardError):
        world.tracker().submit(*world.order())
