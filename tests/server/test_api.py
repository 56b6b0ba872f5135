"""Every call of the contract over a socket, with its odd corners."""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile

import numpy as np
import pytest
import rasterio
from small_platform import order

import orchard


@pytest.fixture
def client(served):
    with served.client() as found:
        yield found


@pytest.fixture
def base(served):
    return f"/projects/local/jobs/{served.jobs[0]}"


def data(client, path):
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert not body["error"]
    return body["data"]


def link(client, path):
    return data(client, f"{path}/downloads/results/")["url"]


def test_the_project(client):
    found = data(client, "/projects/local")
    assert found["id"] == "local"
    assert {"workspaceId", "name", "description", "createdAt"} <= set(found)


def test_a_job_is_a_task_of_the_order(client, served, base, tiles):
    found = data(client, base)
    assert found["id"] == served.jobs[0]
    assert found["status"] == "SUCCEEDED"
    assert found["mode"] == "DEFAULT"
    assert found["workflowName"] == "preard+ard+composite+index"
    assert found["startedAt"] <= found["finishedAt"]
    assert found["startedAt"].endswith("Z")
    assert found["inputs"]["preard"]["tile_indices"] == [list(tiles[0])]
    assert found["inputs"]["preard"]["period_start"] == "2023-04-01T00:00:00+00:00"
    assert found["inputs"]["composite"] == {"method": "best"}
    assert found["inputs"]["index"]["formula"] == "(nir - red) / (nir + red)"


def test_one_ledger_and_one_store_for_api_and_tracker(served):
    tracker = served.platform.config.get_tracker()
    assert served.submitted["order"] in tracker.list()
    info = tracker.read(served.submitted["order"])
    assert info.complete
    assert [status.id for status in info.statuses] == served.jobs
    assert info.states == {"COMPLETED": 2, "EMPTY": 1}


def test_jobs_are_listed_page_by_page(client, served):
    whole = client.get("/projects/local/jobs", params={"order": served.submitted["order"]})
    assert [job["id"] for job in whole.json()["data"]] == served.jobs
    seen, path = [], "/projects/local/jobs?limit=1"
    while path:
        answer = client.get(path)
        assert len(answer.json()["data"]) == 1
        seen += [job["id"] for job in answer.json()["data"]]
        following = re.match(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
        path = following[1] if following else None
    assert set(served.jobs) <= set(seen)
    assert len(seen) == len(set(seen)) == int(answer.headers["x-total-count"])


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "offset=-1", "limit=a", f"offset={10**30}"]
)
def test_pages_that_cannot_be_meant(client, query):
    answer = client.get(f"/projects/local/jobs?{query}")
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json()["error"]["message"]


def test_a_task_a_block(client, served, base):
    for path in (f"{base}/tasks/", f"{base}/tasks"):
        found = data(client, path)
        assert [task["block"]["name"] for task in found] == ["preard", "ard", "composite", "index"]
        assert {task["status"] for task in found} == {"SUCCEEDED"}
        assert {task["blockVersion"] for task in found} == {orchard.__version__}
        assert found[0]["id"] == f"{served.jobs[0]}-preard"


def test_logs_tell_what_happened(client, served, base):
    log = client.get(f"{base}/tasks/{served.jobs[0]}-preard/logs")
    assert log.headers["content-type"].startswith("text/plain")
    words = ["intent", "started: attempt 1\n", "completed", "block preard SUCCEEDED"]
    positions = [log.text.index(word) for word in words]
    assert positions == sorted(positions)
    assert "block ard SUCCEEDED" in client.get(f"{base}/tasks/{served.jobs[0]}-ard/logs").text


def test_features_an_acquisition(client, served, base):
    for path in ("outputs/data-json/", "outputs/data-json"):
        answer = client.get(f"{base}/tasks/{served.jobs[0]}-preard/{path}")
        found = answer.json()
        assert "error" not in found
        assert found["type"] == "FeatureCollection"
    days = [feature["properties"]["acquisitionDate"] for feature in found["features"]]
    assert len(days) == 4
    assert days == sorted(set(days))
    for number, feature in enumerate(found["features"]):
        left, bottom, right, top = feature["bbox"]
        assert -95 < left < right < -85
        assert 38 < bottom < top < 46
        assert feature["properties"]["uid"].endswith(days[number])
        assert feature["properties"]["orchard.bands"] == [7 * number + 1, 7 * number + 7]
    assert data(client, f"{base}/tasks/")[0]["block"]["name"] == "preard"
    last = client.get(f"{base}/outputs/data-json/").json()
    assert last == client.get(f"{base}/tasks/{served.jobs[0]}-index/outputs/data-json/").json()
    assert last["features"][0]["properties"]["index"] == "NDVI"


def test_a_quicklook_an_acquisition(client, served, base):
    task = f"{base}/tasks/{served.jobs[0]}-preard/outputs"
    ids = data(client, f"{task}/quicklooks/")
    features = client.get(f"{task}/data-json/").json()["features"]
    assert ids == sorted(feature["properties"]["uid"] for feature in features)
    for name in (ids[0], f"{ids[0]}.png"):
        picture = client.get(f"{task}/quicklooks/{name}")
        assert picture.headers["content-type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
    assert data(client, f"{base}/tasks/{served.jobs[0]}-ard/outputs/quicklooks/") == []


BLOCKS = {"preard": (".json", ".tif"), "ard": (".nc", ".stac.json"), "composite": (".tif",)}


@pytest.mark.parametrize("block", ["preard", "ard", "composite", "index"])
def test_an_archive_holds_what_data_json_names(client, served, base, block, tmp_path):
    answer = client.get(link(client, f"{base}/tasks/{served.jobs[0]}-{block}"))
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        archive.extractall(tmp_path)
    assert names[0] == "output/data.json"
    features = json.loads((tmp_path / "output" / "data.json").read_text())["features"]
    for feature in features:
        assert f"output/{feature['properties']['up42.data_path']}" in names
    for suffix in BLOCKS.get(block, ()):
        assert any(name.endswith(suffix) for name in names)


def read(client, served, block, folder):
    job = f"/projects/local/jobs/{served.jobs[0]}"
    answer = client.get(link(client, f"{job}/tasks/{served.jobs[0]}-{block}"))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    return folder / "output"


def test_the_blocks_are_what_they_say(client, served, tmp_path):
    """The best pixel and its NDVI, worked out anew from the pre-ARD image."""
    preard = read(client, served, "preard", tmp_path / "preard")
    (image,) = preard.rglob("*.tif")
    with rasterio.open(image) as file:
        stack = file.read().reshape(4, 7, file.height, file.width)
        transform = file.transform
    bands = ["blue", "green", "red", "nir", "swir1", "swir2", "qa_pixel"]
    # Fill, dilated cloud, cirrus, cloud, shadow: bits 0 to 4.
    clear = ((stack[:, 6] & 0b11111) == 0) & (stack[:, 0] != 0)
    (cube,) = read(client, served, "ard", tmp_path / "ard").rglob("*.nc")
    with orchard.open_ard(cube) as dataset:
        np.testing.assert_array_equal(dataset["nir"].values, stack[:, 3])
        np.testing.assert_array_equal(dataset["clear"].values == 1, (stack[:, 6] & 0b11111) == 0)
    (path,) = read(client, served, "composite", tmp_path / "composite").glob("*.tif")
    with rasterio.open(path) as file:
        assert file.transform == transform
        names = list(file.descriptions)
        assert names == ["red", "green", "blue", "nir", "swir1", "swir2", "qa_pixel"]
        assert set(file.scales[:6]) == {0.0000275}
        assert set(file.offsets[:6]) == {-0.2}
        best = dict(zip(names, file.read(), strict=True))
    order = sorted(range(4), key=lambda number: -clear[number].mean())
    want = np.zeros((7, *best["red"].shape), "uint16")
    for number in reversed(order):
        want[:, clear[number]] = stack[number][:, clear[number]]
    seen = clear.any(axis=0)
    for number, band in enumerate(bands):
        np.testing.assert_array_equal(best[band][seen], want[number][seen], band)
        assert (best[band][~seen] == 0).all()
    (path,) = read(client, served, "index", tmp_path / "index").glob("*.tif")
    with rasterio.open(path) as file:
        ndvi = file.read(1)
        assert file.descriptions == ("NDVI",)
        assert np.isnan(file.nodata)
    nir, red = (best[band] * 0.0000275 - 0.2 for band in ("nir", "red"))
    np.testing.assert_allclose(ndvi[seen], ((nir - red) / (nir + red))[seen], rtol=1e-4)
    assert np.isnan(ndvi[~seen]).all()


def test_a_job_without_images(client, served):
    job = served.jobs[2]
    base = f"/projects/local/jobs/{job}"
    assert data(client, base)["status"] == "SUCCEEDED"
    assert client.get(f"{base}/outputs/data-json/").json()["features"] == []
    assert data(client, f"{base}/tasks/{job}-preard/outputs/quicklooks/") == []
    answer = client.get(link(client, base))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["output/data.json"]


def test_downloads_in_parts(client, base):
    url = link(client, base)
    whole = client.get(url)
    etag, size = whole.headers["etag"], len(whole.content)
    assert int(whole.headers["content-length"]) == size
    assert whole.headers["accept-ranges"] == "bytes"
    half = client.get(url, headers={"Range": f"bytes={size // 2}-"})
    assert half.status_code == 206
    assert half.headers["content-range"] == f"bytes {size // 2}-{size - 1}/{size}"
    assert half.content == whole.content[size // 2 :]
    same = {"Range": "bytes=0-3", "If-Range": etag}
    assert client.get(url, headers=same).content == whole.content[:4]
    other = {"Range": "bytes=0-3", "If-Range": '"another"'}
    assert client.get(url, headers=other).content == whole.content
    assert client.get(url, headers={"If-None-Match": f'"x", W/{etag}'}).status_code == 304
    beyond = client.get(url, headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    head = client.head(url)
    assert head.headers["content-length"] == str(size)
    assert head.headers["etag"] == etag
    assert head.content == b""
    # Another link to the same result is the same file.
    assert client.head(link(client, base)).headers["etag"] == etag


def test_links_need_no_token_and_cannot_be_changed(client, base):
    url = link(client, base)
    path, name = url.rsplit("/", 1)
    assert client.head(f"{path}/anything.zip").status_code == 200
    for forged in (
        f"{path}x/{name}",
        f"{path[:-2]}/{name}",
        f"{path[: path.rindex('/')]}/a.b/{name}",
    ):
        assert client.get(forged).status_code == 404
    name = client.head(f"{path}/a%22%0d%0aX-Evil:1.zip")
    assert "x-evil" not in name.headers


def test_expired_links(client, base, served, monkeypatch):
    url = link(client, base)
    monkeypatch.setattr(served.platform.auth, "link_seconds", -1)
    answer = client.get(url)
    assert answer.status_code == 410
    assert "expired" in answer.json()["error"]["message"]


def test_credits(client, base):
    assert data(client, f"{base}/credits") == {"creditsUsed": 0}


def test_cancelling_what_has_ended_changes_nothing(client, base):
    for path in (f"{base}/cancel/", f"{base}/cancel"):
        answer = client.post(path)
        assert answer.status_code == 200
        assert answer.json()["data"]["status"] == "SUCCEEDED"


TRICKS = [
    "..",
    "%2e%2e",
    "..%2f..%2fplatform.sqlite",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "....//",
    "%00",
    "a%0ab",
    "%5c..%5c",
    "*",
    "%25",
    "x" * 5000,
    "%F0%9F%8C%B3",
    "%ff",
    "'; DROP TABLE blocks; --",
]


@pytest.mark.parametrize("trick", TRICKS)
def test_path_tricks(client, served, trick):
    job = served.jobs[0]
    paths = [
        f"/projects/{trick}",
        f"/projects/{trick}/jobs",
        f"/projects/local/jobs/{trick}",
        f"/projects/local/jobs/{trick}/tasks/",
        f"/projects/local/jobs/{job}/tasks/{trick}/logs",
        f"/projects/local/jobs/{job}/tasks/{job}-{trick}/outputs/data-json/",
        f"/projects/local/jobs/{job}/tasks/{job}-preard/outputs/quicklooks/{trick}",
        f"/projects/local/jobs/{job}/tasks/{trick}/downloads/results/",
        f"/downloads/{trick}/{trick}",
    ]
    import http.client

    host = served.url.removeprefix("http://")
    for path in paths:
        # As it is: httpx would tidy it first.
        connection = http.client.HTTPConnection(host, timeout=20)
        connection.putrequest("GET", path.replace(" ", "%20"), skip_host=False)
        connection.endheaders()
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert 400 <= answer.status < 500, (path, answer.status, content)
        assert b"root:" not in content
        assert b"Traceback" not in content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"collections": []}, "collections"),
        ({"collections": "NO/SUCH"}, "NO/SUCH"),
        ({"tile_indices": []}, "tile_indices"),
        ({"tile_indices": [[99999, 1]]}, "99999"),
        ({"tile_indices": [[1.5, 1]]}, "tile_indices"),
        ({"tile_indices": [[10**20, 1]]}, "tile_indices"),
        ({"period_start": "soon"}, "soon"),
        ({"period_start": "2024-01-01"}, "before its end"),
        ({"period_freq": "blue"}, "blue"),
        ({"period_freq": "1us"}, "shorter than a second"),
        ({"period_freq": "30min"}, "tasks; at most"),
        ({"composite": {"method": "mean"}}, "composite.method"),
        ({"index": {"name": "MAGIC"}}, "MAGIC"),
        ({"index": {"name": "a/b", "formula": "red"}}, "index.name"),
        ({"index": {"formula": "__import__('os')"}}, "__import__"),
        ({"index": {"formula": "red.tofile('x')"}}, "not a formula"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_orders_that_cannot_be_meant(client, tiles, change, message):
    answer = client.post("/projects/local/jobs", json=order(tiles, **change))
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["error"]["message"]
    assert answer.json()["data"] is None


def test_an_order_without_any_image(client, tiles):
    answer = client.post("/projects/local/jobs", json=order(tiles[2:], error_if_empty=True))
    assert answer.status_code == 422
    assert "no image was found" in answer.json()["error"]["message"]


def test_the_same_order_again_is_the_same(client, served, tiles):
    wanted = order(tiles, composite={"method": "best"}, index={"name": "NDVI"})
    answer = client.post("/projects/local/jobs", json=wanted)
    assert answer.status_code == 201
    assert answer.json()["data"]["order"] == served.submitted["order"]
    assert [job["id"] for job in answer.json()["data"]["jobs"]] == served.jobs


def test_too_many_orders_at_once(client, served, tiles):
    platform = served.platform
    taken = [platform.submitting.acquire(blocking=False) for _ in range(2)]
    try:
        answer = client.post("/projects/local/jobs", json=order(tiles))
    finally:
        for _ in taken:
            platform.submitting.release()
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_large_bodies(client):
    for body in (b"x" * (2**20 + 1), iter([b"x" * 2**19] * 3)):
        answer = client.post("/projects/local/jobs", content=body)
        assert answer.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_web_pages_cannot_use_an_open_platform(client, base, headers, status):
    assert client.get(base, headers=headers).status_code == status


def test_other_machines_cannot_use_an_open_platform(served):
    """Also when another server than ours runs the application on another address."""
    import httpx

    transport = httpx.ASGITransport(served.app, client=("192.0.2.7", 4711))

    async def ask():
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/projects/local")

    import asyncio

    assert asyncio.run(ask()).status_code == 401


def test_the_log_of_calls_holds_no_secret(client, base, caplog):
    url = link(client, base)
    with caplog.at_level(logging.INFO, "orchard.server"):
        client.get(url, headers={"Authorization": "Bearer SECRET"})
        client.get(f"{base}?token=SECRET")
        client.post("/oauth/token", auth=("local", "SECRET"))
    logged = [r.getMessage() for r in caplog.records if r.name == "orchard.server.access"]
    # The call that gave the link may be logged after its answer has come.
    lines = [line for line in logged if "/downloads/results/" not in line]
    assert len(lines) == 3
    assert "GET /downloads/…/" in lines[0]
    assert " 200 " in lines[0]
    signature = url.split("/downloads/")[1].split("/")[0]
    for secret in ("SECRET", signature):
        assert not any(secret in line for line in lines)


def test_what_goes_wrong_is_told_in_the_envelope(client):
    for path, status in (("/no/such", 404), ("/projects/local/jobs/NOPE", 404)):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == status
        assert answer.json()["data"] is None
    assert client.delete("/projects/local").status_code == 405


def test_a_bug_tells_strangers_nothing(served, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("inner workings")

    monkeypatch.setattr(served.platform, "jobs", broken)
    with served.client() as client:
        answer = client.get("/projects/local/jobs")
    assert answer.status_code == 500
    assert "inner workings" not in answer.text
    assert any("inner workings" in str(record.exc_info) for record in caplog.records)


def test_the_page_of_calls_needs_no_network(client):
    page = client.get("/docs").text
    assert "/projects/{project_id}/jobs/{job_id}" in page
    assert "http://" not in page.replace("http://127", "")
    assert "https://" not in page
    assert "<script" not in page
    assert client.get("/docs").headers["content-type"].startswith("text/html")
    assert client.get("/openapi.json").json()["info"]["title"] == "Orchard"


def test_events(client, served):
    with client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found = json.loads(line.removeprefix("data: "))
                if found["order"] == served.submitted["order"]:
                    break
    assert found["states"] == {"COMPLETED": 2, "EMPTY": 1}
    assert found["progress"] == 1
