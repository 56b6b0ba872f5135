"""From pre-ARD images to cubes: which cubes there will be and where, and each of them made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from orchard.engines.local.executors import Executor
from orchard.errors import BulkError, InputError, OrchardError, TemplateError
from orchard.stores import open_store

from .checks import check_mask
from .find import FoundImage, find_images, find_in_store
from .make import WRITERS, Callback, Job, Settings, make_cube
from .places import Place, fill_destination, root_of
from .plan import Encoding, Options
from .run import Crew
from .stac import write_collection

if TYPE_CHECKING:
    from pathlib import Path

    from orchard.preard import ImageMetadata
    from orchard.stores import Store

__all__ = ["convert"]


def convert(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    dest: str | os.PathLike[str] = ".",
    format: str = "netcdf",  # noqa: A002 - the word of the public API
    *,
    store: Store | None = None,
    executor: str = "threads",
    workers: int = 2,
    overwrite: bool = False,
    join: bool = False,
    encoding: Mapping[str, Any] | None = None,
    mask: bool | Sequence[str] | None = None,
    scale: bool = False,
    dilate: int = 0,
    skip_metadata: bool = False,
    callback: Callback | None = None,
    note: Callable[[list[str]], None] | None = None,
) -> list[Path]:
    """Convert pre-ARD images to ARD cubes: ``(time, y, x)``, one variable per band, times in UTC.

    A cube that is there and was made of the same images is left as it is. Tasks without images
    (EMPTY) are passed over. One image that cannot be converted does not stop the others.

    Parameters
    ----------
    source : path or iterable of paths
        Image metadata (``NAME.json``), or a folder: all images in it and in the folders below. With
        `store`, a folder of the store; else it may be the URL of a store (``s3://BUCKET/FOLDER``).
    dest : path
        Folder of the cubes; a template with ``{collection}``, ``{tile.horizontal:03d}``,
        ``{tile.vertical:03d}``, ``{date_start}``, ``{date_end}``, ``{name}``, ``{prefix}``, and
        environment variables.
    format : {"netcdf", "zarr", "cog"}
        NetCDF-4 (deflate and shuffle), Zarr v3 (sharded, zstd), or a folder of one Cloud Optimized
        GeoTIFF per band and date.
    store : Store, optional
        Take the images from this store.
    executor : str
        ``threads``, ``synchronous`` or ``processes``; on Dask ``distributed``, ``distributed
        HOST:PORT``, or the path of a cluster class. Workers on other machines read the images and
        write Zarr at the very paths that are given here; chunks of NetCDF-4 come here to be
        written.
    workers : int
        How many threads, processes or workers of a cluster of our own.
    overwrite : bool
        Make cubes again that are there.
    join : bool
        Make one cube of all tasks of a tile that have the same destination, and add to the cube
        that is there. Days of two collections stay apart; scenes of one solar day that a period's
        end has cut are mosaicked.
    encoding : mapping, optional
        ``chunks`` (``time``, ``y``, ``x``; -1 means all), ``zlib`` (False: not compressed) and
        ``complevel`` (default: a fast one).
    mask : bool or list of str, optional
        True: numbers become nodata where the pixel is not clear; names of flags: where one of them
        is set. Quality bands stay as they are.
    scale : bool
        Physical numbers (float, NaN for nodata) instead of stored ones with ``scale_factor`` and
        ``add_offset``.
    dilate : int
        By how many pixels, in all eight directions, what is not clear grows in ``clear``; pixels
        without data do not grow.
    skip_metadata : bool
        Leave out platform, cloud cover, sun angles and the other metadata of the scenes.
    callback : callable, optional
        ``callback(item=name, n_steps=share)``: the share of one task that was just done.
    note : callable, optional
        Is told the ids of the tasks of each cube when that is there: `Tracker.note` records in
        their history that they were converted.

    Returns
    -------
    list of Path
        The cubes, those that were there already included.

    Raises
    ------
    InputError
        When nothing is found, or an argument cannot be meant: a mask or a flag, too, that the
        metadata of no image know.
    TemplateError
        When the destination cannot be filled in, or is the same for two cubes.
    EngineError
        When the Dask cluster cannot be reached.
    BulkError
        Names each image or cube that failed; all others are done.
    """
    settings = Settings(
        format=_known("format", format, tuple(WRITERS)),
        options=Options(
            mask=tuple(mask) if isinstance(mask, Sequence) else bool(mask),
            scale=scale,
            dilate=_natural("dilate", dilate, 0),
            metadata=not skip_metadata,
            encoding=Encoding.of(encoding),
        ),
        crew=Crew(_executor(executor, workers, format)),
        overwrite=overwrite,
        root=root_of(os.fspath(dest)),
        callback=callback,
    )
    if store is None and isinstance(source, str) and "://" in source:
        store, source = open_store(source), "."
    if store is None:
        images, failures = find_images(source)
    else:
        images, failures = find_in_store(store, _store_folder(source))
    jobs = _jobs(images, os.fspath(dest), WRITERS[format].suffix, join=join)
    check_mask(settings.options.mask, [image.metadata for job in jobs for image in job.images])
    cubes = []
    with closing(settings.crew):
        if jobs:
            settings.crew.open()
        for job in jobs:
            try:
                cubes.append(make_cube(job, settings))
            except OrchardError as exc:
                failures[job.place.name] = exc
            else:
                if note:
                    note(_task_ids(job))
    if cubes:
        write_collection(settings.root)
    if failures:
        what = "not all could be converted" if cubes else "nothing could be converted"
        raise BulkError.of(what, failures, partly=bool(cubes))
    return cubes


def _executor(text: str, workers: int, format_: str) -> Executor:
    executor = Executor.parse(text, _natural("workers", workers, 1))
    if format_ == "cog" and executor.is_remote and executor.kind != "processes":
        raise InputError(
            f"executor {text!r}: cubes of GeoTIFFs are put together on one machine: use threads or "
            "processes"
        )
    return executor


def _store_folder(source: object) -> str:
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"with a store, source must be one folder of it, not {source!r}")
    folder = os.fspath(source)
    return "" if folder in (".", "/") else str(folder).strip("/")


def _known(what: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise InputError(f"{what} {value!r} is unknown: use one of {', '.join(known)}")
    return value


def _natural(what: str, value: int, least: int) -> int:
    if isinstance(value, bool) or int(value) != value or value < least:
        raise InputError(f"{what} must be a whole number of at least {least}, not {value!r}")
    return value


def _jobs(images: Sequence[FoundImage], dest: str, suffix: str, *, join: bool) -> list[Job]:
    """Say which images become which cube.

    Raises
    ------
    TemplateError
        When two cubes would have the same place.
    """
    groups: dict[tuple[Path, str], list[FoundImage]] = {}
    for image in images:
        if not image.metadata.acquisitions:
            continue
        folder, tile = fill_destination(dest, image.metadata), image.metadata.tile
        name = f"h{tile.horizontal:03d}v{tile.vertical:03d}" if join else image.metadata.name
        groups.setdefault((folder, name), []).append(image)
    jobs = []
    for (folder, name), group in groups.items():
        if not join and len(group) > 1:
            raise TemplateError(
                f"two images would become {folder / name}{suffix}: {group[0].metadata.document} "
                f"and {group[1].metadata.document}; add {{prefix}} to the destination"
            )
        ordered = sorted(group, key=lambda image: _order(image.metadata))
        place = Place(folder=folder, name=name, suffix=suffix)
        jobs.append(Job(place=place, images=tuple(ordered), joined=join))
    return jobs


def _task_ids(job: Job) -> list[str]:
    statuses = (image.metadata.raw["task"].get("status") or {} for image in job.images)
    return [str(status["id"]) for status in statuses if status.get("id")]


def _order(metadata: ImageMetadata) -> tuple[Any, ...]:
    return (metadata.period[0], metadata.collection_id, metadata.name)
