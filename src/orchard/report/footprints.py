"""Outlines of tiles in longitude and latitude, as few points as a small map needs (pure)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["rings"]

_POINTS = 8000
"""Points of all tiles together; edges of many tiles have fewer each."""


def rings(tiles: Sequence[Mapping[str, Any]]) -> list[list[float] | None]:
    """Return the outline of each tile: longitude, latitude, by turns, in degrees.

    Clockwise as seen from above, from the upper left corner, not closed: what d3-geo takes for a
    polygon on the sphere, which needs no cut at the antimeridian. None where a tile's edges are not
    on Earth.

    Parameters
    ----------
    tiles : sequence of mapping
        As of `Tile.to_dict`.

    Raises
    ------
    GridError
        For a CRS that is not understood.
    """
    import numpy as np

    from orchard.grid.crs import LONLAT, parse_crs, transformer

    found: list[list[float] | None] = [None] * len(tiles)
    edge = max(1, min(8, _POINTS // max(4 * len(tiles), 1)))
    by_crs: dict[str, list[int]] = defaultdict(list)
    for position, tile in enumerate(tiles):
        by_crs[str(tile["crs"])].append(position)
    for crs, positions in by_crs.items():
        bounds = np.array([tiles[position]["bounds"] for position in positions], dtype=float)
        x, y = _outlines(bounds, edge)
        lon, lat = transformer(parse_crs(crs), LONLAT).transform(x, y)
        points = np.stack([lon, lat], axis=-1)
        # Beyond the edge of a map some projections give places all the same: not the same ones.
        again = np.stack(transformer(LONLAT, parse_crs(crs)).transform(lon, lat), axis=-1)
        away = np.abs(again - np.stack([x, y], axis=-1)).max(axis=(1, 2))
        whole = np.isfinite(points).all(axis=(1, 2)) & (away < 0.01 * np.ptp(x, axis=1))
        for position, ring, is_whole in zip(positions, points.round(4), whole, strict=True):
            found[position] = ring.ravel().tolist() if is_whole else None
    return found


def _outlines(
    bounds: NDArray[np.float64], edge: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of outlines (one a row) with so many points an edge."""
    import numpy as np

    left, bottom, right, top = (column[:, None] for column in bounds.T)
    t = np.arange(edge) / edge
    along_x, along_y = left + (right - left) * t, top + (bottom - top) * t
    back_x, back_y = right + (left - right) * t, bottom + (top - bottom) * t
    one = np.ones_like(t)
    x = np.concatenate([along_x, right * one, back_x, left * one], axis=1)
    y = np.concatenate([top * one, along_y, bottom * one, back_y], axis=1)
    return x, y
