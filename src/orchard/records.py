"""The records of orders in a store: created once, read, and changed by compare-and-swap.

A record is one JSON document, ``PREFIX/NAME.json``, in which the orders of CEDAR are written, too.
That of an order of many tasks is in two kinds of documents, so that a change of one state does not
rewrite them all: ``PREFIX/NAME.json`` without ``orders``, which is never changed and says where
those are (``parts``), and ``PREFIX/NAME.tasks/KEY-NNNNN.json`` with the orders of `PART` tasks
each, every one of which is compared and swapped by itself. What is read is the same either way.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from .collecting import not_collecting
from .documents import encode
from .errors import ConflictError, InputError, MetadataError, NotFoundError, OrderNotFoundError
from .tracking import FAILED_STATES, State, TaskStatus, TrackingInfo, can_become

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .stores import Store

__all__ = ["PART", "Record", "Records", "is_news", "read_json"]

PART = 1000
"""Tasks in one part; a record of no more tasks is one document."""

_STATES = {str(state): state for state in State}  # faster than State(…), for many tasks
_THREADS = 8
_TRIES = 100


class Records:
    """The records below a folder of a store.

    Parameters
    ----------
    store : Store
    prefix : str
        The folder.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self.store = store
        self.prefix = prefix

    def key(self, name: str) -> str:
        """Return the key of an order's document.

        Raises
        ------
        InputError
            No order can have this name.
        """
        name = name.removesuffix(".json")
        if not name or "/" in name:
            raise InputError(f"{name!r} is not the name of an order")
        return f"{self.prefix}/{name}.json".lstrip("/")

    def versions(self) -> dict[str, str]:
        """Return the names of all orders, sorted, each with what changes whenever it does."""
        start = len(self.prefix) + 1 if self.prefix else 0
        found: dict[str, list[str]] = defaultdict(list)
        heads = set()
        for info in self.store.list(self.prefix):
            folder, slash, file = info.key[start:].partition("/")
            if not info.key.endswith(".json") or "/" in file:
                continue
            name = folder.removesuffix(".tasks" if slash else ".json")
            if not slash:
                heads.add(name)
            found[name].append(f"{file}={info.etag}")
        return {name: _digest(found[name]) for name in sorted(heads)}

    def head(self, name: str) -> dict[str, Any]:
        """Return an order's document, without the orders where they are in parts.

        Raises
        ------
        OrderNotFoundError
        MetadataError
        """
        return self._head(name)[0]

    def _head(self, name: str) -> tuple[dict[str, Any], str | None]:
        key = self.key(name)
        try:
            data, stored = self.store.get(key)
        except NotFoundError:
            raise OrderNotFoundError(
                f"there is no order {name!r} in {self.store.url}: 'orchard status list' names all"
            ) from None
        return read_json(data, key), stored.etag

    @not_collecting()
    def read(self, name: str) -> Record:
        """Read a record.

        Raises
        ------
        OrderNotFoundError
        MetadataError
        """
        head, etag = self._head(name)
        key = self.key(name)
        parts = head.pop("parts", None)
        if parts is None:
            sheets = [_Sheet(key=key, etag=etag, first=0, orders=head.get("orders") or [])]
        else:
            sheets = self._sheets(parts, key)
            head["orders"] = [order for sheet in sheets for order in sheet.orders]
            head["metadata"] = _metadata(head)
        try:
            info = TrackingInfo(head)
        except MetadataError as error:
            raise MetadataError(f"{key}: {error}") from None
        return Record(store=self.store, info=info, sheets=tuple(sheets), in_parts=parts is not None)

    @not_collecting()
    def reread(self, record: Record) -> Record:
        """Read a record again: of an order in parts, those parts that have changed since.

        What has not changed are the very same objects as before.

        Raises
        ------
        OrderNotFoundError
        MetadataError
        """
        name = record.info.name
        folder = f"{self.key(name).removesuffix('.json')}.tasks"
        there = {info.key: info.etag for info in self.store.list(folder)} if record.in_parts else {}
        if not there or there.keys() != {sheet.key for sheet in record.sheets}:
            return self.read(name)  # made anew, or small

        def again(sheet: _Sheet) -> _Sheet:
            if sheet.etag is not None and there[sheet.key] == sheet.etag:
                return sheet
            return _read_sheet(self.store, sheet.key, sheet.first)

        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                sheets = tuple(pool.map(again, record.sheets))
        except NotFoundError:
            return self.read(name)
        orders = [order for sheet in sheets for order in sheet.orders]
        return replace(record, info=TrackingInfo({**record.info, "orders": orders}), sheets=sheets)

    def _sheets(self, parts: Mapping[str, Any], key: str) -> list[_Sheet]:
        def read(number: int) -> _Sheet:
            part = _part_key(parts["folder"], number)
            try:
                return _read_sheet(self.store, part, number * parts["size"])
            except NotFoundError:
                raise MetadataError(
                    f"{key}: its part {part} is missing, after an interrupted clean: clean the "
                    "order again"
                ) from None

        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(read, range(-(-parts["tasks"] // parts["size"]))))

    def create(self, document: Mapping[str, Any]) -> Record:
        """Write the record of a new order.

        Raises
        ------
        ConflictError
            There is one of this name.
        """
        key, orders = self.key(document["tracking"]["name"]), document["orders"]
        info = TrackingInfo(document)
        if len(orders) <= PART:
            stored = self.store.put(key, encode(document), if_absent=True)
            sheet = _Sheet(key=key, etag=stored.etag, first=0, orders=orders)
            return Record(store=self.store, info=info, sheets=(sheet,), in_parts=False)
        folder = f"{key.removesuffix('.json')}.tasks/{document['tracking']['key']}"
        head = {k: v for k, v in document.items() if k not in ("orders", "metadata")}
        head["parts"] = {"folder": folder, "size": PART, "tasks": len(orders)}

        def put(number: int) -> _Sheet:
            some = orders[number * PART : (number + 1) * PART]
            part = _part_key(folder, number)
            etag = self._put_part(part, _encoded_part(some), key)
            return _Sheet(key=part, etag=etag, first=number * PART, orders=some)

        # The parts first: whoever finds the document finds all of it.
        with ThreadPoolExecutor(_THREADS) as pool:
            sheets = tuple(pool.map(put, range(-(-len(orders) // PART))))
        self.store.put(key, encode(head), if_absent=True)
        return Record(store=self.store, info=info, sheets=sheets, in_parts=True)

    def _put_part(self, part: str, data: bytes, key: str) -> str | None:
        try:
            return self.store.put(part, data, if_absent=True).etag
        except ConflictError:
            # Left by an interrupted submit of the same order, or just written by another one:
            # that has a document then, or is about to, and its part is as good as ours.
            try:
                self.store.get(key)
            except NotFoundError:
                etag = self.store.get(part)[1].etag
                return self.store.put(part, data, if_match=etag).etag
            raise

    def delete(self, name: str) -> None:
        """Delete a record: its parts, then the document, so that it can be repeated."""
        key = self.key(name)
        try:
            head, etag = self._head(name)
        except (OrderNotFoundError, MetadataError):
            head, etag = {}, None
        if "parts" in head:
            # Whoever reads it from here on finds an order without tasks, which can be cleaned; and
            # whoever submits it again does not take it for the order that it was.
            head |= {"parts": None, "orders": []}
            head["tracking"] = {**head["tracking"], "key": None}
            del head["parts"]
            self.store.put(key, encode(head), if_match=etag)
        for info in list(self.store.list(f"{key.removesuffix('.json')}.tasks")):
            self.store.delete(info.key)
        self.store.delete(key)


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """A document that holds orders."""

    key: str
    etag: str | None
    first: int
    orders: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record as it was read, and what is needed to change it."""

    store: Store
    info: TrackingInfo
    sheets: tuple[_Sheet, ...]
    in_parts: bool

    def change(self, statuses: Mapping[int, TaskStatus]) -> TrackingInfo:
        """Record statuses by position, where they are news; what others wrote meanwhile is kept.

        Returns
        -------
        TrackingInfo
            As it is now.
        """
        by_sheet: dict[int, dict[int, TaskStatus]] = defaultdict(dict)
        size = PART if self.in_parts else max(len(self.info.orders), 1)
        for position, status in statuses.items():
            if is_news(self.info.orders[position]["status"], status):
                by_sheet[position // size][position] = status
        if not by_sheet:
            return self.info

        def change(number: int) -> _Sheet:
            return self._change(self.sheets[number], by_sheet[number])

        with ThreadPoolExecutor(min(_THREADS, len(by_sheet))) as pool:
            changed = dict(zip(by_sheet, pool.map(change, by_sheet), strict=True))
        orders = [
            order
            for number, sheet in enumerate(self.sheets)
            for order in changed.get(number, sheet).orders
        ]
        return TrackingInfo({**self.info, "orders": orders})

    def _change(self, sheet: _Sheet, statuses: Mapping[int, TaskStatus]) -> _Sheet:
        for attempt in range(_TRIES):
            orders = list(sheet.orders)
            for position, status in statuses.items():
                order = orders[position - sheet.first]
                if attempt == 0 or is_news(order["status"], status):
                    as_json = self._located(order, status).to_dict()
                    orders[position - sheet.first] = {**order, "status": as_json}
            data = (
                _encoded_part(orders) if self.in_parts else encode({**self.info, "orders": orders})
            )
            try:
                info = self.store.put(sheet.key, data, if_match=sheet.etag)
            except ConflictError:
                time.sleep(min(0.01 * attempt, 0.5))
                sheet = _read_sheet(self.store, sheet.key, sheet.first)
                continue
            return replace(sheet, orders=orders, etag=info.etag)
        raise ConflictError(
            f"order {self.info.name!r} is being updated by others without pause: try again",
            key=sheet.key,
        )

    def _located(self, order: Mapping[str, Any], status: TaskStatus) -> TaskStatus:
        """Add where the results are."""
        if status.state is not State.COMPLETED or status.output_url:
            return status
        folder = f"{self.store.url.rstrip('/')}/{order['prefix']}".rstrip("/")
        return replace(status, output_url=tuple(f"{folder}/{file.name}" for file in status.files))


def is_news(old: Mapping[str, Any], new: TaskStatus) -> bool:
    """Whether a status may be recorded in place of another (as JSON); an older one may not."""
    before, after = _STATES[old["state"]], new.state
    age = new.update_timestamp_ms - int(old.get("update_timestamp_ms") or 0)
    if before is after:
        if age == 0 and new.attempt == old.get("attempt"):
            return False
        known = replace(TaskStatus.from_dict(old), output_url=())
        return age >= 0 and replace(new, output_url=()) != known
    if can_become(before, after):
        return True
    # Retried, and on its way (or found to be empty) since we last looked.
    return (
        before in FAILED_STATES
        and after is not State.UNSUBMITTED
        and new.attempt >= int(old.get("attempt") or 0)
        and age >= 0
    )


def read_json(data: bytes, key: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    MetadataError
        It is none; names the key.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MetadataError(f"{key} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise MetadataError(f"{key} is not a JSON object")
    return document


def _read_sheet(store: Store, key: str, first: int) -> _Sheet:
    data, info = store.get(key)
    orders = read_json(data, key).get("orders")
    if not isinstance(orders, list):
        raise MetadataError(f"{key}: 'orders' is missing")
    return _Sheet(key=key, etag=info.etag, first=first, orders=orders)


def _digest(etags: list[str]) -> str:
    return hashlib.blake2b("\n".join(sorted(etags)).encode(), digest_size=12).hexdigest()


def _encoded_part(orders: list[dict[str, Any]]) -> bytes:
    """Write orders without indents, as nobody reads a thousand of them."""
    return orjson.dumps({"orders": orders})


def _part_key(folder: str, number: int) -> str:
    return f"{folder}-{number:05d}.json"


def _metadata(head: Mapping[str, Any]) -> list[str]:
    """List the image metadata documents of an order in parts, as others have them written."""
    empty = head["tracking"].get("empty_metadata", True)
    return [
        f"{order['prefix']}/{order['name']}.json"
        for order in head["orders"]
        if empty or order["status"]["state"] != State.EMPTY
    ]
