"""The platform as a whole: projects, jobs and their results, over the tracker, ledger and store.

Everything the API does is one call here; nothing here knows of HTTP.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from orchard.errors import InputError, MetadataError, NotFoundError, OrderError, OrderNotFoundError
from orchard.preard import ImageMetadata
from orchard.stores import HasPath
from orchard.tracker import Tracker
from orchard.tracking import FAILED_STATES, TERMINAL, State, TaskStatus

from .auth import LOCAL, Auth
from .feed import Feed
from .index import JobIndex, JobRef
from .records import BlockRecord, Records
from .results import Results
from .views import JobView
from .workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchard.config import Config
    from orchard.engines import Engine
    from orchard.stores import Store

    from .results import BlockResult

__all__ = ["JobView", "NotReadyError", "Platform", "platform_folder", "state_folder"]

_DEFAULT = Workflow()
_TASKS = 10_000
_SUBMISSIONS = 2


class NotReadyError(OrderError):
    """A result that is not there (yet); ``soon``: it is being made.

    Parameters
    ----------
    message : str
    soon : bool
        Whether to come back in a moment.
    """

    def __init__(self, message: str, *, soon: bool = False) -> None:
        super().__init__(message)
        self.soon = soon


class Platform:
    """A job platform over one configuration.

    Parameters
    ----------
    config : Config
        Grid, store, engine, collections.
    in_process : bool
        Whether it is used by this process alone: everything is open, work is done only on jobs that
        are asked for, and who asks for a result waits for it.
    folder : Path, optional
        Of the platform's own files; see `platform_folder`.
    token_seconds, link_seconds : int
        How long tokens and download links hold.
    """

    def __init__(
        self,
        config: Config,
        *,
        in_process: bool = False,
        folder: Path | None = None,
        token_seconds: int = 3600,
        link_seconds: int = 3600,
    ) -> None:
        self.config = config
        self.in_process = in_process
        self.tracker = config.get_tracker()
        self.folder = folder or platform_folder(self.tracker.store)
        self.records = Records(self.folder / "platform.sqlite")
        self.auth = Auth(self.records, token_seconds=token_seconds, link_seconds=link_seconds)
        self.index = JobIndex(self.tracker)
        self.feed = Feed(self.index)
        self.results = Results(self.folder / "results" / (self.tracker.tracking_prefix or "orders"))
        self.changed = threading.Condition()
        self.working = False  # a workshop makes blocks
        self.asked: set[str] = set()
        self.remade = 0  # counts results that had gone and are made again
        self.submitting = threading.BoundedSemaphore(_SUBMISSIONS)

    def close(self) -> None:
        """Close its files."""
        self.records.close()

    @property
    def store(self) -> Store:
        """Where the images are."""
        return self.tracker.store

    @property
    def engine(self) -> Engine | None:
        """What makes the images; a platform without one shows what there is."""
        try:
            return self.tracker.engine
        except InputError:
            return None

    @property
    def is_open(self) -> bool:
        """Whether this machine's users need no key: there is no project yet."""
        return self.in_process or not self.records.projects()

    def tell(self) -> None:
        """Wake up those who wait for a change."""
        with self.changed:
            self.changed.notify_all()

    # Jobs

    def jobs(
        self, project: str, *, offset: int = 0, limit: int = 100, order: str | None = None
    ) -> tuple[list[JobView], int]:
        """Return a page of a project's jobs, those of the latest order first, and their number."""
        owners, found, total = self.records.orders(), [], 0
        for entry in self.index.orders():
            if owners.get(entry.name, (LOCAL, ""))[0] != project or order not in (None, entry.name):
                continue
            first = max(0, offset - total)
            last = min(len(entry.jobs), offset + limit - total)
            total += len(entry.jobs)
            if first < last:
                found += self._views(entry.name, range(first, last), owners)
        return found, total

    def job(self, project: str, job: str) -> JobView:
        """Return one of a project's jobs.

        Raises
        ------
        OrderNotFoundError
            When there is none of this id in this project.
        """
        ref = self.index.find(job)
        owners = self.records.orders()
        if ref is not None and owners.get(ref.order, (LOCAL, ""))[0] == project:
            views = self._views(ref.order, [ref.position], owners)
            if views and views[0].id == job:
                return views[0]
        raise OrderNotFoundError(f"there is no job {job} in project {project}")

    def check_order(self, project: str, order: str) -> None:
        """Check that an order is there and a project's own.

        Raises
        ------
        OrderNotFoundError
        """
        owner = self.records.orders().get(order, (LOCAL, ""))[0]
        if owner != project or self.index.entry(order) is None:
            raise OrderNotFoundError(f"there is no order {order!r} in project {project}")

    def task(self, project: str, order: str, position: int) -> JobView:
        """Return one job by its place in its order.

        Raises
        ------
        OrderNotFoundError
            When there is none.
        """
        self.check_order(project, order)
        views = self._views(order, [position], self.records.orders())
        if not views:
            raise OrderNotFoundError(f"order {order!r} has no task {position}")
        return views[0]

    def _views(
        self, order: str, positions: Sequence[int], owners: Mapping[str, tuple[str, str]]
    ) -> list[JobView]:
        """Return some jobs of an order; none when the order has gone meanwhile."""
        try:
            info = self.index.info(order)
        except OrderNotFoundError:
            return []
        project, workflow = owners.get(order, (LOCAL, ""))
        chosen = [position for position in positions if position < len(info.orders)]
        # Not info.statuses: of an order of many tasks only these few are read.
        known = [TaskStatus.from_dict(info.orders[position]["status"]) for position in chosen]
        live = self._live(known)
        records = self.records.blocks_of_jobs([status.id for status in known])
        return [
            JobView(
                ref=JobRef(id=status.id, order=order, position=position),
                project=project,
                name=info.orders[position]["name"],
                prefix=info.orders[position]["prefix"],
                status=status,
                workflow=parse_workflow(workflow),
                records=records.get(status.id, {}),
                submission=info["submission"],
                active=self.working and (not self.in_process or status.id in self.asked),
            )
            for position, status in zip(chosen, live, strict=True)
        ]

    def _live(self, statuses: Sequence[TaskStatus]) -> list[TaskStatus]:
        """Ask the engine how tasks are that have not ended."""
        open_ = [s.id for s in statuses if s.state not in TERMINAL and s.state != State.UNSUBMITTED]
        known = self.engine.poll(open_, self.store) if open_ and self.engine else {}
        return [known.get(status.id, status) for status in statuses]

    def summaries(self, project: str) -> dict[str, dict[str, Any]]:
        """Return, for each of a project's orders, how many of its tasks are in which state."""
        owners, found = self.records.orders(), {}
        for entry in self.index.orders():
            if owners.get(entry.name, (LOCAL, ""))[0] == project:
                found[entry.name] = {
                    "states": entry.states,
                    "progress": entry.progress,
                    "tasks": len(entry.jobs),
                    "submitted": entry.submitted,
                }
        return found

    def image_metadata(self, view: JobView) -> ImageMetadata | None:
        """Return the metadata of a job's image; None where there are none."""
        key = f"{view.prefix}/{view.name}.json".lstrip("/")
        try:
            return ImageMetadata.from_json(self.store.get(key)[0], document=key)
        except (NotFoundError, MetadataError):
            return None

    def cancel(self, view: JobView) -> None:
        """Cancel a job that has not ended: its task, or its blocks; one that is being made ends."""
        if view.status.state not in TERMINAL:
            self.tracker.engine.cancel([view.id], self.store)
            self.tracker.update(view.ref.order)
            self.index.refresh(at_least=True)
        elif view.status.state is State.COMPLETED:
            for block in view.workflow.blocks:
                record = view.current(block)
                if record is None or record.state == "PENDING":
                    self.records.put_block(
                        BlockRecord(
                            job=view.id,
                            block=block,
                            order=view.ref.order,
                            version=view.version,
                            state="CANCELLED",
                        )
                    )
            self.records.stop_block(view.id)
        self.tell()

    def retry(self, view: JobView) -> None:
        """Start a job anew that has no result, or the block of it that failed."""
        if view.status.state in FAILED_STATES:
            self.tracker.retry(view.ref.order, [view.id])
            self.index.refresh(at_least=True)
        else:
            for block in view.workflow.blocks:
                record = view.current(block)
                if record is not None and record.state in ("FAILED", "CANCELLED"):
                    self.records.put_block(replace(record, state="PENDING", attempt=0, error=None))
            self.remade += 1
        self.tell()

    def cancel_order(self, order: str) -> None:
        """Cancel what has not ended of an order."""
        self.tracker.cancel(order)
        self.index.refresh(at_least=True)
        self.tell()

    def retry_order(self, order: str) -> None:
        """Start anew what an order has no result of."""
        self.tracker.retry(order)
        self.index.refresh(at_least=True)
        self.tell()

    # Ordering

    def submit(
        self, project: str, workflow: Workflow, request: Mapping[str, Any]
    ) -> tuple[str, list[JobView], int]:
        """Order what a project asks for.

        Parameters
        ----------
        project : str
        workflow : Workflow
            What is to be made of every task.
        request : mapping
            Arguments of `orchard.Tracker.submit`.

        Returns
        -------
        name : str
            The order's tracking name.
        jobs : list of JobView
            The first hundred.
        count : int
            How many there are.

        Raises
        ------
        OrchardError
            As `orchard.Tracker.submit`.
        """
        self._check_size(request)
        tracker = self._tracker_of(project, workflow, request)
        name, _ = tracker.submit(**request)
        owner = self.records.add_order(name, project, workflow.model_dump_json())
        if owner != project:
            raise OrderError(f"the order {name!r} belongs to another project")
        self.index.refresh(at_least=True)
        jobs, count = self.jobs(project, order=name)
        if self.in_process:
            self.asked.update(*(e.jobs for e in self.index.orders() if e.name == name))
        self.tell()
        return name, jobs, count

    def _tracker_of(self, project: str, workflow: Workflow, request: Mapping[str, Any]) -> Tracker:
        """Return a tracker whose names are this very request's and project's.

        Two projects, or two workflows, may order the same tasks: they have names and files of their
        own, and none ever sees or cleans another's.
        """
        content = orjson.dumps(
            [project, workflow.model_dump(), dict(request)],
            option=orjson.OPT_SORT_KEYS,
            default=str,
        )
        own = f"{project}_{hashlib.blake2b(content, digest_size=5).hexdigest()}"
        base = self.tracker
        return Tracker(
            base.tile_grid,
            base.store,
            name_template=base.templates.name,
            prefix_template=f"{base.templates.prefix}/{own}",
            tracking_template=f"{base.templates.tracking}_{own}",
            tracking_prefix=base.tracking_prefix,
            filters=base.filters,
            export_image_kwds=base.export_image_kwds,
            engine=base.engine,
            collections=base.collections,
        )

    def _check_size(self, request: Mapping[str, Any]) -> None:
        from orchard.orders import parse_time, split_period

        periods = split_period(
            parse_time(request["period_start"], what="period_start"),
            parse_time(request["period_end"], what="period_end"),
            request.get("period_freq"),
        )
        count = len(periods) * len(request["tile_indices"]) * len(request["collections"])
        if count > _TASKS:
            raise InputError(f"this would be {count} tasks; at most {_TASKS} in one order")

    # Results

    def result(self, view: JobView, block: str, patience: float = 0.0) -> BlockResult | None:
        """Return a block's result; None for a job for which no image was found.

        Parameters
        ----------
        view : JobView
        block : str
        patience : float
            Seconds to wait for a result that is being made.

        Raises
        ------
        NotReadyError
            When there is none.
        """
        until = time.monotonic() + patience
        self.ask(view.id)
        while True:
            if view.status.state is State.EMPTY:
                return None
            state = view.states[view.workflow.blocks.index(block)]
            if state == "SUCCEEDED":
                found = self.results.find(view.id, block, view.version)
                if found is not None:
                    return found
                view = self._remake(view, block)
            left = until - time.monotonic()
            soon = view.state in ("RUNNING", "PENDING") and state not in ("FAILED", "CANCELLED")
            if left <= 0 or not soon:
                raise NotReadyError(
                    f"block {block} of job {view.id} is {state}: there are no results of it"
                    + (" yet" if soon else ""),
                    soon=soon and view.status.state is State.COMPLETED,
                )
            with self.changed:
                self.changed.wait(min(left, 1.0))
            view = self.job(view.project, view.id)

    def _remake(self, view: JobView, block: str) -> JobView:
        """Have a result made again that somebody has deleted."""
        self.records.put_block(replace(view.records[block], state="PENDING", attempt=0))
        self.remade += 1
        self.tell()
        return self.job(view.project, view.id)

    def ask(self, job: str) -> None:
        """Note that somebody wants a job: in process, it is worked on from now on."""
        if self.in_process and job not in self.asked:
            self.asked.add(job)
            self.tell()

    def logs(self, view: JobView, block: str) -> str:
        """Return what happened to a block, a line each."""
        from .logs import block_log

        return block_log(self, view, block)


def parse_workflow(text: str) -> Workflow:
    """Read a workflow as it was recorded; the default one where none was."""
    if not text:
        return _DEFAULT
    try:
        return Workflow.model_validate_json(text)
    except ValidationError as error:
        raise MetadataError(f"a workflow was recorded that cannot be read: {error}") from error


def platform_folder(store: Store) -> Path:
    """Return where the platform of a store keeps its own files.

    Beside a folder store (``preard/`` has ``preard.platform/``); for others in the user's state
    folder (``$XDG_STATE_HOME/orchard``, by default ``~/.local/state/orchard``), named after the
    store's URL.
    """
    if isinstance(store, HasPath):
        folder = store.path("x").parent
        return folder.with_name(f"{folder.name}.platform")
    name = hashlib.sha256(store.url.encode()).hexdigest()[:16]
    return state_folder() / f"{name}.platform"


def state_folder() -> Path:
    """Return the user's folder of what Orchard keeps between its runs."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "orchard"
