"""Projects see their own and nothing else: tokens, jobs, results, events."""

from __future__ import annotations

import re

import httpx
import pytest
from small_platform import make_config, order, serving

from orchard.server.app import create_app
from orchard.server.auth import create_project


@pytest.fixture
def ours(keyed):
    with keyed.of("ours") as found:
        yield found


@pytest.fixture
def theirs(keyed):
    with keyed.of("theirs") as found:
        yield found


@pytest.fixture
def nobody(keyed):
    with keyed.client() as found:
        yield found


def calls(app, job):
    """Every call of the OpenAPI document, with the ids of a job that there is."""
    values = {
        "project_id": "ours",
        "job_id": job,
        "task": f"{job}-preard",
        "quicklook": "x",
        "signed": "x",
        "name": "x",
    }
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), re.sub(r"\{(\w+)\}", lambda m: values[m[1]], path)


def test_a_token_is_given_twice(keyed, nobody):
    answer = nobody.post(
        "/oauth/token",
        auth=("ours", keyed.keys["ours"]),
        data={"grant_type": "client_credentials"},
    )
    found = answer.json()
    assert found["data"]["accessToken"] == found["access_token"]
    assert found["token_type"] == "bearer"
    assert found["expires_in"] == 3600


@pytest.mark.parametrize(
    ("auth", "form", "status"),
    [
        (None, {}, 401),
        (("ours", "wrong"), {}, 401),
        (("nobody", "wrong"), {}, 401),
        (("local", ""), {}, 401),
        (("ours", "wrong"), {"grant_type": "password"}, 400),
    ],
)
def test_no_token_without_credentials(nobody, auth, form, status):
    answer = nobody.post("/oauth/token", auth=auth, data=form)
    assert answer.status_code == status
    assert "token" not in answer.json()
    assert "wrong" not in answer.text


def test_a_credential_that_is_none(nobody):
    for header in ("Basic %%%", "Basic Og==", "Bearer x", "Basic"):
        answer = nobody.post("/oauth/token", headers={"Authorization": header})
        assert answer.status_code == 401


def test_every_call_needs_a_token(keyed, nobody):
    checked = 0
    for method, path in calls(keyed.app, keyed.jobs[0]):
        if path.startswith(("/oauth", "/downloads")):
            continue
        body = order([(0, 0)]) if (method, path) == ("POST", "/projects/ours/jobs") else None
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"}):
            answer = nobody.request(method, path, headers=headers, json=body)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["www-authenticate"]
            checked += 1
    assert checked > 30


def test_every_call_is_the_projects_own(keyed, theirs):
    """Another project's ids, by its own path and by that of their owner: 404, always alike."""
    job, checked = keyed.jobs[0], 0
    for method, path in calls(keyed.app, job):
        if path.startswith(("/oauth", "/downloads", "/events")):
            continue
        body = order([(0, 0)]) if (method, path) == ("POST", "/projects/ours/jobs") else None
        answer = theirs.request(method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
        assert job not in answer.text
        own = path.replace("/projects/ours", "/projects/theirs")
        if job in path:
            mine = theirs.request(method, own, json=body)
            nowhere = theirs.request(method, own.replace(job, "NOWHERE"), json=body)
            assert mine.status_code == nowhere.status_code == 404
            assert mine.text.replace(job, "NOWHERE") == nowhere.text
            checked += 1
    assert checked > 8


def test_lists_hold_the_projects_own(keyed, ours, theirs):
    assert [job["id"] for job in ours.get("/projects/ours/jobs").json()["data"]] == keyed.jobs
    assert theirs.get("/projects/theirs/jobs").json()["data"] == []
    named = {"order": keyed.submitted["order"]}
    assert theirs.get("/projects/theirs/jobs", params=named).json()["data"] == []


def test_two_projects_may_order_the_same(keyed, ours, theirs, tiles):
    wanted = order(tiles[2:])  # without images: done at once
    first = ours.post("/projects/ours/jobs", json=wanted).json()["data"]
    second = theirs.post("/projects/theirs/jobs", json=wanted).json()["data"]
    assert first["order"] != second["order"]
    assert first["jobs"][0]["id"] != second["jobs"][0]["id"]
    job = second["jobs"][0]["id"]
    assert theirs.get(f"/projects/theirs/jobs/{job}").status_code == 200
    assert ours.get(f"/projects/ours/jobs/{job}").status_code == 404


def test_another_workflow_is_another_order(ours, tiles):
    plain = ours.post("/projects/ours/jobs", json=order(tiles[2:])).json()["data"]
    more = order(tiles[2:], composite={})
    other = ours.post("/projects/ours/jobs", json=more).json()["data"]
    assert plain["order"] != other["order"]
    assert other["jobs"][0]["workflowName"] == "preard+ard+composite"
    assert other["jobs"][0]["workflowId"] != plain["jobs"][0]["workflowId"]


def test_links_work_without_a_token_until_the_project_is_revoked(archive, tiles, tmp_path_factory):
    app = create_app(make_config(tmp_path_factory.mktemp("revoked"), archive))
    records = app.state.platform.records
    key = create_project(records, "maps").api_key
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        token = client.post("/oauth/token", auth=("maps", key)).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        answer = client.post("/projects/maps/jobs", json=order(tiles[2:]), headers=bearer)
        job = answer.json()["data"]["jobs"][0]["id"]
        path = f"/projects/maps/jobs/{job}"
        link = client.get(f"{path}/downloads/results/", headers=bearer).json()["data"]["url"]
        assert client.get(link).status_code == 200
        records.revoke("maps")
        assert client.get(link).status_code == 404
        assert client.get(path, headers=bearer).status_code == 401
        # With its only project revoked the platform does not become open.
        assert client.get("/projects/local").status_code == 401


def test_the_command_lines_orders_are_those_of_local(archive, tiles, tmp_path_factory):
    config = make_config(tmp_path_factory.mktemp("local"), archive)
    tracker = config.get_tracker()
    wanted = order(tiles[2:])
    name, _ = tracker.submit(
        wanted["collections"], tiles[2:], wanted["period_start"], wanted["period_end"]
    )
    app = create_app(config)
    records = app.state.platform.records
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        jobs = client.get("/projects/local/jobs").json()["data"]
        assert [job["order"] for job in jobs] == [name]
        keys = {project: create_project(records, project).api_key for project in ("local", "a")}
        for project, key in keys.items():
            token = client.post("/oauth/token", auth=(project, key)).json()["access_token"]
            bearer = {"Authorization": f"Bearer {token}"}
            found = client.get(f"/projects/{project}/jobs", headers=bearer).json()["data"]
            assert len(found) == (project == "local")


def test_events_are_the_projects_own(keyed, theirs, tiles):
    wanted = order(tiles[2:], period_end="2023-05-01")
    own = theirs.post("/projects/theirs/jobs", json=wanted).json()["data"]["order"]
    with theirs.stream("GET", "/events") as answer:
        for line in answer.iter_lines():
            assert keyed.submitted["order"] not in line
            if own in line:
                break


def test_too_many_listeners(keyed, theirs, monkeypatch):
    import threading

    from orchard.server.api import events

    monkeypatch.setattr(events, "_slots", threading.BoundedSemaphore(1))
    with theirs.stream("GET", "/events") as first:
        assert first.status_code == 200
        answer = theirs.get("/events")
        assert answer.status_code == 429
        assert answer.headers["retry-after"]
