"""Looking at data: plots with matplotlib, maps with folium.

All take plain files, so that results of any origin can be looked at. The names below load on first
use: a plot does not need folium.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from orchard.errors import MissingDependencyError

if TYPE_CHECKING:
    from orchard.viz.maps import map_images as map_images
    from orchard.viz.maps import map_quicklooks as map_quicklooks
    from orchard.viz.maps import map_results as map_results
    from orchard.viz.plots import plot_coverage as plot_coverage
    from orchard.viz.plots import plot_quicklooks as plot_quicklooks
    from orchard.viz.plots import plot_results as plot_results

_HOME = {
    "map_images": "maps",
    "map_quicklooks": "maps",
    "map_results": "maps",
    "plot_coverage": "plots",
    "plot_quicklooks": "plots",
    "plot_results": "plots",
}

__all__ = [
    "Paths",
    "map_images",
    "map_quicklooks",
    "map_results",
    "plot_coverage",
    "plot_quicklooks",
    "plot_results",
]

Paths: TypeAlias = (
    str
    | os.PathLike[str]
    | Iterable[str | os.PathLike[str]]
    | Mapping[str, Iterable[str | os.PathLike[str]]]
)
"""One file, several, or a mapping of several (what a job collection's download returns)."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_HOME[name]}", __name__)
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "matplotlib", "viz") from exc
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
