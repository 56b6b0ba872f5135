"""The contract of a store, as tests that any implementation can be run through.

.. code-block:: python

    from orchard.testing.stores import ConcurrentStoreTests, StoreTests

    class TestMyStore(StoreTests, ConcurrentStoreTests):
        @pytest.fixture
        def store(self):
            return MyStore(...)          # an empty one

`StoreTests` is what every store promises; `ConcurrentStoreTests` what those promise besides whose
conditions hold among many writers.
"""

# A test's name is its docstring.
# ruff: noqa: D102

from __future__ import annotations

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest

from orchard.errors import ConflictError, InputError, NotFoundError, OrchardError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from orchard.stores import Store

__all__ = ["ODD_KEYS", "REFUSED_KEYS", "ConcurrentStoreTests", "StoreTests"]

#: Keys that every store holds as they are.
ODD_KEYS = (
    "a b/c d.txt",
    " leading and trailing ",
    "über/日本/🛰.json",
    "e\u0301 is not \u00e9",
    "100%/50%25.txt",
    'it\'s "quoted"',
    "a+b=c&d?e#f",
    "[x]{y}(z)<w>*",
    "comma,semi;colon:bar|tilde~hat^at@",
    ".hidden/..also/...",
    "UPPER/lower",
    "-dash/_underscore",
    "x" * 200,
)

#: Keys that no store takes.
REFUSED_KEYS = (
    "",
    "/absolute",
    "..",
    "../up",
    "a/../b",
    "a/./b",
    ".",
    "a//b",
    "a/",
    "a\\b",
    "a\nb",
    "a\x00b",
    "a\x7fb",
    "a\u2028b",
    "\ud800",
    "x" * 201,
    "/".join(["x" * 200] * 6),
    "a/.orchard-tmp-1",
)


def _keys(store: Store, folder: str = "") -> list[str]:
    return sorted(info.key for info in store.list(folder))


class StoreTests:
    """What every store promises; inherit, and give an empty `store` as a fixture."""

    #: A file of this size must make the store use its way for large files.
    large: ClassVar[int] = 20 * 2**20

    def test_what_was_put_is_got(self, store: Store) -> None:
        put = store.put("a/b.bin", b"hello")
        data, got = store.get("a/b.bin")
        assert data == b"hello"
        assert (put.key, put.size) == (got.key, got.size) == ("a/b.bin", 5)
        assert put.etag is not None
        assert put.etag == got.etag
        assert put.md5 == hashlib.md5(b"hello", usedforsecurity=False).hexdigest()
        assert got.md5 in (None, put.md5)
        assert got.modified is not None
        assert got.modified.tzinfo is not None
        assert abs(got.modified - datetime.now(UTC)) < timedelta(days=1)

    def test_the_listing_says_what_get_says(self, store: Store) -> None:
        store.put("a/b.bin", b"hello")
        listed = next(iter(store.list()))
        got = store.get("a/b.bin")[1]
        assert listed.md5 in (None, got.md5)
        # Services tell the time of writing by the second in one place and finer in the other.
        assert listed.modified is not None
        assert got.modified is not None
        assert abs(listed.modified - got.modified) < timedelta(seconds=2)
        assert dataclasses.replace(listed, md5=None, modified=None) == dataclasses.replace(
            got, md5=None, modified=None
        )

    def test_an_empty_object(self, store: Store, tmp_path: Path) -> None:
        store.put("empty", b"")
        assert store.get("empty")[0] == b""
        assert store.fetch("empty", tmp_path / "empty").size == 0
        assert (tmp_path / "empty").read_bytes() == b""
        (tmp_path / "source").touch()
        store.put("empty too", tmp_path / "source")
        assert store.get("empty too")[0] == b""

    def test_put_replaces_the_whole_content(self, store: Store) -> None:
        first = store.put("a", b"a longer one")
        second = store.put("a", b"short")
        assert store.get("a")[0] == b"short"
        assert first.etag != second.etag
        assert _keys(store) == ["a"]

    def test_a_file_is_stored_and_left_where_it_is(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "source.bin"
        source.write_bytes(b"from a file")
        info = store.put("folder/copy.bin", source)
        assert (info.size, info.md5) == (
            11,
            hashlib.md5(b"from a file", usedforsecurity=False).hexdigest(),
        )
        assert source.read_bytes() == b"from a file"
        source.write_bytes(b"changed afterwards")
        assert store.get("folder/copy.bin")[0] == b"from a file"

    def test_a_file_that_is_not_there_cannot_be_stored(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"nothing\.bin"):
            store.put("a", tmp_path / "nothing.bin")
        assert _keys(store) == []

    def test_a_large_file_goes_there_and_back(self, store: Store, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        block = bytes(range(256)) * 4096
        with source.open("wb") as file:
            for number in range(self.large // len(block)):
                file.write(number.to_bytes(8) + block[8:])
        put = store.put("large", source)
        got = store.fetch("large", target)
        assert put.size == got.size == source.stat().st_size
        assert got.etag == put.etag
        assert got.md5 in (None, put.md5)
        assert target.read_bytes() == source.read_bytes()

    def test_what_is_not_there(self, store: Store, tmp_path: Path) -> None:
        store.put("a/b", b"1")
        for key in ("nothing", "a", "a/b/c", "a/bb"):
            with pytest.raises(NotFoundError) as error:
                store.get(key)
            assert error.value.key == key
            with pytest.raises(NotFoundError):
                store.fetch(key, tmp_path / "target")
            with pytest.raises(NotFoundError):
                store.fetch(key, tmp_path / "target", offset=1)
        assert not (tmp_path / "target").exists()
        assert _keys(store, "nothing") == []
        assert _keys(store, "a/b") == []

    def test_list_is_by_folder_never_by_prefix(self, store: Store) -> None:
        keys = ["a/1", "a/b/2", "a/b/c/3", "ab/4", "a b/5", "a.json", "b"]
        for key in keys:
            store.put(key, key.encode())
        assert _keys(store) == sorted(keys)
        assert _keys(store, "") == sorted(keys)
        assert _keys(store, "a") == _keys(store, "a/") == ["a/1", "a/b/2", "a/b/c/3"]
        assert _keys(store, "a/b") == ["a/b/2", "a/b/c/3"]
        assert _keys(store, "a/b/c/3") == []
        assert _keys(store, "A") == []

    def test_a_listing_of_many(self, store: Store) -> None:
        keys = [f"many/{number:04d}" for number in range(120)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda key: store.put(key, key.encode()), keys))
        assert _keys(store, "many") == keys
        assert {info.size for info in store.list("many")} == {9}

    def test_delete(self, store: Store) -> None:
        for key in ("a/b", "a/bc", "a/b2/c", "ab"):
            store.put(key, b"1")
        store.delete("a/b")
        assert _keys(store) == ["a/b2/c", "a/bc", "ab"]
        store.delete("a/b")
        store.delete("a")
        store.delete("a/b2")
        store.delete("nothing/at/all")
        assert _keys(store) == ["a/b2/c", "a/bc", "ab"]
        for key in ("a/b2/c", "a/bc", "ab"):
            store.delete(key)
        assert _keys(store) == []
        store.put("a/b", b"again")
        assert store.get("a/b")[0] == b"again"

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys_are_held_as_they_are(self, store: Store, key: str, tmp_path: Path) -> None:
        store.put(key, key.encode())
        assert store.get(key)[0] == key.encode()
        assert _keys(store) == [key]
        if "/" in key:
            assert _keys(store, key.rpartition("/")[0]) == [key]
        store.fetch(key, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == key.encode()
        store.delete(key)
        assert _keys(store) == []

    @pytest.mark.parametrize("key", REFUSED_KEYS, ids=repr)
    def test_keys_that_are_refused(self, store: Store, key: str, tmp_path: Path) -> None:
        with pytest.raises(InputError):
            store.put(key, b"1")
        with pytest.raises(InputError):
            store.get(key)
        with pytest.raises(InputError):
            store.fetch(key, tmp_path / "target")
        with pytest.raises(InputError):
            store.delete(key)
        if key not in ("", "a/"):  # these are folders
            with pytest.raises(InputError):
                list(store.list(key))
        assert not (tmp_path / "target").exists()

    def test_if_absent(self, store: Store) -> None:
        store.put("a", b"first", if_absent=True)
        with pytest.raises(ConflictError) as error:
            store.put("a", b"second", if_absent=True)
        assert error.value.key == "a"
        assert store.get("a")[0] == b"first"
        store.delete("a")
        store.put("a", b"third", if_absent=True)
        assert store.get("a")[0] == b"third"

    def test_if_match(self, store: Store) -> None:
        first = store.put("a", b"1")
        second = store.put("a", b"2", if_match=first.etag)
        with pytest.raises(ConflictError) as error:
            store.put("a", b"3", if_match=first.etag)
        assert error.value.key == "a"
        assert store.get("a")[0] == b"2"
        assert store.get("a")[1].etag == second.etag
        third = store.put("a", b"4", if_match=store.get("a")[1].etag)
        listed = next(iter(store.list()))
        assert listed.etag == third.etag
        store.put("a", b"5", if_match=listed.etag)
        assert store.get("a")[0] == b"5"

    def test_if_match_of_what_is_not_there(self, store: Store) -> None:
        etag = store.put("a", b"1").etag
        store.delete("a")
        with pytest.raises(ConflictError):
            store.put("a", b"2", if_match=etag)
        assert _keys(store) == []

    def test_conditions_hold_for_files_too(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"1")
        first = store.put("a", source, if_absent=True)
        with pytest.raises(ConflictError):
            store.put("a", source, if_absent=True)
        source.write_bytes(b"2")
        store.put("a", source, if_match=first.etag)
        with pytest.raises(ConflictError):
            store.put("a", source, if_match=first.etag)
        assert store.get("a")[0] == b"2"

    def test_conditions_that_exclude_each_other(self, store: Store) -> None:
        with pytest.raises(InputError):
            store.put("a", b"1", if_absent=True, if_match="x")

    @pytest.mark.parametrize("offset", [0, 1, 9, 10])
    def test_fetch_goes_on_where_it_stopped(
        self, store: Store, tmp_path: Path, offset: int
    ) -> None:
        info = store.put("a", b"0123456789")
        target = tmp_path / "target"
        target.write_bytes(b"0123456789"[:offset] + b"garbage, and much more of it")
        assert store.fetch("a", target, offset=offset).etag == info.etag
        assert target.read_bytes() == b"0123456789"

    def test_fetch_takes_the_word_of_the_caller_for_the_first_part(
        self, store: Store, tmp_path: Path
    ) -> None:
        store.put("a", b"0123456789")
        target = tmp_path / "target"
        target.write_bytes(b"abcd")
        store.fetch("a", target, offset=4)
        assert target.read_bytes() == b"abcd456789"

    def test_fetch_refuses_offsets_that_cannot_be(self, store: Store, tmp_path: Path) -> None:
        store.put("a", b"0123")
        target = tmp_path / "target"
        target.write_bytes(b"012345")
        with pytest.raises(StoreError, match="anew"):
            store.fetch("a", target, offset=6)
        with pytest.raises(InputError):
            store.fetch("a", target, offset=-1)
        target.write_bytes(b"0")
        with pytest.raises(InputError, match="only 1 byte"):
            store.fetch("a", target, offset=2)

    def test_fetch_to_where_one_cannot_write(self, store: Store, tmp_path: Path) -> None:
        store.put("a", b"0123")
        with pytest.raises(StoreError, match="no such folder"):
            store.fetch("a", tmp_path / "no such folder" / "target")

    def test_many_threads_use_one_store(self, store: Store, tmp_path: Path) -> None:
        def there_and_back(number: int) -> bool:
            data = bytes([number]) * (1000 + number)
            store.put(f"threads/{number}", data)
            store.fetch(f"threads/{number}", tmp_path / str(number))
            return (
                store.get(f"threads/{number}")[0] == data == (tmp_path / str(number)).read_bytes()
            )

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(there_and_back, range(40)))

    def test_it_says_where_it_is(self, store: Store) -> None:
        assert store.url
        assert store.url in repr(store)

    def test_errors_are_of_our_tree(self, store: Store) -> None:
        for call in (lambda: store.get("nothing"), lambda: store.put("a", b"", if_match="no")):
            with pytest.raises(OrchardError):
                call()


class ConcurrentStoreTests:
    """What a store promises whose conditions hold among many writers."""

    def test_if_absent_has_exactly_one_winner(self, store: Store) -> None:
        def claim(number: int) -> bool:
            try:
                store.put("claim", str(number).encode(), if_absent=True)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(claim, range(24)))
        assert sum(won) == 1
        assert store.get("claim")[0] == str(won.index(True)).encode()

    def test_if_match_loses_no_update(self, store: Store) -> None:
        store.put("count", b"0")

        def add(_: int) -> None:
            while True:
                data, info = store.get("count")
                try:
                    store.put("count", str(int(data) + 1).encode(), if_match=info.etag)
                except ConflictError:
                    continue
                return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(24)))
        assert store.get("count")[0] == b"24"

    def test_nobody_sees_a_part(self, store: Store) -> None:
        contents = {letter * 200_000 for letter in (b"a", b"b")}
        store.put("whole", b"a" * 200_000)

        def write(content: bytes) -> None:
            for _ in range(10):
                store.put("whole", content)

        with ThreadPoolExecutor(4) as pool:
            writing = [pool.submit(write, content) for content in contents]
            seen = {store.get("whole")[0] for _ in range(30)}
            for job in writing:
                job.result()
        assert seen <= contents
