"""Everything goes wrong on the way: each file arrives whole, or its failure is named."""

from __future__ import annotations

import random
import time

import pytest

from orchard import delivery
from orchard.delivery.transfer import Transfer
from orchard.errors import BulkError, ChecksumError, InputError
from orchard.stores import open_store
from orders import make_order

PASSING = ["dropped", "cut", "flipped", "stalled", "silent", 429, 500, 503]
QUICK = {"read_timeout": 0.3, "retry_config": {"backoff": {"init_backoff": 0.01}}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("orchard.delivery.transfer.random.uniform", lambda low, high: 0.0)


@pytest.fixture(params=["s3", "gcs"])
def server(request):
    server = request.getfixturevalue(request.param)
    server.faults.seen.clear()
    yield server
    server.faults.plan.clear()
    server.faults.broken.clear()
    server.faults.retry_after = "0"


def check(dest, contents) -> None:
    """Exactly these files are there, whole, and documents; no part of any other."""
    found = {path.name: path.read_bytes() for path in dest.iterdir() if path.suffix != ".json"}
    assert found == contents


def gets(server, end: str) -> int:
    return sum(method == "GET" and path.endswith(end) for method, path, _ in server.faults.seen)


@pytest.mark.parametrize("recorded", [True, False])
def test_what_passes_is_waited_for(server, fresh, tmp_path, recorded):
    """Every kind of fault, several times, in any order, in files and documents."""
    store = fresh(server, **QUICK)
    info, contents = make_order(store, tasks=8, shards=2, size=60_000, recorded=recorded)
    faults = PASSING * 3 + [None] * 12
    random.Random(3).shuffle(faults)
    if not recorded:
        faults.insert(0, None)  # the listing: no checksum tells of a flipped bit in it
    server.faults.plan = [("GET", fault) for fault in faults]
    delivery.download(info, store, tmp_path / "d")
    assert server.faults.plan == []
    check(tmp_path / "d", contents)
    assert len(list((tmp_path / "d").glob("*.json"))) == 8


@pytest.mark.parametrize("fault", ["cut", "dropped", "stalled", 503, 429, 404, 403])
def test_what_lasts_is_named_and_the_rest_arrives(server, fresh, tmp_path, fault):
    info, contents = make_order(fresh(server), tasks=3, shards=1, size=50_000)
    store = fresh(server, read_timeout=0.2, retry_config={"max_retries": 0})
    server.faults.broken = {"/ORDER_1.tif": fault}
    with pytest.raises(BulkError) as error:
        delivery.download(info, store, tmp_path / "d")
    assert error.value.names == ("P/ORDER_1.tif",)
    assert "ORDER_1.tif" in str(error.value.exceptions[0])
    del contents["ORDER_1.tif"]
    found = {path.name: path.read_bytes() for path in (tmp_path / "d").glob("[!.]*.tif")}
    assert found == contents
    assert not (tmp_path / "d" / "ORDER_1.json").exists(), "a task is not done without its image"


@pytest.mark.parametrize("recorded", [True, False])
def test_a_flipped_byte_never_passes(server, fresh, tmp_path, recorded):
    """Whether the order's record knows the checksum or only the store does."""
    store = fresh(server)
    info, contents = make_order(store, tasks=2, shards=1, size=70_000, recorded=recorded)
    server.faults.broken = {"/ORDER_1.tif": "flipped"}
    with pytest.raises(BulkError) as error:
        delivery.download(info, store, tmp_path / "d")
    assert error.value.names == ("P/ORDER_1.tif",)
    assert isinstance(error.value.exceptions[0], ChecksumError)
    del contents["ORDER_1.tif"]
    check(tmp_path / "d", contents)
    assert gets(server, "/ORDER_1.tif") == Transfer.tries


@pytest.mark.parametrize("fault", ["stalled", "silent"])
def test_a_stalled_connection_is_given_up_and_done_again(server, fresh, tmp_path, fault):
    store = fresh(server, **QUICK)
    info, contents = make_order(store, tasks=1, shards=1, size=200_000)
    server.faults.plan = [("GET", fault)] * 2
    start = time.monotonic()
    delivery.download(info, store, tmp_path / "d")
    assert time.monotonic() - start > 2 * QUICK["read_timeout"]
    check(tmp_path / "d", contents)


def test_a_stalled_drive_is_given_up_and_done_again(drive, tmp_path):
    server, _ = drive
    store = open_store(server.url, **server.options, backoff=0.001, read_timeout=0.2)
    info, contents = make_order(store, tasks=2, shards=2, size=20_000)
    server.faults.plan = [("GET", fault) for fault in ("stalled", "silent", 429, "dropped", "cut")]
    delivery.download(info, store, tmp_path / "d")
    assert server.faults.plan == []
    check(tmp_path / "d", contents)


def test_a_service_that_asks_to_wait_is_asked_again(server, fresh, tmp_path):
    store = fresh(server)
    info, contents = make_order(store, tasks=2, shards=1, size=1000)
    server.faults.retry_after = "1"
    server.faults.plan = [("GET", 429)] * 3
    delivery.download(info, store, tmp_path / "d")
    check(tmp_path / "d", contents)
    assert len(server.faults.seen) >= 3 + 4


def test_a_burst_of_503_is_outlived(server, fresh, tmp_path):
    store = fresh(server, **QUICK)
    info, contents = make_order(store, tasks=6, shards=1, size=1000)
    server.faults.plan = [("GET", 503)] * 40
    delivery.download(info, store, tmp_path / "d")
    assert server.faults.plan == []
    check(tmp_path / "d", contents)


def test_a_timeout_that_cannot_be_meant_is_refused():
    for seconds in (0, -1, "soon", float("nan"), True):
        with pytest.raises(InputError, match="read_timeout"):
            open_store("s3://bucket", read_timeout=seconds)
