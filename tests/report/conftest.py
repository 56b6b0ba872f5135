"""A small order that was really made, its cubes, and a browser without a network."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for what the tests share

import orchard
from orchard.config import Config

if TYPE_CHECKING:
    from orchard.tracking import TrackingInfo

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
COLLECTION = "LANDSAT/LC08/C02/T1_L2"
CRS = "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"


@dataclass(frozen=True, kw_only=True)
class Made:
    """An order that was made: its record, its tracker, its cubes, its configuration file."""

    info: TrackingInfo
    tracker: orchard.Tracker
    cubes: Path
    config: Path


@pytest.fixture(scope="session")
def made(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two tiles of the archive and one far away, in two periods; two of six tasks are empty."""
    import orjson
    import yaml

    folder = tmp_path_factory.mktemp("made order")  # links have to survive the blank
    data = {
        "tile_grid": {
            "name": "SMALL", "crs": CRS, "ul": [-2565585.0, 3314805.0], "res": [30, 30],
            "size": [64, 64], "limits": [[0, 2000], [0, 3000]],
        },
        "store": f"{folder}/preard/",
        "engine": {"name": "local", "catalog": str(archive), "workers": 2},
        "collections": {COLLECTION: {"bands": {"thermal": None}}},
    }  # fmt: skip
    config = folder / "orchard.yaml"
    config.write_text(yaml.safe_dump(data))
    tracker = Config(data).get_tracker()
    items = [orjson.loads(path.read_bytes()) for path in archive.parent.rglob("*.json")]
    boxes = [item["bbox"] for item in items if item.get("type") == "Feature"]
    centre = [sum(box[i] + box[i + 2] for box in boxes) / len(boxes) / 2 for i in (0, 1)]
    (tile,) = tracker.tile_grid.roi_to_tiles({"type": "Point", "coordinates": centre})
    row, col = tile.index
    name, _ = tracker.submit(
        COLLECTION, [(row, col), (row, col + 1), (0, 0)], "2023-04-01", "2023-10-01", "QS"
    )
    info = tracker.wait(name)
    assert set(info.states) == {"COMPLETED", "EMPTY"}, info.failures()
    tracker.download(info, folder / "downloads")
    orchard.convert(folder / "downloads", dest=folder / "cubes")
    return Made(info=info, tracker=tracker, cubes=folder / "cubes", config=config)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrackingInfo, Path]:
    """An order of 100,000 tasks, and its report."""
    from made_orders import made_facts, made_order

    from orchard.report import Report, build_model

    info = made_order(50, 40, start="2019-01-01", end="2023-03-01")
    path = tmp_path_factory.mktemp("large") / "report.html"
    return info, Report(build_model(info, made_facts(info))).save(path)


@pytest.fixture(scope="module")  # two at a time, of two packages, are one too many for Playwright
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """Open a page of this machine without a network; whatever it says or asks for is an error."""
    contexts, wrong = [], []

    def go(path: Path, *, width: int = 1280, **options: Any):
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 800}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: _note(asked.url, path, wrong))
        page.goto(path.as_uri())
        page.wait_for_function("performance.getEntriesByName('orchard-drawn').length > 0")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not wrong


def _note(url: str, path: Path, wrong: list[str]) -> None:
    if url != path.as_uri() and not url.startswith("data:"):
        wrong.append(f"asked for {url}")
