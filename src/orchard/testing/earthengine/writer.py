"""Writes the files of an export as Earth Engine lays them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.io import MemoryFile

from .images import EvaluationError, Grid, Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["write_files"]


def write_files(
    image: Image, options: Mapping[str, Any], prefix: str, separator: str
) -> Iterator[tuple[str, bytes]]:
    """Give the GeoTIFFs of an image: tiled, LZW, pixel-interleaved, nodata or 0 where masked.

    Parameters
    ----------
    image : Image
        Clipped to its rectangle.
    options : mapping
        ``geoTiffOptions`` of the request.
    prefix : str
        ``filenamePrefix``; the name of each file of several is this, the separator, and the offsets
        of its upper-left corner (rows, then columns).
    separator : str
        ``""`` for Cloud Storage, ``"-"`` for Drive.

    Yields
    ------
    name, content
    """
    if image.crs is None or image.transform is None or image.size is None:
        raise EvaluationError("the image to export has no grid: reproject and clip it")
    width, height = image.size
    step = options.get("tileDimensions") or {"width": width, "height": height}
    _check_dimensions(step, options, (width, height))
    corners = [
        (row, col)
        for row in range(0, height, step["height"])
        for col in range(0, width, step["width"])
    ]
    for row, col in corners:
        grid = Grid(
            crs=image.crs,
            transform=image.transform
            * Affine.translation(image.offset[0] + col, image.offset[1] + row),
            width=min(step["width"], width - col),
            height=min(step["height"], height - row),
        )
        content = _file(image, grid, options)
        if content is not None:
            offsets = f"{separator}{row:010d}-{col:010d}" if len(corners) > 1 else ""
            yield f"{prefix}{offsets}.tif", content


def _check_dimensions(
    step: Mapping[str, int], options: Mapping[str, Any], size: tuple[int, int]
) -> None:
    block = int((options.get("tileSize") or {}).get("value", 256))
    if block % 16:
        raise EvaluationError(f"shardSize must be a multiple of 16, not {block}")
    for side, whole in ((step["width"], size[0]), (step["height"], size[1])):
        if side < whole and side % block:
            raise EvaluationError(f"fileDimensions must be a multiple of shardSize ({block})")


def _file(image: Image, grid: Grid, options: Mapping[str, Any]) -> bytes | None:
    nodata = (options.get("noData") or {}).get("floatValue")
    out = np.zeros((len(image.bands), *grid.shape), image.dtype)
    empty = True
    for index, (_, reader) in enumerate(image.bands):
        values, mask = reader(grid)
        empty &= not mask.any()
        out[index] = np.where(mask, values, 0 if nodata is None else nodata)
    if empty and options.get("skipEmptyFiles"):
        return None
    block = int((options.get("tileSize") or {}).get("value", 256))
    profile = {
        "driver": "GTiff",
        "count": len(out),
        "width": grid.width,
        "height": grid.height,
        "dtype": out.dtype,
        "crs": grid.crs.to_wkt(),
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "compress": "lzw",
        "interleave": "pixel",
        "nodata": nodata,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(out)
            file.descriptions = image.names
        return bytes(memory.read())
