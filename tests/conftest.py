"""Fixtures that all tests share: the real scenes, and a small made archive."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

# Of the Dask workers that tests start themselves; see `_QUIET` in engines/local/distributed.py.
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def scenes() -> Path:
    """The folder of real scenes."""
    if not (SHARED / "catalog.json").exists():
        pytest.skip("the real scenes are not beside the project (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def user_collections() -> dict:
    """The two real scene sets as a configuration brings them."""
    return yaml.safe_load((Path(__file__).parent / "collections.yaml").read_text())


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic archive: the path of its catalogue."""
    from orchard.demo.archive import make_archive

    return make_archive(tmp_path_factory.mktemp("archive"), size=128, dates=4)
