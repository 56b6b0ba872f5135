"""One shard of work: from the task's JSON to a file in the store. Runs in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from orchard.checksums import crc32_of
from orchard.grid import Tile
from orchard.tracking import FileInfo

from .scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchard import preard
    from orchard.stores import Store

    from .pixels import ImageRequest

__all__ = ["ShardJob", "image_request", "make_shard"]


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """One shard to be made.

    Parameters
    ----------
    token : str
        Names this try among all others.
    spec : mapping
        The task's JSON, see `image_request`.
    window : preard.Window
        What part of the tile it is.
    key : str
        Where it goes in the store.
    store : Store
    replaces : str, optional
        ETag of the file that it may replace; None: there must be none. So a worker that comes too
        late cannot overwrite the result of the one that took its place.
    threads : int
        How many threads it may use.
    """

    token: str
    spec: Mapping[str, Any]
    window: preard.Window
    key: str
    store: Store
    replaces: str | None = None
    threads: int = 1


def image_request(spec: Mapping[str, Any]) -> ImageRequest:
    """Read a task's JSON as what the pixel room takes."""
    from .pixels import Acquisition, ImageRequest, Scene, Source

    return ImageRequest(
        tile=Tile.from_dict(spec["tile"]),
        bands=tuple(spec["bands"]),
        acquisitions=tuple(
            Acquisition(
                day=date.fromisoformat(day),
                scenes=tuple(
                    Scene(
                        id=scene["id"],
                        time=datetime.fromisoformat(scene["time"]),
                        bands={name: Source(**source) for name, source in scene["bands"].items()},
                    )
                    for scene in scenes
                ),
            )
            for day, scenes in spec["acquisitions"]
        ),
        dtype=spec["dtype"],
        nodata=float(spec["nodata"]),
        resampling=spec["resampling"],
        creation=spec["creation"],
        optional=frozenset(spec["optional"]),
    )


def make_shard(job: ShardJob, cancelled: Callable[[], bool]) -> FileInfo:
    """Make one shard and put it into the store, whole or not at all.

    Raises
    ------
    SceneError
        A scene cannot be read; it names the scene.
    ConflictError
        There is another file than the one that it may replace.
    StoreError
        The file cannot be stored.
    ShardCancelledError
        `cancelled` said so.
    """
    from .pixels import ShardCancelledError, Window, write_shard

    name = job.key.rsplit("/", 1)[-1]
    with scratch_folder() as scratch:
        path = scratch / name
        write_shard(
            image_request(job.spec),
            Window(**job.window._asdict()),
            path,
            threads=job.threads,
            cancelled=cancelled,
        )
        if cancelled():
            raise ShardCancelledError("cancelled before the shard was stored")
        info = job.store.put(job.key, path, if_absent=job.replaces is None, if_match=job.replaces)
        return FileInfo(name=name, size=info.size, md5=info.md5, crc32=crc32_of(path))
