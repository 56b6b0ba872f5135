"""Submitting: an order is recorded before any of it starts, and nothing starts twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .documents import encode, image_document, order_key, tracking_document
from .engines import Engine, Publishes, Task
from .errors import ConflictError, InputError, OrderExistsError, OrderNotFoundError
from .orders import Templates, parse_time
from .records import Record, Records, read_json
from .tracking import State, TaskStatus, TrackingInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from .grid import TileGrid
    from .ordering import OrderPlan
    from .orders import TaskRequest
    from .stores import Store

__all__ = ["Submitter"]

_WRITERS = 8
_NOT_STARTED = frozenset({State.UNSUBMITTED, State.EMPTY})
_BATCH = 5000  # tasks that are handed to the engine at a time


@dataclass(frozen=True, kw_only=True)
class Submitter:
    """Records orders and starts their tasks.

    Parameters
    ----------
    store : Store
    records : Records
    engine : Engine
    export : mapping
        ``export_image_kwds``.
    templates : Templates
    grid : TileGrid
    """

    store: Store
    records: Records
    engine: Engine
    export: Mapping[str, Any]
    templates: Templates
    grid: TileGrid

    def record(self, order: OrderPlan, save_empty: bool, priority: int) -> Record:
        """Write down what will be done, before any of it is; or return what is written already."""
        known, left = self._same_order(order)
        if known is not None:
            return self.records.read(known)
        document = tracking_document(
            order.spec,
            order.plans,
            order.keys,
            name=order.name,
            prefix=self.records.prefix,
            grid=self.grid,
            templates=self.templates,
            engine=self.engine.name,
            export=self.export,
            submitted=order.submitted,
            empty_metadata=save_empty,
            priority=priority,
        )
        try:
            record = self.records.create(document)
        except ConflictError:
            # Somebody submitted under this name since we looked.
            known, _ = self._same_order(order)
            if known is None:
                raise
            return self.records.read(known)
        for key in left:
            self.store.delete(key)
        return record

    def _same_order(self, order: OrderPlan) -> tuple[str | None, list[str]]:
        """Return the name under which this very order is already there; else what is in its way.

        Returns
        -------
        name : str or None
        left : list of str
            Image metadata that orders have left which are no more (an interrupted clean).

        Raises
        ------
        OrderExistsError
            When its name, or one of its images, belongs to another order.
        """
        mine = order_key(order.keys)
        try:
            if self.records.head(order.name)["tracking"].get("key") == mine:
                return order.name, []
        except OrderNotFoundError:
            pass
        else:
            raise OrderExistsError(
                f"there is already another order named {order.name!r}: give this one a name "
                "(submit --name NAME), or make tracking_template tell them apart (add {now}, "
                "{collections} or {tiles})"
            )
        left = []
        for image, owner, key in self._owners(order):
            there = self._key_of(owner)
            if there == mine:
                return owner, []
            if there is not None:
                raise OrderExistsError(
                    f"the image {image!r} already belongs to the order {owner!r}: clean that "
                    "order first, or change name_template or prefix_template"
                )
            if key is not None:
                left.append(key)
        return None, left

    def _key_of(self, name: str) -> str | None:
        """Return the key of an order; None: there is no such order."""
        try:
            return str(self.records.head(name)["tracking"].get("key"))
        except (OrderNotFoundError, InputError):
            return None

    def _owners(self, order: OrderPlan) -> Iterator[tuple[str, str, str | None]]:
        """Tell whose the images of an order already are: image, order and key of the metadata."""
        folders: dict[str, set[str]] = {}
        for plan in order.plans:
            folders.setdefault(plan.request.prefix, set()).add(plan.request.name)
        for prefix, names in folders.items():
            if isinstance(self.engine, Publishes):
                recorded = self.engine.owners(prefix, self.store)
                yield from (
                    (name, owner, None)
                    for owner, name in {recorded[n]: n for n in names & recorded.keys()}.items()
                )
            for info in self.store.list(prefix):
                name = info.key[len(prefix) + 1 :].removesuffix(".json")
                if name in names and info.key.endswith(".json"):
                    data = read_json(self.store.get(info.key)[0], info.key)
                    yield name, str((data.get("order") or {}).get("name") or ""), info.key

    def start(self, record: Record, order: OrderPlan) -> None:
        """Start what has not been started, and record it; may be repeated."""
        states = [entry["status"]["state"] for entry in record.info.orders]
        wanted = {p for p, state in enumerate(states) if state in _NOT_STARTED}
        record.change(self.begin(record, order, wanted))

    def begin(
        self, record: Record, order: OrderPlan, positions: Collection[int]
    ) -> dict[int, TaskStatus]:
        """Hand tasks to the engine, without recording it.

        Parameters
        ----------
        record : Record
        order : OrderPlan
        positions : collection of int
            Which tasks; of those that are EMPTY only the metadata is written.

        Returns
        -------
        dict of int to TaskStatus
        """
        info, statuses = record.info, {}
        ready: list[int] = []
        for position in sorted(positions):
            entry = info.orders[position]
            if entry["status"]["state"] == State.EMPTY:
                continue
            if order.plans[position].acquisitions:
                ready.append(position)
            else:  # the catalogue has changed since the order was recorded
                status = TaskStatus.from_dict(entry["status"])
                statuses[position] = status.moved(State.EMPTY, error_message=None)
        if statuses:
            info = info.with_statuses(statuses)
        document = self._documents(info, order)
        self._put_metadata(info, order, document, positions)
        submitted = parse_time(info["submission"]["submitted"])
        for first in range(0, len(ready), _BATCH):
            some = ready[first : first + _BATCH]
            tasks = [
                Task(
                    key=order.keys[position],
                    order=info.name,
                    plan=order.plans[position],
                    collection=order.collections[order.plans[position].request.collection],
                    export=self.export,
                    document=document(position),
                    submitted=int(submitted.timestamp() * 1000),
                    priority=int(info["tracking"].get("priority") or 0),
                )
                for position in some
            ]
            statuses |= zip(some, self.engine.start(tasks, self.store), strict=True)
        return statuses

    def _documents(self, info: TrackingInfo, order: OrderPlan) -> Callable[[int], dict[str, Any]]:
        """Return what makes the image metadata of a task, by its position."""
        described = {name: found.describe() for name, found in order.collections.items()}
        submitted = parse_time(info["submission"]["submitted"])

        def document(position: int) -> dict[str, Any]:
            plan = order.plans[position]
            collection = plan.request.collection
            return image_document(
                plan,
                order.collections[collection],
                order=info.name,
                status=info.orders[position]["status"],
                service=type(self.store).__name__,
                export=self.export,
                submitted=submitted,
                description=described[collection],
            )

        return document

    def _put_metadata(
        self,
        info: TrackingInfo,
        order: OrderPlan,
        document: Callable[[int], dict[str, Any]],
        positions: Collection[int],
    ) -> None:
        """Write the image metadata that the record lists and that the engine does not write.

        That of tasks which have started is there, and may tell how these were cut since.
        """
        published = isinstance(self.engine, Publishes)
        wanted = [
            position
            for position, plan in enumerate(order.plans)
            if not (published and plan.acquisitions) and position in positions
        ]
        listed = set(info["metadata"]) if wanted else set()
        keys = {
            position: key
            for position in wanted
            if (key := _metadata_key(order.plans[position].request)) in listed
        }

        def put(position: int) -> None:
            self.store.put(keys[position], encode(document(position)))

        with ThreadPoolExecutor(_WRITERS) as pool:
            for _ in pool.map(put, keys):
                pass


def _metadata_key(request: TaskRequest) -> str:
    """Return where the image metadata of a task is."""
    return f"{request.prefix}/{request.name}.json"
