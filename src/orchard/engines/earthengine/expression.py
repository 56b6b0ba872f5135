"""The expression of a task's image, built with the client library, and the request to export it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import InputError

from .filters import build_filters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .destinations import Destination
    from .spec import BandSpec, ImageSpec, PartSpec

__all__ = [
    "build_collection",
    "build_image",
    "check_export",
    "check_pixels",
    "export_request",
]

_CASTS = {
    "uint8": "toUint8",
    "int8": "toInt8",
    "uint16": "toUint16",
    "int16": "toInt16",
    "uint32": "toUint32",
    "int32": "toInt32",
    "float32": "toFloat",
    "float64": "toDouble",
}
_INDEX = "system:index"
# What the grid, the name and the destination decide; documents of old orders have some of them.
_OURS = frozenset(
    {
        *("image", "description", "bucket", "folder", "fileNamePrefix", "fileFormat", "region"),
        *("crs", "crs_transform", "crsTransform", "dimensions", "scale", "maxPixels", "priority"),
        *("fileDimensions", "shardSize", "skipEmptyTiles", "skipEmptyFiles"),
        *("formatOptions", "cloudOptimized", "noData"),
    }
)


def build_collection(
    collection: str,
    start: int,
    end: int,
    filters: tuple[Mapping[str, Any], ...],
    region: Mapping[str, Any] | None = None,
) -> Any:
    """Build the ``ee.ImageCollection`` of the scenes of a place, a time and filters.

    Parameters
    ----------
    collection : str
    start, end : int
        ``[start, end)`` in epoch milliseconds UTC.
    filters : tuple of mapping
    region : mapping, optional
        GeoJSON geometry, longitude and latitude.
    """
    import ee

    scenes = ee.ImageCollection(collection)
    if region is not None:
        scenes = scenes.filterBounds(build_region(region))
    scenes = scenes.filterDate(start, end)
    for filter_ in build_filters(filters):
        scenes = scenes.filter(filter_)
    return scenes


def build_region(region: Mapping[str, Any]) -> Any:
    """Build an ``ee.Geometry`` with straight edges in longitude and latitude."""
    import ee

    kind = ee.Geometry.Polygon if region["type"] == "Polygon" else ee.Geometry.MultiPolygon
    return kind(region["coordinates"], None, False)  # noqa: FBT003 - the library's: not geodesic


def build_image(spec: ImageSpec) -> Any:
    """Build the ``ee.Image`` of a task, on no grid yet.

    All bands of all acquisitions, band fastest, then date. Scenes of a day are mosaicked by band; a
    mosaic has the last image on top, so that the scenes stand in reverse: the first that has data
    wins. What no scene has is nodata.
    """
    import ee

    found = build_collection(spec.collection, spec.start, spec.end, spec.filters, spec.region)

    def scene(index: str) -> Any:
        return ee.Image(found.filter(ee.Filter.eq(_INDEX, index)).first())

    def prepare(image: Any) -> Any:
        return _prepare(ee.Image(image), spec.bands)

    days = [
        ee.ImageCollection.fromImages([scene(index) for index in reversed(scenes)])
        .map(prepare)
        .mosaic()
        for _, scenes in spec.days
    ]
    names = [f"{day}_{band.name}" for day, _ in spec.days for band in spec.bands]
    return ee.ImageCollection.fromImages(days).toBands().rename(names)


def finish(image: Any, spec: ImageSpec, *, masked: bool) -> Any:
    """Fill what is masked with nodata (unless it is to stay so) and cast; nothing is clipped."""
    if not masked:
        # Also outside the footprint of the scenes, which the default would leave masked.
        image = image.unmask(spec.nodata, sameFootprint=False)
    return getattr(image, _CASTS[spec.dtype])()


def _prepare(image: Any, bands: tuple[BandSpec, ...]) -> Any:
    """Select and rename the bands of a scene, restore their numbers, mask their nodata."""
    import ee

    optional = [band.source for band in bands if band.optional]
    if optional:
        # A scene may lack these: a masked band takes the place, one that is there keeps it.
        absent = ee.Image.constant([0] * len(optional)).updateMask(0).rename(optional)
        image = image.addBands(absent)
    image = image.select([band.source for band in bands], [band.name for band in bands])
    names = [band.name for band in bands]
    scaled = [band for band in bands if (band.scale, band.offset) != (1, 0)]
    if scaled:
        some = image.select([band.name for band in scaled])
        some = some.multiply(ee.Image.constant([band.scale for band in scaled]))
        some = some.add(ee.Image.constant([band.offset for band in scaled])).round()
        image = image.addBands(some, None, True).select(names)  # noqa: FBT003 - overwrite
    marked = [band for band in bands if band.nodata is not None]
    if marked:
        some = image.select([band.name for band in marked])
        valid = some.neq(ee.Image.constant([band.nodata for band in marked]))
        image = image.addBands(some.updateMask(valid), None, True).select(names)  # noqa: FBT003
    return image


def check_export(export: Mapping[str, Any]) -> None:
    """Refuse an option that Earth Engine's export does not have."""
    unknown = set(export) - _OURS
    if unknown:
        raise InputError(
            f"export_image_kwds has the unknown option {min(unknown)!r}: known are fileDimensions, "
            "shardSize, cloudOptimized, skipEmptyTiles, maxPixels, priority, formatOptions"
        )


def check_pixels(size: tuple[int, int], export: Mapping[str, Any]) -> None:
    """Refuse an export of more pixels (width, height) than ``maxPixels`` allows."""
    most, pixels = export.get("maxPixels"), size[0] * size[1]
    if most and pixels > int(most):
        raise InputError(
            f"the tile has {pixels} pixels, maxPixels allows {int(most)}: raise maxPixels in "
            "export_image_kwds or use a grid of smaller tiles"
        )


def export_request(
    spec: ImageSpec,
    part: PartSpec,
    destination: Destination,
    export: Mapping[str, Any],
    *,
    description: str,
    priority: int | None = None,
) -> tuple[dict[str, Any], int]:
    """Build the request to export a part of a task's image on exactly its grid.

    Parameters
    ----------
    spec : ImageSpec
    part : PartSpec
    destination : Destination
    export : mapping
        ``export_image_kwds``; it is not changed.
    description : str
    priority : int, optional
        Where `export` does not say.

    Returns
    -------
    request, size
        The body for ``image:export``, and the bytes of its expression.

    Raises
    ------
    InputError
        For an option that Earth Engine's export does not have.
    """
    import ee

    check_export(export)
    skip = bool(export.get("skipEmptyTiles") or export.get("skipEmptyFiles"))
    image = finish(build_image(spec.of_dates(part.dates)), spec, masked=skip)
    a, b, x, d, e, y = spec.transform
    row, col, height, width = part.window
    options: dict[str, Any] = {
        "image": image,
        "description": description,
        "crs": spec.crs,
        "crsTransform": [a, b, x + a * col, d, e, y + e * row],
        "dimensions": f"{width}x{height}",
        "maxPixels": int(export.get("maxPixels") or max(10**8, width * height)),
        "fileFormat": "GeoTIFF",
        "formatOptions": _format_options(export, spec, skip=skip),
        "shardSize": export.get("shardSize"),
        "fileDimensions": part.dimensions,
        "skipEmptyTiles": skip or None,
        "priority": export.get("priority", priority),
    }
    service = ee.batch.Export.image
    start = service.toCloudStorage if destination.kind == "gs" else service.toDrive
    task = start(**options, **destination.options(part.name, sharded=part.sharded))
    config: dict[str, Any] = dict(task.config or {})
    config["expression"] = ee.serializer.encode(config["expression"], for_cloud_api=True)
    return config, len(orjson.dumps(config["expression"]))


def _format_options(export: Mapping[str, Any], spec: ImageSpec, *, skip: bool) -> dict[str, Any]:
    options = dict(export.get("formatOptions") or {})
    for key in ("cloudOptimized", "noData"):
        if key in export:
            options[key] = export[key]
    if skip:
        # Pixels stay masked, or no file would count as empty: the writer makes them nodata.
        options["noData"] = spec.nodata
    return options
