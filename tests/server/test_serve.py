"""`orchard serve` and `orchard project` as programs; two hundred downloads at once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from contextlib import contextmanager

import httpx
import psutil
import pytest
import yaml
from click.testing import CliRunner
from small_platform import make_config, order, wait_for

from orchard.cli import cli
from orchard.errors import EngineError, InputError
from orchard.jobs import authenticate
from orchard.server.platform import Platform
from orchard.server.records import BlockRecord
from orchard.server.serve import check_address, listen


@pytest.fixture
def file(tmp_path, archive):
    """A configuration file."""
    data = dict(make_config(tmp_path, archive).data)
    path = tmp_path / "orchard.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def run(file, *args):
    found = CliRunner().invoke(cli, ["-C", str(file), *args])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


@contextmanager
def program(file, *args):
    """`orchard serve` in a process of its own."""
    command = [sys.executable, "-m", "orchard", "-C", str(file), *args, "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = None
            while url is None:
                line = process.stderr.readline()
                assert line, "it did not start"
                url = re.search(r"on (http://\S+)", line)
            yield url[1], process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def test_a_project_from_the_command_line(file, tmp_path):
    saved = tmp_path / "maps.json"
    assert (
        run(file, "project", "create", "maps", "--title", "Maps", "--save", str(saved)).exit_code
        == 0
    )
    credentials = json.loads(saved.read_text())
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    shown = json.loads(run(file, "project", "create", "more").output)
    assert shown["project_id"] == "more"
    listed = run(file, "project", "list").output
    assert re.search(r"^maps\tactive\t\d{4}-\d\d-\d\d\tMaps$", listed, re.MULTILINE)
    assert credentials["project_api_key"] not in listed
    with program(file) as (url, _):
        session = authenticate(saved, base_url=url)
        assert session.client.data("projects/maps")["name"] == "Maps"
        assert httpx.get(f"{url}/projects/local").status_code == 401
        # Another process revokes it: the server knows at once.
        assert run(file, "project", "revoke", "maps").exit_code == 0
        assert (
            httpx.get(
                f"{url}/projects/maps", headers={"Authorization": f"Bearer {session.client._token}"}
            ).status_code
            == 401
        )
        session.client.close()
    assert run(file, "project", "revoke", "maps").exit_code == 1
    assert "maps\trevoked" in run(file, "project", "list").output


def test_a_file_that_is_there_is_not_overwritten(file, tmp_path):
    saved = tmp_path / "maps.json"
    saved.write_text("mine")
    with pytest.raises(FileExistsError):
        run(file, "project", "create", "maps", "--save", str(saved))
    assert saved.read_text() == "mine"
    assert run(file, "project", "list").output == ""
    with pytest.raises(InputError):
        run(file, "project", "create", "No Good", "--save", str(tmp_path / "other.json"))
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_need_a_project(file, host):
    with pytest.raises(InputError, match="orchard project create"):
        run(file, "serve", "--host", host)
    check_address(host, has_projects=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_this_machine_needs_none(host):
    check_address(host, has_projects=False)


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"127.0.0.1:{port} cannot be served: .*\(--port\)"):
            listen("127.0.0.1", port)


def test_a_server_that_is_killed_goes_on(file, tiles):
    """Killed in the middle, by the hardest means: the next one finishes the order."""
    command = [sys.executable, "-m", "orchard", "-C", str(file), "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        url = re.search(r"on (http://\S+)", process.stderr.readline())[1]
        answer = httpx.post(f"{url}/projects/local/jobs", json=order(tiles[:2]), timeout=60)
        jobs = [job["id"] for job in answer.json()["data"]["jobs"]]
        process.kill()
    with program(file) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        for job in jobs:
            assert wait_for(client, f"/projects/local/jobs/{job}")["status"] == "SUCCEEDED"
    assert process.returncode in (0, 130)


def test_the_log_of_a_server_with_v(file):
    with program(file, "-v") as (url, process):
        httpx.get(f"{url}/projects/local/jobs?x=SECRET")
        line = process.stderr.readline()
        while "GET" not in line:
            line = process.stderr.readline()
    assert "GET /projects/local/jobs 200" in line
    assert "SECRET" not in line


SIZE = 4 * 2**20
COUNT = 200


@pytest.fixture
def large(file, tiles):
    """A job with a result of some megabytes."""
    from orchard import load_config

    platform = Platform(load_config(file))
    tracker = platform.tracker
    name, _ = tracker.submit("LANDSAT/LC08/C02/T1_L2", tiles[:1], "2023-04-01", "2023-05-01")
    (status,) = tracker.wait(name).statuses
    platform.index.refresh(at_least=True)
    view = platform.job("local", status.id)
    for block in view.workflow.blocks:
        place = platform.results.begin(view.id, block)
        (place / "files" / "large.bin").write_bytes(os.urandom(SIZE))
        platform.results.commit(place, view.id, block, view.version, [])
        platform.records.put_block(
            BlockRecord(
                job=view.id, block=block, order=name, version=view.version, state="SUCCEEDED"
            )
        )
    platform.close()
    return view.id


def test_two_hundred_downloads_at_once(file, large, tmp_path):
    """All of them are under way before the first is read: memory stays as it was."""
    with program(file) as (url, process):
        job = f"{url}/projects/local/jobs/{large}"
        link = httpx.get(f"{job}/downloads/results/").json()["data"]["url"]
        whole = httpx.get(link).content
        (tmp_path / "one.zip").write_bytes(whole)
        with zipfile.ZipFile(tmp_path / "one.zip") as archive:
            assert archive.testzip() is None
        server = psutil.Process(process.pid)
        before = server.memory_info().rss
        seen = asyncio.run(_download_all(link, len(whole), server))
        assert seen["bytes"] == {len(whole)}
        grown = (seen["memory"] - before) / 2**20
        assert grown < 100, f"{grown:.0f} MiB more, of {COUNT * SIZE / 2**20:.0f} MiB sent"
        assert httpx.get(job).json()["data"]["status"] == "SUCCEEDED"


async def _download_all(link, size, server):
    url = httpx.URL(link)
    lines = [
        f"GET {url.raw_path.decode()} HTTP/1.1",
        f"Host: {url.netloc.decode()}",
        "Connection: close",
    ]
    head = "".join(f"{line}\r\n" for line in [*lines, ""])
    memory = 0

    async def begin():
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=2**16)
        writer.write(head.encode())
        await writer.drain()
        status = await reader.readline()
        assert b" 200 " in status, status
        while (await reader.readline()).strip():
            pass
        return reader, writer

    async def finish(reader, writer):
        nonlocal memory
        count = 0
        while data := await reader.read(2**16):
            count += len(data)
        writer.close()
        memory = max(memory, server.memory_info().rss)
        return count

    pairs = await asyncio.gather(*(begin() for _ in range(COUNT)))
    memory = server.memory_info().rss
    counts = await asyncio.gather(*(finish(*pair) for pair in pairs))
    assert len(counts) == COUNT
    return {"bytes": set(counts), "memory": memory}


def test_imports_stay_light():
    code = (
        "import sys, orchard.cli; "
        "bad = {'fastapi', 'uvicorn', 'jwt', 'rasterio', 'xarray'} & set(sys.modules); "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_extra_it_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "orchard.server.app", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'orchard[server]'")):
        run(file, "serve")
