"""The local engine: makes pre-ARD on this machine from the scenes of a STAC catalogue."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import InputError
from orchard.stores import HasPath

from .executors import Executor
from .ledger import Entry, Ledger
from .parts import ImageFiles, Parts, difference

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from orchard.collections import Collection
    from orchard.engines import Coverage, Task, TaskPlan
    from orchard.orders import TaskRequest
    from orchard.stores import Store
    from orchard.tracking import TaskStatus

    from .catalog import Catalog

__all__ = ["LocalEngine", "ledger_path"]


class LocalEngine:
    """Makes pre-ARD from the scenes of a STAC catalogue, in the process that waits for it.

    Parameters
    ----------
    catalog : str or path
        A static STAC catalogue (file or URL), or the URL of a STAC API.
    executor : str
        Where the shards are made: ``synchronous``, ``threads``, ``processes`` or ``distributed``
        (Dask), each also with a number of workers (``threads 4``); ``distributed HOST:PORT``; or
        the dotted path of a Dask cluster class.
    workers : int, optional
        How many shards at a time, where `executor` does not say; default 2.
    cluster : mapping, optional
        Arguments of the Dask cluster class.
    ledger : path, optional
        The SQLite file that records the tasks; see `ledger_path` for where it is by default.
    resampling : str or mapping of str to str
        ``nearest``, ``bilinear`` or ``cubic``, for all bands or by band. Quality bands are always
        ``nearest``.
    creation : mapping, optional
        How the GeoTIFFs are written: ``blocksize``, ``codec``, ``level``, ``predictor``, ``cog``.
    attempts : int
        How often a task is tried when its failures look transient.
    on_bad_scene : {"fail", "skip"}
        Whether a scene that cannot be read fails its task, or is left out; the image metadata tells
        what was left out, and why, in ``image.skipped``.

    Raises
    ------
    InputError
        For an option that cannot be meant.
    """

    name = "local"

    def __init__(
        self,
        catalog: str | os.PathLike[str],
        *,
        executor: str = "threads",
        workers: int | None = None,
        cluster: Mapping[str, Any] | None = None,
        ledger: str | os.PathLike[str] | None = None,
        resampling: str | Mapping[str, str] = "nearest",
        creation: Mapping[str, Any] | None = None,
        attempts: int = 5,
        on_bad_scene: str = "fail",
    ) -> None:
        _check(resampling, on_bad_scene, attempts)
        self.catalog_href = catalog
        self.executor = Executor.parse(executor, workers, cluster)
        self.on_bad_scene = on_bad_scene
        self.resampling = resampling
        self.creation = dict(creation or {})
        self.attempts = attempts
        self._ledger_path = Path(ledger) if ledger is not None else None
        self._ledgers: dict[Path, Ledger] = {}

    def __repr__(self) -> str:
        return f"<LocalEngine {os.fspath(self.catalog_href)!r} {self.executor}>"

    @property
    def content(self) -> Mapping[str, Any]:
        """What of the options decides the pixels: a part of every task's key."""
        return {"resampling": self.resampling, "on_bad_scene": self.on_bad_scene}

    @cached_property
    def _catalog(self) -> Catalog:
        from .catalog import open_catalog

        return open_catalog(self.catalog_href)

    def ledger(self, store: Store) -> Ledger:
        """Return the ledger of the tasks whose images go to `store`."""
        path = self._ledger_path or ledger_path(store)
        if path not in self._ledgers:
            self._ledgers[path] = Ledger(path)
        return self._ledgers[path]

    def plan(
        self,
        requests: Sequence[TaskRequest],
        collections: Mapping[str, Collection],
        callback: Callable[..., None] | None = None,
    ) -> list[TaskPlan]:
        """Find the scenes of every task; see `orchard.engines.Engine.plan`."""
        from .planning import plan_tasks

        return plan_tasks(requests, collections, self._catalog, callback)

    def coverage(self, collection: Collection) -> Coverage:
        """Return what the catalogue has of a collection."""
        from orchard.engines import Coverage

        name = collection.stac_for(self._catalog.href).collection
        times, bounds = self._catalog.extent(name) or (None, None)
        return Coverage(archive=self._catalog.href, name=name, times=times, bounds=bounds)

    def start(self, tasks: Sequence[Task], store: Store) -> list[TaskStatus]:
        """Record tasks in the ledger, where `work` finds them."""
        parts = Parts()
        first = {task.collection.id: task for task in reversed(tasks)}
        alike = {name: self._alike(task) for name, task in first.items()}
        return self.ledger(store).add(
            (self._entry(task, alike[task.collection.id], parts) for task in tasks),
            parts,
            ImageFiles(store).of_entry,
        )

    def _alike(self, task: Task) -> dict[str, Any]:
        """Return what the specifications of all tasks of a collection have alike."""
        collection = task.collection
        return {
            "bands": list(collection.bands),
            "dtype": collection.dtype,
            "nodata": collection.json_nodata,
            "optional": [name for name, band in collection.bands.items() if band.optional],
            "resampling": self._resampling(collection),
            "creation": self._creation(task.export),
            "file_dimensions": task.export.get("fileDimensions"),
            "document": task.document,
        }

    def _entry(self, task: Task, alike: Mapping[str, Any], parts: Parts) -> Entry:
        request, document = task.plan.request, task.document
        images = document["image"]["images"]
        changes = difference(document, {**alike["document"], "tile": document["tile"]})
        changes.get("image", {}).pop("images", None)
        spec = {
            "alike": parts.keep(alike),
            "tile": parts.keep(document["tile"]),
            "acquisitions": [
                [acq.day.isoformat(), [parts.keep(scene.source) for scene in acq.scenes]]
                for acq in task.plan.acquisitions
            ],
            "images": [[parts.keep(scene) for scene in scenes] for scenes in images],
            "document": changes,
        }
        return Entry(
            key=task.key,
            order=task.order,
            submitted=task.submitted,
            name=request.name,
            prefix=request.prefix,
            spec=orjson.dumps(spec),
            priority=task.priority,
        )

    def _resampling(self, collection: Collection) -> dict[str, str]:
        given = self.resampling
        wanted = given if isinstance(given, Mapping) else dict.fromkeys(collection.bands, given)
        return {
            name: "nearest" if band.qa else wanted.get(name, "nearest")
            for name, band in collection.bands.items()
        }

    def _creation(self, export: Mapping[str, Any]) -> dict[str, Any]:
        creation = dict(self.creation)
        if "shardSize" in export:
            creation.setdefault("blocksize", export["shardSize"])
        if "cloudOptimized" in export:
            creation.setdefault("cog", bool(export["cloudOptimized"]))
        return creation

    def poll(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Return what the ledger says of tasks."""
        return self.ledger(store).statuses(ids)

    def changes(
        self, order: str, known: Mapping[str, tuple[str, int, int]], store: Store
    ) -> tuple[dict[str, TaskStatus], set[str]]:
        """Return what the ledger says of an order's tasks where it is not what is known."""
        return self.ledger(store).changes(order, known)

    def cancel(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Cancel READY tasks at once and RUNNING ones within seconds."""
        ledger = self.ledger(store)
        ledger.cancel(ids)
        return ledger.statuses(ids)

    def retry(self, ids: Sequence[str], store: Store) -> dict[str, TaskStatus]:
        """Start tasks anew that ended without a result."""
        ledger = self.ledger(store)
        ledger.retry(ids)
        return ledger.statuses(ids)

    def owners(self, prefix: str, store: Store) -> dict[str, str]:
        """Return which orders have recorded the images of a folder, by the images' names."""
        return self.ledger(store).owners(prefix)

    def note(self, ids: Sequence[str], event: str, store: Store) -> None:
        """Record what was done with the results of tasks that the ledger has."""
        if (self._ledger_path or ledger_path(store)).exists():
            ledger = self.ledger(store)
            ledger.note(ledger.statuses(ids), event)

    def forget(self, ids: Sequence[str], store: Store) -> None:
        """Delete what the ledger has of tasks."""
        self.ledger(store).forget(ids)

    def work(
        self,
        ids: Sequence[str] | None,
        store: Store,
        *,
        timeout: float | None = None,
        callback: Callable[..., None] | None = None,
        stop: Event | None = None,
    ) -> None:
        """Make the images of tasks (None: of all in the ledger) until all have ended.

        See `orchard.engines.Works.work`.
        """
        from .runner import Runner

        Runner(
            ledger=self.ledger(store),
            store=store,
            executor=self.executor,
            attempts=self.attempts,
            on_bad_scene=self.on_bad_scene,
            keys=None if ids is None else set(ids),
            callback=callback,
        ).run(timeout, stop)


def ledger_path(store: Store) -> Path:
    """Return where the ledger of a store is unless somebody says otherwise.

    Beside a folder store (``preard/`` has ``preard.ledger.sqlite``); for others in the user's state
    folder (``$XDG_STATE_HOME/orchard``, by default ``~/.local/state/orchard``), named after the
    store's URL.
    """
    if isinstance(store, HasPath):
        folder = store.path("x").parent
        return folder.with_name(f"{folder.name}.ledger.sqlite")
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.sha256(store.url.encode()).hexdigest()[:16]
    return state / "orchard" / f"{name}.ledger.sqlite"


def _check(resampling: str | Mapping[str, str], on_bad_scene: str, attempts: int) -> None:
    methods = resampling.values() if isinstance(resampling, Mapping) else [resampling]
    for method in methods:
        if method not in ("nearest", "bilinear", "cubic"):
            raise InputError(f"unknown resampling {method!r}: nearest, bilinear or cubic")
    if on_bad_scene not in ("fail", "skip"):
        raise InputError(f"on_bad_scene must be 'fail' or 'skip', not {on_bad_scene!r}")
    if attempts < 1:
        raise InputError(f"attempts must be at least 1, not {attempts}")
