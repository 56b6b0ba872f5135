"""Scenes behind HTTP and S3: how many requests, how many bytes, how much at once."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pixel_scenes import ground, noise, read, request, scene, write_scene

from orchard.engines.local.pixels import Window, write_shard
from orchard.errors import SceneError
from orchard.tiff import files

TILE = ground(left=500_000, top=4_500_000, res=30, size=(300, 300))
LATENCY = 0.02
TOGETHER = 4


@dataclass
class Log:
    """What a server was asked."""

    url: str = ""
    requests: list = field(default_factory=list)
    sent: int = 0
    busy: int = 0
    most: int = 0
    connections: set = field(default_factory=set)
    gate: threading.Barrier | None = None
    trouble: int | str = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, in ranges, each after a while."""

    protocol_version = "HTTP/1.1"
    log: Log

    def do_GET(self):
        with self.log.lock:
            self.log.busy += 1
            self.log.most = max(self.log.most, self.log.busy)
            self.log.requests.append((self.path, self.headers.get("Range")))
            self.log.connections.add(self.client_address[1])
            gate = self.log.gate if len(self.log.requests) <= TOGETHER else None
        if gate is not None:
            gate.wait(60)
        time.sleep(LATENCY)
        path = Path(self.translate_path(self.path))
        if self.log.trouble == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.log.trouble:
            part = b"trouble"
            self.send_response(self.log.trouble)
        elif path.exists():
            data = path.read_bytes()
            start, end = self.headers["Range"].removeprefix("bytes=").split("-")
            part = data[int(start) : int(end) + 1]
            self.send_response(206)
            last = int(start) + len(part) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(data)}")
        else:
            part = b"no such file"
            self.send_response(404)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        with self.log.lock:
            self.log.busy -= 1
            self.log.sent += len(part)
        self.wfile.write(part)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    log = Log()
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(Ranges):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

    Handler.log = log
    with Server(("127.0.0.1", 0), Handler) as found:
        log.url = f"http://127.0.0.1:{found.server_port}"
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield log, folder
        found.shutdown()


def served(folder, name, seed=0, **options):
    """A scene of 1000 x 1000 px in blocks of 128: the tile needs 9 of 64 blocks."""
    values = noise((1000, 1000), seed=seed)
    if options.pop("hole", False):
        values[:200, :150] = 0
    options = {"blockxsize": 128, "blockysize": 128} | options
    return write_scene(folder / name, values, **options)


def test_requests_and_bytes_are_near_what_the_window_needs(server, tmp_path, capsys):
    log, folder = server
    local, remote = [], []
    for k in range(12):
        name = f"{k} a+b.tif"
        path = served(folder, name, seed=k)
        local.append([scene(str(k), red=path)])
        remote.append([scene(str(k), red=f"{log.url}/{k}%20a%2Bb.tif?sig=x%2Fy")])
    write_shard(request(TILE, *local), Window.whole(TILE), tmp_path / "local.tif")
    write_shard(request(TILE, *remote), Window.whole(TILE), tmp_path / "remote.tif", threads=2)
    np.testing.assert_array_equal(read(tmp_path / "remote.tif"), read(tmp_path / "local.tif"))
    needed = 9 / 64 * (folder / "0 a+b.tif").stat().st_size
    requests, sent = len(log.requests) / 12, log.sent / 12
    with capsys.disabled():
        print(
            f" {requests:.1f} requests and {sent / 1000:.0f} kB a scene ({needed / 1000:.0f} kB"
            f" needed), up to {log.most} at once",
            end="",
        )
    # The header, and a range for each of three rows of blocks.
    assert requests <= 4
    assert sent < needed * 1.2 + 2 * files.GAP_BYTES
    assert all(path.endswith("?sig=x%2Fy") for path, _ in log.requests)
    assert 4 <= log.most <= files.REQUESTS
    assert len(log.connections) <= files.REQUESTS


def test_requests_do_not_wait_for_each_other(server, tmp_path):
    """The server answers nobody before so many have asked."""
    log, folder = server
    log.gate = threading.Barrier(TOGETHER)
    served(folder, "a.tif")
    days = [[scene(str(k), red=f"{log.url}/a.tif?{k}")] for k in range(8)]
    write_shard(request(TILE, *days), Window.whole(TILE), tmp_path / "x.tif", threads=2)
    assert not log.gate.broken
    assert log.most >= TOGETHER


def test_a_later_scene_costs_only_what_is_missing(server, tmp_path):
    log, folder = server
    served(folder, "a.tif", hole=True)
    served(folder, "b.tif", seed=1)
    both = [scene(n, red=f"{log.url}/{n}.tif") for n in ("a", "b")]
    write_shard(request(TILE, both), Window.whole(TILE), tmp_path / "x.tif")
    asked = [path for path, _ in log.requests]
    # Two rows of blocks of two have the hole.
    assert asked.count("/b.tif") == 1 + 2
    assert (read(tmp_path / "x.tif") > 0).all()


def test_other_files_come_through_gdal(server, tmp_path):
    log, folder = server
    path = served(folder, "a.tif", compress="lerc", predictor=1)
    write_shard(
        request(TILE, [scene("a", red=f"{log.url}/a.tif")]), Window.whole(TILE), tmp_path / "x.tif"
    )
    write_shard(request(TILE, [scene("a", red=path)]), Window.whole(TILE), tmp_path / "y.tif")
    np.testing.assert_array_equal(read(tmp_path / "x.tif"), read(tmp_path / "y.tif"))


def test_failures_name_the_scene_and_hide_the_signature(server, tmp_path):
    log, _ = server
    gone = scene("lost", red=f"{log.url}/none.tif?sig=secret")
    with pytest.raises(SceneError, match=r"band red of scene lost .*none\.tif") as error:
        write_shard(request(TILE, [gone]), Window.whole(TILE), tmp_path / "x.tif")
    assert "secret" not in str(error.value)
    assert error.value.scene == "lost"
    assert not error.value.transient


@pytest.mark.parametrize(
    ("trouble", "transient"), [(503, True), (429, True), ("cut", True), (400, False), (403, False)]
)
def test_what_may_pass_is_told_from_what_will_not(
    server, tmp_path, monkeypatch, trouble, transient
):
    from datetime import timedelta

    from obstore.store import HTTPStore

    from orchard.engines.local.failures import Kind, classify
    from orchard.tiff import files

    log, folder = server
    served(folder, "a.tif")
    options = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}

    def impatient(url):
        client = {"allow_http": True}
        return HTTPStore.from_url(url, client_options=client, retry_config=options)

    monkeypatch.setattr(files, "_http", impatient)
    log.trouble = trouble
    bad = scene("bad", red=f"{log.url}/a.tif")
    with pytest.raises(SceneError, match="scene bad") as error:
        write_shard(request(TILE, [bad]), Window.whole(TILE), tmp_path / "x.tif")
    assert error.value.transient is transient
    assert classify(error.value).kind is (Kind.TRANSIENT if transient else Kind.SCENE)
    log.trouble = 0
    write_shard(request(TILE, [bad]), Window.whole(TILE), tmp_path / "x.tif")


def test_spans_are_merged_across_small_gaps_only():
    gap = files.GAP_BYTES
    spans = [(5000 + gap + 1 + 10, 10), (0, 10), (5000, 10), (20, 10)]
    merged = files.merge(spans)
    assert [(r.start, r.stop, r.members) for r in merged] == [
        (0, 5010, [1, 3, 2]),
        (5000 + gap + 11, 5000 + gap + 21, [0]),
    ]
    long = files.merge([(k * 2**20, 2**20) for k in range(9)])
    assert [r.stop - r.start for r in long] == [4 * 2**20, 4 * 2**20, 2**20]


@pytest.fixture
def bucket(monkeypatch):
    """An S3 server on loopback, with one bucket."""
    import urllib.request

    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for key, value in {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    put = urllib.request.Request(f"http://{host}:{port}/scenes", method="PUT")
    urllib.request.urlopen(put).close()
    files._s3.cache_clear()
    yield "scenes"
    files._s3.cache_clear()
    server.stop()


def test_s3(bucket, tmp_path):
    import obstore
    from obstore.store import S3Store

    path = served(tmp_path, "a.tif")
    store = S3Store(bucket, client_options={"allow_http": True})
    obstore.put(store, "2022/a.tif", Path(path))
    asked = request(TILE, [scene("a", red=f"s3://{bucket}/2022/a.tif")])
    write_shard(asked, Window.whole(TILE), tmp_path / "x.tif")
    write_shard(request(TILE, [scene("a", red=path)]), Window.whole(TILE), tmp_path / "y.tif")
    np.testing.assert_array_equal(read(tmp_path / "x.tif"), read(tmp_path / "y.tif"))
    with pytest.raises(SceneError, match=f"s3://{bucket}/none.tif"):
        write_shard(
            request(TILE, [scene("a", red=f"s3://{bucket}/none.tif")]),
            Window.whole(TILE),
            tmp_path / "x.tif",
        )
