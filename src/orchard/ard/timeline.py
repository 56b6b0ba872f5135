"""The times of a cube: which acquisitions of which images make which step (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from orchard.preard import Acquisition, Scene

__all__ = ["Dated", "Part", "Step", "join"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """The acquisitions of one source of pixels: a pre-ARD image, or a cube made earlier."""

    collections: tuple[str, ...]
    acquisitions: tuple[Acquisition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One acquisition of one source, both counted from 0."""

    source: int
    date: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One time of a cube.

    Attributes
    ----------
    collection : str
        Id of the collection; steps of one day and two collections stay apart.
    day : date
        The solar day.
    scenes : tuple of Scene
        All that are in it, in order of (time, id).
    parts : tuple of Part
        Where its pixels come from: the first that has data at a pixel gives it. More than one where
        the end of a period cuts a solar day, so that its scenes are in two images.
    """

    collection: str
    day: date
    scenes: tuple[Scene, ...]
    parts: tuple[Part, ...]

    @property
    def time(self) -> datetime:
        """The time of its first scene (aware, UTC)."""
        return self.scenes[0].time


def join(sources: Sequence[Dated]) -> tuple[Step, ...]:
    """Put the acquisitions of all sources in order of time, each solar day of a collection once.

    Parameters
    ----------
    sources : sequence of Dated
        The earlier of two sources that have the same scenes of a day gives them.

    Returns
    -------
    tuple of Step
        In order of (time, collection).
    """
    found: dict[tuple[str, date], list[tuple[Acquisition, Part]]] = {}
    for number, source in enumerate(sources):
        for index, (collection, acquisition) in enumerate(
            zip(source.collections, source.acquisitions, strict=True)
        ):
            part = Part(source=number, date=index)
            found.setdefault((collection, acquisition.day), []).append((acquisition, part))
    steps = [
        _step(collection, day, _needed(candidates))
        for (collection, day), candidates in found.items()
    ]
    return tuple(sorted(steps, key=lambda step: (step.time, step.collection)))


def _needed(candidates: Sequence[tuple[Acquisition, Part]]) -> list[tuple[Acquisition, Part]]:
    """Leave out what adds no scene: the same acquisition of an overlapping period."""
    seen: set[str] = set()
    needed = []
    # Most scenes first: a whole day before the half that another period has of it.
    for acquisition, part in sorted(candidates, key=lambda c: -len(c[0].scenes)):
        ids = {scene.id for scene in acquisition.scenes}
        if not ids <= seen:
            needed.append((acquisition, part))
            seen |= ids
    return sorted(needed, key=lambda c: (c[0].time, c[0].scenes[0].id))


def _step(collection: str, day: date, parts: Sequence[tuple[Acquisition, Part]]) -> Step:
    scenes = {scene.id: scene for acquisition, _ in parts for scene in acquisition.scenes}
    return Step(
        collection=collection,
        day=day,
        scenes=tuple(sorted(scenes.values(), key=lambda scene: (scene.time, scene.id))),
        parts=tuple(part for _, part in parts),
    )
