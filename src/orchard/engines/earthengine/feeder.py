"""The feeder: sends exports as there is room, follows them, and sees each task to its end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchard.errors import EngineError, InputError
from orchard.tracking import TERMINAL, State, now_ms

from .destinations import Destination
from .expression import check_pixels, export_request
from .failures import QueueFullError, RefusedError, UnavailableError
from .lifecycle import Action, Part, PartState, Record, choose, judge, observe
from .operations import Listing, Operation, PartId, list_operations
from .results import Results
from .spec import ImageSpec, PartSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchard.stores import Store

    from .client import Client
    from .ledger import Ledger

__all__ = ["Feeder", "Options"]

_CHECKS = 10


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the feeder works.

    Parameters
    ----------
    queue : int
        How many tasks of the project, whoever's they are, may wait at Earth Engine.
    threads : int
        How many exports are sent at a time.
    attempts : int
        How often an export is sent whose failures look transient.
    splits : int
        How often a task that is too large is quartered, and its period halved.
    expression : int
        Bytes that an expression may have.
    """

    queue: int = 2500
    threads: int = 8
    attempts: int = 3
    splits: int = 3
    expression: int = 10_000_000


class Feeder:
    """Works on all tasks in a ledger.

    Parameters
    ----------
    client : Client
    ledger : Ledger
    options : Options
    """

    def __init__(self, client: Client, ledger: Ledger, options: Options) -> None:
        self.client = client
        self.ledger = ledger
        self.options = options

    # Looking

    def look(
        self, *, ids: Iterable[str] = (), room: bool = False, everything: bool = False
    ) -> Listing:
        """List the operations once and record what became of the exports.

        Parameters
        ----------
        ids : iterable of str
            Operations that the caller looks for besides.
        room : bool
            Whether it matters how many tasks wait.
        everything : bool
            Do not stop before the end.
        """
        sent = self.ledger.sent()
        listing = list_operations(
            self.client.pages(),
            parts=None if everything else {part.id for part in sent},
            ids=None if everything else set(ids),
            count_pending=room,
        )
        changed, missing = [], []
        for part in sent:
            operation = listing.parts.get(part.id) or listing.by_id.get(part.operation)
            if operation is None:
                missing.append(part)
            elif (seen := observe(part, operation)) != part:
                changed.append(seen)
        changed += self._missing(missing)
        self.ledger.save_parts(changed)
        self._show(changed)
        return listing

    def _missing(self, parts: Sequence[Part]) -> list[Part]:
        """Judge exports that are not among the operations."""
        # What was only intended never arrived: to be sent again, under the same request id.
        again = [
            replace(part, state=PartState.WAITING)
            for part in parts
            if part.state is PartState.INTENDED
        ]
        # A listing may lag behind: the newest are asked for by name until one is really gone.
        others = sorted(
            (part for part in parts if part.state is not PartState.INTENDED),
            key=lambda part: part.updated_ms,
            reverse=True,
        )
        for position, part in enumerate(others[:_CHECKS]):
            if not self.client.exists(part.operation):
                return again + [replace(lost, state=PartState.LOST) for lost in others[position:]]
        return again

    def _show(self, parts: Iterable[Part]) -> None:
        """Let tasks be RUNNING when an export of theirs is."""
        keys = list({part.id.key for part in parts if part.state is PartState.RUNNING})
        changed = [
            replace(record, state=State.RUNNING)
            for record in self.ledger.records(keys).values()
            if record.state is State.READY
        ]
        self.ledger.save(changed)

    # Settling

    def settle(self, store: Store) -> list[Record]:
        """Do what is due for tasks of which something has ended.

        Parameters
        ----------
        store : Store
            Tasks whose files go elsewhere wait until their store is at hand.

        Returns
        -------
        list of Record
            Those that have ended.
        """
        keys = self.ledger.open_keys(store=store.url, moved=True)
        records, parts = self.ledger.records(keys), self.ledger.parts(keys)
        cancelling = self.ledger.cancelling(keys)
        results = Results(store)
        ended = []
        for key in keys:
            record = self._settle(records[key], parts[key], results, wanted=key not in cancelling)
            if record.state in TERMINAL:
                ended.append(record)
        return ended

    def _settle(
        self, record: Record, parts: Sequence[Part], results: Results, *, wanted: bool
    ) -> Record:
        verdict = judge(
            parts,
            cancelling=not wanted,
            attempts=self.options.attempts,
            splits=self.options.splits,
            dates=record.dates,
        )
        following: list[Part] = []
        match verdict.action:
            case Action.VERIFY:
                new = results.verify(record, parts)
            case Action.SPLIT:
                self._stop(parts)
                new, following = results.split(record, parts, self.options.splits)
            case Action.REPEAT:
                new = replace(record, state=verdict.state, error=None)
                following = [p.again() for p in parts if p.state is PartState.FAILED]
                results.remove(record, following)
            case Action.FAIL | Action.CANCEL:
                following = self._stop(parts)
                new = replace(record, state=verdict.state, error=verdict.error)
            case Action.WAIT:
                new = replace(record, state=verdict.state)
        if new != record or following:
            new = replace(new, updated_ms=now_ms())
            with self.ledger.change():
                self.ledger.save([new])
                self.ledger.save_parts(following)
        return new

    def _stop(self, parts: Iterable[Part]) -> list[Part]:
        """Cancel the exports that have not ended; return them as they are then."""
        stopped = []
        for part in parts:
            if part.operation and part.state in {PartState.READY, PartState.RUNNING}:
                self.client.cancel(part.operation)
                stopped.append(replace(part, state=PartState.CANCELLED))
            elif part.state in {PartState.WAITING, PartState.INTENDED}:
                stopped.append(replace(part, state=PartState.CANCELLED))
        return stopped

    # Sending

    def feed(self, pending: int, stop: threading.Event | None = None) -> int:
        """Send exports that wait, as far as there is room.

        Parameters
        ----------
        pending : int
            How many tasks of the project wait at Earth Engine.
        stop : Event, optional
            When it is set, what is not yet on its way stays.

        Returns
        -------
        int
            How many were sent.

        Raises
        ------
        UnavailableError
            When the service does not answer; what was being sent is looked for the next time.
        """
        chosen = self._intend(self.options.queue - pending)
        if not chosen:
            return 0
        self.client.activate()
        full, sent, problems = threading.Event(), [], []

        def send(part: Part) -> None:
            try:
                if full.is_set() or (stop and stop.is_set()):
                    self.ledger.save_parts([replace(part, state=PartState.WAITING)])
                elif self._send(part):
                    sent.append(part)
                else:
                    full.set()
            except UnavailableError as error:
                problems.append(error)
                full.set()

        with ThreadPoolExecutor(self.options.threads) as pool:
            try:
                for _ in pool.map(send, chosen):
                    pass
            except BaseException:
                full.set()  # interrupted: do not send all the others first
                raise
        if problems:
            raise problems[0]
        return len(sent)

    def _intend(self, room: int) -> list[Part]:
        """Choose what to send, and record that it will be sent before anything is."""
        if room <= 0:
            return []
        with self.ledger.change():
            waiting = self.ledger.waiting(room)
            by_id = {part.id: part for parts in waiting.values() for _, part in parts}
            ids = choose(
                {order: [(p, part.id) for p, part in parts] for order, parts in waiting.items()},
                self.ledger.outstanding(),
                room,
            )
            chosen = [
                replace(by_id[id_], state=PartState.INTENDED, updated_ms=now_ms()) for id_ in ids
            ]
            self.ledger.save_parts(chosen)
        return chosen

    def _send(self, part: Part) -> bool:
        """Send one export; False when the queue is full."""
        key = part.id.key
        record = self.ledger.records([key])[key]
        try:
            operation = self._export(record, part.id)
        except QueueFullError:
            self.ledger.save_parts([replace(part, state=PartState.WAITING)])
            return False
        except (RefusedError, InputError) as error:
            failed = replace(part, state=PartState.FAILED, error=str(error), updated_ms=now_ms())
            self.ledger.save_parts([failed])
            return True
        self.ledger.save_parts([replace(observe(part, operation), updated_ms=now_ms())])
        return True

    def _export(self, record: Record, id_: PartId) -> Operation:
        spec = ImageSpec.unpack(self.ledger.spec(record.key))
        part = PartSpec.of(
            record.name, record.size, record.export, record.dates, id_.generation, id_.number
        )
        check_pixels((part.window.width, part.window.height), record.export)
        request, size = export_request(
            spec,
            part,
            Destination.of(record.store, record.prefix),
            record.export,
            description=id_.describe(record.order),
            priority=min(max(100 + record.priority, 0), 9999) if record.priority else None,
        )
        if size > self.options.expression:
            raise InputError(
                f"the expression has {size} bytes, Earth Engine takes "
                f"{self.options.expression}: order shorter periods (period_freq)"
            )
        operation = Operation.from_json(self.client.export(id_.request_id, request))
        if not operation.id:
            raise EngineError(f"Earth Engine has given the export {id_} no operation")
        return operation
