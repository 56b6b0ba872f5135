"""The pixels of the local engine: scenes in, one shard of a pre-ARD image out."""

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
from .shard import write_shard

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
