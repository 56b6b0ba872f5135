"""What the ledger's specifications share, kept once; and which files a store has of an image."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import ShardError
from orchard.preard import parse_shard_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchard.stores import Store

    from .rows import Entry

__all__ = ["ImageFiles", "Parts", "difference", "merged"]


class Parts(dict[str, bytes]):
    """Values by their hash, as JSON: what tasks share (tiles, scenes) is kept once."""

    def __init__(self) -> None:
        super().__init__()
        # The values are held, so that no other gets the id of one that is gone.
        self._known: dict[int, tuple[Any, dict[str, str]]] = {}

    def keep(self, value: Mapping[str, Any]) -> dict[str, str]:
        """Keep a value, which is not changed any more, and return what stands for it."""
        known = self._known.get(id(value))
        if known is None:
            data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
            name = hashlib.blake2b(data, digest_size=12).hexdigest()
            self[name] = data
            known = self._known[id(value)] = (value, {"$part": name})
        return known[1]


def difference(value: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a JSON object is not as in another of the same keys; see `merged`."""
    found: dict[str, Any] = {}
    for key, own in value.items():
        theirs = base[key]
        if own is theirs or own == theirs:
            continue
        found[key] = difference(own, theirs) if type(own) is type(theirs) is dict else own
    return found


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with some of its values, at any depth, in place of others."""
    return {
        key: merged(value, changes[key])
        if key in changes and isinstance(value, dict) and isinstance(changes[key], dict)
        else changes.get(key, value)
        for key, value in base.items()
    }


class ImageFiles:
    """The files of each image in a store; a folder is listed when it is first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folders: dict[str, dict[str, list[tuple[str, int | None]]]] = {}

    def of_entry(self, entry: Entry) -> list[tuple[str, int | None]]:
        """Return (name, size) of the files of a task's image."""
        if entry.prefix not in self._folders:
            images = self._folders[entry.prefix] = {}
            start = len(entry.prefix) + 1 if entry.prefix else 0
            for info in self._store.list(entry.prefix):
                file = info.key[start:]
                try:
                    images.setdefault(parse_shard_name(file).name, []).append((file, info.size))
                except ShardError:
                    continue
        return self._folders[entry.prefix].get(entry.name, [])
