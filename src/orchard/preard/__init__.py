"""The pre-ARD format: shard names and layout, image metadata.

A pre-ARD image is one multi-band GeoTIFF (all bands of all acquisitions, band fastest, then date),
possibly cut into shards (by windows, by dates or both), and a JSON document that carries what the
GeoTIFF cannot.
"""

from __future__ import annotations

from .metadata import ImageMetadata, image_metadata
from .shards import (
    ShardName,
    Window,
    date_groups,
    expected_files,
    file_dimensions,
    layout,
    metadata_name,
    parse_shard_name,
    shard_name,
)
from .values import Acquisition, FileRecord, ImageTile, Scene

__all__ = [
    "Acquisition",
    "FileRecord",
    "ImageMetadata",
    "ImageTile",
    "Scene",
    "ShardName",
    "Window",
    "date_groups",
    "expected_files",
    "file_dimensions",
    "image_metadata",
    "layout",
    "metadata_name",
    "parse_shard_name",
    "shard_name",
]
