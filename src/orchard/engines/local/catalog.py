"""STAC catalogues, static or behind an API, as sets of scenes that can be asked for by place.

A static catalogue is read once, only the collections that are asked for; an API is searched once
for many tasks. What comes back is the same: the items of one collection, in time, with an index of
their footprints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

import orjson
import shapely
from shapely.geometry import shape

from orchard.errors import CatalogError

if TYPE_CHECKING:
    import os

    from shapely.geometry.base import BaseGeometry

__all__ = ["Catalog", "Item", "Items", "open_catalog"]

_READERS = 16
_NOT_FOUND = 404


Extent = tuple[
    tuple[datetime | None, datetime | None] | None, tuple[float, float, float, float] | None
]
"""First and last moment, UTC; (left, bottom, right, top) in degrees. None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A STAC item: one scene.

    Parameters
    ----------
    id, href : str
        ``href`` is where it was read from, for errors.
    time : datetime
        ``datetime`` of the item, or its ``start_datetime``; UTC.
    footprint : shapely geometry
        Longitude and latitude, WGS 84.
    properties : mapping
    assets : mapping of str to mapping
        With absolute ``href``.
    """

    id: str
    href: str
    time: datetime
    footprint: BaseGeometry
    properties: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, Any]]


class Items(Sequence[Item]):
    """Items of one collection, in order of (time, id), each id once."""

    def __init__(self, items: Iterable[Item]) -> None:
        unique = {item.id: item for item in items}
        self._items = sorted(unique.values(), key=lambda item: (item.time, item.id))

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree([item.footprint for item in self._items])

    def over(self, area: BaseGeometry) -> list[Item]:
        """Return the items whose footprint shares ground with an area (lon/lat), in order."""
        found = sorted(self._tree.query(area, predicate="intersects"))
        items = (self._items[index] for index in found)
        return [item for item in items if not item.footprint.touches(area)]


class Catalog(Protocol):
    """Where scenes are found."""

    href: str

    def find(self, collection: str, area: BaseGeometry, start: datetime, end: datetime) -> Items:
        """Return at least the items of a collection over `area` (lon/lat) in ``[start, end)``."""
        ...

    def extent(self, collection: str) -> Extent | None:
        """Return the times and bounds (lon/lat) of a collection; None: it has none of it."""
        ...


def open_catalog(href: str | os.PathLike[str]) -> Catalog:
    """Open a STAC catalogue.

    Parameters
    ----------
    href : str or path
        A static catalogue, collection, item collection or item (a file or a URL), or a STAC API.

    Raises
    ------
    CatalogError
        When it cannot be read, or is none of these.
    """
    location = str(href)
    if not _is_url(location):
        location = str(Path(location.removeprefix("file://")).expanduser().absolute())
    root = _read_json(location)
    links = root.get("links") or []
    if root.get("type") in ("Catalog", None) and any(li.get("rel") == "search" for li in links):
        return _ApiCatalog(location)
    if _is_plain_geojson(root):
        raise CatalogError(
            f"{location} is not a STAC catalogue: it is GeoJSON, but none of its features has the "
            "assets of a STAC item"
        )
    if root.get("type") in ("Catalog", "Collection", "FeatureCollection", "Feature"):
        return _StaticCatalog(location, root)
    raise CatalogError(
        f"{location} is not a STAC catalogue: its type is {root.get('type')!r}, not Catalog, "
        "Collection, FeatureCollection or Feature"
    )


def _is_plain_geojson(root: Mapping[str, Any]) -> bool:
    """Whether a document has features, none of which is a STAC item."""
    features = [root] if root.get("type") == "Feature" else root.get("features")
    if not isinstance(features, list) or not features:
        return False
    return not any(isinstance(feature, dict) and "assets" in feature for feature in features)


class _StaticCatalog:
    """Files that link to each other; read on first use and kept."""

    def __init__(self, href: str, root: Mapping[str, Any]) -> None:
        self.href = href
        self._root = root
        self._found: dict[str, Items] = {}

    def find(self, collection: str, area: BaseGeometry, start: datetime, end: datetime) -> Items:
        del area, start, end  # all of it is here
        return self._all(collection)

    def extent(self, collection: str) -> Extent | None:
        items = self._all(collection)
        if not items:
            return None
        left, bottom, right, top = shapely.total_bounds([item.footprint for item in items])
        bounds = (float(left), float(bottom), float(right), float(top))
        return (items[0].time, items[-1].time), bounds

    def _all(self, collection: str) -> Items:
        if collection not in self._found:
            with ThreadPoolExecutor(_READERS) as pool:
                documents = _walk(self.href, self._root, collection, pool)
                self._found[collection] = Items(
                    _item(document, href)
                    for href, document in documents
                    if document.get("collection") in {collection, None}
                )
        return self._found[collection]


def _walk(
    href: str, root: Mapping[str, Any], collection: str, pool: ThreadPoolExecutor
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the items below a document, leaving out other collections."""
    level, seen = [(href, root)], {href}
    while level:
        below: list[str] = []
        for where, document in level:
            kind = document.get("type")
            if kind == "Feature":
                yield where, document
            elif kind == "FeatureCollection":
                yield from ((where, feature) for feature in document.get("features") or [])
            elif kind != "Collection" or document.get("id") == collection:
                below += _targets(where, document, "item")
                below += _targets(where, document, "child")
        fresh = [target for target in dict.fromkeys(below) if target not in seen]
        seen.update(fresh)
        level = list(zip(fresh, pool.map(_read_json, fresh), strict=True))


def _targets(href: str, document: Mapping[str, Any], rel: str) -> Iterator[str]:
    for link in document.get("links") or []:
        if link.get("rel") == rel:
            if not isinstance(link.get("href"), str):
                raise CatalogError(f"{href}: a link to a {rel} has no href")
            yield _absolute(link["href"], href)


class _ApiCatalog:
    """A STAC API; one search (all its pages) a call."""

    def __init__(self, href: str) -> None:
        self.href = href

    @cached_property
    def _client(self) -> Any:
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO
        from urllib3 import Retry

        retry = Retry(
            total=6,
            backoff_factor=0.5,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            respect_retry_after_header=True,
        )
        return Client.open(self.href, stac_io=StacApiIO(max_retries=retry, timeout=60))

    def find(self, collection: str, area: BaseGeometry, start: datetime, end: datetime) -> Items:
        from pystac_client.exceptions import APIError
        from requests import RequestException

        try:
            search = self._client.search(
                collections=[collection],
                intersects=shapely.geometry.mapping(area),
                datetime=[start, end],
                limit=250,
            )
            documents = list(search.items_as_dicts())
        except (APIError, RequestException, NotImplementedError) as error:
            raise CatalogError(
                f"the search for {collection!r} at {self.href} failed: {_reason(error)}"
            ) from error
        return Items(_item(document, _self_href(document) or self.href) for document in documents)

    def extent(self, collection: str) -> Extent | None:
        href = f"{self.href.rstrip('/')}/collections/{quote(collection)}"
        try:
            document = _read_json(href)
        except CatalogError as error:
            if getattr(error.__cause__, "status_code", None) == _NOT_FOUND:
                return None
            raise
        extent = document.get("extent") or {}
        times = (extent.get("temporal") or {}).get("interval") or [[None, None]]
        # Six numbers have the heights in between.
        box = ((extent.get("spatial") or {}).get("bbox") or [[-180, -90, 180, 90]])[0]
        half = len(box) // 2
        try:
            start, end = (datetime.fromisoformat(text) if text else None for text in times[0])
            left, bottom, right, top = (float(box[n]) for n in (0, 1, half, half + 1))
        except (TypeError, ValueError, IndexError) as error:
            raise CatalogError(f"the extent of {href} is broken: {error}") from None
        return (start, end), (left, bottom, right, top)


def _self_href(document: Mapping[str, Any]) -> str | None:
    links = document.get("links") or []
    return next((li.get("href") for li in links if li.get("rel") == "self"), None)


def _item(document: Mapping[str, Any], href: str) -> Item:
    """Read an item, or say what is wrong with it."""
    name = f"STAC item {document.get('id')!r} ({href})"
    try:
        ident = document["id"]
        properties = document["properties"]
        geometry = document["geometry"]
        assets = document["assets"]
        when = properties.get("datetime") or properties["start_datetime"]
        time = datetime.fromisoformat(when)
    except KeyError as error:
        raise CatalogError(f"{name} is broken: {error} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"{name} is broken: {error}") from None
    try:
        footprint = shape(geometry)
        if footprint.is_empty:
            raise ValueError("its geometry is empty")
        if not footprint.is_valid:
            footprint = shapely.make_valid(footprint)
        located = {
            key: {**asset, "href": _absolute(asset["href"], href)} for key, asset in assets.items()
        }
    except KeyError as error:
        raise CatalogError(f"{name} is broken: an asset or the geometry has no {error}") from None
    except (TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise CatalogError(f"{name} is broken: {error}") from None
    return Item(
        id=str(ident),
        href=href,
        time=time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC),
        footprint=footprint,
        properties=properties,
        assets=located,
    )


def _is_url(href: str) -> bool:
    return urlsplit(href).scheme in {"http", "https"}


def _absolute(href: str, base: str) -> str:
    from pystac.utils import make_absolute_href

    return str(make_absolute_href(href, base, start_is_dir=False))


def _reason(error: Exception) -> str:
    """Say why a request failed; of a connection that was not had, what the system said alone."""
    text = str(error)
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    return f"{system[1]}: is the address right, and the network there?" if system else text


def _read_json(href: str) -> dict[str, Any]:
    """Read a JSON object from a file or a URL."""
    try:
        if _is_url(href):
            from pystac_client.stac_api_io import StacApiIO

            text: str | bytes = StacApiIO(max_retries=5, timeout=60).read_text(href)
        else:
            text = Path(href.removeprefix("file://")).read_bytes()
    except FileNotFoundError:
        raise CatalogError(
            f"there is no STAC document at {href}: is the address of the catalogue right?"
        ) from None
    except Exception as error:  # the HTTP client raises what requests, urllib3 and pystac do
        raise CatalogError(f"{href} cannot be read: {_reason(error)}") from error
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CatalogError(f"{href} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise CatalogError(f"{href} is not a STAC document: it holds no JSON object")
    return document
