"""Engines make pre-ARD: the seam they all share, and `open_engine`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from orchard.errors import InputError

if TYPE_CHECKING:
    from datetime import date, datetime
    from threading import Event

    from orchard.collections import Collection
    from orchard.grid import Tile
    from orchard.orders import TaskRequest
    from orchard.stores import Store
    from orchard.tracking import TaskStatus

__all__ = [
    "Changes",
    "Chooses",
    "Coverage",
    "Covers",
    "Engine",
    "Forgets",
    "Notes",
    "PlannedAcquisition",
    "PlannedScene",
    "Publishes",
    "Retries",
    "Task",
    "TaskPlan",
    "Works",
    "open_engine",
]

Callback = Callable[..., None]
"""``callback(item=..., n_steps=...)``: what was just done; the part of one task it completes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedScene:
    """One scene that a task will use.

    Parameters
    ----------
    id : str
    time : datetime
        When it was taken, UTC.
    metadata : mapping
        What the image metadata keeps of it, as JSON: ``id``, ``system:time_start``, ….
    source : mapping
        What the engine needs to find it again, as JSON; nobody else looks inside.
    """

    id: str
    time: datetime
    metadata: Mapping[str, Any]
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAcquisition:
    """The scenes of one solar day, in mosaic order: the first that has data wins, per band."""

    day: date
    scenes: tuple[PlannedScene, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """A task and the acquisitions found for it, in time; none: the task is EMPTY."""

    request: TaskRequest
    acquisitions: tuple[PlannedAcquisition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A planned task, ready to start.

    Parameters
    ----------
    key : str
        Derived from the task's content: the same task has the same key, and starts once.
    order : str
        Tracking name of the order.
    plan : TaskPlan
    collection : Collection
        Bands, dtype and nodata of the image.
    export : mapping
        ``export_image_kwds``: ``fileDimensions``, ``shardSize``, …; never changed.
    document : mapping
        The image metadata, as JSON; an engine that `publishes` puts it into the store when it
        begins to make the image, another finds it there.
    submitted : int
        When the order was submitted, in epoch milliseconds UTC.
    priority : int
        Higher goes first.
    """

    key: str
    order: str
    plan: TaskPlan
    collection: Collection
    export: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    submitted: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What an archive has of a collection.

    Parameters
    ----------
    archive : str
        Where it is.
    name : str
        What the archive calls the collection.
    times : (datetime, datetime), optional
        The first and the last scene, UTC; None: there is none, or the archive does not say.
    bounds : (left, bottom, right, top), optional
        Degrees.
    """

    archive: str
    name: str
    times: tuple[datetime | None, datetime | None] | None = None
    bounds: tuple[float, float, float, float] | None = None


class Engine(Protocol):
    """What makes pre-ARD. Many tasks a call; `start` is safe to repeat."""

    @property
    def name(self) -> str:
        """``local``, ``earthengine``, …."""
        ...

    @property
    def content(self) -> Mapping[str, Any]:
        """What of the engine's options decides the pixels, as JSON: a part of every task's key."""
        ...

    def plan(
        self,
        requests: Sequence[TaskRequest],
        collections: Mapping[str, Collection],
        callback: Callback | None = None,
    ) -> list[TaskPlan]:
        """Find the scenes of every task, in as few calls as can be; starts and writes nothing.

        Raises
        ------
        CatalogError
            When the catalogue or one of its items cannot be read.
        FilterError
            For a filter that the engine cannot apply.
        """
        ...

    def start(self, tasks: Sequence[Task], store: Store) -> list[TaskStatus]:
        """Start tasks under their keys; one whose key is already known is adopted as it is."""
        ...

    def poll(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Return the status of tasks by id; one that is unknown to the engine is left out."""
        ...

    def cancel(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Cancel what has not ended; what is completed stays."""
        ...


@runtime_checkable
class Works(Protocol):
    """An engine whose tasks are worked on by the process that waits for them."""

    def work(
        self,
        ids: Sequence[str] | None,
        store: Store,
        *,
        timeout: float | None = None,
        callback: Callback | None = None,
        stop: Event | None = None,
    ) -> None:
        """Work on tasks until all have ended, `timeout` seconds have passed or `stop` is set.

        None: on all tasks that are known, also on those that are added meanwhile.
        """
        ...


@runtime_checkable
class Chooses(Protocol):
    """An engine that cannot write to every store, or not every image."""

    def check_order(self, store: Store, export: Mapping[str, Any], tiles: Sequence[Tile]) -> None:
        """Refuse what cannot be made, before anything is planned or recorded.

        Raises
        ------
        InputError
        """
        ...


@runtime_checkable
class Retries(Protocol):
    """An engine that can start anew what ended without a result."""

    def retry(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Start tasks anew under their ids, with all attempts before them."""
        ...


@runtime_checkable
class Forgets(Protocol):
    """An engine that keeps a record of tasks which `clean` must delete too."""

    def forget(self, ids: Sequence[str], store: Store) -> None:
        """Delete the record of tasks."""
        ...


@runtime_checkable
class Publishes(Protocol):
    """An engine that puts the image metadata into the store itself, when it begins with an image.

    A hundred thousand small documents are not written before anything is made then; until they are,
    the engine knows whose an image is.
    """

    def owners(self, prefix: str, store: Store) -> dict[str, str]:
        """Return which order each image of a folder was recorded for, by the image's name."""
        ...


@runtime_checkable
class Changes(Protocol):
    """An engine that can tell quickly which tasks of an order have changed, of very many."""

    def changes(
        self, order: str, known: Mapping[str, tuple[str, int, int]], store: Store
    ) -> tuple[dict[str, TaskStatus], set[str]]:
        """Return the statuses that are not as known, and the ids that the engine does not know.

        `known` is id -> state, time of the last update (epoch ms UTC) and attempt.
        """
        ...


@runtime_checkable
class Covers(Protocol):
    """An engine that can tell what its archive has of a collection, where nothing was found."""

    def coverage(self, collection: Collection) -> Coverage:
        """Return what there is.

        Raises
        ------
        CatalogError
            When the archive cannot be asked.
        """
        ...


@runtime_checkable
class Notes(Protocol):
    """An engine that keeps a history of its tasks."""

    def note(self, ids: Sequence[str], event: str, store: Store) -> None:
        """Record an event (``downloaded``, ``verified``, ``converted``) of tasks."""
        ...


def open_engine(name: str, **options: Any) -> Engine:
    """Open an engine by name.

    Parameters
    ----------
    name : {"local", "earthengine"}
    **options
        The engine's own. ``local``: ``catalog`` (path or URL of a static STAC catalogue, or URL of
        a STAC API), ``executor`` (``"threads 4"``, ``"distributed HOST:PORT"``, …), ``workers``,
        ``ledger`` (path of its SQLite file), ``resampling``, ``on_bad_scene``, …; see
        `orchard.engines.local.LocalEngine`. ``earthengine``: ``project``,
        ``credentials`` (key file of a service account), ``queue`` (how many tasks may wait there),
        ``ledger``, …; see `orchard.engines.earthengine.EarthEngine`.

    Raises
    ------
    InputError
        For an unknown engine or option.
    """
    if name == "local":
        from .local import LocalEngine

        return _opened(LocalEngine, name, options)
    if name == "earthengine":
        from .earthengine import EarthEngine

        return _opened(EarthEngine, name, options)
    raise InputError(f"unknown engine {name!r}: known are 'local' and 'earthengine'")


def _opened(kind: Callable[..., Engine], name: str, options: Mapping[str, Any]) -> Engine:
    import inspect

    signature = inspect.signature(kind)
    for option in options:
        if option not in signature.parameters:
            from orchard.registry import close

            near = close(option, signature.parameters)
            known = f": it has {', '.join(signature.parameters)}"
            raise InputError(f"engine {name!r} has no option {option!r}{near or known}")
    try:
        signature.bind(**options)
    except TypeError as error:
        raise InputError(f"engine {name!r}: {error}") from None
    return kind(**options)
