"""Tile grids: equal tiles in a projected (or geographic) plane, by (row, col).

Rows count down from the upper edge, columns count to the right; both may be negative. A tile covers
``left <= x < right`` and ``bottom < y <= top``, so that every point is in exactly one tile.
"""

from __future__ import annotations

from .named import get_grid, load_grids
from .tile import Bounds, Tile
from .tilegrid import TileGrid

__all__ = ["Bounds", "Tile", "TileGrid", "get_grid", "load_grids"]
