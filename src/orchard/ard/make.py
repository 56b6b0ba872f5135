"""Makes one cube: opens its sources, plans it, runs the work, commits it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

import orchard
from orchard.errors import InputError

from .checks import unknown_flag
from .cog import CogWriter
from .coords import Coordinate, attributes, coordinates, measured, texts
from .existing import RECORD, Record, make_record, open_cube, read_record
from .netcdf import NetcdfWriter
from .places import Place, writing
from .plan import CLEAR, FLAG, BandPlan, CubePlan, Options, describe
from .provenance import SourceImage, check_files, provenance
from .reader import open_image
from .stac import cube_item, size_of
from .timeline import Dated, join
from .units import choose_chunks, unit_size, units
from .worker import PixelSource, UnitWorker
from .zarr import ZarrWriter

if TYPE_CHECKING:
    from pathlib import Path

    from orchard.preard import ImageMetadata

    from .find import FoundImage
    from .run import Crew

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WRITERS", "Job", "Settings", "make_cube"]

Callback = Callable[..., None]
Writer = NetcdfWriter | ZarrWriter | CogWriter

WRITERS: dict[str, type[Writer]] = {"netcdf": NetcdfWriter, "zarr": ZarrWriter, "cog": CogWriter}

# Of files that GDAL reads, its cache must hold the block of every thread, or be too small for one:
# in between, GDAL fills it again and again.
_CACHE = 2**28
_CACHE_OFF = 2**23


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cube: where it goes and the images that it is made of."""

    place: Place
    images: tuple[FoundImage, ...]
    joined: bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How all cubes of a call are made; see `convert`."""

    format: str
    options: Options
    crew: Crew
    overwrite: bool
    root: Path
    callback: Callback | None

    @property
    def workers(self) -> int:
        """How many units are worked on at a time by this process."""
        return self.crew.executor.workers


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One source of pixels, what it holds, and which tasks made each of its dates."""

    metadata: ImageMetadata
    pixels: PixelSource
    tasks: tuple[tuple[str, ...], ...]

    @property
    def dated(self) -> Dated:
        count = len(self.metadata.acquisitions)
        return Dated(
            collections=(self.metadata.collection_id,) * count,
            acquisitions=self.metadata.acquisitions,
        )


def make_cube(job: Job, settings: Settings) -> Path:
    """Make a cube, unless it is there already and whole.

    Returns
    -------
    Path
        Of the cube.
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(writing(job.place))
        files = [stack.enter_context(image.local(job.place.temporary())) for image in job.images]
        given = [
            provenance(image.metadata, paths, workers=settings.workers)
            for image, paths in zip(job.images, files, strict=True)
        ]
        record = None if settings.overwrite else _earlier(job)
        if record is not None:
            _check_options(job.place, record, settings)
            if _is_done(job, record, given):
                return job.place.cube
        sources = _open_sources(job, files, record, given, settings.workers, stack)
        everything = [*given, *_kept(record, job, given)]
        plan = _plan(job, sources, settings)
        writer = WRITERS[settings.format](temporary, plan)
        stack.callback(writer.close)
        known = _coordinates(plan, sources, everything)
        counted = _write(writer, plan, sources, known, settings)
        if isinstance(writer, CogWriter):
            writer.write_items(job.place.cube, known, settings.root)
        item = cube_item(
            plan,
            item_path=job.place.item,
            assets=writer.assets(job.place.cube),
            written=temporary,
            final=job.place.cube,
            extra={
                "orchard:sources": [source.to_dict() for source in everything],
                "orchard:options": settings.options.to_dict(),
                "orchard:measured": {name: values.tolist() for name, values in counted.items()},
            },
            root=settings.root,
        )
        job.place.commit(temporary, item)
        return job.place.cube


# What is there already ----------------------------------------------------------------------------


def _earlier(job: Job) -> Record | None:
    return read_record(job.place.cube) if job.place.cube.exists() else None


def _check_options(place: Place, record: Record, settings: Settings) -> None:
    wanted = settings.options.to_dict()
    if dict(record.options) != wanted:
        raise InputError(
            f"{place.cube} was made with {dict(record.options)}, not {wanted}: choose another "
            "destination, or overwrite it"
        )


def _is_done(job: Job, record: Record, given: Sequence[SourceImage]) -> bool:
    """Whether the cube holds the given images, as they are, and its item vouches for it."""
    same = set(given) <= set(record.sources) if job.joined else set(given) == set(record.sources)
    if not same:
        return False
    try:
        item = json.loads(job.place.item.read_bytes())
        sizes = {
            job.place.folder / asset["href"]: asset["file:size"]
            for asset in item["assets"].values()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(path.exists() and size_of(path) == size for path, size in sizes.items())


# Sources ------------------------------------------------------------------------------------------


def _kept(record: Record | None, job: Job, given: Sequence[SourceImage]) -> list[SourceImage]:
    """Return what the earlier cube was made of and this call does not give."""
    if record is None or not job.joined:
        return []
    tasks = {source.task for source in given}
    return [source for source in record.sources if source.task not in tasks]


def _open_sources(
    job: Job,
    files: Sequence[Mapping[str, Path]],
    record: Record | None,
    given: Sequence[SourceImage],
    workers: int,
    stack: ExitStack,
) -> list[_Source]:
    """Open the images, and the earlier cube where it holds tasks that are not given."""
    kept = _kept(record, job, given)
    known = set(record.sources) if record is not None and kept else set()
    sources = []
    for image, paths, source in zip(job.images, files, given, strict=True):
        if source not in known:
            pixels = open_image(image.metadata, paths)
            stack.callback(pixels.close)
            check_files(image.metadata, paths, workers=workers)
            tasks = ((source.task,),) * len(image.metadata.acquisitions)
            sources.append(_Source(metadata=image.metadata, pixels=pixels, tasks=tasks))
    if record is not None and kept:
        changed = {s.task for s in given if s not in known} & {s.task for s in record.sources}
        sources += _cube_sources(job, record, changed, stack)
    return sources


def _cube_sources(job: Job, record: Record, changed: set[str], stack: ExitStack) -> list[_Source]:
    if record.options["mask"] or record.options["scale"]:
        raise InputError(
            f"{job.place.cube} holds masked or scaled numbers and cannot be added to: give the "
            "pre-ARD of all its tasks, and overwrite it"
        )
    sources = []
    for number, document in enumerate(record.documents):
        numbers = record.steps[number]
        mine = [i for i, step in enumerate(numbers) if not changed & set(record.tasks[step])]
        for i in set(range(len(numbers))) - set(mine):
            lost = set(record.tasks[numbers[i]]) - changed
            if lost:
                raise InputError(
                    f"{job.place.cube}: {document.acquisitions[i].day} was made of a task that has "
                    f"changed and of {', '.join(sorted(lost))}: give the pre-ARD of that, too"
                )
        if not mine:
            continue
        pixels = open_cube(job.place.cube, record, number, mine)
        stack.callback(pixels.close)
        sources.append(
            _Source(
                metadata=replace(
                    document, acquisitions=tuple(document.acquisitions[i] for i in mine)
                ),
                pixels=pixels,
                tasks=tuple(record.tasks[numbers[i]] for i in mine),
            )
        )
    return sources


# The plan -----------------------------------------------------------------------------------------


def _plan(job: Job, sources: Sequence[_Source], settings: Settings) -> CubePlan:
    first = sources[0].pixels
    for source in sources:
        if source.pixels.dtype != first.dtype:
            raise InputError(
                f"{sources[0].metadata.name} ({first.dtype}) and {source.metadata.name} "
                f"({source.pixels.dtype}) cannot be one cube: they differ in dtype"
            )
    tile, bands, nodata, collections = describe([s.metadata for s in sources], first.dtype)
    steps = join([source.dated for source in sources])
    shape = (len(steps), tile.height, tile.width)
    chunks = choose_chunks(shape, first.block, settings.options.encoding.chunks)
    together = len(bands) * len(steps) if first.block.pixel else chunks.time
    plan = CubePlan(
        name=job.place.name,
        tile=tile,
        steps=steps,
        bands=bands,
        dtype=first.dtype,
        nodata=nodata,
        collections=collections,
        chunks=chunks,
        unit=unit_size(
            tile.size,
            chunks,
            first.block,
            together * np.dtype(first.dtype).itemsize,
            grow=WRITERS[settings.format].grow_units,
        ),
        options=settings.options,
    )
    _check_plan(plan)
    return plan


def _check_plan(plan: CubePlan) -> None:
    """Refuse what cannot be done with these bands and rules."""
    mask = plan.options.mask
    if mask is True and not plan.quality:
        raise InputError(f"{plan.name} cannot be masked: its collection does not say what is clear")
    if isinstance(mask, tuple) and (unknown := set(mask) - set(plan.flags)):
        raise InputError(
            f"{plan.name} cannot be masked by {unknown_flag(min(unknown), plan.flags)}"
        )
    if mask and plan.nodata is None and not plan.options.scale:
        raise InputError(f"{plan.name} cannot be masked: its images have no nodata value")
    taken = {CLEAR, *(FLAG + flag for flag in plan.flags), "time", "y", "x"}
    clash = taken & {band.name for band in plan.bands}
    if clash:
        raise InputError(f"{plan.name}: a band cannot be called {min(clash)!r}")


# The work -----------------------------------------------------------------------------------------


def _coordinates(
    plan: CubePlan, sources: Sequence[_Source], everything: Sequence[SourceImage]
) -> dict[str, Coordinate]:
    tasks = [
        dict.fromkeys(t for part in step.parts for t in sources[part.source].tasks[part.date])
        for step in plan.steps
    ]
    record = make_record(
        sources=everything,
        options=plan.options.to_dict(),
        images=[source.metadata for source in sources],
        tasks=[list(names) for names in tasks],
        plan=plan,
    )
    return {
        **coordinates(plan),
        "tasks": texts(["/".join(names) for names in tasks], "names of the tasks, / between them"),
        RECORD: Coordinate(
            dims=(),
            values=np.array(record, dtype=object),
            attributes={"long_name": "how the cube was made, JSON"},
        ),
    }


def _write(
    writer: Writer,
    plan: CubePlan,
    sources: Sequence[_Source],
    known: Mapping[str, Coordinate],
    settings: Settings,
) -> dict[str, NDArray[np.float64]]:
    """Write all pixels; return what was measured of them."""
    auxiliary = [name for name in known if name not in ("time", "y", "x")]
    writer.create(known, attributes(plan, auxiliary), _title(plan))
    worker = UnitWorker(
        plan=plan,
        sources=[source.pixels for source in sources],
        bands=[_numbers(plan.bands, source.metadata) for source in sources],
        encoder=writer.encoder,
        # A writer cannot follow a worker into another process.
        accept=_one_at_a_time(writer.accept) if settings.crew.shares_memory else None,
    )
    windows = list(units(plan.tile.size, plan.unit))
    clear = np.zeros(len(plan.steps), np.int64)
    valid = np.zeros(len(plan.steps), np.int64)
    results = settings.crew.run(worker, windows)
    cache = _cache_size(plan, sources, settings.workers)
    # Closed, so that no worker is left when the file is.
    with rasterio.Env(GDAL_CACHEMAX=cache), closing(results):
        for result in results:
            for payload in result.payloads:
                writer.accept(payload)
            clear += result.clear
            valid += result.valid
            if settings.callback is not None:
                settings.callback(item=plan.name, n_steps=1 / len(windows))
    counted = measured(plan, clear, valid)
    writer.finish(counted)
    return counted


def _one_at_a_time(accept: Callable[[Any], None]) -> Callable[[Any], None]:
    lock = threading.Lock()

    def accept_one(payload: Any) -> None:
        with lock:
            accept(payload)

    return accept_one


def _numbers(bands: Sequence[BandPlan], metadata: ImageMetadata) -> tuple[int | None, ...]:
    places = {name: number for number, name in enumerate(metadata.bands)}
    return tuple(places.get(band.name) for band in bands)


def _cache_size(plan: CubePlan, sources: Sequence[_Source], workers: int) -> int:
    column = max(
        s.pixels.block.height
        * s.pixels.block.width
        * (s.metadata.count if s.pixels.block.pixel else 1)
        * np.dtype(plan.dtype).itemsize
        for s in sources
    )
    wanted = (workers + 1) * column
    return max(wanted, _CACHE // 4) if wanted <= _CACHE else _CACHE_OFF


def _title(plan: CubePlan) -> dict[str, str]:
    collections = ", ".join(dict.fromkeys(step.collection for step in plan.steps))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Conventions": "CF-1.11",
        "title": plan.name,
        "institution": "not stated",
        "source": collections,
        "history": f"{now} made by Orchard {orchard.__version__}",
        "references": "https://orchard.readthedocs.io",
        "comment": "all times are UTC"
        + ("; `clear` is true where a pixel is usable" if plan.quality else ""),
    }
