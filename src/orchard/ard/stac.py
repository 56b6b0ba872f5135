"""STAC 1.1 Items of cubes, and the Collection of all cubes of a destination.

Extensions: projection 2.0, raster 2.0, eo 2.0, file 2.1, processing 1.2, view 1.0.
"""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orchard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .coords import Coordinate
    from .plan import CubePlan
    from .timeline import Step

__all__ = ["COLLECTION_FILE", "cube_item", "step_item", "write_collection"]

COLLECTION_FILE = "ard-collection.json"

_EXTENSIONS = "https://stac-extensions.github.io/"
_PROJECTION = _EXTENSIONS + "projection/v2.0.0/schema.json"
_RASTER = _EXTENSIONS + "raster/v2.0.0/schema.json"
_FILE = _EXTENSIONS + "file/v2.1.0/schema.json"
_PROCESSING = _EXTENSIONS + "processing/v1.2.0/schema.json"
_EO = _EXTENSIONS + "eo/v2.0.0/schema.json"
_VIEW = _EXTENSIONS + "view/v1.0.0/schema.json"

_MEDIA = {
    ".nc": "application/netcdf",
    ".zarr": "application/vnd.zarr; version=3",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
}


def cube_item(
    plan: CubePlan,
    *,
    item_path: Path,
    assets: Iterable[tuple[str, Path]],
    written: Path,
    final: Path,
    extra: Mapping[str, Any],
    root: Path,
) -> dict[str, Any]:
    """Return the Item of a cube.

    Parameters
    ----------
    plan : CubePlan
    item_path : Path
        Where the Item will be.
    assets : iterable of (str, Path)
        Name and final path of each file.
    written, final : Path
        Where the cube is now, and where it will be.
    extra : mapping
        Further properties.
    root : Path
        Where the Collection is.
    """
    bands = _bands(plan)
    found = {}
    for name, path in assets:
        now = written / path.relative_to(final) if path != final else written
        # A GeoTIFF holds the band that its name ends in, any other file all of them.
        held = [b for b in bands if path.suffix != ".tif" or path.stem.endswith(f"_{b['name']}")]
        found[name] = _asset(path, now, item_path, held[-1:] if path.suffix == ".tif" else held)
    times = [step.time for step in plan.steps]
    properties = {
        "datetime": None,
        "start_datetime": _text(min(times)),
        "end_datetime": _text(max(times)),
        **_shared_properties(plan),
        **extra,
    }
    return _item(plan, plan.name, item_path, properties, found, root)


def step_item(
    plan: CubePlan,
    step: int,
    *,
    item_path: Path,
    files: Mapping[str, tuple[Path, Path]],
    coordinates: Mapping[str, Coordinate],
    root: Path,
) -> dict[str, Any]:
    """Return the Item of one date of a cube of GeoTIFFs; `files`: band -> (final, current) path."""
    one: Step = plan.steps[step]
    bands = {band["name"]: band for band in _bands(plan)}
    assets = {
        name: _asset(final, now, item_path, [bands[name]]) for name, (final, now) in files.items()
    }
    properties: dict[str, Any] = {
        "datetime": _text(one.time),
        **_shared_properties(plan),
        "orchard:solar_day": str(one.day),
        "orchard:collection": one.collection,
        "orchard:scenes": [scene.id for scene in one.scenes],
    }
    names = {
        "platform": "platform",
        "cloud_cover": "eo:cloud_cover",
        "sun_azimuth": "view:sun_azimuth",
        "sun_elevation": "view:sun_elevation",
    }
    for name, key in names.items():
        value = coordinates[name].values[step] if name in coordinates else None
        if isinstance(value, str) or (value is not None and math.isfinite(value)):
            properties[key] = value if isinstance(value, str) else float(value)
    return _item(plan, f"{plan.name}_{item_path.stem}", item_path, properties, assets, root)


def _item(
    plan: CubePlan,
    name: str,
    path: Path,
    properties: Mapping[str, Any],
    assets: Mapping[str, Any],
    root: Path,
) -> dict[str, Any]:
    feature = plan.tile.geojson()
    collection = _relative(root / COLLECTION_FILE, path)
    extensions = [_PROJECTION, _RASTER, _FILE, _PROCESSING]
    for prefix, schema in (("eo:", _EO), ("view:", _VIEW)):
        if any(key.startswith(prefix) for key in properties):
            extensions.append(schema)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": extensions,
        "id": name,
        "collection": _collection_id(root),
        "geometry": feature["geometry"],
        "bbox": feature.get("bbox") or _bbox(feature["geometry"]),
        "properties": dict(properties),
        "links": [
            {"rel": rel, "href": collection, "type": "application/json"}
            for rel in ("root", "parent", "collection")
        ],
        "assets": dict(assets),
    }


def _bbox(geometry: Mapping[str, Any]) -> list[float]:
    import shapely

    return list(shapely.geometry.shape(dict(geometry)).bounds)


def _shared_properties(plan: CubePlan) -> dict[str, Any]:
    tile = plan.tile
    authority = tile.crs.to_authority()
    code = {"proj:code": ":".join(authority) if authority else None}
    wkt = {} if authority else {"proj:wkt2": tile.crs.to_wkt("WKT2_2019")}
    collections = sorted({step.collection for step in plan.steps})
    return {
        "created": _text(datetime.now(UTC)),
        **code,
        **wkt,
        "proj:shape": [tile.height, tile.width],
        "proj:transform": list(tile.transform)[:6],
        "proj:bbox": list(tile.bounds),
        "processing:software": {"orchard": orchard.__version__},
        "processing:lineage": (
            f"{len(plan.steps)} acquisitions of {', '.join(collections)}, mosaicked by solar day "
            f"and resampled to tile h{tile.horizontal:03d}v{tile.vertical:03d}"
        ),
    }


def _bands(plan: CubePlan) -> list[dict[str, Any]]:
    known = {band.name: band for band in plan.bands}
    found = []
    for name, variable in plan.variables.items():
        band = known.get(name)
        data_type = variable.dtype if variable.kind == "band" else "uint8"
        entry: dict[str, Any] = {"name": name, "data_type": data_type}
        if variable.fill is not None:
            entry["nodata"] = "nan" if math.isnan(variable.fill) else variable.fill
        if band and band.description:
            entry["description"] = band.description
        if band and band.units:
            entry["unit"] = band.units
        if band and band.scaled and not plan.options.scale:
            entry |= {"raster:scale": band.scale, "raster:offset": band.offset}
        found.append(entry)
    return found


def _asset(
    path: Path, now: Path, item_path: Path, bands: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "href": _relative(path, item_path),
        "type": _MEDIA[path.suffix],
        "roles": ["data"],
        "file:size": size_of(now),
        "bands": list(bands),
    }


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(
        Path(place, name).stat().st_size for place, _, names in os.walk(path) for name in names
    )


def _relative(path: Path, item_path: Path) -> str:
    relative = os.path.relpath(path, item_path.parent).replace(os.sep, "/")
    return relative if relative.startswith(".") else f"./{relative}"


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _collection_id(root: Path) -> str:
    return root.resolve().name or "ard"


def write_collection(root: Path) -> Path:
    """Write the STAC Collection of all cubes below a folder, from their Items.

    Returns
    -------
    Path
        Of the document.
    """
    from .places import write_json

    items = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.endswith((".zarr", ".cog")))
        items += [Path(place, f) for f in sorted(files) if f.endswith(".stac.json")]
    documents = [json.loads(path.read_bytes()) for path in items]
    path = root / COLLECTION_FILE
    bounds = [document["bbox"] for document in documents]
    starts = [document["properties"]["start_datetime"] for document in documents]
    ends = [document["properties"]["end_datetime"] for document in documents]
    west, south, east, north = (
        [f(box[i] for box in bounds)] for i, f in enumerate((min, min, max, max))
    )
    write_json(
        path,
        {
            "type": "Collection",
            "stac_version": "1.1.0",
            "id": _collection_id(root),
            "description": "Analysis-ready data cubes made by Orchard",
            "license": "other",
            "extent": {
                "spatial": {"bbox": [west + south + east + north]},
                "temporal": {"interval": [[min(starts), max(ends)]]},
            },
            "links": [
                {"rel": "root", "href": f"./{COLLECTION_FILE}", "type": "application/json"},
                *(
                    {"rel": "item", "href": _relative(item, path), "type": "application/geo+json"}
                    for item in items
                ),
            ],
        },
    )
    return path
