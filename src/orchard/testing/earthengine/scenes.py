"""Scenes of a STAC catalogue, as the simulator's image collections have them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import shapely

from orchard.engines.local.catalog import open_catalog

from .images import Image, file_pixels

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from orchard.collections import Collection
    from orchard.engines.local.catalog import Item

__all__ = ["Archive", "catalog_archive"]

_EVERYWHERE = shapely.box(-180, -90, 180, 90)
_EPOCH, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The image collections that a simulator knows, by id."""

    collections: Mapping[str, Sequence[Image]]


def catalog_archive(catalog: str | os.PathLike[str], collections: Iterable[Collection]) -> Archive:
    """Give the scenes of a static STAC catalogue as image collections.

    Parameters
    ----------
    catalog : path
        The catalogue.
    collections : iterable of Collection
        What the catalogue's scenes are called and encoded like at Earth Engine: bands under
        ``earthengine`` names, numbers decoded where ``earthengine_scale`` says so, properties under
        their filter names (and the catalogue's own).
    """
    found = open_catalog(catalog)
    archive = {}
    for collection in collections:
        source = collection.stac_for(str(catalog))
        items = found.find(source.collection, _EVERYWHERE, _EPOCH, _END)
        archive[collection.earthengine_id] = [
            _image(item, collection) for item in items if source.matches(item.properties)
        ]
    return Archive(collections=archive)


def _image(item: Item, collection: Collection) -> Image:
    source = collection.stac_for(item.href)
    bands = []
    for name, rule in collection.source_rules(item.properties, source).items():
        band = collection.bands[name]
        if rule.asset in item.assets:
            reader = file_pixels(
                item.assets[rule.asset]["href"],
                nodata=rule.nodata,
                subtract=rule.subtract,
                scale=band.earthengine_scale,
                offset=band.earthengine_offset,
            )
            bands.append((band.earthengine or name, reader))
    names = {name: p.of(item.properties) for name, p in collection.property_map(source).items()}
    properties = {**item.properties, **{k: v for k, v in names.items() if v is not None}}
    properties |= {
        "system:index": item.id,
        "system:id": f"{collection.earthengine_id}/{item.id}",
        "system:time_start": round(item.time.timestamp() * 1000),
    }
    return Image(bands=tuple(bands), properties=properties, footprint=item.footprint)
