"""The pictures of a report: small quicklooks of evenly spread tasks, stretched to compare."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchard.errors import OrchardError
from orchard.tracking import State

from .gather import FoundCube, spread
from .known import AcquisitionFacts, Picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchard.stores import Store
    from orchard.tracking import TrackingInfo

__all__ = ["draw_pictures"]

_SIZE = 256
_QUALITY = 78
_COLOURS = ("red", "green", "blue")
_AUXILIARY = ("clear", "flag_")
_CORNER = 0.1
"""The part of a tile that a picture should show, if there are others."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What to draw: a cube, or a pre-ARD image by its metadata; tasks and day of each step."""

    path: Path
    bands: tuple[str, ...]
    days: Sequence[date]
    tasks: Sequence[int]


def draw_pictures(
    info: TrackingInfo,
    cubes: Sequence[FoundCube],
    facts: Mapping[int, Sequence[AcquisitionFacts]],
    *,
    store: Store | None,
    most: int,
    budget: int,
    notes: list[str],
) -> list[Picture]:
    """Draw the clearest date of evenly spread tasks, then further dates while there is room.

    Parameters
    ----------
    info : TrackingInfo
    cubes : sequence of FoundCube
        Drawn from where there are some; else from the pre-ARD images, if the store is a folder.
    facts : mapping
        Acquisitions by the position of the task.
    store : Store, optional
    most : int
        How many pictures.
    budget : int
        How many bytes of ``data:`` URLs.
    notes : list of str
        Gets a line for what could not be drawn.
    """
    cubes = [cube for cube in cubes if _shows_something(cube)] or cubes
    chosen = [_of_cube(cubes[i]) for i in spread(range(len(cubes)), most)]
    if not cubes:
        chosen = list(_of_store(info, store, most))
    groups: dict[tuple[str, ...], list[_Source]] = defaultdict(list)
    for source in chosen:
        if source.days:
            groups[source.bands].append(source)
    pictures: list[Picture] = []
    for group in groups.values():
        try:
            pictures += _drawn(group, facts, most)
        except OrchardError as error:
            notes.append(f"Some pictures could not be drawn: {error}")
    return _within(pictures, most, budget, notes)


def _of_cube(cube: FoundCube) -> _Source:
    known = [band["name"] for band in cube.told["bands"]]
    return _Source(
        path=cube.path,
        bands=_bands(known),
        days=[date.fromisoformat(step["solar_day"]) for step in cube.told["steps"]],
        tasks=[tasks[0] if tasks else -1 for tasks in cube.steps],
    )


def _shows_something(cube: FoundCube) -> bool:
    """Whether a cube has data in more than a corner of its tile."""
    valid = [step.get("valid_fraction") for step in cube.told["steps"]]
    return not valid or max(1.0 if one is None else one for one in valid) >= _CORNER


def _of_store(info: TrackingInfo, store: Store | None, most: int) -> Iterator[_Source]:
    from orchard.preard import ImageMetadata
    from orchard.stores import HasPath

    if not isinstance(store, HasPath):
        return
    states = [order["status"]["state"] for order in info.orders]
    made = [position for position, state in enumerate(states) if state == State.COMPLETED]
    for position in spread(made, most):
        order = info.orders[position]
        path = store.path(f"{order['prefix']}/{order['name']}.json".lstrip("/"))
        try:
            metadata = ImageMetadata.from_file(path)
        except OrchardError:
            continue  # downloaded and cleaned
        days = [one.day for one in metadata.acquisitions]
        yield _Source(
            path=path, bands=_bands(metadata.bands), days=days, tasks=[position] * len(days)
        )


def _bands(known: Sequence[str]) -> tuple[str, ...]:
    """Return red, green and blue, or else the first band of all."""
    if set(_COLOURS) <= set(known):
        return _COLOURS
    return (next((band for band in known if not band.startswith(_AUXILIARY)), known[0]),)


def _drawn(
    sources: Sequence[_Source], facts: Mapping[int, Sequence[AcquisitionFacts]], most: int
) -> list[Picture]:
    from orchard.quicklook import quicklook

    days = _days(sources, facts, most)
    steps = [
        (source, number)
        for source in sources
        for number in sorted(range(len(source.days)), key=source.days.__getitem__)
        if source.days[number] in days
    ]
    with TemporaryDirectory(prefix="orchard-report-") as folder:
        paths = quicklook(
            [source.path for source in sources],
            folder,
            bands=sources[0].bands,
            size=_SIZE,
            date=sorted(days),
        )
        return [
            Picture(task=source.tasks[number], day=source.days[number], url=_url(path))
            for (source, number), path in zip(steps, paths, strict=True)
            if source.tasks[number] >= 0
        ]


def _days(
    sources: Sequence[_Source], facts: Mapping[int, Sequence[AcquisitionFacts]], most: int
) -> set[date]:
    """Choose the clearest day of each source; all days, if that is not too many."""
    everything = {day for source in sources for day in source.days}
    if sum(len(source.days) for source in sources) <= most:
        return everything
    best = set()
    for source in sources:
        clear = {
            one.day: one.clear if one.clear is not None else 1 - (one.cloud or 0) / 100
            for task in set(source.tasks)
            for one in facts.get(task, ())
        }
        best.add(max(source.days, key=lambda day: clear.get(day, 0.0)))
    return best


def _url(path: Path) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.save(buffer, format="WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _within(pictures: Sequence[Picture], most: int, budget: int, notes: list[str]) -> list[Picture]:
    """Leave what there is room for: first one of each task, in their order."""
    seen: set[int] = set()
    again = []
    for picture in pictures:
        again.append(picture.task in seen)
        seen.add(picture.task)
    ranked = sorted(range(len(pictures)), key=lambda i: again[i])
    kept, size = [], 0
    for i in ranked[:most]:
        size += len(pictures[i].url)
        if size > budget:
            notes.append("Some pictures are left out: there is no more room for them.")
            break
        kept.append(i)
    chosen = [pictures[i] for i in kept]
    return sorted(chosen, key=lambda picture: (picture.task, picture.day))
