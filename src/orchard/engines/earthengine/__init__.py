"""The Earth Engine engine; see `EarthEngine`."""

from __future__ import annotations

from .auth import login, resolve_credentials
from .engine import EarthEngine, ledger_path
from .filters import read_filter
from .operations import Operation
from .splitting import Limits

__all__ = [
    "EarthEngine",
    "Limits",
    "Operation",
    "ledger_path",
    "login",
    "read_filter",
    "resolve_credentials",
]
