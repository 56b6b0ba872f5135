"""What a report finds out of a real order's results, and the command that writes it."""

from __future__ import annotations

import base64
import io
import shutil
import sys
from datetime import date
from urllib.parse import unquote

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from PIL import Image

import orchard
import orchard.ard
from orchard.cli import cli
from orchard.errors import AccessError, InputError, PagesError
from orchard.report import build_model, gather, make_report, page


def done(info):
    return [i for i, order in enumerate(info.orders) if order["status"]["state"] == "COMPLETED"]


def test_acquisitions_are_those_of_the_image_metadata(made):
    known = gather(made.info, store=made.tracker.store, pictures=0)
    assert sorted(known.acquisitions) == done(made.info)
    for position, facts in known.acquisitions.items():
        order = made.info.orders[position]
        document = orjson.loads(
            made.tracker.store.get(f"{order['prefix']}/{order['name']}.json")[0]
        )
        assert [str(one.day) for one in facts] == document["image"]["dates"]
        assert [one.scenes for one in facts] == [len(s) for s in document["image"]["images"]]
        for one, scenes in zip(facts, document["image"]["images"], strict=True):
            assert one.cloud == pytest.approx(np.mean([scene["CLOUD_COVER"] for scene in scenes]))
            assert one.clear is None
    assert not known.notes


def test_clear_fractions_and_links_are_those_of_the_cubes(made, tmp_path):
    beside = made.cubes.parent / "pages"
    beside.mkdir()
    known = gather(made.info, cubes=made.cubes, beside=beside, pictures=0)
    assert {task for cube in known.cubes for task in cube.tasks} == set(done(made.info))
    for cube in known.cubes:
        path, item = (beside / unquote(link) for link in (cube.path, cube.item))
        assert cube.path.startswith("../cubes/")
        assert path.stat().st_size == cube.size
        assert orjson.loads(item.read_bytes())["type"] == "Feature"
        with orchard.open_ard(path) as dataset:
            (position,) = cube.tasks
            facts = known.acquisitions[position]
            assert [one.day for one in facts] == [
                date.fromisoformat(str(day)[:10]) for day in dataset.solar_day.values
            ]
            assert [one.clear for one in facts] == pytest.approx(dataset.clear_fraction.values)


@pytest.mark.parametrize("source", ["cubes", "store"])
def test_pictures_are_small_and_of_the_task_they_name(made, source):
    where = {"cubes": made.cubes} if source == "cubes" else {"store": made.tracker.store}
    known = gather(made.info, **where, pictures=50)
    facts = known.acquisitions
    assert {p.task for p in known.pictures} == set(done(made.info))
    for picture in known.pictures:
        assert picture.day in {one.day for one in facts[picture.task]}
        kind, data = picture.url.split(",")
        assert kind == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (64, 64)
            assert len(set(image.convert("L").tobytes())) > 10
    # One each, before any task has a second.
    few = gather(made.info, **where, pictures=len(done(made.info))).pictures
    assert len({p.task for p in few}) == len(few) == len(done(made.info))


def test_pictures_of_different_tasks_differ(made):
    pictures = gather(made.info, cubes=made.cubes, pictures=50).pictures
    assert len({p.url for p in pictures}) == len(pictures)


def test_limits_hold_and_are_said(made):
    store = made.tracker.store
    known = gather(made.info, store=store, pictures=0, max_tasks=2)
    assert len(known.acquisitions) == 2
    assert f"2 of {len(done(made.info))} results" in known.notes[0]
    known = gather(made.info, store=store, pictures=50, max_bytes=4000)
    assert sum(len(p.url) for p in known.pictures) <= 4000
    assert any("no more room" in note for note in known.notes)


def test_what_was_cleaned_or_is_broken_is_said_and_not_fatal(made, tmp_path):
    cubes = tmp_path / "cubes"
    shutil.copytree(made.cubes, cubes)
    broken = min(cubes.rglob("*.nc"))
    broken.write_bytes(b"no cube")
    empty = orchard.open_store(tmp_path / "nothing")
    known = gather(made.info, store=empty, cubes=cubes, pictures=0)
    assert len(known.cubes) == len(done(made.info)) - 1
    assert len(known.acquisitions) == len(known.cubes)
    assert known.notes[0].startswith("The acquisitions of 1 result are not shown: the image")
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        gather(made.info, cubes=tmp_path / "nowhere")


def test_cubes_of_other_orders_are_left_out(made):
    other = orchard.TrackingInfo(
        {
            **made.info,
            "orders": [{**order, "name": f"X_{i}"} for i, order in enumerate(made.info.orders)],
        }
    )
    assert gather(other, cubes=made.cubes).cubes == []


@pytest.mark.parametrize(
    ("state", "change", "found"),
    [
        ("COMPLETED", {}, True),
        ("COMPLETED", {"crc32": None, "size": None}, True),
        ("COMPLETED", {"crc32": "0" * 8}, False),
        ("COMPLETED", {"md5": None, "crc32": None, "size": 1}, False),
        ("COMPLETED", {"name": "another.tif"}, False),
        ("RUNNING", {}, False),
    ],
)
def test_cubes_of_tasks_of_the_same_names_are_left_out(made, state, change, found):
    orders = [
        {
            **order,
            "status": {
                **order["status"],
                "state": state,
                "files": [{**file, **change} for file in order["status"]["files"]],
            },
        }
        for order in made.info.orders
    ]
    other = orchard.TrackingInfo({**made.info, "orders": orders})
    known = gather(other, cubes=made.cubes, pictures=0)
    expected = set(done(made.info)) if found else set()
    assert {task for cube in known.cubes for task in cube.tasks} == expected


def test_a_record_that_tells_no_files_goes_by_names(made):
    orders = [{**order, "status": {**order["status"], "files": []}} for order in made.info.orders]
    other = orchard.TrackingInfo({**made.info, "orders": orders})
    assert len(gather(other, cubes=made.cubes, pictures=0).cubes) == len(done(made.info))


def test_progress_adds_up(made):
    steps = []
    gather(
        made.info,
        store=made.tracker.store,
        cubes=made.cubes,
        pictures=0,
        callback=lambda item, n_steps: steps.append((item, n_steps)),
    )
    assert sum(n for _, n in steps) == len(done(made.info))


def test_the_command(made, tmp_path):
    out = tmp_path / "new folder" / "report.html"
    command = ["-C", str(made.config), "report", made.info.name, "-o", str(out)]
    result = CliRunner().invoke(cli, [*command, "--cubes", str(made.cubes), "--quicklooks", "2"])
    assert result.exit_code == 0, result.output
    text = out.read_text()
    model = orjson.loads(text.split('id="model">')[1].split("</script>")[0])
    assert model["name"] == made.info.name
    assert len(model["quicklooks"]) == 2
    assert (out.parent / unquote(model["cubes"][0]["href"])).exists()
    assert list(out.parent.iterdir()) == [out]


def test_what_is_missing_is_said_by_the_command(made, tmp_path):
    (tmp_path / "cubes").mkdir()
    command = ["-C", str(made.config), "report", made.info.name, "--quicklooks", "0"]
    out = ["-o", str(tmp_path / "report.html"), "--cubes", str(tmp_path / "cubes")]
    result = CliRunner().invoke(cli, [*command, *out])
    assert result.exit_code == 0, result.output
    said = f"No cube of this order is in the folder {tmp_path / 'cubes'}."
    assert result.stderr.splitlines()[-2:] == [said, f"Wrote {tmp_path / 'report.html'}"]
    assert result.stdout == ""


def test_cubes_that_do_not_tell_what_is_clear_tell_the_clouds_of_their_scenes(made, monkeypatch):
    def tell(path, real=orchard.ard.info):
        told = real(path)
        steps = [{**step, "clear_fraction": None} for step in told["steps"]]
        return {**told, "steps": steps}

    of_store = gather(made.info, store=made.tracker.store, pictures=0).acquisitions
    monkeypatch.setattr(orchard.ard, "info", tell)
    known = gather(made.info, cubes=made.cubes, pictures=0)
    assert sorted(known.acquisitions) == done(made.info)
    for position, facts in known.acquisitions.items():
        assert [(one.day, one.clear, one.cloud) for one in facts] == [
            (one.day, None, pytest.approx(one.cloud)) for one in of_store[position]
        ]
    assert all(one.cloud is not None for facts in known.acquisitions.values() for one in facts)
    # Cubes without the scenes' metadata leave it to those of the images.
    module = sys.modules[gather.__module__]
    monkeypatch.setattr(module, "_clouds", lambda cube: [None] * len(cube.steps))
    steps = []
    both = gather(
        made.info,
        store=made.tracker.store,
        cubes=made.cubes,
        pictures=0,
        callback=lambda item, n_steps: steps.append(n_steps),
    )
    assert both.acquisitions == of_store
    assert both.cubes
    assert sum(steps) == len(done(made.info))
    gone = gather(
        made.info, store=orchard.open_store("memory://gone"), cubes=made.cubes, pictures=0
    )
    assert sorted(gone.acquisitions) == done(made.info)
    assert not gone.notes


def test_errors_say_what_to_do(made, tmp_path, monkeypatch):
    report = make_report(made.info)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(AccessError, match=r"report .*file/report\.html cannot be written"):
        report.save(blocked / "report.html")
    page.read_asset.cache_clear()
    monkeypatch.setattr(page, "__package__", "orchard.grid")  # a package without built pages
    with pytest.raises(PagesError, match=r"python web/build\.py"):
        report.save(tmp_path / "report.html")
    page.read_asset.cache_clear()
    assert not (tmp_path / "report.html").exists()


def test_a_plain_mapping_will_do(made):
    report = make_report(dict(made.info))
    assert report.model["tasks"] == build_model(made.info)["tasks"]
    assert repr(report) == f"<Report of {made.info.name!r}>"
