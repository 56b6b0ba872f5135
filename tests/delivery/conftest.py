"""Servers as the tests of the stores have them, and a place for what trackers keep beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))

from fixtures import *  # noqa: F403 - pytest finds fixtures by their names here


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """Where the ledgers of remote stores go."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"
