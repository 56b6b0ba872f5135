"""A world small enough for many tasks: scenes of a few pixels, a grid of tiny tiles, a catalogue.

Every pixel of scene number ``n`` is ``100 * n + 10 * row_of_tile + col_of_tile`` (plus its band's
number, from 0), so that what an image must hold can be said without any reader.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

import orchard
from orchard.collections import load_collections

if TYPE_CHECKING:
    from pathlib import Path

CRS, UL, RES, SIDE = "EPSG:32632", (600000.0, 5200000.0), 20.0, 32
COLLECTION = "TINY/SCENES"
BANDS = ("red", "nir")


@dataclass
class World:
    """The world in a folder.

    Parameters
    ----------
    folder : Path
    tiles : (rows, columns)
    days : int
        One scene a day from 2022-06-01 10:00 UTC on, over all tiles.
    """

    folder: Path
    tiles: tuple[int, int] = (2, 2)
    days: int = 2
    times: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scenes = self.folder / "scenes"
        self.scenes.mkdir(parents=True, exist_ok=True)
        first = datetime(2022, 6, 1, 10, tzinfo=UTC)
        self.times = self.times or [
            (first + timedelta(days=day)).isoformat() for day in range(self.days)
        ]
        self.items = [self.write(number, time) for number, time in enumerate(self.times)]
        self.catalog = self.folder / "catalog.json"
        self.save()

    def value(self, number: int, row: int, col: int, band: int = 0) -> int:
        return 100 * (number + 1) + 10 * row + col + band

    def write(self, number: int, time: str) -> dict[str, Any]:
        """Write the files of a scene and return its item."""
        rows, cols = self.tiles
        height, width = rows * SIDE, cols * SIDE
        transform = Affine(RES, 0, UL[0], 0, -RES, UL[1])
        assets = {}
        for band, name in enumerate(BANDS):
            path = self.scenes / f"s{number}_{name}.tif"
            path.unlink(missing_ok=True)  # GDAL looks at what it replaces
            tiles = [[self.value(number, r, c, band) for c in range(cols)] for r in range(rows)]
            data = np.kron(np.array(tiles, "uint16"), np.ones((SIDE, SIDE), "uint16"))
            with rasterio.open(
                path, "w", driver="GTiff", dtype="uint16", count=1, crs=CRS, nodata=0,
                height=height, width=width, transform=transform,
            ) as target:  # fmt: skip
                target.write(data, 1)
            assets[name] = {"href": str(path)}
        return item(f"s{number}", time, footprint(self.tiles), assets)

    def save(self) -> Path:
        document = {"type": "FeatureCollection", "features": self.items}
        self.catalog.write_text(json.dumps(document))
        return self.catalog

    @property
    def grid(self) -> orchard.TileGrid:
        rows, cols = self.tiles
        return orchard.TileGrid(
            ul=UL, crs=CRS, res=(RES, RES), size=(SIDE, SIDE),
            limits=((0, rows - 1), (0, cols - 1)), name="TINY",
        )  # fmt: skip

    @property
    def indices(self) -> list[tuple[int, int]]:
        return [(r, c) for r in range(self.tiles[0]) for c in range(self.tiles[1])]

    def engine(self, **options: Any) -> Any:
        return orchard.open_engine("local", catalog=self.catalog, **options)

    def tracker(self, store: Any = None, *, engine: Any = None, **options: Any) -> Any:
        engine_options = options.pop("engine_options", {})
        store = orchard.open_store(self.folder / "store") if store is None else store
        options.setdefault("tracking_template", "order")
        return orchard.Tracker(
            self.grid, store, engine=engine or self.engine(**engine_options),
            collections=collections(), **options,
        )  # fmt: skip

    def order(self, freq: str | None = None) -> tuple[Any, ...]:
        """Arguments of an order of everything."""
        end = datetime(2022, 6, 1, tzinfo=UTC) + timedelta(days=max(self.days, 1))
        return (COLLECTION, self.indices, "2022-06-01", end.isoformat(), freq)


def collections() -> dict[str, Any]:
    return load_collections({COLLECTION: description()})


def description(**changes: Any) -> dict[str, Any]:
    return {
        "dtype": "uint16",
        "nodata": 0,
        "bands": {name: {"asset": name} for name in BANDS},
        "stac": {"collection": "tiny"},
        "properties": {"CLOUD_COVER": "eo:cloud_cover"},
        "metadata": ["eo:cloud_cover"],
        **changes,
    }


def footprint(tiles: tuple[int, int]) -> dict[str, Any]:
    """Outline of a block of tiles from the upper left, lon/lat."""
    to_lonlat = Transformer.from_crs(CRS, 4326, always_xy=True).transform
    right, bottom = UL[0] + tiles[1] * SIDE * RES, UL[1] - tiles[0] * SIDE * RES
    ring = [(UL[0], UL[1]), (right, UL[1]), (right, bottom), (UL[0], bottom), (UL[0], UL[1])]
    return {"type": "Polygon", "coordinates": [[to_lonlat(x, y) for x, y in ring]]}


def item(
    name: str, time: str | None, geometry: Any, assets: Any, **properties: Any
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "tiny",
        "geometry": geometry,
        "properties": {"datetime": time, "eo:cloud_cover": 10.0, **properties},
        "assets": assets,
        "links": [],
    }


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
