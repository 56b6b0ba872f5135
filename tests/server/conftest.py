"""A platform over a small made archive, in this process, on a socket, with and without projects."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from small_platform import make_config, order, serving, wait_for

from orchard.jobs import session as session_module
from orchard.server import index, workshop
from orchard.server.api import stream
from orchard.server.app import create_app
from orchard.server.auth import create_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


@pytest.fixture(scope="session")
def tiles(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, int]]:
    """Tiles that the archive covers, and one far away from it."""
    import json

    grid = make_config(tmp_path_factory.mktemp("grid"), archive).tile_grid
    items = [json.loads(p.read_text()) for p in archive.parent.rglob("*.json")]
    boxes = [item["bbox"] for item in items if item.get("type") == "Feature"]
    lon = sum(box[0] + box[2] for box in boxes) / len(boxes) / 2
    lat = sum(box[1] + box[3] for box in boxes) / len(boxes) / 2
    (tile,) = grid.roi_to_tiles({"type": "Point", "coordinates": [lon, lat]})
    row, col = tile.index
    return [(row, col), (row, col + 1), (0, 0)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers look ten times as often as they do, so that tests wait less."""
    for module, name in ((index, "_FRESH_SECONDS"), (stream, "_PAUSE"), (workshop, "_PAUSE")):
        monkeypatch.setattr(module, name, 0.1)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No session of another test, nothing from the environment."""
    monkeypatch.setattr(session_module, "_default", None)
    for name in ("PROJECT_ID", "PROJECT_API_KEY", "BASE_URL", "CONFIG"):
        monkeypatch.delenv(f"ORCHARD_{name}", raising=False)


class Served:
    """A server with an order that is done."""

    def __init__(self, url: str, app: FastAPI, submitted: dict[str, Any]) -> None:
        self.url = url
        self.app = app
        self.platform = app.state.platform
        self.submitted = submitted
        self.jobs = [job["id"] for job in submitted["jobs"]]

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)


@pytest.fixture(scope="package")
def served(
    archive: Path, tiles: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """An open platform on this machine: two tiles with images, one without; all blocks."""
    folder = tmp_path_factory.mktemp("served")
    app = create_app(make_config(folder, archive))
    wanted = order(tiles, composite={"method": "best"}, index={"name": "NDVI"})
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        answer = client.post("/projects/local/jobs", json=wanted)
        assert answer.status_code == 201, answer.text
        found = Served(url, app, answer.json()["data"])
        for job in found.jobs:
            assert wait_for(client, f"/projects/local/jobs/{job}")["status"] == "SUCCEEDED"
        yield found


class Keyed(Served):
    """A server with two projects, of which the first has an order that is done."""

    keys: dict[str, str]
    tokens: dict[str, str]

    def of(self, project: str) -> httpx.Client:
        return self.client(headers={"Authorization": f"Bearer {self.tokens[project]}"})


@pytest.fixture(scope="package")
def keyed(
    archive: Path, tiles: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Keyed]:
    """A platform with the projects ``ours`` and ``theirs``; ours has an order that is done."""
    app = create_app(make_config(tmp_path_factory.mktemp("keyed"), archive))
    records = app.state.platform.records
    keys = {name: create_project(records, name).api_key for name in ("ours", "theirs")}
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        tokens = {
            name: client.post("/oauth/token", auth=(name, key)).json()["access_token"]
            for name, key in keys.items()
        }
        client.headers["Authorization"] = f"Bearer {tokens['ours']}"
        answer = client.post("/projects/ours/jobs", json=order(tiles[:1]))
        assert answer.status_code == 201, answer.text
        found = Keyed(url, app, answer.json()["data"])
        found.keys, found.tokens = keys, tokens
        for job in found.jobs:
            assert wait_for(client, f"/projects/ours/jobs/{job}")["status"] == "SUCCEEDED"
        yield found
