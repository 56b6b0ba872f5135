"""Google Drive: the contract against a server that enforces its rules, names, retries."""

from __future__ import annotations

import hashlib
import http.client
import json
import pickle
import traceback

import httplib2
import pytest
from googleapiclient.errors import HttpError

from orchard.errors import (
    AccessError,
    ChecksumError,
    ConflictError,
    InputError,
    NotFoundError,
    StoreError,
)
from orchard.stores import open_store
from orchard.stores.gdrive_api import quoted, wait_before_retry
from orchard.testing.stores import StoreTests

FAST = {"backoff": 0.001, "retries": 3}


@pytest.fixture
def store(drive):
    return open_store(drive[0].url, **drive[0].options, **FAST)


class TestDriveStore(StoreTests):
    """The contract, but for what needs more than one writer."""

    @pytest.fixture
    def store(self, drive):
        return open_store(f"{drive[0].url}/sub folder", **drive[0].options, **FAST)


# Names.


def test_the_url_names_a_folder_of_my_drive(drive, store):
    store.put("a/b.txt", b"1")
    files = {file.name: file for file in drive[1].files.values()}
    assert files["orchard"].parents == ["the-root"]
    assert files["a"].parents == [files["orchard"].id]
    assert files["b.txt"].parents == [files["a"].id]


def test_another_root(drive):
    shared = drive[1].add("shared with me", "the-root")
    store = open_store(drive[0].url, root=shared, **drive[0].options, **FAST)
    store.put("a", b"1")
    assert next(f for f in drive[1].files.values() if f.name == "orchard").parents == [shared]


def test_replacing_keeps_the_id(drive, store):
    first = store.put("a", b"1")
    id_ = next(f.id for f in drive[1].files.values() if f.name == "a")
    second = store.put("a", b"2")
    assert [f.id for f in drive[1].files.values() if f.name == "a"] == [id_]
    assert first.etag != second.etag


def test_names_match_exactly(drive, store):
    store.put("name", b"1")
    folder = next(f.id for f in drive[1].files.values() if f.name == "orchard")
    drive[1].add("NAME", folder, b"2")
    drive[1].add("name and more", folder, b"3")
    assert store.get("name")[0] == b"1"
    assert store.get("NAME")[0] == b"2"
    store.delete("name")
    assert sorted(info.key for info in store.list()) == ["NAME", "name and more"]


def test_two_files_of_one_name_are_an_error_that_lists_both(drive, store):
    store.put("twin", b"1")
    store.put("other", b"1")
    folder = next(f.id for f in drive[1].files.values() if f.name == "orchard")
    own = next(f.id for f in drive[1].files.values() if f.name == "twin")
    foreign = drive[1].add("twin", folder, b"2")
    for call in (
        lambda: store.get("twin"),
        lambda: store.put("twin", b"3"),
        lambda: store.delete("twin"),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreError) as error:
            call()
        assert own in str(error.value)
        assert foreign in str(error.value)
        assert error.value.key == "twin"
    assert store.get("other")[0] == b"1"


def test_files_of_one_name_and_content_count_as_one(drive, store):
    store.put("twin", b"1")
    folder = next(f.id for f in drive[1].files.values() if f.name == "orchard")
    for _ in range(2):
        drive[1].add("twin", folder, b"1")
    assert store.get("twin")[0] == b"1"
    assert [info.key for info in store.list()] == ["twin"]
    assert [len(copies) for copies in store.copies("").values()] == [3]
    store.put("twin", b"2")
    assert [f.content for f in drive[1].files.values() if f.name == "twin"] == [b"2"]
    drive[1].add("twin", folder, b"2")
    store.delete("twin")
    assert list(store.list()) == []
    assert not [f for f in drive[1].files.values() if f.name == "twin"]


def test_two_folders_of_one_name_are_an_error_that_lists_both(drive, store):
    one, two = drive[1].add("orchard", "the-root"), drive[1].add("orchard", "the-root")
    with pytest.raises(StoreError, match=f"{one}, {two}"):
        store.put("a", b"1")
    assert len(drive[1].files) == 3


def test_what_is_no_object_is_not_seen(drive, store):
    store.put("a", b"1")
    folder = next(f.id for f in drive[1].files.values() if f.name == "orchard")
    drive[1].add("a sheet", folder, mime="application/vnd.google-apps.spreadsheet")
    drive[1].add("with/slash", folder, b"2")
    drive[1].add("a", folder)  # a folder of a file's name
    trashed = drive[1].add("trashed", folder, b"3")
    drive[1].files[trashed].trashed = True
    assert [info.key for info in store.list()] == ["a"]
    assert store.get("a")[0] == b"1"
    with pytest.raises(NotFoundError):
        store.get("trashed")


def test_a_folder_that_somebody_removed_is_found_anew(drive, store):
    store.put("a/b", b"1")
    drive[1]._delete(next(f.id for f in drive[1].files.values() if f.name == "orchard"))
    assert list(store.list()) == []
    with pytest.raises(NotFoundError):
        store.get("a/b")
    store.put("a/b", b"2")
    assert store.get("a/b")[0] == b"2"
    drive[1]._delete(next(f.id for f in drive[1].files.values() if f.name == "orchard"))
    store.put("a/b", b"3")
    assert [info.key for info in store.list()] == ["a/b"]


def test_more_than_one_page(drive, store, monkeypatch):
    import orchard.stores.gdrive_api as api

    monkeypatch.setattr(api, "_PAGE", 3)
    keys = sorted(f"many/{n:02d}" for n in range(10))
    for key in keys:
        store.put(key, b"1")
    assert sorted(info.key for info in store.list()) == keys


def test_a_fetch_of_several_ranges(store, tmp_path, monkeypatch):
    import orchard.stores.gdrive as module

    monkeypatch.setattr(module, "_RANGE", 7)
    store.put("a", bytes(range(100)))
    info = store.fetch("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == bytes(range(100))
    assert info.md5 == hashlib.md5(bytes(range(100))).hexdigest()


# What goes wrong on the way.


@pytest.fixture
def faults(drive):
    yield drive[0].faults
    assert drive[0].faults.plan == []


@pytest.mark.parametrize("fault", ["lost", "dropped", 429, 500, 503])
def test_a_write_whose_answer_is_lost_makes_one_file(drive, store, faults, fault):
    faults.plan = [("POST", fault), ("POST", fault)]
    store.put("folder/a", b"1", if_absent=True)
    faults.plan += [("POST", fault)]
    store.put("folder/b", b"2")
    faults.plan += [("PATCH", fault)]
    store.put("folder/a", b"3")
    assert sorted(f.name for f in drive[1].files.values()) == [
        "My Drive",
        "a",
        "b",
        "folder",
        "orchard",
    ]
    assert store.get("folder/a")[0] == b"3"


@pytest.fixture
def _small_chunks(monkeypatch):
    import orchard.stores.gdrive_api as api

    monkeypatch.setattr(api, "_SIMPLE", 100_000)
    monkeypatch.setattr(api, "_CHUNK", 2 * 256 * 1024)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("fault", ["lost", "dropped", 503, 429])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_an_upload_in_chunks_goes_on_after_a_failure(drive, store, faults, tmp_path, fault, before):
    content = bytes(range(256)) * (5 * 2**10)  # two and a half chunks
    (tmp_path / "source").write_bytes(content)
    store.put("first", b"so that the folder is there")
    faults.plan = [("POST", fault)] + [("PUT", "lost")] * before + [("PUT", fault)]
    store.put("large", tmp_path / "source")
    assert store.get("large")[0] == content
    assert len([f for f in drive[1].files.values() if f.name == "large"]) == 1
    faults.plan = [("PUT", fault)]
    store.put("large", tmp_path / "source")
    assert len([f for f in drive[1].files.values() if f.name == "large"]) == 1


@pytest.mark.usefixtures("_small_chunks")
def test_an_upload_whose_session_is_forgotten_starts_anew(drive, store, faults, tmp_path):
    (tmp_path / "source").write_bytes(bytes(2**20))
    faults.plan = [("PUT", 404)]
    assert store.put("large", tmp_path / "source").size == 2**20
    faults.plan = [("PUT", 404)] * 3
    with pytest.raises(StoreError, match="forgotten the upload"):
        store.put("large", tmp_path / "source")


@pytest.mark.parametrize("fault", ["dropped", 429, 500, "cut"])
def test_reading_and_deleting_are_repeated(store, faults, tmp_path, fault):
    store.put("a", b"0123456789" * 100)
    faults.plan = [("GET", fault)] * 2
    assert store.get("a")[0] == b"0123456789" * 100
    faults.plan = [("GET", fault)] * 2
    assert [info.key for info in store.list()] == ["a"]
    faults.plan = [("GET", fault)] * 2
    store.fetch("a", tmp_path / "a", offset=0)
    assert (tmp_path / "a").read_bytes() == b"0123456789" * 100
    faults.plan = [("DELETE", "lost")]
    store.delete("a")
    assert list(store.list()) == []


def test_a_flipped_bit_is_noticed(store, faults, tmp_path):
    info = store.put("a", b"0123456789")
    faults.plan = [("GET", None), ("GET", "flipped")]
    with pytest.raises(ChecksumError, match=info.md5) as error:
        store.get("a")
    assert error.value.key == "a"
    # A fetch does not verify, but tells the MD5.
    assert store.fetch("a", tmp_path / "a").md5 == info.md5


def test_failures_that_last_are_named(store, faults):
    faults.plan = [("GET", 503)] * 4
    with pytest.raises(StoreError, match=r"a in gdrive://orchard.*503") as error:
        store.get("a")
    assert error.value.key == "a"
    faults.plan = [("GET", 403)]
    with pytest.raises(AccessError, match="shared with"):
        store.get("a")
    # httplib2 repeats a request by itself when the connection breaks.
    faults.plan = [("GET", "dropped")] * 8
    with pytest.raises(StoreError, match="cannot be reached"):
        store.get("a")


def _error(status, reason, **headers):
    content = json.dumps({"error": {"errors": [{"reason": reason}], "message": reason}})
    response = httplib2.Response({"status": str(status), **headers})
    return HttpError(response, content.encode())


@pytest.mark.parametrize(
    ("error", "attempt", "wait"),
    [
        (_error(503, "backendError"), 0, 2.0),
        (_error(503, "backendError"), 2, 8.0),
        (_error(500, ""), 50, 60.0),
        (_error(429, "", **{"retry-after": "7"}), 0, 7.0),
        (_error(429, "", **{"retry-after": "86400"}), 0, 60.0),
        (_error(403, "userRateLimitExceeded"), 1, 4.0),
        (_error(403, "insufficientFilePermissions"), 0, None),
        (_error(404, "notFound"), 0, None),
        (_error(400, "invalid"), 0, None),
        (ConnectionResetError(), 0, 2.0),
        (TimeoutError(), 0, 2.0),
        (http.client.IncompleteRead(b""), 0, 2.0),
        (OSError("a disk"), 0, None),
        (ValueError(), 0, None),
    ],
)
def test_what_is_done_again_and_when(error, attempt, wait):
    assert wait_before_retry(error, attempt, 2.0) == wait


def test_texts_are_quoted():
    assert quoted("it's a \\ b") == r"'it\'s a \\ b'"


# Who one is.


def test_a_wrong_token(drive):
    from google.oauth2.credentials import Credentials

    secret = "hunter2-hunter2"
    options = {**drive[0].options, "credentials": Credentials(token=secret)}
    store = open_store(drive[0].url, **options, **FAST)
    with pytest.raises(AccessError) as error:
        store.get("a")
    for text in (str(error.value), repr(store), "".join(traceback.format_exception(error.value))):
        assert secret not in text


def test_who_one_is(store):
    assert store.account()["user"]["emailAddress"] == "grower@example.org"


def test_it_goes_to_another_process(store):
    store.put("a", b"1")
    again = pickle.loads(pickle.dumps(store))
    assert again.get("a")[0] == b"1"
    with pytest.raises(ConflictError):
        again.put("a", b"2", if_absent=True)


def test_urls_and_options_that_cannot_be_meant(drive):
    for url in ("gdrive://.", "gdrive://a/../b", "gdrive://a//b"):
        with pytest.raises(InputError):
            open_store(url, **drive[0].options)
    with pytest.raises(InputError, match="retries"):
        open_store("gdrive://a", **drive[0].options, retries=-1)


def test_without_the_extra(monkeypatch):
    import sys

    from orchard.errors import MissingDependencyError

    for name in [n for n in sys.modules if n.startswith("orchard.stores.gdrive")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "googleapiclient", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'orchard\[gdrive\]'"):
        open_store("gdrive://a")


def test_the_root_itself_is_a_store(drive):
    """As CEDAR has it: its folders lie in the root of the Drive."""
    server, there = drive
    store = open_store("gdrive://", **server.options)
    store.put("CEDAR_PREARD/a.json", b"1")
    store.put("b", b"2")
    folder = next(file for file in there.files.values() if file.name == "CEDAR_PREARD")
    assert folder.parents == ["the-root"]
    assert {info.key for info in store.list()} == {"CEDAR_PREARD/a.json", "b"}
    assert [info.key for info in store.list("CEDAR_PREARD")] == ["CEDAR_PREARD/a.json"]
    assert store.get("b")[0] == b"2"
    store.delete("b")
    assert [info.key for info in store.list()] == ["CEDAR_PREARD/a.json"]
