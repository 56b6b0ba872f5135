"""The pixels of the local engine: scenes in, one shard of a pre-ARD image out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .request import (
    Acquisition,
    Creation,
    ImageRequest,
    Scene,
    ShardCancelledError,
    Source,
    TileLike,
    Window,
)

if TYPE_CHECKING:
    from .shard import write_shard as write_shard

__all__ = [
    "Acquisition",
    "Creation",
    "ImageRequest",
    "Scene",
    "ShardCancelledError",
    "Source",
    "TileLike",
    "Window",
    "write_shard",
]


def __getattr__(name: str) -> Any:
    # What writes needs GDAL and PROJ: they are loaded by the first who writes.
    if name != "write_shard":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .shard import write_shard

    return write_shard
