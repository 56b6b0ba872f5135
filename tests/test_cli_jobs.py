"""The command line of jobs and of looking at data, on an order of a small made archive."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import yaml
from click.testing import CliRunner
from PIL import Image
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from orchard.ard import convert, info
from orchard.cli import cli
from orchard.cli.common import FAILED, USAGE
from orchard.cli.errors import report_errors
from orchard.config import load_config
from orchard.jobs import session as session_module
from orchard.quicklook import make
from orchard.viz.sources import find_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECTION = "LANDSAT/LC08/C02/T1_L2"
CRS = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
GRID = {
    "name": "SMALL",
    "crs": CRS,
    "ul": [-2565585.0, 3314805.0],
    "res": [30, 30],
    "size": [64, 64],
    "limits": [[0, 2000], [0, 3000]],
}


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(session_module, "_default", None)
    for name in ("PROJECT_ID", "PROJECT_API_KEY", "BASE_URL", "CONFIG"):
        monkeypatch.delenv(f"ORCHARD_{name}", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return


class Place:
    """A configuration with an order that is done."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder = folder
        self.config = folder / "orchard.yaml"
        self.data = {
            "tile_grid": GRID,
            "store": "preard/",
            "engine": {"name": "local", "catalog": str(archive)},
            "collections": {COLLECTION: {"bands": {"thermal": None}}},
        }
        self.config.write_text(yaml.safe_dump(self.data))
        items = [json.loads(path.read_text()) for path in archive.parent.rglob("*.json")]
        (left, bottom, right, top), *_ = (i["bbox"] for i in items if i.get("type") == "Feature")
        config = load_config(self.config)
        point = {"type": "Point", "coordinates": [(left + right) / 2, (bottom + top) / 2]}
        (self.tile,) = config.tile_grid.roi_to_tiles(point)
        tracker = config.get_tracker()
        index = [self.tile.index]
        self.order, _ = tracker.submit(COLLECTION, index, "2023-04-01", "2023-08-01")
        tracker.wait(self.order)
        (self.job,) = (status.id for status in tracker.read(self.order).statuses)
        self.downloads = folder / "downloads"
        tracker.download(self.order, self.downloads)
        self.images = next(self.downloads.rglob("*.tif")).parent
        self.cube = Path(convert(self.images, str(folder / "cubes"))[0])
        self.days = [step["solar_day"] for step in info(self.cube)["steps"]]


@pytest.fixture(scope="module")
def place(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"), archive)


@pytest.fixture
def run(place: Place):
    def run(*words: object, config: Path | None = None, code: int = 0) -> str:
        arguments = ["-C", str(config or place.config), *map(str, words)]
        return invoke(*arguments, code=code)

    return run


def invoke(*arguments: object, code: int = 0) -> str:
    """Run a command line as `main` does; return what it printed, or its message."""
    found: list[int] = []
    runner = CliRunner()
    with runner.isolation() as (out, err, _):
        words = list(map(str, arguments))
        found.append(report_errors(lambda: cli.main(args=words, standalone_mode=False)))
        printed, told = out.getvalue().decode(), err.getvalue().decode()
    assert found == [code], (printed, told)
    return told if code else printed


def pictures_of(page: Path) -> list[str]:
    """The pictures in a page."""
    return re.findall(r"data:image/(?:png|jpeg|webp);base64,[^\"']{200,}", page.read_text())


# jobs ---------------------------------------------------------------------------------------------


def test_a_job_is_listed_shown_and_its_logs_are_read(run, place):
    assert run("jobs", "list").split()[:2] == [place.job, "PENDING"], "nobody makes the cube yet"
    (listed,) = json.loads(run("jobs", "list", "--json", "--order", place.order))
    assert listed["id"] == place.job
    assert run("jobs", "list", "--order", "other") == ""
    assert run("jobs", "list", "--status", "failed") == ""
    shown = run("jobs", "show", place.job)
    assert place.job in shown
    assert re.findall(r"(?m)^(?:status|  preard|  ard) +(\w+)$", shown) == ["PENDING"] * 3
    told = json.loads(run("jobs", "show", place.job, "--json"))
    assert [block["name"] for block in told["jobtasks"]] == ["preard", "ard"]
    logs = run("jobs", "logs", place.job)
    assert f"--- {place.job}-preard" in logs
    assert f"--- {place.job}-ard" in logs
    assert f"{place.job}-ard" not in run("jobs", "logs", place.job, "--block", "preard")


def test_it_is_said_when_pending_jobs_are_made(place, capsys):
    words = ["-C", str(place.config), "jobs"]
    for more in (["list"], ["show", place.job]):
        cli.main(args=[*words, *more], standalone_mode=False)
        assert "'orchard jobs download JOB'" in capsys.readouterr().err
    cli.main(args=["-q", *words, "list"], standalone_mode=False)
    assert capsys.readouterr().err == ""


def test_results_and_quicklooks_are_downloaded_and_mapped(run, place, tmp_path):
    files = run("jobs", "download", place.job, "--dest", "results").split()
    assert {Path(file).suffix for file in files} >= {".nc", ".json"}
    assert all(Path(file).is_relative_to(tmp_path / "results") for file in files)
    of_block = run("jobs", "download", place.job, "--dest", "images", "--block", "preard").split()
    assert any(file.endswith(".tif") for file in of_block)
    (archive,) = run("jobs", "download", place.job, "--archive", "--dest", "kept").split()
    assert Path(archive).parent == tmp_path / "kept"
    pictures = run("jobs", "quicklooks", place.job, "--dest", "quicklooks").split()
    assert len(pictures) == len(json.loads(Path("images/data.json").read_text())["features"])
    run("jobs", "map", place.job, "-o", "job.html", "--block", "preard")
    assert len(pictures_of(Path("job.html"))) == len(pictures)
    assert run("jobs", "cancel", place.job) == "", "a job that has ended stays as it is"
    assert "SUCCEEDED" in run("jobs", "show", place.job)


def test_what_is_not_there_is_named(run, place):
    assert "NOPE" in run("jobs", "show", "NOPE", code=FAILED)
    message = run("jobs", "logs", place.job, "--block", "nope", code=FAILED)
    assert "its blocks: preard, ard" in message
    words = ("jobs", "download", place.job, "other", "--block", "ard")
    assert "one job" in run(*words, code=USAGE)


def test_the_platform_is_the_configurations_then_the_environments(
    run, place, tmp_path, monkeypatch
):
    remote = tmp_path / "remote.yaml"
    part = {"base_url": "ftp://nowhere.invalid", "project_id": "p"}
    remote.write_text(yaml.safe_dump({**place.data, "platform": part}))
    assert "ftp" in run("jobs", "list", config=remote, code=USAGE)
    monkeypatch.setenv("ORCHARD_PROJECT_ID", "p")
    assert "base_url" in run("jobs", "list", code=USAGE)


def test_without_a_configuration_there_are_no_jobs():
    assert invoke("jobs", "list") == ""


# looking ------------------------------------------------------------------------------------------


def test_info_tells_what_is_in_a_cube(run, place):
    told = run("info", place.cube)
    assert f"row {place.tile.index[0]}, column {place.tile.index[1]}: 64 x 64 pixels" in told
    assert "netcdf" in told
    assert "red uint16" in told
    assert re.search(r"Clear   \d+% of", told)
    assert "CRS     Albers Equal Area, metre\n" in told
    assert re.search(r"\nBands   blue uint16, [^\n]*qa_pixel uint16\nMasks   clear ", told)
    assert re.search(r"\nFlags   cirrus, [^\n]*water \(variables flag_cirrus, …\)\n$", told)
    assert "PROJCRS" in json.loads(run("info", place.cube, "--json"))["crs"]
    assert json.loads(run("info", place.cube.parent, "--json"))["tile"] == list(place.tile.index)
    assert "no such cube" in run("info", "nothing.nc", code=USAGE)


@pytest.mark.parametrize("what", ["cube", "images"])
def test_quicklooks_of_a_cube_and_of_downloads(run, place, what):
    source = getattr(place, what)
    made = run("quicklook", source, "--dest", "q", "--size", 32, "--sheet", "sheet.png").split()
    assert [path[-14:-4] for path in made] == place.days
    with Image.open(made[0]) as picture, Image.open("sheet.png") as sheet:
        assert picture.size == (32, 32)
        assert sheet.width > 32
    options = ("--date", place.days[0], "--bands", "nir", "--stretch", "0,0.4", "--dest", "one")
    (single,) = run("quicklook", source, *options).split()
    with Image.open(single) as picture:
        assert picture.mode == "LA"
    assert "--bands" in run("quicklook", source, "--bands", "red,nir", code=USAGE)
    assert "LOW,HIGH" in run("quicklook", source, "--stretch", "much", code=USAGE)


def test_how_clear_a_picture_is_said_to_be_is_what_info_says(run, place, tmp_path, monkeypatch):
    kept = []
    draw = make.contact_sheet
    monkeypatch.setattr(
        make, "contact_sheet", lambda cells, title: kept.append(cells) or draw(cells, title=title)
    )
    (masked,) = convert(place.images, str(tmp_path / "masked"), "zarr", mask=True)
    for source in (place.cube, place.images, masked):
        run("quicklook", source, "--dest", "q", "--sheet", "sheet.png")
    told = [f"{step['clear_fraction']:.0%} clear" for step in info(masked)["steps"]]
    assert len(set(told)) > 1
    assert [[cell.label.split("   ")[1] for cell in cells] for cells in kept] == [told] * 3


def test_a_file_that_was_cut_short_is_said_to_be(run, place, tmp_path):
    shutil.copytree(place.images, tmp_path / "cut")
    (path,) = (tmp_path / "cut").glob("*.tif")
    size = path.stat().st_size
    os.truncate(path, size // 2)
    for command in (("quicklook",), ("plot", "-o", "x.png")):
        message = run(command[0], "cut", *command[1:], code=FAILED)
        assert f"{path.name}: has {size // 2} bytes, not the {size} that the task made" in message


@pytest.mark.parametrize("form", ["zarr", "cog"])
def test_cubes_of_any_format_are_drawn(run, place, form, tmp_path):
    (cube,) = convert(place.images, str(tmp_path / form), form)
    day = place.days[0]
    ours = run("quicklook", cube, "--date", day, "--stretch", "0,0.5", "--dest", "b").split()
    same = run("quicklook", place.cube, "--date", day, "--stretch", "0,0.5", "--dest", "c").split()
    with Image.open(ours[0]) as one, Image.open(same[0]) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("what", ["cube", "images"])
def test_a_map_of_a_cube_lies_where_the_tile_is(run, place, what):
    run("map", getattr(place, what), "--date", place.days[0], "-o", "map.html")
    page = Path("map.html").read_text()
    assert len(pictures_of(Path("map.html"))) == 1
    number = r"([-\d.]+)"
    corners = rf"\[\[{number}, {number}\], \[{number}, {number}\]\]"
    box = re.search(rf"imageOverlay\(\s*\"data:[^\"]*\",\s*{corners}", page)
    bottom, left, top, right = map(float, box.groups())
    bounds = place.tile.geobox.boundingbox
    wanted = transform_bounds(CRS, "EPSG:4326", *bounds)
    assert (left, bottom, right, top) == pytest.approx(wanted, abs=0.001)


def test_rasters_are_plotted_and_mapped_by_band_numbers(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (4, 20, 30)).astype("uint8")
    with rasterio.open(
        "berlin.tif", "w", driver="GTiff", width=30, height=20, count=4, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(390000, 5820000, 10, 10),
    ) as target:  # fmt: skip
        target.write(values)
    invoke("plot", "berlin.tif", "--bands", "4,3,2", "-o", "deep/picture.png")
    with Image.open("deep/picture.png") as picture:
        assert picture.width > 100
    invoke("map", tmp_path, "-o", "page.html")
    assert len(pictures_of(Path("page.html"))) == 1
    assert "dates to choose" in invoke("map", "berlin.tif", "--date", "2023-01-01", code=USAGE)
    assert "orchard plot" in invoke("quicklook", "berlin.tif", code=USAGE)
    assert ".png" in invoke("plot", "berlin.tif", "-o", "picture.exe", code=USAGE)


def test_cubes_are_plotted(run, place):
    run("plot", place.cube, "-o", "cube.png")
    with Image.open("cube.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**7)) > 50


def test_an_order_is_looked_at_where_it_was_downloaded(run, place):
    for command in (("map",), ("plot", "-o", "x.png"), ("quicklook",)):
        message = run(command[0], place.order, *command[1:], code=USAGE)
        assert "give that folder" in message
    Path("empty").mkdir()
    assert "no cube, image" in run("map", "empty", code=USAGE)


def test_a_folder_is_sorted_out(place, tmp_path):
    found = find_sources([place.images, place.cube.parent])
    assert [path.suffix for path in found.imagery] == [".json", ".nc"]
    assert not found.pictures
    assert not found.features
    Image.new("RGB", (2, 2)).save(tmp_path / "quicklook_1.png")
    (tmp_path / "data.json").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / ".hidden.json").write_text("not JSON")
    found = find_sources([tmp_path])
    assert [path.name for path in found.pictures] == ["quicklook_1.png"]
    assert [path.name for path in found.features] == ["data.json"]
