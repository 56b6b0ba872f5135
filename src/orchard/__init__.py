"""Orchard orders, tracks and delivers analysis-ready satellite data.

The names below load on first use, so that ``import orchard`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "OrchardError": "errors",
    "Tile": "grid",
    "TileGrid": "grid",
    "load_grids": "grid",
    "Collection": "collections",
    "load_collections": "collections",
    "TrackingInfo": "tracking",
    "open_store": "stores",
    "open_engine": "engines",
    "Tracker": "tracker",
    "clean_tracked": "delivery",
    "download_tracked": "delivery",
    "convert": "ard",
    "open_ard": "ard",
    "load_config": "config",
    "make_report": "report",
    "authenticate": "jobs",
    "initialize_job": "jobs",
    "initialize_jobcollection": "jobs",
    "initialize_jobtask": "jobs",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the keys are strings

if TYPE_CHECKING:
    from .ard.convert import convert as convert
    from .ard.open import open_ard as open_ard
    from .collections import Collection as Collection
    from .collections import load_collections as load_collections
    from .config import load_config as load_config
    from .delivery import clean_tracked as clean_tracked
    from .delivery import download_tracked as download_tracked
    from .engines import open_engine as open_engine
    from .errors import OrchardError as OrchardError
    from .grid import Tile as Tile
    from .grid import TileGrid as TileGrid
    from .grid import load_grids as load_grids
    from .jobs import authenticate as authenticate
    from .jobs import initialize_job as initialize_job
    from .jobs import initialize_jobcollection as initialize_jobcollection
    from .jobs import initialize_jobtask as initialize_jobtask
    from .report import make_report as make_report
    from .stores import open_store as open_store
    from .tracker import Tracker as Tracker
    from .tracking import TrackingInfo as TrackingInfo


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'orchard' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
