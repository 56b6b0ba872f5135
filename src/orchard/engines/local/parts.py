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

__all__ = ["ImageFiles", "Parts"]


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

    def keep_of_document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the parts of an image metadata document that others have, too."""
        image = document["image"]
        images = [[self.keep(scene) for scene in scenes] for scenes in image["images"]]
        return {
            **document,
            "tile": self.keep(document["tile"]),
            "collection": self.keep(document["collection"]),
            "image": {**image, "images": images},
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
