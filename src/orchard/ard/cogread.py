"""Opens a cube of GeoTIFFs as a lazy dataset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import DataError
from orchard.grid import Tile

from .cog import STEPS
from .coords import GRID_MAPPING, grid_mapping, scene_coordinates
from .existing import Record, read_record
from .plan import CLEAR, FLAG, collection_of
from .reader import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import xarray as xr

__all__ = ["open_cog"]

# The words of STAC and those of CF for the same thing.
_NAMES = {
    "nodata": "_FillValue",
    "raster:scale": "scale_factor",
    "raster:offset": "add_offset",
    "unit": "units",
    "description": "long_name",
}


def open_cog(cube: Path, *, scaled: bool) -> xr.Dataset:
    """Open a folder of GeoTIFFs; see `open_ard`.

    Raises
    ------
    DataError
        When it is not a cube, or part of it is missing.
    """
    import xarray as xr

    record = read_record(cube)
    if record is None:
        raise DataError(f"{cube}: is not a cube of Orchard")
    steps = json.loads((cube / STEPS).read_bytes())
    first = json.loads((cube / f"{steps[0]}.json").read_bytes())
    tile = Tile.from_dict(record.documents[0].raw["tile"])
    quality = _quality_bands(record)
    variables = {}
    for name, asset in first["assets"].items():
        band = asset["bands"][0]
        paths = [cube / f"{step}_{name}.tif" for step in steps]
        stack = _stack(paths, (tile.height, tile.width), band["data_type"])
        plain = name == CLEAR or name.startswith(FLAG)
        if plain:
            stack = stack.astype(bool)
        elif scaled and name not in quality:
            stack = _scaled(stack, band)
        known = {} if plain or scaled else band
        attributes = {new: known[old] for old, new in _NAMES.items() if old in known}
        if attributes.get("_FillValue") == "nan":  # JSON has no other word for it
            attributes["_FillValue"] = float("nan")
        attributes["grid_mapping"] = GRID_MAPPING
        variables[name] = (("time", "y", "x"), stack, attributes)
    about = {
        "Conventions": "CF-1.11",
        "title": cube.stem,
        "source": ", ".join(document.collection_id for document in record.documents),
    }
    return xr.Dataset(variables, coords=_coordinates(cube, tile, record), attrs=about)


def _quality_bands(record: Record) -> set[str]:
    return {
        name
        for document in record.documents
        for name, band in ((document.collection or {}).get("bands") or {}).items()
        if band.get("qa")
    }


def _stack(paths: Sequence[Path], shape: tuple[int, int], dtype: str) -> Any:
    import dask
    import dask.array

    lazy: Any = dask  # it has no types for these
    da, read = lazy.array, lazy.delayed(_read, pure=True)
    return da.stack([da.from_delayed(read(path), shape, np.dtype(dtype)) for path in paths])


def _read(path: Path) -> Any:
    import rasterio

    with translated(path), rasterio.open(path) as dataset:
        return dataset.read(1)


def _scaled(stack: Any, band: Mapping[str, Any]) -> Any:
    import dask.array as da

    numbers = stack * np.float64(band.get("raster:scale", 1)) + band.get("raster:offset", 0)
    nodata = band.get("nodata")
    if nodata is not None and nodata != "nan":
        numbers = da.where(stack == nodata, np.nan, numbers)
    return numbers.astype("float32" if stack.dtype.itemsize <= 2 else "float64")


def _coordinates(cube: Path, tile: Tile, record: Record) -> dict[str, Any]:
    rows = {
        number: (document, acquisition)
        for document, numbers in zip(record.documents, record.steps, strict=True)
        for number, acquisition in zip(numbers, document.acquisitions, strict=True)
    }
    steps = [rows[number] for number in sorted(rows)]
    y, x = tile.coords()
    scenes = [" ".join(scene.id for scene in a.scenes) for _, a in steps]
    item = json.loads(cube.with_name(f"{cube.stem}.stac.json").read_bytes())
    measured = item["properties"]["orchard:measured"]
    mapping = grid_mapping(tile)
    return {
        "time": ("time", np.array([a.time.replace(tzinfo=None) for _, a in steps], "M8[ns]")),
        "y": ("y", y),
        "x": ("x", x),
        GRID_MAPPING: ((), mapping.values, dict(mapping.attributes)),
        "solar_day": ("time", np.array([a.day for _, a in steps], "M8[ns]")),
        "collection": ("time", np.array([d.collection_id for d, _ in steps], dtype=object)),
        "scenes": ("time", np.array(scenes, dtype=object)),
        "tasks": ("time", np.array(["/".join(names) for names in record.tasks], dtype=object)),
        **{name: ("time", np.array(values, float)) for name, values in measured.items()},
        **_scene_coordinates(record, steps),
    }


def _scene_coordinates(record: Record, steps: Sequence[Any]) -> dict[str, Any]:
    """Return what the scenes tell; nothing where their metadata was left out."""
    collections = {d.collection_id: collection_of(d, str(d.dtype)) for d in record.documents}
    if not any(len(scene.metadata) > 2 for _, a in steps for scene in a.scenes):
        return {}
    told = scene_coordinates([(collections[d.collection_id], a.scenes) for d, a in steps])
    return {
        name: (c.dims, c.values, {k: v for k, v in c.attributes.items() if k != "_FillValue"})
        for name, c in told.items()
    }
