"""The dashboard's server side: who may see and do what, models, changes, and that they are few."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from small_platform import make_config, order, serving

from orchard.errors import OrderNotFoundError, StoreError
from orchard.report import build_model
from orchard.server.api import dashboard, stream
from orchard.server.app import create_app
from orchard.server.auth import create_project
from orchard.server.feed import Feed
from orchard.server.index import JobIndex
from orchard.tracking import State

MARK = {"X-Orchard-Dashboard": "1"}

pytestmark = pytest.mark.usefixtures("quick")

needs_pages = pytest.mark.skipif(
    not (dashboard._STATIC / "dashboard.js").is_file(),
    reason="the pages are not built here: python web/build.py, with Node.js",
)


@pytest.fixture
def client(served):
    with served.client() as found:
        yield found


@contextmanager
def signed_in(keyed, project):
    """A client with a session, and nothing else."""
    wanted = {"project": project, "key": keyed.keys[project]}
    with keyed.client(headers=MARK) as client:
        answer = client.post("/dashboard/session", json=wanted)
        assert answer.status_code == 200, answer.text
        yield client


def path_of(served, what=""):
    return f"/dashboard/orders/{served.submitted['order']}{what}"


@contextmanager
def listening(client, **query):
    """Read events; gives what yields (name, data) pairs."""
    with client.stream("GET", "/dashboard/events", params=query) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def events(lines):
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def until(found, name):
    """Read events up to one of this name; return its data."""
    for event, data in found:
        if event == name:
            return data
    raise AssertionError(f"the stream ended without {name}")


# The page


@needs_pages
def test_the_page_runs_nothing_but_its_own_files(client):
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "<style" not in answer.text
    assert re.findall(r"<script[^>]*>(.*?)</script>", answer.text) == [""]
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    files = [name for name in named if name.startswith("dashboard/static/")]
    assert set(named) - set(files) == {"data:,", "docs"}
    for name in files:
        found = client.get(f"/{name}")
        assert found.status_code == 200
        assert found.headers["content-encoding"] == "gzip"
        known = {"If-None-Match": found.headers["etag"]}
        assert client.get(f"/{name}", headers=known).status_code == 304
        plain = client.get(f"/{name}", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.text == found.text
    for name in ("report.js", "built.txt", "..%2Fmodel.py", "nothing.js"):
        assert client.get(f"/dashboard/static/{name}").status_code == 404


def test_without_scripts_the_page_leads_to_the_calls(client, monkeypatch, tmp_path):
    monkeypatch.setattr(dashboard, "_STATIC", tmp_path)
    answer = client.get("/")
    assert answer.status_code == 307
    assert answer.headers["location"] == "docs"


def test_the_dashboard_is_not_in_the_document_of_calls(served):
    paths = served.app.openapi()["paths"]
    assert not [path for path in paths if path.startswith("/dashboard") or path == "/"]


# Who may


def test_an_open_platform_needs_no_sign_in(client):
    found = client.get("/dashboard/session").json()
    assert found["project"] == "local"
    assert found["open"] is True
    answer = client.post("/dashboard/session", json={"project": "x", "key": "y"}, headers=MARK)
    assert answer.status_code == 409
    assert client.get("/dashboard/session", headers={"Host": "evil.test"}).status_code == 403


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_have(keyed):
    with signed_in(keyed, "ours") as client:
        name = keyed.platform.auth.cookie
        held = client.cookies[name]
        answer = client.post(
            "/dashboard/session", json={"project": "ours", "key": keyed.keys["ours"]}
        )
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{name}=")
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Secure" not in cookie  # over plain HTTP, as on this machine
        assert client.get("/dashboard/session").json()["project"] == "ours"
        assert client.get(path_of(keyed, "/model")).status_code == 200
        # The API takes no cookie, and what is in it is no token of it.
        assert client.get("/projects/ours/jobs").status_code == 401
        as_token = {"Authorization": f"Bearer {held}"}
        assert client.get("/projects/ours/jobs", headers=as_token).status_code == 401
        assert client.delete("/dashboard/session").status_code == 204
        assert name not in client.cookies
        assert client.get("/dashboard/session").status_code == 401


def test_behind_tls_the_cookie_is_secure(keyed):
    proxied = {**MARK, "X-Forwarded-Proto": "https"}
    wanted = {"project": "ours", "key": keyed.keys["ours"]}
    with keyed.client(headers=proxied) as client:
        assert "Secure" in client.post("/dashboard/session", json=wanted).headers["set-cookie"]


def test_no_session_without_the_right_key(keyed):
    with keyed.client(headers=MARK) as client:
        for project, key in [("ours", "wrong"), ("none", "x"), ("ours", keyed.keys["theirs"])]:
            answer = client.post("/dashboard/session", json={"project": project, "key": key})
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
        for wanted in ({}, {"project": "ours"}, {"project": "ours", "key": "x" * 2000}):
            assert client.post("/dashboard/session", json=wanted).status_code == 422


READ = ["/model", "/report", "/tasks/0", "/tasks/0/quicklooks/x"]
CHANGE = ["/cancel", "/retry", "/tasks/0/cancel", "/tasks/0/retry"]


def test_without_a_session_nothing_is_told_or_done(keyed):
    # A token of the API is none of the dashboard's.
    token = {"Authorization": f"Bearer {keyed.tokens['ours']}"}
    with keyed.client(headers=MARK | token) as client:
        client.cookies.set(keyed.platform.auth.cookie, keyed.tokens["ours"])
        for path in ["/dashboard/session", "/dashboard/events", *map(keyed_path(keyed), READ)]:
            assert client.get(path).status_code == 401, path
        for path in map(keyed_path(keyed), CHANGE):
            assert client.post(path).status_code == 401, path


def test_another_projects_orders_are_not_there(keyed):
    with signed_in(keyed, "theirs") as client:
        for path in map(keyed_path(keyed), READ):
            assert client.get(path).status_code == 404, path
        for path in map(keyed_path(keyed), CHANGE):
            assert client.post(path).status_code == 404, path
        query = {"order": keyed.submitted["order"], "have": "x", "task": 0}
        with listening(client, **query) as found:
            assert until(found, "listed")["count"] == 0
    with signed_in(keyed, "ours") as client, listening(client) as found:
        assert next(found)[1]["order"] == keyed.submitted["order"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        MARK | {"Sec-Fetch-Site": "cross-site"},
        MARK | {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        MARK | {"Origin": "http://127.0.0.1:1"},
        MARK | {"Origin": "null"},
    ],
)
def test_other_pages_cannot_have_anything_changed(keyed, headers):
    with signed_in(keyed, "ours") as client:
        client.headers.pop("X-Orchard-Dashboard")
        for path in map(keyed_path(keyed), CHANGE):
            assert client.post(path, headers=headers).status_code == 403, path
        assert client.delete("/dashboard/session", headers=headers).status_code == 403
        wanted = {"project": "ours", "key": keyed.keys["ours"]}
        assert client.post("/dashboard/session", json=wanted, headers=headers).status_code == 403
        assert client.get("/dashboard/session").status_code == 200


def test_behind_a_proxy_the_browser_says_that_it_is_the_same_origin(keyed):
    seen = {"Sec-Fetch-Site": "same-origin", "Origin": "https://maps.example", "Host": "127.0.0.1"}
    with signed_in(keyed, "ours") as client:
        assert client.delete("/dashboard/session", headers=seen).status_code == 204


def keyed_path(keyed):
    return lambda what: path_of(keyed, what)


def test_a_revoked_project_is_signed_out_at_once(archive, tmp_path):
    app = create_app(make_config(tmp_path, archive), run=False)
    records = app.state.platform.records
    key = create_project(records, "maps").api_key
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, headers=MARK) as client:
        client.post("/dashboard/session", json={"project": "maps", "key": key})
        with listening(client) as found:
            assert next(found) == ("listed", {"count": 0, "works": False})
            records.revoke("maps")
            assert next(found) == ("out", {})
            assert next(found, None) is None  # and the stream ends
        assert client.get("/dashboard/session").status_code == 401


# What is shown


def test_the_model_is_sent_once(client, served):
    answer = client.get(path_of(served, "/model"))
    assert answer.headers["content-encoding"] == "gzip"
    info = served.platform.tracker.read(served.submitted["order"])
    found = answer.json()["model"]
    assert found["tasks"]["state"] == "CCE"
    assert found == json.loads(json.dumps(build_model(info, made=found["made"])))
    known = {"If-None-Match": answer.headers["etag"]}
    again = client.get(path_of(served, "/model"), headers=known)
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get(path_of(served, "/model"), headers={"Accept-Encoding": "identity"})
    assert plain.json()["model"] == found
    assert client.get("/dashboard/orders/none/model").status_code == 404


def test_a_task_with_its_log_metadata_and_quicklooks(client, served):
    found = client.get(path_of(served, "/tasks/0")).raise_for_status().json()
    assert found["state"] == "COMPLETED"
    assert found["job"] == "SUCCEEDED"
    assert [block["state"] for block in found["blocks"]] == ["SUCCEEDED"] * 4
    assert "completed" in found["log"]["preard"]
    assert "block index SUCCEEDED" in found["log"]["index"]
    assert found["image"]["count"] == 4
    scene = found["image"]["acquisitions"][0]["scenes"][0]
    assert scene["id"].startswith("LC08")
    assert 0 <= scene["CLOUD_COVER"] <= 100
    assert found["files"][0]["bytes"] > 1000
    assert found["can"] == {"cancel": False, "retry": False}
    assert len(found["quicklooks"]) == 4
    picture = client.get(path_of(served, f"/tasks/0/quicklooks/{found['quicklooks'][0]}"))
    assert picture.content.startswith(b"\x89PNG")
    assert client.get(path_of(served, "/tasks/0/quicklooks/..%2Fdata.json")).status_code == 404
    # Nothing tells where on the server's disks the files are.
    assert str(served.platform.folder.parent) not in json.dumps(found)
    empty = client.get(path_of(served, "/tasks/2")).json()
    assert (empty["state"], empty["image"]["count"]) == ("EMPTY", 0)
    for task in ("3", "-1", "x"):
        assert client.get(path_of(served, f"/tasks/{task}")).status_code in (404, 422)


@needs_pages
def test_the_report_cannot_use_the_readers_session(client, served):
    answer = client.get(path_of(served, "/report"))
    assert served.submitted["order"] in answer.text
    assert "sandbox allow-scripts" in answer.headers["content-security-policy"]
    assert "allow-same-origin" not in answer.headers["content-security-policy"]


# What changes


@pytest.fixture
def waiting(archive, tiles, tmp_path):
    """A server that makes nothing, with an order; and a client of it."""
    app = create_app(make_config(tmp_path, archive), run=False)
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, headers=MARK) as client:
        tracker = app.state.platform.tracker
        wanted = order(tiles)
        name, _ = tracker.submit(
            wanted["collections"], tiles, wanted["period_start"], wanted["period_end"]
        )
        yield client, tracker, name


def test_changes_are_told_since_what_one_has(waiting):
    client, tracker, name = waiting
    base = f"/dashboard/orders/{name}"
    tracker.update(name)  # what the ledger adds to what submit wrote is no change of interest
    have = client.get(f"{base}/model").json()["version"]
    with listening(client, order=name, have=have) as found:
        first = until(found, "order")
        assert first["states"] == {"READY": 2, "EMPTY": 1}
        assert first["tasks"] == 3
        assert client.post(f"{base}/tasks/1/cancel").status_code == 204
        changed = until(found, "tasks")
        assert changed["positions"] == [1], changed
        assert changed["tasks"]["state"] == "X"
        assert changed["from"] == have
        assert changed["causes"] == []  # cancelled has not failed
        assert client.post(f"{base}/tasks/1/retry").status_code == 204
        changed = until(found, "tasks")
        if changed["tasks"]["state"] == "U":  # recorded as wanted, not yet started
            changed = until(found, "tasks")
        assert (changed["positions"], changed["tasks"]["state"]) == ([1], "Q")
        assert changed["causes"] == []
    # Somebody who was away gets all that came in between at once,
    with listening(client, order=name, have=have) as found:
        assert until(found, "tasks")["version"] == changed["version"]
    assert client.post(f"{base}/cancel").status_code == 204
    headers = {"Last-Event-ID": changed["version"]}
    with client.stream("GET", "/dashboard/events", params={"order": name}, headers=headers) as got:
        later = until(events(got.iter_lines()), "tasks")
        assert (later["positions"], later["tasks"]["state"]) == ([0, 1], "XX")
    # and who was away for too long begins anew.
    with listening(client, order=name, have="long ago") as found:
        assert until(found, "again")["version"] == later["version"]
    assert client.post(f"{base}/retry").status_code == 204
    assert tracker.read(name).states == {"READY": 2, "EMPTY": 1}
    with listening(client) as found:
        until(found, "listed")
        tracker.clean(name, name)
        assert until(found, "order") == {"order": name, "states": None}


def test_a_task_that_is_looked_at_is_told_of(served, client):
    name = served.submitted["order"]
    with listening(client, order=name, task=0) as found:
        assert until(found, "task") == {"order": name, "task": 0}


def test_trouble_with_the_store_is_told_and_passes(waiting, monkeypatch):
    client, tracker, name = waiting
    with listening(client, order=name, have="x", task=0) as found:
        until(found, "task")
        with monkeypatch.context() as broken:
            broken.setattr(tracker, "tracked", fails("the bucket does not answer"))
            assert until(found, "trouble") == {"message": "the bucket does not answer"}
        tracker.cancel(name)
        assert until(found, "order")["states"] == {"CANCELLED": 2, "EMPTY": 1}


def fails(message):
    def fail():
        raise StoreError(message)

    return fail


def test_without_an_engine_it_shows_what_there_is(waiting, archive):
    _, tracker, name = waiting
    folder = Path(tracker.store.path("x")).parent
    app = create_app(make_config(folder.parent, archive, engine=None), folder=folder / "own")
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, headers=MARK) as client:
        base = f"/dashboard/orders/{name}"
        assert client.get(f"{base}/tasks/0").json()["state"] == "READY"
        with listening(client, order=name, have="x", task=0) as found:
            assert until(found, "task") == {"order": name, "task": 0}
        answer = client.post(f"{base}/tasks/0/cancel")
        assert answer.status_code == 422
        assert "no engine" in answer.json()["error"]["message"]


def test_the_line_is_kept_open_by_words(client, monkeypatch):
    monkeypatch.setattr(stream, "_BEAT", 0.5)
    with listening(client) as found:
        assert until(found, "beat") == {}


def test_there_are_not_too_many_streams(client, monkeypatch):
    monkeypatch.setattr(stream, "_slots", threading.BoundedSemaphore(1))
    with listening(client) as found:
        next(found)
        assert client.get("/dashboard/events").status_code == 429


def test_a_server_that_stops_lets_go_of_its_streams(archive, tmp_path):
    app = create_app(make_config(tmp_path, archive), run=False)
    client = httpx.Client(timeout=30)
    with serving(app) as url:
        answer = client.send(client.build_request("GET", f"{url}/dashboard/events"), stream=True)
        found = events(answer.iter_lines())
        next(found)
        began = time.monotonic()
    assert time.monotonic() - began < 6
    assert next(found, None) is None
    client.close()


# Many tasks


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A tracker with an order of 3,000 tasks that nobody makes."""
    import sys
    from pathlib import Path

    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import scale
    finally:
        sys.path.remove(folder)
    tracker, arguments = scale._tracker(3000, tmp_path_factory.mktemp("large"))
    name, _ = tracker.submit(*arguments)
    return tracker, name


def test_of_a_large_order_only_what_changes_is_read(large, monkeypatch):
    tracker, name = large
    record = tracker.records.read(name)
    claim = tracker.engine.ledger(tracker.store).claim("test", 60)
    tracker.update(name)
    read, get = [], tracker.store.get

    def counted(key):
        read.append(key)
        return get(key)

    monkeypatch.setattr(tracker.store, "get", counted)
    again = tracker.records.reread(record)
    assert len(read) == 1  # one part of three
    pairs = list(zip(record.info.orders, again.info.orders, strict=True))
    changed = [i for i, (before, after) in enumerate(pairs) if before != after]
    assert [again.info.statuses[i].id for i in changed] == [claim.key]
    assert sum(before is after for before, after in pairs) == 2000
    assert tracker.records.reread(again).info == again.info


def test_a_feed_tells_few_of_many(large):
    tracker, name = large
    index = JobIndex(tracker)
    feed = Feed(index)
    before, info = feed.now(name)
    spread = [status.id for status in info.statuses if status.state is State.READY][::500]
    tracker.engine.cancel(spread, tracker.store)
    tracker.update(name)
    index.refresh(at_least=True)
    changed = feed.since(name, before)
    assert [changed.info.statuses[i].id for i in changed.positions] == spread
    assert feed.since(name, changed.version).positions == []
    assert feed.since(name, "never").positions is None
    assert feed.since(name, before).positions == changed.positions
    tracker.retry(name)
    index.refresh(at_least=True)
    assert len(feed.since(name, before).positions) == len(spread)
    with pytest.raises(OrderNotFoundError):
        feed.now("none")


def test_without_running_it_shows_what_others_run(waiting):
    """A server that works on nothing records what another process does, as far as it is known."""
    client, tracker, name = waiting
    foreign = {**tracker.read(name)}  # an order that this machine's engine knows nothing of
    foreign["tracking"] = {**foreign["tracking"], "name": "FOREIGN"}
    foreign["orders"] = [
        {**entry, "status": {**entry["status"], "id": f"FOREIGN{number}"}}
        for number, entry in enumerate(foreign["orders"])
    ]
    tracker.records.create(foreign)
    have = client.get(f"/dashboard/orders/{name}/model").json()["version"]
    with listening(client, order=name, have=have) as found:
        ledger = tracker.engine.ledger(tracker.store)
        claim = ledger.claim("another process", 60)
        while "R" not in until(found, "tasks")["tasks"]["state"]:
            pass  # what the ledger adds to what submit wrote is no change of interest
        ledger.fail(claim, "it has no bread")
        changed = until(found, "tasks")
        assert changed["tasks"]["state"] == "F"
        assert changed["causes"][0]["text"] == "it has no bread"
    assert tracker.read("FOREIGN").states == {"READY": 2, "EMPTY": 1}
