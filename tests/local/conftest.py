from __future__ import annotations

import pytest
from tiny_world import World

from orchard.engines.local.ledger import Ledger


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """Scratch space of its own for each test (worker processes inherit it)."""
    import tempfile

    folder = tmp_path_factory.mktemp("tmp")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr("orchard.engines.local.scratch._MINE", {})
    return folder


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()
