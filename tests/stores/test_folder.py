"""The folder store: its contract, and what only files and processes can get wrong."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
from pathlib import Path

import pytest

from orchard.errors import AccessError, ConflictError, InputError, StoreError
from orchard.stores import HasPath, open_store
from orchard.stores.base import TEMPORARY
from orchard.testing.stores import ConcurrentStoreTests, StoreTests


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestFolderStore(StoreTests, ConcurrentStoreTests):
    """The contract; the store is not the folder in which the tests keep their files."""

    @pytest.fixture
    def store(self, tmp_path):
        return open_store(tmp_path / "store")


def _claim(root, number, barrier, winners):
    store = open_store(root)
    for round_ in range(20):
        barrier.wait()
        try:
            store.put(f"claims/{round_}", str(number).encode(), if_absent=True)
        except ConflictError:
            continue
        winners.put((round_, number))


def _count(root, times):
    store = open_store(root)
    for _ in range(times):
        while True:
            data, info = store.get("count")
            try:
                store.put("count", str(int(data) + 1).encode(), if_match=info.etag)
            except ConflictError:
                continue
            break


def _churn(root, number):
    store = open_store(root)
    for _ in range(60):
        store.put(f"deep/er/{number}", b"1")
        assert store.get(f"deep/er/{number}")[0] == b"1"
        store.delete(f"deep/er/{number}")


def _run(target, *arguments):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=args) for args in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_if_absent_has_one_winner_among_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, winners = context.Barrier(3), context.Queue()
    _run(_claim, *[(tmp_path, number, barrier, winners) for number in range(3)])
    won = dict(winners.get(timeout=10) for _ in range(20))
    assert sorted(won) == list(range(20))
    assert winners.empty()
    store = open_store(tmp_path)
    assert all(store.get(f"claims/{r}")[0] == str(n).encode() for r, n in won.items())


def test_if_match_loses_no_update_among_processes(tmp_path):
    open_store(tmp_path).put("count", b"0")
    _run(_count, (tmp_path, 150), (tmp_path, 150))
    assert open_store(tmp_path).get("count")[0] == b"300"
    assert names(tmp_path) == ["count"]


def test_folders_come_and_go_among_processes(tmp_path):
    _run(_churn, (tmp_path, 1), (tmp_path, 2))
    assert names(tmp_path) == []


def test_two_versions_of_one_length_within_one_tick_differ(store):
    etags = [store.put("a", b"same size").etag for _ in range(200)]
    assert len(set(etags)) == 200


def test_nothing_is_made_before_the_first_put(tmp_path):
    store = open_store(tmp_path / "not yet")
    assert list(store.list()) == []
    store.delete("a")
    assert not (tmp_path / "not yet").exists()


def test_unfinished_files_are_never_listed_and_never_left(store, tmp_path, monkeypatch):
    store.put("a/b", b"1")
    (tmp_path / "store" / "a" / f"{TEMPORARY}deadbeef").write_bytes(b"of a process that was killed")
    assert [info.key for info in store.list()] == ["a/b"]
    (tmp_path / "store" / "a" / f"{TEMPORARY}deadbeef").unlink()

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="No space left") as error:
        store.put("a/b", b"2")
    assert error.value.key == "a/b"
    assert names(tmp_path / "store" / "a") == ["b"]
    assert store.get("a/b")[0] == b"1"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_a_full_disk_is_named(store):
    store.put("a", b"0123")
    with pytest.raises(StoreError, match=r"/dev/full.*make room"):
        store.fetch("a", Path("/dev/full"))


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    # Root may write anywhere: the system's answer is given here in its place.
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    store = open_store(tmp_path)
    store.put("a", b"1")
    if os.geteuid() == 0:
        monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.setattr(Path, "unlink", refuse)
    else:
        tmp_path.chmod(0o500)
    try:
        with pytest.raises(AccessError, match=str(tmp_path)) as error:
            store.put("b", b"1")
        assert error.value.key == "b"
        with pytest.raises(AccessError, match=str(tmp_path / "a")):
            store.delete("a")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_where_a_folder_should_be(store):
    store.put("a", b"1")
    with pytest.raises(StoreError, match="store/a"):
        store.put("a/b", b"2")
    store.put("c/d", b"3")
    with pytest.raises(StoreError):
        store.put("c", b"4")
    assert sorted(info.key for info in store.list()) == ["a", "c/d"]


def test_empty_folders_go_with_their_last_object_but_never_the_store(store, tmp_path):
    store.put("a/b/c", b"1")
    store.put("a/d", b"1")
    store.delete("a/b/c")
    assert not (tmp_path / "store/a/b").exists()
    store.delete("a/d")
    assert (tmp_path / "store").is_dir()
    assert names(tmp_path / "store") == []


def test_symbolic_links_are_followed_once(store, tmp_path):
    store.put("a/b", b"1")
    (tmp_path / "store" / "a" / "loop").symlink_to(tmp_path / "store")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c").write_bytes(b"2")
    (tmp_path / "store" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "store" / "dangling").symlink_to(tmp_path / "nowhere")
    assert sorted(info.key for info in store.list()) == ["a/b", "linked/c"]
    store.delete("linked/c")
    assert (tmp_path / "elsewhere").is_dir()


def test_without_hard_links(store, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store.put("a", b"1", if_absent=True)
    with pytest.raises(ConflictError):
        store.put("a", b"2", if_absent=True)
    assert store.get("a")[0] == b"1"


def test_without_locks(store, monkeypatch):
    import fcntl

    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    etag = store.put("a", b"1").etag
    with pytest.raises(StoreError, match="local disk"):
        store.put("a", b"2", if_match=etag)
    store.put("a", b"3")
    store.delete("a")
    assert list(store.list()) == []


def test_fetch_without_the_kernels_copy(store, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    store.put("a", bytes(range(256)) * 20_000)
    store.fetch("a", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == bytes(range(256)) * 20_000


def test_it_has_paths(store, tmp_path):
    assert isinstance(store, HasPath)
    assert store.path("a/b") == tmp_path / "store" / "a" / "b"
    with pytest.raises(InputError):
        store.path("../a")
    assert not isinstance(open_store("memory://no paths"), HasPath)


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("here")
    monkeypatch.chdir("/")
    store.put("a", b"1")
    assert (tmp_path / "here" / "a").read_bytes() == b"1"
    assert pickle.loads(pickle.dumps(store)).get("a")[0] == b"1"
