"""The command line on real scenes: the whole way of an order, and every way to say it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from shapely.geometry import mapping, shape

from orchard.cli import EPILOG, cli
from orchard.cli.common import FAILED, INTERRUPTED, PARTLY, USAGE
from orchard.cli.errors import report_errors
from orchard.engines.local.ledger import Ledger

GRID = {
    "name": "BOLZANO",
    "crs": "EPSG:3035",
    "ul": [4415000, 2605000],
    "res": [20, 20],
    "size": [256, 256],
    "limits": [[0, 3], [0, 3]],
}
ID = "BOLZANO/S2_L2A"
WHERE = ("-i", "1", "1")
WHEN = ("--start", "2022-06-01", "--end", "2022-06-08")


class Line:
    """A command line in a folder of its own: what it printed, and its exit code."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.config = folder / "orchard.yaml"
        self._capsys = capsys
        self.out = self.err = ""

    def configure(self, scenes: Path, collections: dict, **changes) -> None:
        data = {
            "tile_grid": GRID,
            "store": "preard/",
            "engine": {"name": "local", "catalog": str(scenes / "catalog.json")},
            "collections": {ID: collections[ID]},
            "ard": {"destination": "cubes"},
            **changes,
        }
        self.config.write_text(yaml.safe_dump(data, sort_keys=False))

    def __call__(self, *words: object, code: int = 0) -> str:
        self._capsys.readouterr()
        arguments = ["-C", str(self.config), *map(str, words)]
        found = report_errors(lambda: cli.main(args=arguments, standalone_mode=False))
        self.out, self.err = self._capsys.readouterr()
        assert found == code, (found, self.out, self.err)
        assert "Traceback" not in self.err
        return self.out

    def listing(self) -> dict[str, bytes]:
        """What is in the folder; the ledger's file may be there or not."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and ".ledger." not in path.name
        }


@pytest.fixture
def line(tmp_path, scenes, user_collections, capsys, monkeypatch):
    monkeypatch.delenv("ORCHARD_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    line = Line(tmp_path, capsys)
    line.configure(scenes, user_collections)
    return line


def test_the_whole_way_of_an_order(line):
    before = line.listing()
    text = line("plan", ID, *WHERE, *WHEN)
    assert "Tasks     1 (0 of them empty)" in text
    assert "Scenes    3" in text
    plan = json.loads(line("plan", ID, *WHERE, *WHEN, "--json"))
    assert plan["pixels"] == 256 * 256 * 5 * 3
    assert plan["bytes"] == 2 * plan["pixels"]
    assert len(plan["orders"][0]["dates"]) == 3
    assert "dates" in line("-v", "plan", ID, *WHERE, *WHEN).splitlines()[-1]
    assert line.listing() == before, "planning writes nothing"

    name = line("submit", ID, *WHERE, *WHEN).strip()
    assert "Recorded in" in line.err
    assert line("status", "list").split() == [name]
    assert line("status", "list", "no such").split() == []
    assert line("submit", ID, *WHERE, *WHEN).strip() == name, "again: the same order"
    line("status", "completed", name, code=PARTLY)
    assert "0% done" in line.err
    line("run", name, "--executor", "threads", 1)
    assert "1 COMPLETED" in line.err
    assert line.out == ""
    line("status", "completed", name + ".json")
    line("status", "completed", name, "--update")

    assert "COMPLETED" in line("status", "print", name)
    assert "Task 0" not in line.out
    for option in (["--all"], ["--task", 0], ["--order", 0]):
        assert "Task 0" in line("status", "print", name, *option)
    assert json.loads(line("status", "print", name, "--json"))["tracking"]["name"] == name
    assert line("status", "print", name, "--failed") == ""
    line("status", "print", name, "--task", 1, code=USAGE)
    assert "there is no task 1" in line.err

    line("status", "update", name, "--dest", "records")
    assert json.loads((line.folder / "records" / f"{name}.json").read_text())["orders"]
    line("status", "update", "--all")

    folder = Path(line("download", name, "--dest", "downloads").strip())
    assert folder == Path("downloads") / name
    assert len(list(folder.glob("*.tif"))) == len(list(folder.glob("*.json"))) == 1
    cubes = line("convert", folder, "--executor", "synchronous").split()
    assert [Path(cube).suffix for cube in cubes] == [".nc"]
    assert Path(cubes[0]).parent == line.folder / "cubes"
    zarr = line("convert", folder, "--dest", "other", "--format", "zarr", "--skip-metadata")
    assert Path(zarr.strip()).parent == Path("other")
    (ledger,) = line.folder.glob("*.ledger.sqlite")
    (task,) = [
        order["status"]["id"]
        for order in json.loads(line("status", "print", name, "--json"))["orders"]
    ]
    assert [e.event for e in Ledger(ledger).events(task)][-2:] == ["converted", "converted"]

    line("clean", name, "--keep-tracking")
    assert line("status", "list").split() == [name]
    line("clean", name)
    assert line("status", "list") == ""
    assert not [key for key in line.listing() if key.startswith("preard/")]
    line("status", "print", name, code=FAILED)
    assert f"there is no order {name!r}" in line.err


def test_several_orders_take_turns(line):
    orders = [("2022-06-01", "2022-06-13"), ("2022-06-13", "2022-06-25")]
    names = [
        line("submit", ID, *WHERE, "--start", start, "--end", end, "--freq", "6D").strip()
        for start, end in orders
    ]
    line("-v", "run", *names, "--executor", "synchronous")
    done = [row for row in line.err.splitlines() if row.startswith("2 orders: ") and "(+1)" in row]
    starts = [re.findall(r"2022-\d\d-\d\d", row)[0] for row in done]
    turns = [start >= "2022-06-13" for start in starts]
    assert len(done) == 4, line.err
    assert turns in ([False, True, False, True], [True, False, True, False])
    assert all(f"{name}: 2 COMPLETED" in line.err for name in names)


def test_submit_and_wait_then_download_and_clean_in_one_go(line):
    name = line("submit", ID, *WHERE, *WHEN, "--wait", "--executor", "processes", 1).strip()
    line("download", name, "--clean", "--update")
    assert Path(name).is_dir()
    assert line("status", "list") == ""


def test_an_order_that_is_not_done_is_downloaded_but_not_cleaned(line):
    name = line("submit", ID, *WHERE, *WHEN).strip()
    line("download", name, "--clean", code=PARTLY)
    assert "Not cleaned" in line.err
    assert "0 files of 0 tasks are in" in line.err
    assert (
        f"There is no result of 1 of 1 tasks (1 READY): 'orchard -C {line.config} run {name}' goes "
        "on with the order; then download again\n"
    ) in line.err
    assert line("status", "list").split() == [name]
    line("run")
    assert "1 COMPLETED" in line.err
    line("download", name)
    assert line.err.strip() == f"2 files of 1 task are in {name}"
    line("run")
    assert line.err.strip().endswith("has ended"), "nothing is left to do"


def test_an_empty_order_is_done(line):
    words = ("submit", ID, *WHERE, "--start", "2022-05-01", "--end", "2022-06-01")
    before = line.listing()
    line(*words, "--error-if-empty", code=FAILED)
    assert "no image was found" in line.err
    assert line.listing() == before
    name = line(*words, "--wait").strip()
    line("status", "completed", name)
    assert "100% done" in line.err


def test_empty_metadata_may_be_skipped(line):
    words = (ID, *WHERE, "--start", "2022-05-01", "--end", "2022-06-01")
    line("submit", *words, "--skip-empty-metadata")
    assert not [key for key in line.listing() if "PREARD" in key]


def test_a_download_tells_what_has_ended_without_a_result(line):
    name = line("submit", ID, *WHERE, *WHEN).strip()
    line("cancel", name)
    line("download", name)
    again = f"'orchard -C {line.config} retry {name} --all-failed' starts anew what has ended"
    assert f"There is no result of 1 of 1 tasks (1 CANCELLED): {again}" in line.err


def test_cancel_and_retry(line):
    name = line("submit", ID, *WHERE, *WHEN).strip()
    line("status", "cancel", name)
    assert "1 CANCELLED" in line.err
    line("run", name, code=PARTLY)
    line("retry", name, code=USAGE)
    line("retry", name, "--task", "nonsense", code=USAGE)
    assert "no task 'nonsense'" in line.err
    line("retry", name, "--all-failed")
    assert "1 READY" in line.err
    line("run", name)
    line("status", "completed", name)


# Ways to say an order


def _planned(line: Line, *words: object) -> dict:
    return json.loads(line("plan", ID, *words, "--json"))


def test_the_options_of_cedar_mean_the_same(line):
    expected = _planned(line, *WHERE, *WHEN, "--freq", "2D")
    for words in (
        ("-r", 1, "-c", 1, "--period_start", "2022-06-01", "--period_end", "2022-06-08",
         "--period_freq", "2D"),
        ("--index", 1, 1, "--period-start", "01.06.2022", "--period-end", "08.06.2022",
         "--freq", "2D", "--date_format", "%d.%m.%Y"),
    ):  # fmt: skip
        assert _planned(line, *words) == expected
    assert expected["tasks"] == 4


def test_rows_and_columns_are_crossed(line):
    plan = _planned(line, "-r", 1, "-r", 0, "-c", 2, "-c", 1, *WHEN)
    assert [task["tile"] for task in plan["orders"]] == [[1, 2], [1, 1], [0, 2], [0, 1]]


def test_an_area_gives_the_tiles_that_it_touches(line):
    line("grid", "show", "--tile", 1, 1)
    tile = shape(json.loads(line.out)["features"][0]["geometry"])
    Path("aoi.geojson").write_text(json.dumps(mapping(tile.buffer(-0.001))))
    assert [task["tile"] for task in _planned(line, "--aoi", "aoi.geojson", *WHEN)["orders"]] == [
        [1, 1]
    ]
    Path("far.geojson").write_text(json.dumps({"type": "Point", "coordinates": [0, 0]}))
    line("plan", ID, "--aoi", "far.geojson", *WHEN, code=USAGE)
    assert "no tile of the grid touches" in line.err
    Path("bad.geojson").write_text("{")
    line("plan", ID, "--aoi", "bad.geojson", *WHEN, code=USAGE)
    assert "bad.geojson" in line.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say where in one way"),
        (("-i", 0, 0, "-r", 1, "-c", 1), "say where in one way"),
        (("-i", 0, 0, "-r", 1), "say where in one way"),
        (("-i", 0, 0, "--aoi", "orchard.yaml"), "say where in one way"),
        (("-r", 1), "--row and --col go together"),
        (("-c", 1), "--row and --col go together"),
        (("-i", 0), "requires 2 arguments"),
        (("-i", 0, "x"), "not a valid integer"),
        (("--aoi", "nowhere"), "does not exist"),
    ],
)
def test_where_is_said_in_exactly_one_way(line, words, message):
    line("plan", ID, *WHEN, *words, code=USAGE)
    assert message in line.err


def test_a_date_that_is_not_of_its_format_is_refused(line):
    line("plan", ID, *WHERE, *WHEN, "--date_format", "%d.%m.%Y", code=USAGE)
    assert "--start" in line.err
    assert "does not match format" in line.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--executor", "magic"), "unknown executor 'magic': synchronous, threads"),
        (("--executor", "threads", "0"), "there must be at least 1"),
        (("--executor", "threads", "-2"), "there must be at least 1"),
        (("--executor",), "requires an argument"),
    ],
)
def test_an_executor_that_there_is_not(line, words, message):
    line("run", "NAME", *words, code=USAGE)
    assert message in line.err


def test_the_command_comes_with_its_options_in_any_order(line):
    name = line("submit", "--executor", "threads", "2", ID, *WHERE, *WHEN).strip()
    line("run", "--executor=synchronous", name)
    line("status", "completed", name)


# What goes where


def test_quiet_gives_results_and_errors_alone(line):
    name = line("-q", "submit", ID, *WHERE, *WHEN).strip()
    assert line.err == ""
    line("-q", "run", name)
    assert (line.out, line.err) == ("", "")
    line("-q", "status", "print", "nothing", code=FAILED)
    assert line.err.startswith("Error: there is no order")
    line("-q", "-v", "status", "list", code=USAGE)


def test_an_order_of_nothing_is_told_when_it_is_recorded(line):
    name = line("submit", ID, *WHERE, "--start", "1999", "--end", "2000").strip()
    assert "Nothing was found for this place, period and filters: 'orchard plan'" in line.err
    line("clean", name)
    line("submit", ID, *WHERE, *WHEN)
    assert "Nothing was found" not in line.err


def test_a_plan_without_scenes_says_what_there_is(line, scenes, user_collections):
    line("plan", ID, *WHERE, "--start", "1999", "--end", "2000")
    assert "Nothing was found" in line.err
    assert re.search(
        r"has scenes from 2022-06-02 to 2022-06-30, .* 11\.\d\d degrees east, 46\.", line.err
    )
    elsewhere = {**user_collections[ID], "stac": {"collection": "elsewhere"}}
    line.configure(scenes, {ID: elsewhere})
    line("plan", ID, *WHERE, *WHEN)
    assert "(there 'elsewhere') has no scene of it" in line.err


def test_a_long_run_tells_its_progress_in_a_log(line, monkeypatch):
    name = line("submit", ID, *WHERE, *WHEN).strip()
    monkeypatch.setattr("orchard.cli.common.PAUSE", 0)
    line("run", name)
    assert f"{name}: 1 of 1" in line.err
    line("-q", "run", name)
    assert line.err == ""


def test_verbose_tells_each_step(line):
    name = line("submit", ID, *WHERE, *WHEN).strip()
    line("-v", "run", name)
    assert f"{name}: " in line.err
    assert "(+1)" in line.err


def test_the_exit_codes_are_those_of_the_help():
    codes = [int(text.split()[0]) for text in EPILOG.split("\n\n")[0].splitlines()[2:]]
    assert codes == [0, FAILED, USAGE, PARTLY, INTERRUPTED]


# Configuration, grids, collections


def test_config(line, tmp_path):
    assert "orchard.yaml is fine" in line("config", "check")
    shown = yaml.safe_load(line("config", "print"))
    assert shown["tile_grid"]["name"] == "BOLZANO"
    assert shown["tracker"]["tracking_prefix"] == "CEDAR_TRACKING"
    text = line("config", "template")
    line("config", "template", "-o", "new.yaml")
    assert (tmp_path / "new.yaml").read_text() == text
    line("config", "template", "-o", "new.yaml", code=FAILED)
    assert "--overwrite replaces it" in line.err
    line("config", "template", "-o", "new.yaml", "--overwrite")
    line("config", "template", "-o", "no/such/folder.yaml", code=FAILED)
    assert "no/such/folder.yaml: No such file" in line.err


def test_a_configuration_that_is_wrong_or_missing(line):
    line.config.write_text("tile_grid: BOLZANO\nstor: x\n")
    line("config", "check", code=USAGE)
    assert "line 2: stor: is not known here: did you mean store?" in line.err
    line.config.unlink()
    line("status", "list", code=USAGE)
    assert "there is no configuration file" in line.err


def test_a_configuration_of_cedar_is_understood_with_a_warning(line):
    data = yaml.safe_load(line.config.read_text())
    old = {
        "tile_grid": data["tile_grid"],
        "tracker": {"store": "gcs"},
        "gcs": {"bucket_name": "b", "project": "p"},
        "ard": {"destination": "x"},
    }
    line.config.write_text(yaml.safe_dump(old))
    import warnings

    with warnings.catch_warnings():
        line("config", "print")
    assert line.err.startswith("Warning: this configuration was written for CEDAR")
    assert "gs://b" in line.out


def test_grids(line):
    assert "LANDSAT_ARD_CU" in line("grid", "list")
    tiles = json.loads(line("grid", "show"))
    assert len(tiles["features"]) == 16
    one = json.loads(line("grid", "show", "LANDSAT_ARD_CU", "-t", 10, 3, "-t", 10, 3))
    assert len(one["features"]) == 1
    line("grid", "show", "NO_GRID", code=USAGE)
    assert "there is no tile grid 'NO_GRID'" in line.err
    line("grid", "show", "LANDSAT_ARD_CU", "-t", 99, 99, code=USAGE)


def test_collections_without_a_configuration_and_with_one(line, monkeypatch, tmp_path):
    assert "LANDSAT/LC09/C02/T1_L2" in line("collections")
    assert ID in line.out
    one = yaml.safe_load(line("collections", ID))
    assert list(one[ID]["bands"]) == ["blue", "green", "red", "nir", "scl"]
    line("collections", "LANDSAT/LC09/C02/T1_L3", code=USAGE)
    assert "LANDSAT/LC09/C02/T1_L2" in line.err

    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert report_errors(lambda: cli.main(["collections"], standalone_mode=False)) == 0


# Bad input: a clear error, the right exit code, the store as it was


def _copy(scenes: Path, folder: Path) -> Path:
    """Copy a week of scenes, to break one of them."""
    shutil.copytree(
        scenes / "s2-bolzano",
        folder / "s2-bolzano",
        ignore=lambda _, names: [n for n in names if "202206" in n and not _first_week(n)],
    )
    root = json.loads((scenes / "catalog.json").read_text())
    root["links"] = [
        link for link in root["links"] if link["rel"] != "child" or "bolzano" in link["href"]
    ]
    (folder / "catalog.json").write_text(json.dumps(root))
    collection = folder / "s2-bolzano" / "collection.json"
    data = json.loads(collection.read_text())
    data["links"] = [
        link
        for link in data["links"]
        if link["rel"] != "item" or (collection.parent / link["href"]).exists()
    ]
    collection.write_text(json.dumps(data))
    return folder


def _first_week(name: str) -> bool:
    return any(f"2022060{day}" in name for day in range(1, 8))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("NO/SUCH", *WHERE, *WHEN), "unknown collection 'NO/SUCH': 'orchard collections' lists"),
        ((ID, "-i", 9, 9, *WHEN), "9"),
        (("S2_L2A", *WHERE, *WHEN), "unknown collection 'S2_L2A': did you mean BOLZANO/S2_L2A?"),
        ((ID, *WHERE, "--start", "2022-06-08", "--end", "2022-06-01"), "not before its end"),
        ((ID, *WHERE, "--start", "2022-06", "--end", "2022-06"), "the end is not in it any more"),
        ((ID, *WHERE, "--start", "June", "--end", "2022"), "--start 'June' is not a date"),
        ((ID, *WHERE, "--start", "2022", "--end", "01.07.2023"), "say with --date-format how"),
        ((ID, *WHERE, *WHEN, "--freq", "fortnight"), "'fortnight' is not a pandas offset"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "submit"])
def test_an_order_that_cannot_be_meant(line, command, words, message):
    before = line.listing()
    line(command, *words, code=USAGE)
    assert message in line.err
    assert line.err.startswith("Error: ")
    assert line.listing() == before


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        ({"name_template": "{colection}"}, "name_template '{colection}' has the unknown key"),
        ({"tracking_template": "{nonsense}"}, "tracking_template '{nonsense}' has the unknown key"),
        ({"name_template": "x"}, "gives the name 'x' to two tasks"),
    ],
)
def test_templates_are_checked_before_anything_is_written(
    line, scenes, user_collections, tracker, message
):
    line.configure(scenes, user_collections, tracker=tracker)
    before = line.listing()
    line("submit", ID, "-i", 1, 1, "-i", 1, 2, *WHEN, code=USAGE)
    assert message in line.err
    assert line.listing() == before


def test_a_band_that_the_scenes_do_not_have(line, scenes, user_collections):
    collection = {**user_collections[ID], "bands": {"red": {"asset": "infrared"}}}
    del collection["clear"]
    line.configure(scenes, {ID: collection})
    before = line.listing()
    line("submit", ID, *WHERE, *WHEN, code=USAGE)
    assert "has the asset 'infrared' (its scenes have blue, green, nir, red, scl)" in line.err
    assert line.listing() == before


def test_a_broken_item(line, scenes, user_collections, tmp_path):
    archive = _copy(scenes, tmp_path)
    item = min(archive.glob("s2-bolzano/*/*.json"))
    item.write_text(item.read_text()[:100])
    line.configure(archive, user_collections)
    before = line.listing()
    line("submit", ID, *WHERE, *WHEN, code=FAILED)
    assert item.name in line.err
    assert line.listing() == before


def test_a_catalogue_that_is_not_there(line, scenes, user_collections, tmp_path):
    line.configure(tmp_path / "nowhere", user_collections)
    line("submit", ID, *WHERE, *WHEN, code=FAILED)
    assert "nowhere" in line.err


def test_a_scene_that_cannot_be_read_fails_its_task_alone(line, scenes, user_collections, tmp_path):
    archive = _copy(scenes, tmp_path)
    scene = max(path.parent for path in archive.glob("s2-bolzano/*/*.json"))
    broken = scene / "B04.tif"
    whole = broken.read_bytes()
    broken.unlink()  # what is copied is read-only
    broken.write_bytes(whole[:2000])
    line.configure(archive, user_collections)
    name = line("submit", ID, *WHERE, *WHEN, "--freq", "2D").strip()
    line("run", name, code=PARTLY)
    assert scene.name in line.err
    assert "1 FAILED" in line.err
    assert "COMPLETED" in line.err
    assert f"orchard retry {name} --all-failed" in line.err
    assert "Failed: " in line("status", "print", name, "--failed") or scene.name in line.out
    info = json.loads(line("status", "print", name, "--json"))
    failed = [o["name"] for o in info["orders"] if o["status"]["state"] == "FAILED"]
    images = [key for key in line.listing() if key.endswith(".tif") and key.startswith("preard/")]
    assert len(failed) == 1
    assert images
    assert not [key for key in images if failed[0] in key]
    line("status", "completed", name, code=PARTLY)


def test_a_store_that_cannot_be_written(line, scenes, user_collections, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line.configure(scenes, user_collections, store="file/preard")
    before = line.listing()
    line("submit", ID, *WHERE, *WHEN, code=FAILED)
    assert "file" in line.err
    assert line.listing() == before


def test_a_destination_that_cannot_be_written(line):
    name = line("submit", ID, *WHERE, *WHEN, "--wait").strip()
    Path("file").write_text("in the way")
    before = line.listing()
    line("download", name, "--dest", "file/x", code=FAILED)
    assert "file/x" in line.err
    line("status", "update", name, "--dest", "file/x", code=FAILED)
    folder = line("download", name, "--dest", "there").strip()
    line("convert", folder, "--dest", "file/x", code=FAILED)
    assert "file/x" in line.err
    assert {k: v for k, v in line.listing().items() if not k.startswith("there/")} == before


def test_a_name_that_another_order_has(line, scenes, user_collections):
    line.configure(scenes, user_collections, tracker={"tracking_template": "MINE"})
    line("submit", ID, *WHERE, *WHEN)
    before = line.listing()
    line("submit", ID, "-i", 0, 0, *WHEN, code=FAILED)
    assert "already another order named 'MINE'" in line.err
    assert line.listing() == before


def test_an_image_that_belongs_to_another_order(line, scenes, user_collections):
    line("submit", ID, *WHERE, *WHEN)
    line.configure(scenes, user_collections, tracker={"tracking_template": "OTHER"})
    before = line.listing()
    line("submit", ID, *WHERE, "-i", 0, 0, *WHEN, code=FAILED)
    assert "already belongs to the order" in line.err
    assert line.listing() == before


def test_a_record_that_is_broken(line):
    name = line("submit", ID, *WHERE, *WHEN).strip()
    record = line.folder / "preard" / "CEDAR_TRACKING" / f"{name}.json"
    record.write_text("{")
    line("status", "print", name, code=FAILED)
    assert f"{name}.json is not JSON" in line.err


def test_convert_what_is_no_preard(line, tmp_path):
    (tmp_path / "empty").mkdir()
    line("convert", "empty", code=USAGE)
    line("convert", "nowhere", code=USAGE)
    assert "does not exist" in line.err


def test_who_watches_takes_up_what_comes_later(line):
    """An order that is there, one that is submitted meanwhile; then it stops when told."""
    first = line("submit", ID, *WHERE, *WHEN).strip()
    orchard = [sys.executable, "-m", "orchard", "-C", str(line.config)]
    process = subprocess.Popen(
        [*orchard, "run", "--watch", "--executor", "synchronous"],
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    try:
        assert f"{first}: 1 COMPLETED" in _until(process, first)
        later = ("--start", "2022-06-13", "--end", "2022-06-25")
        second = line("submit", ID, *WHERE, *later).strip()
        assert f"{second}: 1 COMPLETED" in _until(process, second)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "run --watch" in err
    for name in (first, second):
        line("status", "completed", name)
    line("run", first, "--watch", code=2)


def test_who_watches_outlasts_a_record_that_cannot_be_read(line, monkeypatch):
    """It says so once, tries again, and works on when the record is right."""
    monkeypatch.setattr("orchard.cli.work._LOOK", 0.2)
    name = line("submit", ID, *WHERE, *WHEN).strip()
    record = line.folder / "preard" / "CEDAR_TRACKING" / f"{name}.json"
    right = record.read_bytes()
    record.write_text("{")
    mending = threading.Timer(1.5, record.write_bytes, [right])
    mending.start()
    try:
        line("run", "--watch", "--timeout", 6, "--executor", "synchronous")
    finally:
        mending.join()
    assert line.err.count(f"{name}.json is not JSON") == 1
    assert f"{name}: 1 COMPLETED" in line.err


def _until(process, name: str) -> str:
    for row in process.stderr:
        if row.startswith(f"{name}: ") and " COMPLETED" in row:
            return row
    raise AssertionError(f"it ended without {name}")


def test_an_order_gets_the_name_that_it_is_given(line):
    first = line("submit", ID, *WHERE, *WHEN).strip()
    line("submit", ID, "-i", "1", "2", *WHEN, code=FAILED)
    assert "--name" in line.err
    assert line("plan", ID, "-i", "1", "2", *WHEN, "--name", "SOUTH").startswith("Order SOUTH\n")
    name = line("submit", ID, "-i", "1", "2", *WHEN, "--name", "SOUTH_{date_start}").strip()
    assert name == "SOUTH_2022-06-01"
    assert line("status", "list").split() == sorted([first, name])
    line("cancel", name)
    assert f"{name}: 1 CANCELLED" in line.err


def test_an_order_keeps_its_name(line):
    words = ("submit", ID, *WHERE, *WHEN)
    name = line(*words, "--name", "BAD_{now}").strip()
    assert "there already" not in line.err
    assert line(*words, "--name", "BAD_{now}").strip() == name
    assert "there already" not in line.err
    assert line(*words).strip() == name
    assert "there already" not in line.err
    assert line(*words, "--name", "OTHER").strip() == name
    assert (
        f"This order is there already as {name!r}: going on with it; --name OTHER was not used\n"
        in line.err
    )
    assert line("status", "list").split() == [name]
