"""Makes pre-ARD images for the tests, with GDAL and by the format's own words."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from orchard.preard import ImageMetadata, expected_files

if TYPE_CHECKING:
    from pathlib import Path

NODATA = 0
QA = {
    "clear": {"band": "qa", "bits": {"cloud": 0, "shadow": 0}},
    "flags": {"cloud": {"bits": 3}, "shadow": {"bits": 4}, "snow": {"bits": 5, "band": "qa"}},
}
CLOUD, SHADOW, SNOW = 8, 16, 32
DAY = 86_400_000
FIRST = 1654165824000  # 2022-06-02T10:30:24Z


def document(
    name: str = "A_h003v002_2022-06-01_2022-07-01",
    *,
    size: tuple[int, int] = (20, 15),
    bands: tuple[str, ...] = ("red", "nir", "qa"),
    dates: int = 2,
    first: int = FIRST,
    step: int = 5 * DAY,
    dtype: str = "uint16",
    nodata: float | None = NODATA,
    collection: str = "TEST/A",
    rules: dict[str, Any] | None = None,
    shards: Any = None,
    index: tuple[int, int] = (2, 3),
    origin: tuple[float, float] = (600000.0, 5100000.0),
    res: tuple[float, float] = (30.0, 30.0),
    crs: str = "EPSG:32632",
    start: str = "2022-06-01T00:00:00+00:00",
    scenes: int = 1,
) -> dict[str, Any]:
    """Return an image metadata document."""
    width, height = size
    left, top = origin
    times = [first + i * step for i in range(dates)]
    described = {
        band: {"qa": True, "description": "quality"}
        if band == "qa"
        else {"scale": 0.0001, "offset": -0.1, "units": "1", "description": f"reflectance {band}"}
        for band in bands
    }
    return {
        "program": {"name": "orchard", "version": "0.1.0"},
        "order": {
            "collection": collection,
            "date_start": start,
            "date_end": "2022-07-01T00:00:00+00:00",
            "filters": [],
            "submitted": "2026-11-20T00:00:00+00:00",
        },
        "tile": {
            "index": list(index),
            "crs": crs,
            "bounds": [left, top - height * res[1], left + width * res[0], top],
            "res": list(res),
            "size": list(size),
        },
        "store": {
            "service": "FolderStore",
            "export_image_kwds": {"fileDimensions": shards} if shards else {},
        },
        "task": {"name": name, "prefix": "PRE", "status": {"state": "COMPLETED"}},
        "image": {
            "bands": list(bands),
            "dtype": dtype,
            "nodata": nodata,
            "dates": [_day(time) for time in times],
            "images": [
                [
                    {
                        "id": f"{collection}/{time}/{i}",
                        "system:time_start": time + i * 24_000,
                        "platform": "sat-1",
                        "CLOUD_COVER": 10.0 + 10 * i,
                        "SUN_ELEVATION": 50.0,
                        "SUN_AZIMUTH": 359.0 if i == 0 else 1.0,
                    }
                    for i in range(scenes)
                ]
                for time in times
            ],
        },
        "collection": {
            "id": collection,
            "bands": described,
            **(QA if rules is None and "qa" in bands else rules or {"clear": None, "flags": {}}),
        },
    }


def _day(time: int) -> str:
    return str(np.datetime64(time, "ms").astype("M8[D]"))


def pixels(doc: dict[str, Any], seed: int = 0) -> np.ndarray:
    """Return random numbers ``(dates, bands, y, x)``; some nodata, some of every flag."""
    rng = np.random.default_rng(seed)
    width, height = doc["tile"]["size"]
    bands, dtype = doc["image"]["bands"], np.dtype(doc["image"]["dtype"])
    shape = (len(doc["image"]["images"]), len(bands), height, width)
    if dtype.kind == "f":
        data = rng.normal(size=shape).astype(dtype)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        data = rng.integers(low, high, shape, dtype, endpoint=True)
    if "qa" in bands:
        codes = np.array([1, CLOUD, SHADOW, SNOW, CLOUD | SNOW, 64], dtype)
        data[:, bands.index("qa")] = rng.choice(codes, shape[:1] + shape[2:])
    if doc["image"]["nodata"] is not None:
        holes = rng.random(shape[:1] + shape[2:]) < 0.2
        data[np.broadcast_to(holes[:, None], shape)] = doc["image"]["nodata"]
    return data


def write(folder: Path, doc: dict[str, Any], data: np.ndarray, **creation: Any) -> Path:
    """Write an image and its document; return the path of the document."""
    folder.mkdir(parents=True, exist_ok=True)
    name, tile = doc["task"]["name"], doc["tile"]
    dimensions = doc["store"]["export_image_kwds"].get("fileDimensions")
    flat = data.reshape(-1, *data.shape[2:])
    transform = Affine(tile["res"][0], 0, tile["bounds"][0], 0, -tile["res"][1], tile["bounds"][3])
    if len(flat):
        for file, w in expected_files(name, tuple(tile["size"]), dimensions).items():
            write_tiff(
                folder / file,
                flat[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width],
                transform @ Affine.translation(w.col_off, w.row_off),
                tile["crs"],
                doc["image"]["nodata"],
                **creation,
            )
    path = folder / f"{name}.json"
    path.write_text(json.dumps(doc))
    ImageMetadata.from_file(path)
    return path


def write_tiff(
    path: Path, data: np.ndarray, transform: Affine, crs: str, nodata: float | None, **creation: Any
) -> None:
    """Write one GeoTIFF ``(band, y, x)``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=data.shape[2],
            height=data.shape[1],
            count=data.shape[0],
            dtype=data.dtype,
            nodata=nodata,
            crs=crs,
            transform=transform,
            **{"interleave": "pixel", "compress": "lzw", **creation},
        ) as dataset:
            dataset.write(data)


def read_gdal(folder: Path, doc: dict[str, Any]) -> np.ndarray:
    """Read an image by GDAL alone, shard by shard: ``(dates, bands, y, x)``."""
    width, height = doc["tile"]["size"]
    bands, dates = len(doc["image"]["bands"]), len(doc["image"]["images"])
    out = np.empty((bands * dates, height, width), doc["image"]["dtype"])
    dimensions = doc["store"]["export_image_kwds"].get("fileDimensions")
    for file, w in expected_files(doc["task"]["name"], (width, height), dimensions).items():
        with rasterio.open(folder / file) as dataset:
            rows = slice(w.row_off, w.row_off + w.height)
            out[:, rows, w.col_off : w.col_off + w.width] = dataset.read()
    return out.reshape(dates, bands, height, width)
