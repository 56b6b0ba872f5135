"""The store in memory: its contract, names, pickling."""

from __future__ import annotations

import pickle

import pytest

from orchard.errors import InputError
from orchard.stores import open_store
from orchard.testing.stores import ConcurrentStoreTests, StoreTests


class TestMemoryStore(StoreTests, ConcurrentStoreTests):
    """The contract."""

    @pytest.fixture
    def store(self, tmp_path):
        return open_store(f"memory://{tmp_path.name}-{tmp_path.parent.name}")


def test_one_name_is_one_store():
    open_store("memory://one").put("a", b"1")
    assert open_store("memory://one").get("a")[0] == b"1"
    assert list(open_store("memory://another").list()) == []


def test_it_cannot_go_to_another_process():
    with pytest.raises(InputError, match="folder instead"):
        pickle.dumps(open_store("memory://stays"))


def test_it_has_no_folders():
    with pytest.raises(InputError, match="memory://NAME"):
        open_store("memory://a/b")
