"""Finding out what is known of an order's results: image metadata, cubes near by, pictures."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchard.errors import InputError, OrchardError
from orchard.summary import counted
from orchard.tracking import State, TaskStatus

from .known import AcquisitionFacts, CubeFacts, Known, Picture

if TYPE_CHECKING:
    from orchard.stores import Store
    from orchard.tracking import TrackingInfo

__all__ = ["FoundCube", "find_cubes_of", "gather"]

Callback = Callable[..., None]

MAX_TASKS = 2000
PICTURES = 24
PICTURE_BYTES = 3_000_000

_THREADS = 8
_CUBES = (".nc", ".zarr", ".cog")
_ITEM = ".stac.json"
#: What a scene's metadata call its cloud cover in percent, as far as Orchard's registry goes.
_CLOUDS = ("eo:cloud_cover", "CLOUD_COVER", "CLOUDY_PIXEL_PERCENTAGE", "CLOUD_COVERAGE")


def gather(
    info: TrackingInfo,
    *,
    store: Store | None = None,
    cubes: str | Path | None = None,
    beside: str | Path | None = None,
    pictures: int = PICTURES,
    max_tasks: int = MAX_TASKS,
    max_bytes: int = PICTURE_BYTES,
    callback: Callback | None = None,
) -> Known:
    """Find out what is known of an order's results.

    Parameters
    ----------
    info : TrackingInfo
    store : Store, optional
        Where the order's images and their metadata are.
    cubes : path, optional
        Folder in which to look for cubes made of the order; each is known by its STAC Item.
    beside : path, optional
        Folder of the page; links to cubes are relative to it. By default this folder.
    pictures : int
        How many quicklooks, at most.
    max_tasks : int
        Of how many tasks (and cubes) to read the metadata, at most; of more, evenly spread ones.
    max_bytes : int
        How many bytes of pictures, at most.
    callback : callable, optional
        ``callback(item=…, n_steps=…)``: one step for each task or cube that is looked into.

    Raises
    ------
    InputError
        When there is no such folder of cubes.
    """
    found = find_cubes_of(info, cubes, limit=max_tasks, callback=callback) if cubes else []
    notes: list[str] = []
    if cubes and not found:
        notes.append(f"No cube of this order is in the folder {cubes}.")
    if len(found) == max_tasks:
        notes.append(f"Only the first {max_tasks:,} cubes were looked into.")
    facts = _from_cubes(found)
    if store is not None:
        facts |= _from_store(info, store, facts, max_tasks, notes, callback)
    folder = Path(beside or ".").resolve()
    drawn: list[Picture] = []
    if pictures > 0:
        from .pictures import draw_pictures

        drawn = draw_pictures(
            info, found, facts, store=store, most=pictures, budget=max_bytes, notes=notes
        )
    return Known(
        acquisitions=facts,
        cubes=[
            CubeFacts(
                path=_link(cube.path, folder),
                item=_link(cube.item, folder),
                format=cube.told["format"],
                size=cube.told["bytes"],
                tasks=cube.positions,
            )
            for cube in found
        ],
        pictures=drawn,
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class FoundCube:
    """A cube of the order: its paths, what `orchard.ard.info` tells, positions of its tasks."""

    path: Path
    item: Path
    told: Mapping[str, Any]
    positions: Sequence[int]
    steps: Sequence[Sequence[int]]
    """Of each step: positions of the tasks that are in it."""


def find_cubes_of(
    info: TrackingInfo,
    folder: str | Path,
    *,
    limit: int = MAX_TASKS,
    callback: Callback | None = None,
) -> list[FoundCube]:
    """Find the cubes in a folder that were made of an order's results.

    What is there but no whole cube of the order is passed over, also where another order has tasks
    of the same names: the files that a cube was made of tell.

    Raises
    ------
    InputError
        When there is no such folder.
    """
    from orchard.ard import info as tell

    if not Path(folder).is_dir():
        raise InputError(f"{folder}: there is no such folder of cubes")
    positions = {order["name"]: position for position, order in enumerate(info.orders)}
    found: list[FoundCube] = []
    for item, cube in _items(Path(folder)):
        if len(found) == limit:
            break
        try:
            told = tell(cube)
        except (OrchardError, OSError, KeyError, ValueError):
            continue  # half made, or of somebody else: not ours to judge here
        ours = {
            name
            for source in told["sources"]
            if (name := source["task"]) in positions
            and _is_result(info.orders[positions[name]]["status"], source["files"])
        }
        steps = [[positions[t] for t in step["tasks"] if t in ours] for step in told["steps"]]
        mine = sorted({position for step in steps for position in step})
        if mine:
            found.append(FoundCube(path=cube, item=item, told=told, positions=mine, steps=steps))
            if callback:
                callback(item=cube.name, n_steps=1)
    return found


def _is_result(status: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a task's result are the files of a cube's source, as far as its record tells."""
    if status["state"] != State.COMPLETED:
        return False
    used = {file["name"]: file for file in files}
    for made in TaskStatus.from_dict(status).files:
        file = used.get(made.name)
        if file is None or made.size not in (None, file["size"]):
            return False
        kind, checksum = file["checksum"].split(":")
        if {"md5": made.md5, "crc32": made.crc32}.get(kind) not in (None, checksum):
            return False
    return True


def _items(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Give the STAC Items of cubes, each with its cube."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if not name.endswith(_ITEM):
                continue
            stem = Path(place, name.removesuffix(_ITEM))
            for suffix in _CUBES:
                cube = stem.with_name(stem.name + suffix)
                if cube.exists():
                    yield Path(place, name), cube
        folders[:] = [f for f in folders if not f.endswith(_CUBES) and not f.startswith(".")]


def _from_cubes(cubes: Sequence[FoundCube]) -> dict[int, list[AcquisitionFacts]]:
    facts: dict[int, dict[date, AcquisitionFacts]] = defaultdict(dict)
    for cube in cubes:
        steps = cube.told["steps"]
        for step, positions, cloud in zip(steps, cube.steps, _clouds(cube), strict=True):
            one = AcquisitionFacts(
                day=date.fromisoformat(step["solar_day"]),
                scenes=len(step["scenes"]),
                clear=step.get("clear_fraction"),
                cloud=cloud,
            )
            for position in positions:
                known = facts[position].get(one.day)  # in two formats, say
                if known is None or (known.clear is None and one.clear is not None):
                    facts[position][one.day] = one
    return {position: list(days.values()) for position, days in facts.items()}


def _clouds(cube: FoundCube) -> list[float | None]:
    """Return the cloud cover of each step's scenes, where the cube does not tell what is clear."""
    from orchard.ard.existing import read_record

    found: list[float | None] = [None] * len(cube.steps)
    unclear = {i for i, one in enumerate(cube.told["steps"]) if one.get("clear_fraction") is None}
    record = read_record(cube.path) if unclear else None
    if record is None:
        return found
    for document, numbers in zip(record.documents, record.steps, strict=True):
        for number, one in zip(numbers, document.acquisitions, strict=True):
            if number in unclear:
                found[number] = _cloud([scene.metadata for scene in one.scenes])
    return found


def _from_store(
    info: TrackingInfo,
    store: Store,
    known: Mapping[int, Sequence[AcquisitionFacts]],
    limit: int,
    notes: list[str],
    callback: Callback | None,
) -> dict[int, list[AcquisitionFacts]]:
    """Read the image metadata of results of which no cube tells anything of clouds."""
    made = [
        position
        for position, order in enumerate(info.orders)
        if order["status"]["state"] == State.COMPLETED and not _tells(known.get(position, ()))
    ]
    chosen = spread(made, limit)
    new, looked = (sum(position not in known for position in some) for some in (made, chosen))
    if looked < new:
        notes.append(
            f"Acquisitions are those of {looked:,} of {counted(new, 'result')}, evenly spread."
        )

    def read(position: int) -> list[AcquisitionFacts] | None:
        order = info.orders[position]
        facts = _facts(store, f"{order['prefix']}/{order['name']}.json".lstrip("/"))
        if callback and position not in known:
            callback(item=order["name"], n_steps=1)
        return facts

    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(chosen, pool.map(read, chosen), strict=True))
    missing = sum(facts is None and position not in known for position, facts in found.items())
    if missing:
        notes.append(
            f"The acquisitions of {counted(missing, 'result')} are not shown: the image metadata "
            "are not in the store, or not readable."
        )
    return {position: facts for position, facts in found.items() if facts is not None}


def _tells(facts: Sequence[AcquisitionFacts]) -> bool:
    """Whether anything is known of clouds."""
    return any(one.clear is not None or one.cloud is not None for one in facts)


def _facts(store: Store, key: str) -> list[AcquisitionFacts] | None:
    from orchard.preard import ImageMetadata

    try:
        metadata = ImageMetadata.from_json(store.get(key)[0], document=key)
    except OrchardError:
        return None
    return [
        AcquisitionFacts(
            day=one.day,
            scenes=len(one.scenes),
            cloud=_cloud([scene.metadata for scene in one.scenes]),
        )
        for one in metadata.acquisitions
    ]


def _cloud(scenes: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mean cloud cover of some scenes, where one of them tells."""
    told = [next((scene[key] for key in _CLOUDS if key in scene), None) for scene in scenes]
    values = [float(value) for value in told if isinstance(value, int | float) and value >= 0]
    return sum(values) / len(values) if values else None


def spread(some: Sequence[int], most: int) -> list[int]:
    """Return evenly spread ones, if there are too many."""
    if len(some) <= most:
        return list(some)
    return [some[round(i * (len(some) - 1) / max(most - 1, 1))] for i in range(most)]


def _link(path: Path, folder: Path) -> str:
    try:
        relative = os.path.relpath(path.resolve(), folder)
    except ValueError:  # another drive
        return path.resolve().as_uri()
    return quote(relative.replace(os.sep, "/"))
