"""What a runner itself does with the store: the image metadata, and the files of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from orchard.errors import ConflictError, MetadataError, NotFoundError, OrderExistsError, ShardError
from orchard.preard import metadata_name, parse_shard_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchard.stores import ObjectInfo, Store

__all__ = ["Place", "publish_metadata"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the files of one image are."""

    store: Store
    prefix: str
    name: str

    def key(self, file: str) -> str:
        """Return the key of a file."""
        return f"{self.prefix}/{file}" if self.prefix else file

    def files(self) -> dict[str, ObjectInfo]:
        """Return the image files that are there: of this very image, no other's."""
        start = len(self.prefix) + 1 if self.prefix else 0
        return {
            info.key[start:]: info
            for info in self.store.list(self.prefix)
            if _is_of(info.key[start:], self.name)
        }


def publish_metadata(place: Place, document: Mapping[str, Any]) -> bool:
    """Put the image metadata, which also says whose the image is.

    Returns
    -------
    bool
        Whether there was none before: then there are no files either.

    Raises
    ------
    OrderExistsError
        The image belongs to another order.
    StoreError
    """
    key = place.key(metadata_name(place.name))
    data = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    try:
        place.store.put(key, data, if_absent=True)
        return True
    except ConflictError:
        pass
    try:
        there, info = place.store.get(key)
    except NotFoundError:  # deleted since
        return publish_metadata(place, document)
    owner, mine = _owner(there, key), document["order"]["name"]
    if owner != mine:
        raise OrderExistsError(
            f"the image {place.name!r} belongs to the order {owner!r}: clean that order first, or "
            "change name_template or prefix_template"
        )
    if there != data:
        place.store.put(key, data, if_match=info.etag)
    return False


def _owner(data: bytes, key: str) -> str:
    try:
        return str(orjson.loads(data)["order"]["name"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise MetadataError(f"{key} is not image metadata: delete it") from None


def _is_of(file: str, name: str) -> bool:
    try:
        return "/" not in file and parse_shard_name(file).name == name
    except ShardError:
        return False
