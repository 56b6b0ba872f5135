"""The client against the platform, over a socket and in process: from the order to the map."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
import rasterio
import yaml
from small_platform import make_config, serving

import orchard
from orchard.errors import ConfigError
from orchard.jobs import (
    AuthenticationError,
    UnknownJobError,
    authenticate,
    initialize_job,
    initialize_jobcollection,
    initialize_jobtask,
)
from orchard.jobs import session as session_module
from orchard.server.app import create_app
from orchard.server.auth import create_project

BOLZANO = {
    "name": "BOLZANO",
    "crs": "EPSG:3035",
    "ul": [4415000, 2605000],
    "res": [20, 20],
    "size": [256, 256],
    "limits": [[0, 3], [0, 3]],
}
ORDER = {
    "collections": "BOLZANO/S2_L2A",
    "tile_indices": [[1, 1]],
    "period_start": "2022-06-01",
    "period_end": "2022-06-20",
    "composite": {"method": "median"},
    "index": {"name": "NDVI"},
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    session = session_module._default
    if session is not None:
        session.client.close()
        session_module._default = None


@pytest.fixture
def bolzano(tmp_path, scenes, user_collections):
    """The configuration file of an order over real scenes."""
    path = tmp_path / "orchard.yaml"
    data = {
        "tile_grid": BOLZANO,
        "store": "preard/",
        "engine": {"name": "local", "catalog": str(scenes / "catalog.json"), "workers": 2},
        "collections": user_collections,
    }
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def tour(job, tmp_path):
    """What a notebook does with a job."""
    assert job.track_status(report_time=0.2) == "SUCCEEDED"
    assert job.is_succeeded
    tasks = {task.info["block"]["name"]: task for task in job.get_jobtasks()}
    assert list(tasks) == ["preard", "ard", "composite", "index"]
    assert (
        "block index SUCCEEDED"
        in job.get_logs(as_print=False, as_return=True)[f"{job.job_id}-index"]
    )

    preard = tasks["preard"]
    features = preard.get_results_json(as_dataframe=True)
    assert features.crs == "EPSG:4326"
    assert len(features) == 7
    assert list(features.acquisitionDate) == sorted(features.acquisitionDate)
    west, south, east, north = features.total_bounds
    assert 11.2 < west < east < 11.4
    assert 46.4 < south < north < 46.6
    files = preard.download_results()
    home = tmp_path / f"project_{job.project_id}" / f"job_{job.job_id}"
    assert all(Path(f).is_relative_to(home / f"jobtask_{job.job_id}-preard") for f in files)
    quicklooks = preard.download_quicklooks()
    assert len(quicklooks) == 7
    assert {Path(f).parent for f in quicklooks} == {home}
    assert len(preard.plot_quicklooks().axes) >= 7
    page = preard.map_quicklooks(save_html=tmp_path / "quicklooks.html").get_root().render()
    assert page.count(features.uid[0]) >= 1

    (cube,) = (f for f in tasks["ard"].download_results() if f.endswith(".nc"))
    with orchard.open_ard(cube) as dataset:
        assert dataset.sizes["time"] == 7
        nir = dataset["nir"].values
    (image,) = (f for f in files if f.endswith(".tif"))
    with rasterio.open(image) as file:
        np.testing.assert_array_equal(nir, file.read(list(range(4, 36, 5))))

    composite = tasks["composite"]
    (picture,) = (f for f in composite.download_results() if f.endswith(".tif"))
    with rasterio.open(picture) as file:
        assert file.descriptions == ("red", "green", "blue", "nir")
        assert file.overviews(1) == [] or min(file.overviews(1)) == 2
    assert composite.plot_results().axes
    composite.map_results(save_html=tmp_path / "composite.html")
    assert 10_000 < (tmp_path / "composite.html").stat().st_size < 5_000_000

    index = tasks["index"]
    (ndvi,) = (f for f in index.download_results() if f.endswith(".tif"))
    with rasterio.open(ndvi) as file:
        values = file.read(1)
    assert np.nanmin(values) >= -1
    assert 0.2 < np.nanmedian(values) <= 1  # orchards, vineyards, woods and a town
    assert index.plot_results(bands=[1]).axes
    assert job.get_results_json()["features"][0]["properties"]["index"] == "NDVI"
    assert [Path(f).name for f in job.download_results(tmp_path / "all")] == [
        "data.json",
        Path(ndvi).name,
    ]
    (archive,) = job.download_results(tmp_path / "packed", unpacking=False)
    assert archive.endswith(".zip")
    assert job.get_credits() == {"creditsUsed": 0}


def test_a_tour_over_a_socket(bolzano, tmp_path):
    app = create_app(orchard.load_config(bolzano))
    key = create_project(app.state.platform.records, "maps").api_key
    with serving(app) as url:
        session = authenticate(project_id="maps", project_api_key=key, base_url=url)
        token = session.client._current_token(stale=None)
        answer = httpx.post(
            f"{url}/projects/maps/jobs",
            json=ORDER,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
        job = initialize_job(answer.json()["data"]["jobs"][0]["id"])
        tour(job, tmp_path)
        with pytest.raises(UnknownJobError):
            initialize_job("NOPE")
        with pytest.raises(UnknownJobError):
            initialize_jobtask("NOPE", job.job_id)


def test_the_maps_of_a_tour_without_a_network(bolzano, tmp_path, browser):
    """Map, layers and popups are there; no script fails, and nothing is missed but the backdrop."""
    tracker = orchard.load_config(bolzano).get_tracker()
    name, _ = tracker.submit(ORDER["collections"], [(1, 1)], "2022-06-01", "2022-06-08")
    (job_id,) = (status.id for status in tracker.read(name).statuses)
    job = initialize_job(job_id)
    assert job.track_status(report_time=0.2) == "SUCCEEDED"
    task = job.get_jobtasks()[0]
    task.download_results()
    task.download_quicklooks()
    pages = [tmp_path / "quicklooks.html", tmp_path / "results.html"]
    task.map_quicklooks(save_html=pages[0])
    task.map_results(save_html=pages[1])
    context = browser.new_context(offline=True, viewport={"width": 900, "height": 700})
    for path in pages:
        page, wrong, asked = context.new_page(), [], []
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector(".leaflet-control-layers", state="attached")
        images = page.locator(".leaflet-image-layer")
        images.first.wait_for()
        widths = images.evaluate_all("all => all.map(image => image.naturalWidth)")
        assert widths
        assert min(widths) > 100
        layers = page.locator(".leaflet-control-layers-overlays label").all_inner_texts()
        is_results = path.stem == "results"
        assert len(layers) == images.count() + is_results  # the features are one, too
        if is_results:
            page.mouse.click(450, 350)
            popup = page.locator(".leaflet-popup-content")
            popup.wait_for()
            assert "h001v001" in popup.inner_text()
        assert not wrong
        elsewhere = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
        assert all("/World_Imagery/MapServer/tile/" in url for url in elsewhere)
    context.close()


def test_a_tour_in_process(bolzano, tmp_path):
    """No socket, no credentials, no word about a platform: the orders of the configuration."""
    tracker = orchard.load_config(bolzano).get_tracker()
    name, _ = tracker.submit(
        ORDER["collections"], [(1, 1)], ORDER["period_start"], ORDER["period_end"]
    )
    (job_id,) = (status.id for status in tracker.read(name).statuses)
    task = initialize_jobtask(f"{job_id}-ard", job_id)  # nothing was run yet
    assert task.info["status"] == "NOT STARTED"
    job = initialize_job(job_id)
    assert job.project_id == "local"
    assert job.track_status(report_time=0.2) == "SUCCEEDED"
    assert len(job.get_jobtasks()[0].get_results_json()["features"]) == 7
    assert any(f.endswith(".nc") for f in task.download_results())
    assert tracker.update(name).complete


def test_results_in_process_are_waited_for(bolzano, tmp_path):
    """Asking for a result is enough: the engine works while one waits."""
    tracker = orchard.load_config(bolzano).get_tracker()
    name, _ = tracker.submit(ORDER["collections"], [(1, 1)], "2022-06-01", "2022-06-04")
    (job_id,) = (status.id for status in tracker.read(name).statuses)
    files = initialize_jobtask(f"{job_id}-ard", job_id).download_results()
    assert any(f.endswith(".nc") for f in files)


def test_in_process_only_what_is_asked_for_is_worked_on(bolzano):
    tracker = orchard.load_config(bolzano).get_tracker()
    name, _ = tracker.submit(ORDER["collections"], [(1, 1)], "2022-06-01", "2022-06-04")
    session = authenticate()
    assert len(session.client.data("projects/local/jobs")) == 1
    threading.Event().wait(1.5)
    assert tracker.update(name).states == {"READY": 1}


def test_without_a_configuration_there_is_no_job_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert authenticate().client.data("projects/local/jobs") == []
    with pytest.raises(UnknownJobError):
        initialize_job("J")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_configuration_that_is_named_must_be_there(monkeypatch):
    monkeypatch.setenv("ORCHARD_CONFIG", "none.yaml")
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        authenticate()


def test_a_token_that_expires_is_renewed(archive, tiles, tmp_path):
    app = create_app(make_config(tmp_path, archive))
    key = create_project(app.state.platform.records, "maps").api_key
    with serving(app) as url:
        session = authenticate(project_id="maps", project_api_key=key, base_url=url)
        expired = app.state.platform.auth
        expired.token_seconds = -10
        session.client._token = expired.token("maps", key)
        expired.token_seconds = 3600
        assert session.client.data("projects/maps")["id"] == "maps"
        app.state.platform.records.revoke("maps")
        with pytest.raises(AuthenticationError):
            session.client.data("projects/maps")


def test_a_collection_of_jobs(served, tmp_path):
    authenticate(project_id="local", base_url=served.url)
    jobs = initialize_jobcollection(served.jobs)
    assert set(jobs.status.values()) == {"SUCCEEDED"}
    jobs.download_results(tmp_path / "merged")
    merged = json.loads((tmp_path / "merged" / "data.json").read_text())
    assert {feature["properties"]["job_id"] for feature in merged["features"]} == set(
        served.jobs[:2]
    )


@pytest.mark.parametrize(
    "job", ["", "initialize_job(s.client.data('projects/local/jobs')[0]['id'])"]
)
def test_a_notebook_that_ends_leaves_nothing_running(bolzano, tmp_path, job):
    """Also in the middle of the work, which another session goes on with."""
    tracker = orchard.load_config(bolzano).get_tracker()
    name, _ = tracker.submit(ORDER["collections"], [(1, 1)], "2022-06-01", "2022-07-01")
    code = f"from orchard.jobs import authenticate, initialize_job; s = authenticate(); {job}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert tracker.wait(name).complete
