"""The work of the blocks: what each of them makes of a task, as files and features.

``preard`` gives the image files of the task and a quicklook an acquisition; ``ard`` makes the cube
of them; ``composite`` one picture of the cube; ``index`` a number a pixel, of the composite or of
every acquisition.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from orchard import delivery
from orchard.delivery.manifest import Listings, TaskFiles, read_metadata
from orchard.errors import DataError, InputError
from orchard.grid import Tile
from orchard.preard import ImageMetadata
from orchard.stores import HasPath
from orchard.tracking import TaskStatus, TrackingInfo

from .workflow import ARD, COMPOSITE, INDEX, PREARD, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from orchard.config.parts import ArdPart
    from orchard.preard import Acquisition
    from orchard.stores import Store

    from .results import BlockResult

__all__ = ["BlockJob", "BlockStopped", "make_block"]

_QUICKLOOK_SIZE = 512


class BlockStopped(Exception):  # noqa: N818 - no failure: nobody wants the block any more
    """A block is not to be finished: its job was cancelled, or the platform stops."""


def _go_on() -> None:
    """Let a block be made to its end."""


@dataclass(frozen=True, kw_only=True)
class BlockJob:
    """One job of which blocks are made.

    Parameters
    ----------
    job : str
    info : TrackingInfo
        Record of its order.
    position : int
        Which of the order's tasks it is.
    store : Store
        Where the images are.
    ard : ArdPart
        How cubes are made.
    workflow : Workflow
    done : mapping of str to BlockResult
        Results of the blocks before.
    check : callable
        Called again and again while a block is made; raises `BlockStopped` to end it.
    """

    job: str
    info: TrackingInfo
    position: int
    store: Store
    ard: ArdPart
    workflow: Workflow
    done: Mapping[str, BlockResult]
    check: Callable[[], None] = _go_on

    def tick(self, **_: object) -> None:
        """Take the place of the library's callback: each step is an occasion to stop."""
        self.check()

    @property
    def status(self) -> TaskStatus:
        """Of the task."""
        return self.info.statuses[self.position]

    @property
    def name(self) -> str:
        """Of the task, and so of its image."""
        return str(self.info.orders[self.position]["name"])

    @cached_property
    def metadata(self) -> ImageMetadata:
        """The image metadata, as the ``preard`` block has it."""
        return ImageMetadata.from_file(self._files(PREARD) / self.name / f"{self.name}.json")

    @cached_property
    def tile(self) -> Tile:
        """The tile."""
        return Tile.from_dict(self.metadata.raw["tile"])

    @property
    def cube(self) -> Path:
        """The cube, as the ``ard`` block has it."""
        from orchard.ard.open import find_cubes

        return find_cubes(self._files(ARD))[0]

    @property
    def composite(self) -> Path | None:
        """The composite, where the workflow has one."""
        if self.workflow.composite is None:
            return None
        return self._files(COMPOSITE) / _composite_name(self)

    def _files(self, block: str) -> Path:
        return self.done[block].files


def make_block(block: str, job: BlockJob, folder: Path) -> list[dict[str, Any]]:
    """Make one block of one job.

    Parameters
    ----------
    block : str
    job : BlockJob
        With the results of all blocks before.
    folder : Path
        Gets the files (in ``files``) and the quicklooks (in ``quicklooks``).

    Returns
    -------
    list of dict
        GeoJSON features, in longitude and latitude; ``up42.data_path`` of each is the path of its
        file below ``files``.

    Raises
    ------
    OrchardError
        When it cannot be made.
    BlockStopped
        When it is not to be finished; what is in the folder is worth nothing then.
    """
    makers = {PREARD: _preard, ARD: _ard, COMPOSITE: _composite, INDEX: _index}
    return makers[block](job, folder)


# preard -------------------------------------------------------------------------------------------


def _preard(job: BlockJob, folder: Path) -> list[dict[str, Any]]:
    place = folder / "files" / job.name
    metadata = _deliver(job, place)
    if metadata.acquisitions and (bands := _quicklook_bands(metadata)):
        from orchard.quicklook import quicklook

        quicklook(
            place / f"{job.name}.json",
            folder / "quicklooks",
            bands=bands,
            size=_QUICKLOOK_SIZE,
            name=job.name,
            callback=job.tick,
        )
    files = sorted(path.name for path in place.glob("*.tif"))
    uids = _uids(job.name, metadata.acquisitions)
    tile = Tile.from_dict(metadata.raw["tile"])
    return [
        _feature(
            tile,
            uid,
            f"{job.name}/{files[0]}",
            {
                **_acquisition_properties(metadata, number),
                "orchard.files": files,
                "orchard.bands": [
                    number * len(metadata.bands) + 1,
                    (number + 1) * len(metadata.bands),
                ],
            },
        )
        for number, uid in enumerate(uids)
    ]


def _deliver(job: BlockJob, place: Path) -> ImageMetadata:
    """Put a task's image metadata and image files into a folder: as links where that can be."""
    if not isinstance(job.store, HasPath):
        entry = job.info.orders[job.position]
        info = TrackingInfo({**job.info, "orders": [entry]})
        delivery.download(info, job.store, place, callback=job.tick)
        return ImageMetadata.from_file(place / f"{job.name}.json")
    entry = job.info.orders[job.position]
    task = TaskFiles(
        id=job.status.id,
        name=job.name,
        prefix=entry["prefix"],
        status=job.status,
        folder=place,
    )
    document = read_metadata(task, job.store).to_dict()
    document["task"]["status"] = {
        **(document["task"].get("status") or {}),
        **job.status.to_dict(),
    }
    place.mkdir(parents=True, exist_ok=True)
    for file in task.images(job.store, Listings(job.store)):
        source = job.store.path(file.key)
        if not source.is_file():
            raise DataError(f"{file.key} is not in {job.store.url}: retry the task")
        try:
            file.path.symlink_to(source.absolute())
        except OSError:  # not every file system, and not every user of Windows, has them
            shutil.copyfile(source, file.path)
    path = place / task.metadata
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return ImageMetadata.from_file(path)


def _quicklook_bands(metadata: ImageMetadata) -> tuple[str, ...]:
    """Choose what a quicklook shows: colours as the eye knows them, else the first bands."""
    shown, _ = _bands(metadata)
    if {"red", "green", "blue"} <= set(shown):
        return ("red", "green", "blue")
    return tuple(shown[:3] if len(shown) >= 3 else shown[:1])


def _bands(metadata: ImageMetadata) -> tuple[list[str], list[str]]:
    """Return the names of the bands that are numbers, and of those that are bits or classes."""
    known = (metadata.collection or {}).get("bands") or {}
    quality = [name for name in metadata.bands if (known.get(name) or {}).get("qa")]
    return [name for name in metadata.bands if name not in quality], quality


def _uids(name: str, acquisitions: Sequence[Acquisition]) -> list[str]:
    """Return an id for each acquisition: that of its quicklook, too."""
    found: list[str] = []
    for acquisition in acquisitions:
        uid, number = f"{name}_{acquisition.day:%Y-%m-%d}", 2
        while uid in found:
            uid, number = f"{name}_{acquisition.day:%Y-%m-%d}_{number}", number + 1
        found.append(uid)
    return found


def _acquisition_properties(metadata: ImageMetadata, number: int) -> dict[str, Any]:
    acquisition = metadata.acquisitions[number]
    first = acquisition.scenes[0]
    kept = {
        key: value
        for key, value in first.metadata.items()
        if key not in ("id", "system:time_start") and isinstance(value, str | int | float | bool)
    }
    return {
        **kept,
        "datetime": first.time.isoformat().replace("+00:00", "Z"),
        "acquisitionDate": acquisition.day.isoformat(),
        "collection": metadata.collection_id,
        "scenes": [scene.id for scene in acquisition.scenes],
    }


# ard ----------------------------------------------------------------------------------------------


def _ard(job: BlockJob, folder: Path) -> list[dict[str, Any]]:
    from orchard.ard import convert

    place = folder / "files" / job.name
    document = job.done[PREARD].files / job.name / f"{job.name}.json"
    cubes = convert(
        document,
        _as_path(place),
        job.ard.format,
        encoding=job.ard.encoding.given,
        executor="threads",
        callback=job.tick,
    )
    if not cubes:
        raise DataError(f"{job.name} has no acquisitions to make a cube of")
    item = orjson.loads((place / f"{job.name}.stac.json").read_bytes())
    properties = {key: value for key, value in item["properties"].items() if value is not None}
    properties.pop("orchard:sources", None)
    path = f"{job.name}/{cubes[0].name}"
    return [_feature(job.tile, job.name, path, properties)]


def _as_path(folder: Path) -> str:
    """Return a folder as a template of `convert` that means this very folder."""
    return str(folder).replace("{", "{{").replace("}", "}}")


# composite and index ------------------------------------------------------------------------------


def _composite_name(job: BlockJob) -> str:
    method = job.workflow.composite.method if job.workflow.composite else ""
    return f"{job.name}_{method}.tif"


@contextlib.contextmanager
def _open_cube(job: BlockJob) -> Any:
    from orchard.ard import open_ard

    from .rasters import Cube

    shown, quality = _bands(job.metadata)
    with open_ard(job.cube) as dataset:
        yield Cube(dataset, job.tile, shown, quality, check=job.check)


def _composite(job: BlockJob, folder: Path) -> list[dict[str, Any]]:
    from .rasters import composite

    wanted = job.workflow.composite
    if wanted is None:
        raise InputError("this workflow has no composite")
    path = folder / "files" / _composite_name(job)
    with _open_cube(job) as cube:
        found = composite(cube, wanted.method, path)
    properties = {
        "method": wanted.method,
        "covered": found["covered"],
        "clear_fraction": found["clear_fraction"],
        **_period(job),
    }
    return [_feature(job.tile, path.stem, path.name, properties)]


def _index(job: BlockJob, folder: Path) -> list[dict[str, Any]]:
    from .rasters import Raster, index_of_cube, index_of_raster

    wanted = job.workflow.index
    if wanted is None:
        raise InputError("this workflow has no index")
    about = {"index": wanted.name, "formula": wanted.expression}
    if job.composite is not None:
        path = folder / "files" / f"{job.composite.stem}_{wanted.name}.tif"
        raster = Raster(path=job.composite, tile=job.tile, check=job.check)
        index_of_raster(raster, wanted.expression, wanted.name, path)
        return [_feature(job.tile, path.stem, path.name, {**about, **_period(job)})]
    features = []
    with _open_cube(job) as cube:
        for number, day in enumerate(_steps(job, cube.dataset)):
            uid = f"{day}_{wanted.name}"
            path = folder / "files" / f"{uid}.tif"
            index_of_cube(cube, number, wanted.expression, wanted.name, path)
            properties = {**about, "acquisitionDate": day.rsplit("_", 1)[-1]}
            features.append(_feature(job.tile, uid, path.name, properties))
    return features


def _steps(job: BlockJob, dataset: Any) -> Iterable[str]:
    """Name the steps of a cube as the acquisitions of the image are named."""
    seen: dict[str, int] = {}
    for day in dataset["solar_day"].values.astype("datetime64[D]").astype(str):
        seen[day] = seen.get(day, 0) + 1
        yield f"{job.name}_{day}" if seen[day] == 1 else f"{job.name}_{seen[day]}_{day}"


def _period(job: BlockJob) -> dict[str, Any]:
    start, end = (moment.isoformat().replace("+00:00", "Z") for moment in job.metadata.period)
    return {
        "collection": job.metadata.collection_id,
        "period_start": start,
        "period_end": end,
        "acquisitions": len(job.metadata.acquisitions),
    }


def _feature(tile: Tile, uid: str, path: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    outline = tile.geojson()
    return {
        "type": "Feature",
        "id": uid,
        "bbox": list(outline.get("bbox") or _bounds(outline["geometry"])),
        "geometry": outline["geometry"],
        "properties": {
            "uid": uid,
            "up42.data_path": path,
            "tile": f"h{tile.horizontal:03d}v{tile.vertical:03d}",
            **properties,
        },
    }


def _bounds(geometry: Mapping[str, Any]) -> tuple[float, ...]:
    from shapely.geometry import shape

    return tuple(shape(dict(geometry)).bounds)
