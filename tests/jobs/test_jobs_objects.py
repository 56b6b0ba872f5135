"""Job, JobTask and JobCollection over a real socket, with a platform's odd corners."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from contract_server import PROJECT, Fault, Link
from geopandas import GeoDataFrame
from result_archives import FEATURES, RESULT, tgz, zipped

import orchard
from orchard.errors import BulkError, InputError
from orchard.jobs import (
    ArchiveError,
    JobFailedError,
    JobTask,
    PlatformError,
    UnknownJobError,
    initialize_job,
    initialize_jobcollection,
    initialize_jobtask,
)
from orchard.jobs.placing import LIST_NAME

pytestmark = pytest.mark.usefixtures("logged_in")

PNG = b"\x89PNG\r\n\x1a\n rest"
JPG = b"\xff\xd8\xff\xe0 rest"


@pytest.fixture(autouse=True)
def _somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files_below(folder):
    found = (p for p in Path(folder).rglob("*") if p.is_file() and p.name != LIST_NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_job_tells_about_itself(server):
    job = initialize_job(job_id="j1")
    assert job.info["name"] == "name of j1"
    assert job.status == "SUCCEEDED"
    assert job.is_succeeded
    assert repr(job) == "Job(name='name of j1', job_id='j1', project_id='p-1', status='SUCCEEDED')"
    assert job.get_credits() == {"creditsUsed": 7}
    before = len(server.requests)
    repr(job)
    assert len(server.requests) == before


def test_a_job_that_is_not_there_is_told_at_once():
    with pytest.raises(UnknownJobError, match="Job not found"):
        initialize_job("nope")
    with pytest.raises(UnknownJobError, match="has no jobtask nope; its jobtasks: t1, t2"):
        initialize_jobtask("nope", "j1")
    with pytest.raises(UnknownJobError):
        initialize_job("j1", project_id="of somebody else")
    with pytest.raises(InputError, match="cannot be the id of a job"):
        initialize_job("../j1")


def test_a_jobtask_tells_about_itself_even_with_fields_missing():
    first = initialize_jobtask(jobtask_id="t1", job_id="j1")
    second = initialize_jobtask(jobtask_id="t2", job_id="j1")
    assert first.info["block"] == {"name": "preard"}
    assert first.status == "SUCCESSFULL"
    assert first.is_succeeded
    assert "block='preard'" in repr(first)
    assert second.info == {"id": "t2"}
    assert not second.is_succeeded
    assert "block=None" in repr(second)


def test_jobtasks_come_in_the_order_of_the_workflow(server):
    job = initialize_job("j1")
    before = len(server.requests)
    tasks = job.get_jobtasks()
    assert [task.jobtask_id for task in tasks] == ["t1", "t2"]
    assert all(isinstance(task, JobTask) for task in tasks)
    assert len(server.requests) == before + 1
    assert job.get_jobtasks(return_json=True)[1] == {"id": "t2"}


def test_results_as_a_dict_and_as_a_table(server):
    server.features["j1"] = server.features["j1/t1"] = FEATURES
    job, task = initialize_job("j1"), initialize_jobtask("t1", "j1")
    assert job.get_results_json() == FEATURES
    assert task.get_results_json() == FEATURES
    table = task.get_results_json(as_dataframe=True)
    assert isinstance(table, GeoDataFrame)
    assert table.crs == "EPSG:4326"
    assert list(table.uid) == ["u1"]
    assert table.geometry[0].coords[0] == (13.4, 52.5)
    assert job.get_jobtasks_results_json() == {
        "t1": FEATURES,
        "t2": {"type": "FeatureCollection", "features": []},
    }


@pytest.mark.parametrize(
    ("collection", "rows"),
    [
        ({"type": "FeatureCollection", "features": []}, 0),
        ({"type": "FeatureCollection"}, 0),
        ({"data": FEATURES, "error": None}, 1),
        ({"type": "FeatureCollection", "features": [{"type": "Feature"}]}, 1),
        ({"features": [{"geometry": None, "properties": None}]}, 1),
    ],
)
def test_odd_collections_make_tables_too(server, collection, rows):
    server.features["j1"] = collection
    table = initialize_job("j1").get_results_json(as_dataframe=True)
    assert len(table) == rows
    assert table.crs == "EPSG:4326"


def test_results_that_are_no_collection_are_refused(server):
    server.features["j1"] = {"type": "FeatureCollection", "features": 7}
    with pytest.raises(PlatformError, match="not a FeatureCollection"):
        initialize_job("j1").get_results_json()
    server.features["j1"] = [1]
    with pytest.raises(PlatformError, match="not an object"):
        initialize_job("j1").get_results_json()


@pytest.mark.parametrize("make", [tgz, zipped])
def test_results_are_unpacked_into_the_default_folders(server, tmp_path, make):
    server.archives["j1"] = server.archives["j1/t1"] = Link(make(RESULT))
    job, task = initialize_job("j1"), initialize_jobtask("t1", "j1")
    folder = tmp_path / f"project_{PROJECT}" / "job_j1"
    expected = [str(folder / "data.json"), str(folder / "u1/u1.tif")]
    assert job.download_results() == expected
    assert job.results == expected
    files = task.download_results()
    assert files == [str(folder / "jobtask_t1" / name) for name in ("data.json", "u1/u1.tif")]
    assert Path(files[1]).read_bytes() == b"picture one"


def test_a_second_download_replaces_the_first(server, tmp_path):
    server.archives["j1"] = Link(tgz({**RESULT, "output/old/old.tif": b"old"}))
    job = initialize_job("j1")
    job.download_results(tmp_path / "here")
    (tmp_path / "here/mine").write_bytes(b"mine")
    server.archives["j1"] = Link(tgz(RESULT))
    assert len(job.download_results(tmp_path / "here")) == 2
    assert set(files_below(tmp_path / "here")) == {"data.json", "u1/u1.tif", "mine"}


def test_without_unpacking_the_archive_is_kept(server):
    server.archives["j1"] = Link(zipped(RESULT))
    (file,) = initialize_job("j1").download_results("here", unpacking=False)
    assert file == str(Path.cwd() / "here/output.zip")
    assert Path(file).read_bytes() == server.archives["j1"].content


def test_a_failed_download_leaves_what_was_there(server, tmp_path):
    server.archives["j1"] = Link(tgz(RESULT))
    job = initialize_job("j1")
    job.download_results("here")
    before = files_below("here")
    server.archives["j1"] = Link(tgz({"output/../../evil": b"x"}))
    with pytest.raises(ArchiveError, match="evil' is not safe"):
        job.download_results("here")
    server.archives["j1"] = Link(b"<html>busy</html>")
    with pytest.raises(ArchiveError, match="it begins with"):
        job.download_results("here")
    server.faults = [Fault("/signed/", times=99)]
    with pytest.raises(PlatformError, match="/signed/j1 failed"):
        job.download_results("here")
    assert files_below("here") == before
    assert {path.name for path in Path("here").iterdir()} == {"data.json", "u1", LIST_NAME}


def test_progress_adds_up_to_one(server):
    server.archives["j1"] = Link(tgz({"output/a.tif": bytes(range(256)) * 4096}))
    server.faults = [Fault("/signed/", cut_after=2000)]
    steps = []
    initialize_job("j1").download_results("here", callback=lambda **step: steps.append(step))
    assert {step["item"] for step in steps} == {"j1"}
    assert sum(step["n_steps"] for step in steps) == pytest.approx(1)


def test_no_results_and_no_link(server):
    with pytest.raises(UnknownJobError, match="no results"):
        initialize_job("j1").download_results()
    server.faults = [Fault("/downloads/", status=200, body=b'{"data": {}}')]
    with pytest.raises(PlatformError, match="no download link"):
        initialize_job("j1").download_results()


def test_the_real_archive(server, scenes):
    server.archives["j1/t1"] = Link((scenes / "up42/result_tif.tgz").read_bytes())
    files = initialize_jobtask("t1", "j1").download_results("real")
    assert sorted(Path(file).relative_to(Path.cwd() / "real").as_posix() for file in files) == [
        "7e17f023-a8e3-43bd-aaac-5bbef749c7f4/7e17f023-a8e3-43bd-aaac-5bbef749c7f4_0-0.tif",
        "data.json",
    ]
    data = json.loads(next(Path(f) for f in files if f.endswith("data.json")).read_bytes())
    (feature,) = data["features"]
    assert (Path("real") / feature["properties"]["up42.data_path"]).stat().st_size == 2_362_759


def test_quicklooks_get_suffixes_and_a_place(server, tmp_path):
    server.quicklooks["j1/t1"] = {
        "a_quicklook.png": ("image/png", PNG),
        "16e18e15": ("image/jpeg", JPG),
        "no-type": (None, PNG),
    }
    job, steps = initialize_job("j1"), []
    files = job.download_quicklooks(callback=lambda **step: steps.append(step["n_steps"]))
    folder = tmp_path / f"project_{PROJECT}" / "job_j1"
    names = ["quicklook_a_quicklook.png", "quicklook_16e18e15.jpg", "quicklook_no-type.png"]
    assert files == [str(folder / name) for name in names]
    assert Path(files[1]).read_bytes() == JPG
    assert job.quicklooks == files
    assert sum(steps) == pytest.approx(1)
    assert initialize_jobtask("t1", "j1").download_quicklooks() == files
    assert initialize_jobtask("t2", "j1").download_quicklooks("empty") == []


def test_quicklooks_with_hostile_names_are_refused(server, tmp_path):
    server.quicklooks["j1/t1"] = {"../../evil": ("image/png", PNG)}
    with pytest.raises(InputError, match="cannot be the id of a quicklook"):
        initialize_jobtask("t1", "j1").download_quicklooks()
    assert list(tmp_path.iterdir()) == []


def test_logs_are_printed_or_returned(server, capsys):
    server.logs = {"j1/t1": "one\ntwo\n", "j1/t2": "drei: ä"}
    job = initialize_job("j1")
    assert job.get_logs() is None
    assert capsys.readouterr().out == "--- jobtask t1\none\ntwo\n--- jobtask t2\ndrei: ä\n"
    logs = job.get_logs(as_print=False, as_return=True)
    assert logs == {"t1": "one\ntwo\n", "t2": "drei: ä"}
    assert capsys.readouterr().out == ""


def test_tracking_waits_and_reports(server, waits, caplog):
    server.status_sequence["j1"] = ["NOT STARTED", "PENDING", *["RUNNING"] * 12, "SUCCEEDED"]
    seen = []
    job = initialize_job("j1")
    with caplog.at_level(logging.INFO, "orchard.jobs.job"):
        status = job.track_status(report_time=30, callback=lambda **step: seen.append(step["item"]))
    assert status == "SUCCEEDED"
    assert waits == [5.0] * 13
    assert seen[-1] == "SUCCEEDED"
    assert caplog.messages == ["job j1 is RUNNING after 30 s", "job j1 is RUNNING after 60 s"]


@pytest.mark.parametrize("status", ["FAILED", "ERROR"])
def test_tracking_a_job_that_fails_tells_its_logs(server, status):
    server.logs = {"j1/t1": "fine", "j1/t2": "out of memory"}
    server.status_sequence["j1"] = ["RUNNING", "RUNNING", status]
    with pytest.raises(JobFailedError, match="t2: out of memory") as caught:
        initialize_job("j1").track_status()
    assert caught.value.status == status
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("status", ["CANCELLED", "CANCELLING"])
def test_tracking_a_cancelled_job(server, status):
    server.status_sequence["j1"] = [status]
    with pytest.raises(JobFailedError, match=f"job j1 is {status}"):
        initialize_job("j1").track_status()


@pytest.mark.parametrize("status", ["SUCCESSFULL", "ON_HOLD", "None"])
def test_tracking_ends_at_a_status_nobody_knows(server, status, waits):
    server.status_sequence["j1"] = [status]
    assert initialize_job("j1").track_status() == status
    assert waits == []


def test_tracking_ends_after_its_time(server, waits):
    server.status_sequence["j1"] = ["RUNNING"]
    assert initialize_job("j1").track_status(timeout=20) == "RUNNING"
    assert sum(waits) == 20


def test_cancelling(server):
    server.faults = [Fault("/cancel/", status=503)]
    initialize_job("j1").cancel_job()
    assert server.cancelled == ["j1"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "v0/j1.tgz"),
        ({"folder": "a/b", "version": ""}, "a/b/j1.tgz"),
        ({"folder": "a", "extension": ".tar.gz"}, "v0/a/j1.tar.gz"),
    ],
)
def test_results_go_to_a_store(server, tmp_path, options, key):
    server.archives["j1"] = Link(tgz(RESULT))
    store = orchard.open_store(tmp_path / "store")
    info = initialize_job("j1").upload_results_to_store(store, **options)
    assert info.key == key
    assert store.get(key)[0] == server.archives["j1"].content
    again = initialize_job("j1").upload_results_to_store(str(tmp_path / "store"), **options)
    assert again.size == len(server.archives["j1"].content)


def collection_of(server, **status):
    for job_id, state in status.items():
        server.add_job(job_id, status=state)
        result = {**RESULT, "output/data.json": json.dumps(FEATURES).encode()}
        server.archives[job_id] = Link(tgz(result))
    return initialize_jobcollection(job_ids=list(status))


def test_a_collection_is_a_sequence_of_jobs(server):
    jobs = collection_of(server, a="SUCCEEDED", b="FAILED", c="SUCCEEDED")
    assert len(jobs) == 3
    assert jobs[1].job_id == "b"
    assert [job.job_id for job in jobs] == ["a", "b", "c"] == jobs.jobs_id
    assert [job.job_id for job in jobs[1:]] == ["b", "c"]
    assert jobs.status == {"a": "SUCCEEDED", "b": "FAILED", "c": "SUCCEEDED"}
    assert jobs.info["b"]["name"] == "name of b"
    assert "job_id='b'" in repr(jobs)


def test_apply_leaves_out_jobs_that_have_not_succeeded(server):
    jobs = collection_of(server, a="SUCCEEDED", b="FAILED")
    assert jobs.apply(lambda job, x: job.job_id + x, x="!") == {"a": "a!"}
    found = jobs.apply(lambda job: job.job_id, only_succeeded=False)
    assert found == {"a": "a", "b": "b"}


def test_apply_calls_for_all_and_names_each_failure(server):
    jobs = collection_of(server, a="SUCCEEDED", b="SUCCEEDED", c="SUCCEEDED")
    called = []

    def worker(job):
        called.append(job.job_id)
        if job.job_id != "b":
            raise RuntimeError(f"no {job.job_id}")

    with pytest.raises(BulkError) as caught:
        jobs.apply(worker)
    assert called == ["a", "b", "c"]
    assert caught.value.names == ("a", "c")


def test_apply_to_nothing_is_refused(server):
    with pytest.raises(ValueError, match="is empty"):
        initialize_jobcollection([]).apply(print)
    with pytest.raises(ValueError, match="none of the jobs has succeeded"):
        collection_of(server, a="FAILED").apply(print)


def test_a_collection_is_downloaded_and_merged(server, tmp_path):
    jobs = collection_of(server, a="SUCCEEDED", b="FAILED", c="SUCCEEDED")
    results = jobs.download_results()
    folder = tmp_path / f"project_{PROJECT}"
    assert list(results) == ["a", "c", "merged_result"]
    assert results["c"] == [str(folder / "job_c" / name) for name in ("data.json", "u1/u1.tif")]
    assert results["merged_result"] == [str(folder / "data.json")]
    merged = json.loads((folder / "data.json").read_bytes())["features"]
    assert [feature["properties"]["job_id"] for feature in merged] == ["a", "c"]
    for feature in merged:
        assert (folder / feature["properties"]["up42.data_path"]).read_bytes() == b"picture one"
    assert jobs.results == results


def test_a_collection_merges_what_there_is(server):
    jobs = collection_of(server, a="SUCCEEDED", b="SUCCEEDED")
    feature = {"type": "Feature", "geometry": None, "properties": None}
    nameless = json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()
    server.archives["a"] = Link(tgz({"output/data.json": nameless}))
    server.archives["b"] = Link(tgz({"output/b.csv": b"1"}))
    results = jobs.download_results("here")
    merged = json.loads(Path(results["merged_result"][0]).read_bytes())["features"]
    assert merged == [{**feature, "properties": {"job_id": "a"}}]


def test_a_collection_without_merging_or_unpacking(server):
    jobs = collection_of(server, a="SUCCEEDED")
    assert set(jobs.download_results("one", merge=False)) == {"a"}
    assert not Path("one/data.json").exists()
    results = jobs.download_results("two", unpacking=False)
    assert results == {"a": [str(Path.cwd() / "two/job_a/output.tgz")]}


def test_a_collection_downloads_the_others_when_one_fails(server):
    jobs = collection_of(server, a="SUCCEEDED", b="SUCCEEDED", c="SUCCEEDED")
    server.archives["b"] = Link(io.BytesIO(b"nothing").getvalue())
    with pytest.raises(BulkError) as caught:
        jobs.download_results("here")
    assert caught.value.names == ("b",)
    assert isinstance(caught.value.exceptions[0], ArchiveError)
    assert Path("here/job_c/u1/u1.tif").exists()


def test_looking_before_downloading_is_told():
    job = initialize_job("j1")
    for look in (job.plot_results, job.map_results):
        with pytest.raises(InputError, match="call download_results"):
            look()
    with pytest.raises(InputError, match="call download_quicklooks"):
        job.plot_quicklooks()
    with pytest.raises(InputError, match="say which scenes"):
        initialize_jobcollection(["j1"]).map_quicklooks(filepaths=[])


def test_looking_at_the_real_archive(server, scenes):
    import matplotlib as mpl

    mpl.use("agg")
    server.archives["j1/t1"] = Link((scenes / "up42/result_tif.tgz").read_bytes())
    picture = next((scenes / "up42").glob("quicklook_*.jpg"))
    scene_id = picture.stem.removeprefix("quicklook_")
    server.quicklooks["j1/t1"] = {scene_id: ("image/jpeg", picture.read_bytes())}
    server.features["j1/t1"] = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": scene_id,
                "bbox": [13, 52, 14, 53],
                "geometry": None,
                "properties": {},
            }
        ],
    }
    task = initialize_jobtask("t1", "j1")
    files = task.download_results()
    figure = task.plot_results(bands=[3, 2, 1], titles=["Berlin"], interpolation="nearest")
    assert figure.axes[0].get_title() == "Berlin"
    page = task.map_results(save_html="map.html")
    (south, west), (north, east) = page.get_bounds()
    assert 13.355 < west < east < 13.43
    assert 52.48 < south < north < 52.53
    assert Path("map.html").stat().st_size < 1_500_000
    assert task.plot_results(filepaths=files).axes[0].get_title().startswith("7e17f023")
    task.download_quicklooks()
    assert len(task.plot_quicklooks().axes) == 1
    (south, west), (north, east) = task.map_quicklooks().get_bounds()
    assert (west, south, east, north) == (13, 52, 14, 53)
    table = task.get_results_json(as_dataframe=True)
    assert task.plot_coverage(table).axes[0].get_legend() is None


def test_looking_at_a_collection(server, scenes):
    real = Link((scenes / "up42/result_tif.tgz").read_bytes())
    for job_id in ("a", "b"):
        server.add_job(job_id)
        server.archives[job_id] = real
    jobs = initialize_jobcollection(["a", "b"])
    jobs.download_results()
    page = jobs.map_results(basemap=False)
    html = page.get_root().render()
    assert html.count("L.imageOverlay(") == 2
    assert "Image 2 - 21ac03b7-1b1e-43c8-b385-56fde04610aa" in html
