"""Where the credentials come from, and the platform inside the process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import types
from contextlib import asynccontextmanager

import httpx
import pytest
from contract_server import KEY, PROJECT
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from orchard.errors import ConfigError, InputError, MissingDependencyError
from orchard.jobs import (
    AuthenticationError,
    PlatformError,
    Retries,
    UnknownJobError,
    authenticate,
    initialize_job,
)
from orchard.jobs import session as session_module
from orchard.jobs.http import PlatformClient
from orchard.jobs.inprocess import InProcessTransport


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    monkeypatch.setattr(session_module, "_default", None)
    for name in ("PROJECT_ID", "PROJECT_API_KEY", "BASE_URL"):
        monkeypatch.delenv(f"ORCHARD_{name}", raising=False)


def test_credentials_as_arguments(server):
    session = authenticate(project_id=PROJECT, project_api_key=KEY, base_url=server.url)
    assert session.project_id == PROJECT
    assert server.token_count == 1
    assert initialize_job("j1").status == "SUCCEEDED"
    assert KEY not in repr(session)
    session.client.close()


def test_credentials_from_a_file(server, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"project_id": PROJECT, "project_api_key": KEY}))
    session = authenticate(cfg_file=path, base_url=server.url)
    assert initialize_job("j1").job_id == "j1"
    session.client.close()


def test_credentials_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("ORCHARD_PROJECT_ID", PROJECT)
    monkeypatch.setenv("ORCHARD_PROJECT_API_KEY", KEY)
    monkeypatch.setenv("ORCHARD_BASE_URL", server.url)
    assert initialize_job("j1").job_id == "j1"
    session_module.current_session().client.close()


def test_wrong_credentials_are_told_at_once_and_change_nothing(server, logged_in):
    with pytest.raises(AuthenticationError, match="check project_id and project_api_key"):
        authenticate(project_id=PROJECT, project_api_key="wrong", base_url=server.url)
    assert session_module.current_session() is logged_in


def test_a_platform_that_is_none_is_told_at_once_without_a_key():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(PlatformError, match=rf"{url}.*is the platform up\?"):
        authenticate(project_id="local", base_url=url)
    assert session_module._default is None

    def answers(status, **content):
        return httpx.MockTransport(lambda _: httpx.Response(status, **content))

    said = {"project_id": "local", "base_url": "http://there"}
    with pytest.raises(PlatformError, match="is there a job platform at http://there"):
        authenticate(**said, transport=answers(200, text="<html>"))
    with pytest.raises(UnknownJobError, match="projects/local answered 404"):
        authenticate(**said, transport=answers(404, json={}))
    authenticate(**said, transport=answers(200, json={"data": {"id": "local"}}))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"project_api_key": KEY, "base_url": "http://h"}, "needs its project_id"),
        ({"project_id": PROJECT, "project_api_key": KEY}, "which platform"),
        ({"base_url": "http://h"}, "which project of http://h"),
        ({"project_id": "a/b", "base_url": "http://h"}, "cannot be the id of a project"),
        ({"transport": httpx.MockTransport(lambda _: httpx.Response(200))}, "which platform"),
    ],
)
def test_half_of_what_is_needed_is_refused(said, message):
    with pytest.raises(InputError, match=message):
        authenticate(**said)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the credentials file"),
        ("nonsense", "is not JSON"),
        ("[]", "must be"),
        ('{"project_id": "a"}', "must be"),
        ('{"project_id": "a", "project_api_key": 3}', "project_api_key must be a string"),
    ],
)
def test_a_credentials_file_that_is_none_is_refused(tmp_path, content, message):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        authenticate(cfg_file=path)
    assert "config.json" in str(caught.value)


async def job(request):
    info = {"id": request.path_params["job"], "status": "SUCCEEDED"}
    info |= {"greeting": request.state.greeting, "client": request.client}
    return JSONResponse({"data": info, "error": {}})


async def echo(request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(f"{request.method} {size} {request.url.query}")


async def endless(request):
    async def chunks():
        try:
            while True:
                yield b"x" * 65536
        finally:
            request.app.state.stopped.set()

    return StreamingResponse(chunks())


async def broken(_):
    async def chunks():
        yield b"half"
        raise RuntimeError("disk on fire")

    return StreamingResponse(chunks())


async def boom(_):
    raise RuntimeError("boom")


async def background(request):
    return PlainTextResponse(
        "now", background=BackgroundTask(request.app.state.events.append, "later")
    )


def application(events: list[str]) -> Starlette:
    """A small platform: one job, and files of any size."""

    @asynccontextmanager
    async def lifespan(_):
        events.append("up")
        yield {"greeting": "hello"}
        events.append("down")

    routes = [
        Route("/projects/local/jobs/{job}", job),
        Route("/echo", echo, methods=["POST"]),
        *(Route(f"/{call.__name__}", call) for call in (endless, broken, boom, background)),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.events = events
    return app


@pytest.fixture
def events():
    return []


@pytest.fixture
def http(events):
    with httpx.Client(
        transport=InProcessTransport(application(events)), base_url="http://inside"
    ) as client:
        yield client


def test_with_nothing_said_the_platform_runs_in_this_process(monkeypatch, events):
    made = []

    def create_app(*, in_process):
        made.append(in_process)
        return application(events)

    module = types.SimpleNamespace(create_app=create_app)
    monkeypatch.setitem(sys.modules, "orchard.server.app", module)
    job = initialize_job("j1")
    assert job.project_id == "local"
    assert job.status == "SUCCEEDED"
    assert job.info["greeting"] == "hello"
    assert job.info["client"] is None
    assert made == [True]
    assert events == ["up"]
    session_module.current_session().client.close()
    assert events == ["up", "down"]


def test_a_missing_server_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "orchard.server.app", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'orchard\[server\]'"):
        authenticate()


def test_bodies_go_in_and_come_out(http):
    def body():
        for _ in range(100):
            yield b"x" * 10_000

    assert http.post("/echo?a=%20b", content=body()).text == "POST 1000000 a=%20b"
    assert http.post("/echo").text == "POST 0 "


def test_an_endless_answer_is_held_back_and_can_be_left():
    app, stopped, seen = application([]), threading.Event(), 0
    app.state.stopped = stopped
    http = httpx.Client(transport=InProcessTransport(app), base_url="http://inside")
    with http, http.stream("GET", "/endless") as answer:
        for chunk in answer.iter_raw():
            seen += len(chunk)
            if seen > 1_000_000:
                break
    assert stopped.wait(20)  # the application was told, and cleaned up


def test_an_answer_that_breaks_off_is_an_error(http):
    with pytest.raises(httpx.RemoteProtocolError, match="disk on fire"):
        http.get("/broken")


def test_an_application_that_fails_answers_500(http):
    assert http.get("/boom").status_code == 500
    assert http.get("/nowhere").status_code == 404


def test_work_in_the_background_is_finished(http, events):
    assert http.get("/background").text == "now"
    http.get("/nowhere")
    until = time.monotonic() + 10
    while "later" not in events and time.monotonic() < until:
        time.sleep(0.01)
    assert "later" in events


def test_many_threads_at_once(http):
    answers = []

    def ask(number):
        answers.append(http.get(f"/projects/local/jobs/{number}").json()["data"]["id"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=int) == [str(number) for number in range(20)]


async def bare(scope, receive, send):
    """An application without a lifespan."""
    assert scope["type"] == "http"
    if scope["path"] == "/silent":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"bare"})


def test_an_application_without_lifespan():
    with httpx.Client(transport=InProcessTransport(bare), base_url="http://inside") as client:
        assert client.get("/").text == "bare"
        with pytest.raises(httpx.RemoteProtocolError, match="ended without an answer"):
            client.get("/silent")


async def failing(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def test_an_application_that_does_not_start_is_told():
    client = PlatformClient(
        "http://inside", transport=InProcessTransport(failing), retries=Retries(attempts=1)
    )
    with pytest.raises(PlatformError, match="did not manage its startup: no database"):
        client.data("x")
    client.close()


def test_the_interpreter_ends_and_so_does_the_lifespan():
    script = """
import sys
from test_jobs_session import application, InProcessTransport, httpx
class Told(list):
    def append(self, event): print(event, flush=True)
client = httpx.Client(transport=InProcessTransport(application(Told())), base_url="http://in")
print(client.get("/projects/local/jobs/1").status_code, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p), "PATH": ""},
    )
    assert done.stdout.split() == ["up", "200", "down"]
