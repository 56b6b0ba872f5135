"""The static STAC catalogue of the demo's archive, as the USGS and Element 84 describe Landsat.

Documents are STAC 1.1.0, with the projection (v2), eo, raster, view and landsat extensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .landscape import BANDS
from .scenes import CRS
from .sky import QA_FILL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scenes import SceneFrame

__all__ = [
    "ASSETS",
    "CATALOG_ID",
    "COLLECTION_ID",
    "OFFSET",
    "SCALE",
    "catalog_document",
    "collection_document",
    "item_document",
]

CATALOG_ID = "orchard-demo"
COLLECTION_ID = "landsat-c2-l2"

# Landsat Collection 2 surface reflectance: reflectance = DN * scale + offset.
SCALE, OFFSET = 0.0000275, -0.2

# Asset name -> how the USGS ends the name of its file.
ASSETS = {
    "blue": "SR_B2",
    "green": "SR_B3",
    "red": "SR_B4",
    "nir08": "SR_B5",
    "swir16": "SR_B6",
    "swir22": "SR_B7",
    "qa_pixel": "QA_PIXEL",
}
# Common name of the eo extension, centre wavelength and width in micrometres.
_EO = {
    "blue": ("blue", 0.48, 0.06),
    "green": ("green", 0.56, 0.06),
    "red": ("red", 0.65, 0.04),
    "nir08": ("nir08", 0.87, 0.03),
    "swir16": ("swir16", 1.61, 0.09),
    "swir22": ("swir22", 2.2, 0.19),
}
_EXTENSIONS = [
    "https://landsat.usgs.gov/stac/landsat-extension/v1.1.1/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
]
_TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
_JSON, _GEOJSON = "application/json", "application/geo+json"


def item_document(
    scene: SceneFrame, *, cloud_cover: float, cloud_cover_land: float
) -> dict[str, Any]:
    """Return the STAC Item of a scene.

    Parameters
    ----------
    scene : SceneFrame
        The scene.
    cloud_cover, cloud_cover_land : float
        Percent of what was seen, and of the land in it, as the QA band has it.
    """
    ring = _lonlat(scene.corners)
    lons, lats = zip(*ring, strict=True)
    ground = scene.ground
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": scene.id,
        "collection": COLLECTION_ID,
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
        "properties": {
            "title": f"Synthetic Landsat-like scene {scene.path:03d}/{scene.row:03d}",
            "datetime": f"{scene.time:%Y-%m-%dT%H:%M:%S.%f}Z",
            "platform": "landsat-8",
            "instruments": ["oli", "tirs"],
            "gsd": 30,
            "eo:cloud_cover": round(cloud_cover, 2),
            "view:off_nadir": 0,
            "view:sun_azimuth": round(scene.sun.azimuth, 6),
            "view:sun_elevation": round(scene.sun.elevation, 6),
            "landsat:cloud_cover_land": round(cloud_cover_land, 2),
            "landsat:wrs_type": "2",
            "landsat:wrs_path": f"{scene.path:03d}",
            "landsat:wrs_row": f"{scene.row:03d}",
            "landsat:scene_id": scene.scene_id,
            "landsat:collection_category": "T1",
            "landsat:collection_number": "02",
            "landsat:correction": "L2SP",
            "proj:code": CRS,
            "proj:shape": [ground.height, ground.width],
            "proj:transform": [ground.res, 0.0, ground.left, 0.0, -ground.res, ground.top],
        },
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": _JSON},
            {"rel": "parent", "href": "../collection.json", "type": _JSON},
            {"rel": "collection", "href": "../collection.json", "type": _JSON},
        ],
        "assets": {name: _asset(scene, name) for name in ASSETS},
    }


def _asset(scene: SceneFrame, name: str) -> dict[str, Any]:
    asset: dict[str, Any] = {"href": f"./{scene.id}_{ASSETS[name]}.TIF", "type": _TIFF}
    raster: dict[str, Any] = {"data_type": "uint16", "spatial_resolution": 30}
    if name not in BANDS:
        asset["title"] = "Pixel quality assessment band"
        asset["raster:bands"] = [{**raster, "nodata": QA_FILL, "unit": "bit index"}]
        asset["roles"] = ["cloud", "cloud-shadow", "snow-ice", "water-mask"]
        return asset
    common, centre, width = _EO[name]
    asset["title"] = f"{name} surface reflectance"
    asset["eo:bands"] = [
        {
            "name": ASSETS[name],
            "common_name": common,
            "center_wavelength": centre,
            "full_width_half_max": width,
        }
    ]
    asset["raster:bands"] = [{**raster, "nodata": 0, "scale": SCALE, "offset": OFFSET}]
    asset["roles"] = ["data", "reflectance"]
    return asset


def collection_document(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the STAC Collection of the items."""
    boxes = [item["bbox"] for item in items]
    times = sorted(item["properties"]["datetime"] for item in items)
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": COLLECTION_ID,
        "title": "Synthetic Landsat Collection 2 Level-2",
        "description": "Synthetic scenes in the form of Landsat Collection 2 Level-2 surface "
        "reflectance, a seventh of the real ones in width: two rows of one path, several dates.",
        "license": "CC0-1.0",
        "keywords": ["synthetic", "Landsat", "surface reflectance"],
        "providers": [{"name": "Orchard's demo", "roles": ["producer"]}],
        "extent": {
            "spatial": {
                "bbox": [
                    [
                        *(min(box[side] for box in boxes) for side in (0, 1)),
                        *(max(box[side] for box in boxes) for side in (2, 3)),
                    ]
                ]
            },
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "summaries": {"platform": ["landsat-8"], "gsd": [30]},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": _JSON},
            {"rel": "parent", "href": "../catalog.json", "type": _JSON},
            *(
                {"rel": "item", "href": f"./{item['id']}/{item['id']}.json", "type": _GEOJSON}
                for item in items
            ),
        ],
    }


def catalog_document() -> dict[str, Any]:
    """Return the root of the catalogue."""
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": CATALOG_ID,
        "title": "Orchard's demo",
        "description": "A small synthetic archive, made on this machine",
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": _JSON},
            {"rel": "child", "href": f"./{COLLECTION_ID}/collection.json", "type": _JSON},
        ],
    }


def _lonlat(corners: Sequence[tuple[float, float]]) -> list[list[float]]:
    from pyproj import Transformer

    transformer = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    return [[round(value, 7) for value in transformer.transform(x, y)] for x, y in corners]
