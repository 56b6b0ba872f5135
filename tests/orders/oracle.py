"""What a pre-ARD image must hold, worked out per pixel with pyproj and whole source files.

Shares nothing with the engine: each tile pixel's centre is transformed into the scene's CRS, and
the source pixel that it falls into (floor) is the answer; scenes of a day are mosaicked per band,
the first in (time, id) that has data wins.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from pyproj import Transformer

if TYPE_CHECKING:
    from pathlib import Path


class Scene:
    """A STAC item on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.item = json.loads(path.read_text())
        self.id = self.item["id"]
        self.time = self.item["properties"]["datetime"]

    def band(self, asset: str) -> rasterio.DatasetReader:
        return rasterio.open(self.path.parent / self.item["assets"][asset]["href"])


def positions(tile, scene_file, window) -> tuple[np.ndarray, np.ndarray]:
    """Fractional (row, col) in the source of each pixel centre of a window of the tile."""
    return _positions(
        tile.crs.to_wkt(), tile.transform, scene_file.crs.to_wkt(), scene_file.transform, window
    )


@lru_cache(maxsize=8)
def _positions(crs, transform, scene_crs, scene_transform, window):
    # The same for all bands and dates of scenes of one grid.
    row_off, col_off, height, width = window
    cols, rows = np.meshgrid(
        np.arange(col_off, col_off + width) + 0.5, np.arange(row_off, row_off + height) + 0.5
    )
    x, y = transform @ (cols, rows)
    to_source = Transformer.from_crs(crs, scene_crs, always_xy=True)
    sx, sy = to_source.transform(x, y)
    scol, srow = ~scene_transform @ (np.asarray(sx), np.asarray(sy))
    return np.asarray(srow), np.asarray(scol)


def expected(tile, scenes, band, collection, window):
    """Return the values of a band, and how near (in source pixels) each is to a pixel boundary."""
    nodata = collection["nodata"]
    out = np.full(window[2:], nodata, dtype=collection["dtype"])
    near = np.full(window[2:], np.inf)
    rule = collection["bands"][band]
    for scene in sorted(scenes, key=lambda s: (s.time, s.id)):
        with scene.band(rule.get("asset", band)) as file:
            data = file.read(1)
            fill = rule.get("nodata", file.nodata)
            srow, scol = positions(tile, file, window)
        row, col = np.floor(srow).astype(int), np.floor(scol).astype(int)
        inside = (row >= 0) & (row < data.shape[0]) & (col >= 0) & (col < data.shape[1])
        values = np.where(inside, data[np.where(inside, row, 0), np.where(inside, col, 0)], fill)
        take = (out == nodata) & inside & (values != fill)
        out[take] = values[take]
        distance = np.minimum(np.abs(srow - np.round(srow)), np.abs(scol - np.round(scol)))
        near = np.minimum(near, distance)
    return out, near
