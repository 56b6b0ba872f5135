"""What is known of an order's results beside its record: acquisitions, cubes, pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

__all__ = ["AcquisitionFacts", "CubeFacts", "Known", "Picture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionFacts:
    """One acquisition of a task.

    Parameters
    ----------
    day : date
        The solar day.
    scenes : int
        How many scenes are mosaicked in it.
    clear : float, optional
        The part of the tile that is clear, from 0 to 1, as measured in a cube.
    cloud : float, optional
        Cloud cover of its scenes in percent, as their metadata has it (mean of the scenes); not
        needed where a cube tells what is clear.
    """

    day: date
    scenes: int
    clear: float | None = None
    cloud: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeFacts:
    """A cube that was made of tasks of the order.

    Parameters
    ----------
    path, item : str
        Of the cube and of its STAC Item, as the page is to link them.
    format : str
        ``netcdf``, ``zarr`` or ``cog``.
    size : int
        Bytes.
    tasks : sequence of int
        Positions of the tasks.
    """

    path: str
    item: str
    format: str
    size: int
    tasks: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A quicklook: of which task (by position), of which solar day, and a ``data:`` URL."""

    task: int
    day: date
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was found out of an order's results; all of it may be empty.

    Parameters
    ----------
    acquisitions : mapping of int to sequence of AcquisitionFacts
        By the position of the task. A task that is not in it was not looked into.
    cubes : sequence of CubeFacts
    pictures : sequence of Picture
    notes : sequence of str
        What could not be found out, and why: shown as it is.
    """

    acquisitions: Mapping[int, Sequence[AcquisitionFacts]] = field(default_factory=dict)
    cubes: Sequence[CubeFacts] = ()
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
