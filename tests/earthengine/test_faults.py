"""Each thing that can go wrong ends in the right state, with the right message."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from ee_world import PERIOD, SIMPLE, tiles

import orchard
from orchard.engines.earthengine import Limits as ImageLimits
from orchard.engines.earthengine import engine as engine_module
from orchard.engines.earthengine.failures import (
    Failure,
    RefusedError,
    UnavailableError,
    classify,
)
from orchard.errors import (
    BulkError,
    CatalogError,
    CollectionError,
    EngineError,
    InputError,
    OrderError,
)
from orchard.preard import ImageMetadata
from orchard.testing.earthengine import Limits, RequestFault


@pytest.fixture
def there(world, simple_archive):
    return world(simple_archive)


def _submit(tracker, count=3):
    name, _ = tracker.submit(SIMPLE, tiles(count), *PERIOD)
    return name


# Requests


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("compute", 429),
        ("compute", "drop"),
        ("export", 429),
        ("export", 503),
        ("export", "drop"),
        ("export", "drop-reply"),
        ("operations", 500),
        ("operations", "drop"),
        ("algorithms", 503),
    ],
)
def test_trouble_that_passes(there, order, kind, what):
    there.server.faults = [RequestFault(kind, what, times=2, message="come again")]
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == 3
    assert there.server.faults[0].left == 0


def test_pauses_get_longer(there):
    pauses = []
    there.server.faults = [RequestFault("operations", 503, times=3)]
    there.engine(sleep=pauses.append).operations()
    assert len(pauses) == 3
    for pause, longest in zip(pauses, (1, 2, 4), strict=True):
        assert longest / 2 <= pause <= longest


def test_trouble_that_stays(there, order, monkeypatch):
    tracker = order(there.engine())
    name = _submit(tracker)
    there.server.faults = [RequestFault("operations", 503, times=1000, message="overloaded")]
    with pytest.raises(UnavailableError, match=r"failed 4 times.*overloaded.*Run it again later"):
        tracker.update(name)
    # While waiting it takes more of it to give up.
    monkeypatch.setattr(engine_module, "_PATIENCE", 3)
    engine = tracker.engine
    with pytest.raises(UnavailableError):
        engine.work(None, tracker.store)
    there.server.faults.clear()
    assert tracker.wait(name).states == {"COMPLETED": 3}
    assert len(there.service.exports) == 3


def test_an_export_whose_reply_never_comes(there, order):
    """Nobody knows whether it was started: it was, and is found."""
    there.server.faults = [RequestFault("export", "drop-reply", times=1000)]
    tracker = order(there.engine(threads=1))
    with pytest.raises(UnavailableError, match="export 'orchard:"):
        _submit(tracker)
    assert len(there.service.exports) == 1
    there.server.faults.clear()
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == 3


@pytest.mark.parametrize(("status", "message"), [(401, "Anonymous"), (403, "not you")])
def test_no_access(there, status, message):
    there.server.faults = [RequestFault("operations", status, times=9, message="not you")]
    with pytest.raises(EngineError, match=f"refuses access.*{message}.*orchard auth ee"):
        there.engine().operations()


def test_other_refusals_are_not_repeated(there):
    there.server.faults = [RequestFault("operations", 400, message="bad page size")]
    with pytest.raises(RefusedError, match="bad page size"):
        there.engine().operations()
    assert there.server.requests["operations"] == 1


def test_the_users_project_pays(there):
    there.engine().operations()
    assert there.server.headers["x-goog-user-project"] == "test-project"


# Planning


def test_unknown_collection(there, order, collections):
    tracker = order(there.engine())
    tracker._collections = collections
    with pytest.raises(CollectionError, match="no image collection 'LANDSAT/LC08/C02/T1_L2'"):
        tracker.submit("LANDSAT/LC08/C02/T1_L2", (0, 0), *PERIOD)
    assert tracker.list() == []


def test_planning_that_is_too_much_is_halved(there, order):
    there.server.faults = [
        RequestFault("compute", 400, times=2, message="User memory limit exceeded.")
    ]
    tracker = order(there.engine())
    plan = tracker.plan(SIMPLE, tiles(8), *PERIOD)
    assert plan.n_acquisitions == 16
    # 8 fails, 4 fails, then 2 + 2 + 4
    assert there.server.requests["compute"] == 5
    there.server.faults = [
        RequestFault("compute", 400, times=1, message="User memory limit exceeded.")
    ]
    with pytest.raises(CatalogError, match="memory"):
        tracker.plan(SIMPLE, tiles(1), *PERIOD)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"bands": 1}, r"a date has 2 bands.*takes 1 an image.*fewer bands"),
        ({"expression": 20_500}, r"bytes for the 1 scenes of a single date.*takes 20500"),
    ],
)
def test_limits_are_told_before_anything_is_recorded(there, order, limits, message):
    engine = there.engine(limits=ImageLimits(**limits))
    tracker = order(engine)
    with pytest.raises(InputError, match=message):
        _submit(tracker)
    assert list(tracker.store.list()) == []


def _cubes(tracker, name, folder):
    tracker.download(name, folder / "down")
    found = {}
    for path in orchard.convert(folder / "down", dest=folder / "ard"):
        with orchard.open_ard(path) as ds:
            found[path.stem] = ds.load()
    return found


def _assert_like_whole(found, expected):
    assert found.keys() == expected.keys()
    assert found
    for stem, cube in found.items():
        left, right = (c.drop_vars("provenance") for c in (cube, expected[stem]))
        assert left.sizes["time"] == 2
        assert left.identical(right.assign_attrs(left.attrs))


@pytest.mark.parametrize("limits", [{"bands": 3}, {"expression": 21_500}])
@pytest.mark.parametrize("export", [{}, {"fileDimensions": 16, "shardSize": 16}])
def test_too_much_for_one_image_is_split_by_period(
    world, simple_archive, order, bucket, tmp_path, limits, export
):
    """The numbers of bands and bytes are known beforehand: so nothing fails first."""
    there = world(simple_archive, limits=Limits(bands=limits.get("bands", 5000)))
    tracker = order(there.engine(limits=ImageLimits(**limits)), export_image_kwds=export)
    info = tracker.wait(_submit(tracker, 2))
    assert info.states == {"COMPLETED": 2}
    assert len(there.service.exports) == 2 * 2
    image, status = info.orders[0]["name"], info.statuses[0]
    document = ImageMetadata.from_json(bucket.get(f"CEDAR_PREARD/{image}.json")[0])
    assert document.dates_per_file == 1
    assert list(document.expected_files) == [file.name for file in status.files]
    assert status.files[0].name.startswith(f"{image}-T0000000000")
    # To submit it again changes nothing, and does not spoil what the metadata tell.
    _submit(tracker, 2)
    assert tracker.read(info.name).states == {"COMPLETED": 2}
    assert ImageMetadata.from_json(bucket.get(f"CEDAR_PREARD/{image}.json")[0]) == document
    found = _cubes(tracker, info.name, tmp_path / "split")
    tracker.clean(info, tracking_name=info.name)
    whole = order(there.engine(), export_image_kwds=export)
    there.service.limits = Limits()
    expected = _cubes(whole, whole.wait(_submit(whole, 2)).name, tmp_path / "whole")
    _assert_like_whole(found, expected)
    # A part that is missing is missed, by its name.
    (tmp_path / "split" / "down" / status.files[-1].name).unlink()
    with pytest.raises(BulkError) as caught:
        orchard.convert(tmp_path / "split" / "down", dest=tmp_path / "again")
    assert status.files[-1].name in str(caught.value.exceptions[0])


def test_split_by_period_where_quarters_do_not_help(world, simple_archive, order, bucket, tmp_path):
    """One date of a quarter fits, two do not."""
    there = world(simple_archive, limits=Limits(memory=16 * 16 * 2, running=8))
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker, 1))
    assert info.states == {"COMPLETED": 1}
    assert len(there.service.exports) == 1 + 4 + 8
    (status,), image = info.statuses, info.orders[0]["name"]
    assert [file.name.removeprefix(image) for file in status.files] == [
        f"-T{date:010d}-{row:010d}-{col:010d}.tif"
        for date in (0, 1)
        for row in (0, 16)
        for col in (0, 16)
    ]
    found = _cubes(tracker, info.name, tmp_path / "split")
    # What has no ledger any more is judged by the same names.
    tracker.engine._ledger.close()
    (there.folder / "ledger.sqlite").unlink()
    there.service.expire()
    tracker.clean(info, tracking_name=info.name)
    assert list(bucket.list()) == []
    there.service.limits = Limits()
    whole = order(there.engine())
    expected = _cubes(whole, whole.wait(_submit(whole, 1)).name, tmp_path / "whole")
    _assert_like_whole(found, expected)


def test_a_quicklook_of_an_image_split_by_period(world, simple_archive, order, tmp_path):
    from orchard.quicklook.blocks import Rect
    from orchard.quicklook.sources import open_stack

    there = world(simple_archive)
    tracker = order(there.engine(limits=ImageLimits(bands=3)))
    name = tracker.wait(_submit(tracker, 1)).name
    tracker.download(name, tmp_path)
    (document,) = tmp_path.glob("*.json")
    with open_stack(document, ["value", "other"]) as stack:
        assert len(list(stack.windows())) == 1
        part = stack.read(Rect(0, 0, 32, 32), [1, 0])
    assert part.values.shape == (2, 2, 32, 32)
    assert part.values[:, :, 5, 5].tolist() == [[2, 3], [1, 2]]


@pytest.mark.parametrize(
    ("export", "message"),
    [
        ({"maxPixels": 100}, "1024 pixels, maxPixels allows 100"),
        ({"fileDimension": 16}, "unknown option 'fileDimension'"),
    ],
)
def test_exports_that_would_be_refused(there, order, export, message):
    tracker = order(there.engine(), export_image_kwds=export)
    with pytest.raises(InputError, match=message):
        _submit(tracker, 1)
    assert list(tracker.store.list()) == []
    assert there.server.requests.total() == 0


def test_a_store_elsewhere(there, order, tmp_path):
    from orchard.stores import open_store

    tracker = order(there.engine(), store=open_store(tmp_path / "folder"))
    with pytest.raises(InputError, match="gs://"):
        _submit(tracker)
    assert list(tracker.store.list()) == []
    assert there.server.requests.total() == 0


# Tasks


def test_a_task_that_fails_for_good(there, order):
    there.service.fail("h000v000", "Image.select: Band pattern 'B99' did not match", times=99)
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 2, "FAILED": 1}
    (failed,) = [s for s in info.statuses if s.state == "FAILED"]
    assert failed.error_message == "Image.select: Band pattern 'B99' did not match"
    assert failed.attempt == 1
    assert failed.start_timestamp_ms > 0
    assert len(there.service.exports) == 3
    # retried, it fails again, once; when the cause is gone it is done
    info = tracker.wait(tracker.retry(info.name).name)
    assert info.states == {"COMPLETED": 2, "FAILED": 1}
    there.service._failing.clear()
    tracker.retry(info.name)
    info = tracker.wait(info.name)
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == len(set(there.service.exports)) == 5
    assert max(status.attempt for status in info.statuses) == 3


def test_a_bad_expression_fails_at_once(there, order):
    there.server.faults = [RequestFault("export", 400, times=1, message="Invalid band")]
    tracker = order(there.engine(threads=1))
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 2, "FAILED": 1}
    assert "Invalid band" in next(iter(info.failures()))


def test_internal_errors_are_tried_again(there, order):
    there.service.fail("h000v000", "An internal error has occurred", times=2)
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == 5
    assert max(status.attempt for status in info.statuses) == 3


def test_but_not_for_ever(there, order):
    there.service.fail("h000v000", "An internal error has occurred", times=99)
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 2, "FAILED": 1}
    assert next(iter(info.failures())) == "An internal error has occurred (3 attempts)"


@pytest.mark.parametrize("export", [{}, {"fileDimensions": 16, "shardSize": 16}])
def test_too_large_is_quartered_and_joined_again(
    world, simple_archive, order, bucket, tmp_path, export
):
    # 32 x 32 pixels x 4 bands do not fit, quarters do
    there = world(simple_archive, limits=Limits(memory=4095, running=4))
    tracker = order(there.engine(), export_image_kwds=export)
    info = tracker.wait(_submit(tracker, 2))
    assert info.states == {"COMPLETED": 2}
    assert len(there.service.exports) == 2 * (1 + 4)
    for position, status in enumerate(info.statuses):
        image = info.orders[position]["name"]
        assert [file.name for file in status.files] == [
            f"{image}-{row:010d}-{col:010d}.tif" for row in (0, 16) for col in (0, 16)
        ]
        document = ImageMetadata.from_json(bucket.get(f"CEDAR_PREARD/{image}.json")[0])
        assert document.file_dimensions == (16, 16)
        assert list(document.expected_files) == [file.name for file in status.files]
    tracker.download(info.name, tmp_path / "down")
    cubes = orchard.convert(tmp_path / "down", dest=tmp_path / "ard")
    for cube in cubes:
        with orchard.open_ard(cube) as ds:
            assert ds.sizes == {"time": 2, "y": 32, "x": 32}
            assert (ds["value"].values == np.array([1, 2])[:, None, None]).all()
            assert (ds["other"].values == np.array([2, 3])[:, None, None]).all()


def test_too_large_however_small(world, simple_archive, order):
    there = world(simple_archive, limits=Limits(memory=3, running=100))
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker, 1))
    (status,) = info.statuses
    assert status.state == "FAILED"
    assert "User memory limit exceeded. (also in 128 parts" in status.error_message
    assert "smaller tiles" in status.error_message


def test_stuck_in_the_queue(there, order):
    there.service.hold("h000v000")
    tracker = order(there.engine())
    name = _submit(tracker)
    info = tracker.wait(name, timeout=0.5)
    assert info.states == {"COMPLETED": 2, "READY": 1}
    info = tracker.cancel(name)
    assert info.states == {"COMPLETED": 2, "CANCELLED": 1}
    assert there.service.pending == 0
    there.service._held.clear()
    tracker.retry(name)
    assert tracker.wait(name).states == {"COMPLETED": 3}


# Files


def test_expired_and_all_files_there(there, order):
    tracker = order(there.engine())
    name = _submit(tracker)
    there.service.finish_all()
    there.service.expire()
    info = tracker.update(name)
    assert info.states == {"COMPLETED": 3}
    assert all(len(status.files) == 1 for status in info.statuses)


@pytest.mark.parametrize("ledger", ["kept", "lost"])
def test_expired_before_its_files_were_there(there, order, ledger):
    there.service.hold("h000v000")
    tracker = order(there.engine())
    name = _submit(tracker)
    there.service.finish_all()
    there.service.expire()
    if ledger == "lost":
        tracker.engine._ledger.close()
        (there.folder / "ledger.sqlite").unlink()
        tracker = order(there.engine())
    info = tracker.update(name)
    assert info.states == {"COMPLETED": 2, "LOST": 1}
    (cause,) = info.failures()
    assert "has forgotten the task" in cause
    there.service._held.clear()
    # Where the engine does not know the task any more, it is planned and started anew.
    assert tracker.retry(name).states == {"COMPLETED": 2, "READY": 1}
    assert tracker.wait(name).states == {"COMPLETED": 3}
    assert len(there.service.exports) == 4


def test_what_is_forgotten_starts_anew_without_what_it_has_left(
    world, simple_archive, order, bucket, tmp_path
):
    """It was cut, and part of it was there: nothing of that is left over."""
    there = world(simple_archive, limits=Limits(memory=16 * 16 * 2, running=8))
    tracker = order(there.engine())
    there.service.hold("T0000000001-0000000016")
    name = _submit(tracker, 1)
    for _ in range(100):
        tracker.wait(name, timeout=0.1)
        if len([info for info in bucket.list("CEDAR_PREARD") if "-T0" in info.key]) == 6:
            break
    else:
        pytest.fail("all parts but two should have been made")
    there.service.expire()
    there.service._held.clear()
    tracker.engine._ledger.close()
    (there.folder / "ledger.sqlite").unlink()
    there.service.limits = Limits()
    tracker = order(there.engine())
    assert tracker.update(name).states == {"LOST": 1}
    tracker.retry(name)
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 1}
    (file,) = info.statuses[0].files
    assert file.name == f"{info.orders[0]['name']}.tif"
    assert sorted(i.key for i in bucket.list("CEDAR_PREARD")) == [
        f"CEDAR_PREARD/{info.orders[0]['name']}{suffix}" for suffix in (".json", ".tif")
    ]
    tracker.download(name, tmp_path / "down")
    assert len(orchard.convert(tmp_path / "down", dest=tmp_path / "ard")) == 1


def test_forgotten_tasks_of_another_configuration_are_not_started(there, order):
    there.service.hold("h000v000")
    tracker = order(there.engine())
    name = _submit(tracker)
    there.service.expire()
    tracker.engine._ledger.close()
    (there.folder / "ledger.sqlite").unlink()
    tracker = order(there.engine(), export_image_kwds={"shardSize": 16})
    assert "LOST" in tracker.update(name).states
    with pytest.raises(OrderError, match="configuration has changed since it was submitted"):
        tracker.retry(name)


def test_lost_files(there, order):
    there.service.lose("h000v000_2022-06-01_2022-07-01-0000000000-0000000016")
    options = {"export_image_kwds": {"fileDimensions": 16, "shardSize": 16}}
    tracker = order(there.engine(), **options)
    name = _submit(tracker)
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 2, "LOST": 1}
    (cause,) = info.failures()
    assert "1 of its 4 files are not in the store" in cause
    assert "h000v000_2022-06-01_2022-07-01-0000000000-0000000016.tif" in cause
    there.service._losing.clear()
    tracker.retry(name)
    assert tracker.wait(name).states == {"COMPLETED": 3}


def test_files_that_are_late(there, order, bucket, monkeypatch):
    """A store may show a file a while after it was written."""
    listing, hidden = bucket._store.list, [2]

    def late(folder=""):
        hide = folder == "CEDAR_PREARD" and hidden[0] > 0
        hidden[0] -= hide and any(i.key.endswith(".tif") for i in listing(folder))
        return (i for i in listing(folder) if not (hide and i.key.endswith(".tif")))

    monkeypatch.setattr(bucket, "list", late, raising=False)
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == 3


def test_a_lost_ledger_while_tasks_run(there, order):
    tracker = order(there.engine())
    name = _submit(tracker)
    tracker.engine._ledger.close()
    (there.folder / "ledger.sqlite").unlink()
    tracker = order(there.engine())
    assert tracker.update(name).states == {"RUNNING": 2, "READY": 1}
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == 3


def test_an_order_that_is_cleaned_and_made_again(there, order):
    tracker = order(there.engine())
    name = _submit(tracker)
    info = tracker.wait(name)
    tracker.clean(info, tracking_name=name)
    assert list(tracker.store.list()) == []
    # The service still remembers the requests of before.
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == len(set(there.service.exports)) == 6
    # And so it is when nobody here remembers.
    tracker.clean(info, tracking_name=name)
    tracker.engine._ledger.close()
    (there.folder / "ledger.sqlite").unlink()
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker))
    assert info.states == {"COMPLETED": 3}
    assert len(there.service.exports) == 9


def test_files_left_out_because_they_would_be_empty(
    world, simple_archive, order, simple, bucket, tmp_path
):
    from dataclasses import replace

    from orchard.testing.earthengine import Archive

    def left_half(reader):
        def read(grid):
            values, mask = reader(grid)
            x = grid.transform.c + 100 * np.arange(grid.width)
            return values, mask & (x < 4001600)[None, :]

        return read

    archive = Archive(
        collections={
            name: [replace(i, bands=tuple((b, left_half(r)) for b, r in i.bands)) for i in images]
            for name, images in simple_archive.collections.items()
        }
    )
    there = world(archive)
    export = {"fileDimensions": 16, "shardSize": 16, "skipEmptyTiles": True}
    tracker = order(there.engine(), export_image_kwds=export)
    name, _ = tracker.submit(SIMPLE, (0, 0), *PERIOD)
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 1}
    (status,) = info.statuses
    assert [file.name.rpartition("_")[2][10:] for file in status.files] == [
        "-0000000000-0000000000.tif",
        "-0000000016-0000000000.tif",
    ]
    data, _ = bucket.get(f"CEDAR_PREARD/{status.files[0].name}")
    with rasterio.MemoryFile(data) as memory, memory.open() as file:
        assert file.nodata == -1
    tracker.download(name, tmp_path / "down")
    (cube,) = orchard.convert(tmp_path / "down", dest=tmp_path / "ard")
    with orchard.open_ard(cube) as ds:
        assert (ds["value"].values[:, :, :16] == np.array([1, 2])[:, None, None]).all()
        assert (ds["value"].values[:, :, 16:] == -1).all()


# Others


def test_cancel_keeps_the_record(world, simple_archive, order):
    there = world(simple_archive, live=False)
    tracker = order(there.engine(queue=4))
    name = _submit(tracker, 6)
    there.service.step()
    before = tracker.update(name)
    assert before.states == {"RUNNING": 2, "READY": 4}
    info = tracker.cancel(name)
    assert info.states == {"CANCEL_REQUESTED": 2, "CANCELLED": 4}
    there.service.step()
    info = tracker.update(name)
    assert info.states == {"CANCELLED": 6}
    assert tracker.list() == [name]
    assert there.service.pending == 0
    assert len(there.service.exports) == 4


def test_somebody_cancels_in_the_console(world, simple_archive, order):
    there = world(simple_archive, live=False)
    tracker = order(there.engine())
    name = _submit(tracker)
    there.service.cancel(next(iter(there.service.operations)))
    there.service.finish_all()
    info = tracker.update(name)
    assert info.states == {"COMPLETED": 2, "CANCELLED": 1}


def test_the_projects_operations(world, simple_archive, order):
    there = world(simple_archive, live=False)
    engine = there.engine()
    tracker = order(engine)
    name = _submit(tracker)
    there.service.step(2)
    operations = engine.operations()
    assert [op.state for op in operations] == ["RUNNING", "COMPLETED", "COMPLETED"]
    assert engine.summary() == {name: {"RUNNING": 1, "COMPLETED": 2}}
    ids = [status.id for status in tracker.read(name).statuses]
    tracker.update(name)
    assert sorted(engine.usage(ids).values()) == [0, 12.5, 12.5]
    engine.cancel_operations([op.id for op in operations])
    there.service.step()
    assert tracker.update(name).states == {"COMPLETED": 2, "CANCELLED": 1}


def test_statuses_carry_what_the_service_says(there, order):
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker, 1))
    (status,) = info.statuses
    assert status.output_url == (
        "https://console.cloud.google.com/storage/browser/bucket/preard/CEDAR_PREARD",
    )
    assert status.creation_timestamp_ms > 0
    assert status.update_timestamp_ms - status.start_timestamp_ms == 60_000
    assert json.dumps(info.orders[0]["status"])
    assert info.orders[0]["status"]["eecu_seconds"] == 12.5
    assert "Cost         12.5 EECU seconds of Earth Engine" in info.summary()


def test_what_failed_attempts_have_cost_counts_too(there, order):
    there.service.fail("h000v000", "An internal error has occurred", times=2)
    tracker = order(there.engine())
    info = tracker.wait(_submit(tracker, 1))
    assert info.statuses[0].eecu_seconds == 3 * 12.5
    assert info.summary([0]).count("37.5 EECU seconds") == 2


@pytest.mark.parametrize(
    ("message", "status", "failure"),
    [
        ("User memory limit exceeded.", None, Failure.TOO_LARGE),
        ("Execution failed; out of memory.", None, Failure.TOO_LARGE),
        ("Computation timed out.", 400, Failure.TOO_LARGE),
        ("An internal error has occurred (request: abc)", None, Failure.TRANSIENT),
        ("Too many requests", 429, Failure.TRANSIENT),
        ("", 503, Failure.TRANSIENT),
        ("Too many tasks already in the queue (3000).", 429, Failure.QUEUE),
        ("Image.select: Band pattern 'B9' did not match any bands.", None, Failure.PERMANENT),
        (None, None, Failure.PERMANENT),
    ],
)
def test_classes_of_failures(message, status, failure):
    assert classify(message, status) is failure
