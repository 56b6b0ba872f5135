"""The registry of image collections: bands, numbers, quality bands and where catalogues keep them.

Everything about a collection is data, in ``registry/*.yaml`` and in the ``collections`` part of a
configuration file; this module reads, checks and merges it, and answers questions about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import StrictStr, ValidationError, model_validator

from .errors import CollectionError
from .filters import Property
from .qa import ClearRule, Flag, as_words
from .registry import GENERIC, Merged, by_catalog, close, package_data
from .sources import (
    Band,
    Companion,
    Model,
    Nodata,
    Number,
    Shift,
    SourceRule,
    StacAsset,
    StacSource,
    nodata_as_json,
    with_earthengine,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Band",
    "ClearRule",
    "Collection",
    "Companion",
    "Flag",
    "Property",
    "Shift",
    "SourceRule",
    "StacAsset",
    "StacSource",
    "get_collection",
    "load_collections",
]

_INTEGERS = {
    f"{sign}int{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits - (not sign)) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32)
}

_SUGGESTED = 4

DType = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


class Collection(Model):
    """A named image collection.

    Parameters
    ----------
    id : str
        Earth Engine's id, or one of the user's own.
    title : str
    dtype : str
        Of the pre-ARD image: one for all bands.
    nodata : number
        Of the pre-ARD image: one for all bands. May be NaN where `dtype` is a float type.
    bands : mapping of str to Band
        In pre-ARD order.
    stac : mapping of str to StacSource
        By catalogue; the generic entry is ``*``. A single entry may be given as such.
    properties : mapping of str to Property
        Filter name -> STAC property.
    earthengine : str or mapping, optional
        Id of the image collection at Earth Engine, where it is not ``id``; or ``{id, bands}`` with
        the names (or what else `Band` takes) of its bands there, too.
    metadata : list of str
        Properties kept for each scene: names of ``properties`` or of the item itself.
    clear : ClearRule, optional
        When a pixel is clear.
    flags : mapping of str to Flag
        Named flags of the quality bands.
    """

    id: str
    title: str = ""
    dtype: DType
    nodata: Nodata
    bands: Mapping[str, Band]
    stac: Mapping[str, StacSource] = {}
    properties: Mapping[str, Property] = {}
    earthengine: StrictStr | None = None
    metadata: tuple[StrictStr, ...] = ()
    clear: ClearRule | None = None
    flags: Mapping[str, Flag] = {}

    @model_validator(mode="before")
    @classmethod
    def _normal(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = with_earthengine(data)
        if isinstance(data.get("bands"), Mapping):
            data["bands"] = {
                name: {**band, "name": name} if isinstance(band, Mapping) else band
                for name, band in data["bands"].items()
            }
        if "stac" in data:
            data["stac"] = by_catalog(data["stac"])
        return data

    @model_validator(mode="after")
    def _check(self) -> Collection:
        if not self.bands:
            raise ValueError("bands: needs at least one")
        if self.dtype in _INTEGERS:
            low, high = _INTEGERS[self.dtype]
            if not low <= self.nodata <= high or not float(self.nodata).is_integer():
                raise ValueError(f"nodata: {self.nodata} is not a number of {self.dtype}")
        for what, name in self._band_names():
            if name not in self.bands:
                raise ValueError(f"{what}: there is no band {name!r}")
        if self.clear is not None:
            self.clear.check(self.flags)
        for name, flag in self.flags.items():
            if flag.band is None and self.qa_band is None:
                raise ValueError(f"flags.{name}: needs `band`, as there is not just one `qa: true`")
        return self

    def _band_names(self) -> Iterator[tuple[str, str]]:
        if self.clear is not None:
            yield "clear.band", self.clear.band
        for name, flag in self.flags.items():
            if flag.band is not None:
                yield f"flags.{name}.band", flag.band
        for catalog, source in self.stac.items():
            for band in source.assets:
                yield f"stac.{catalog}.assets", band
            for band in (source.shift and source.shift.bands) or ():
                yield f"stac.{catalog}.shift.bands", band

    @property
    def earthengine_id(self) -> str:
        """Id of the image collection at Earth Engine."""
        return self.earthengine or self.id

    # Quality -------------------------------------------------------------------------------------

    @property
    def qa_band(self) -> str | None:
        """Name of the quality band: that of ``clear``, else the only one."""
        if self.clear is not None:
            return self.clear.band
        marked = [band.name for band in self.bands.values() if band.qa]
        return marked[0] if len(marked) == 1 else None

    def clear_mask(self, qa: ArrayLike, nodata: Number | None = None) -> NDArray[Any]:
        """Return where pixels are clear: True = usable, nodata is False.

        Parameters
        ----------
        qa : array
            The quality band's numbers, of any shape: integers, or floats that are whole numbers.
        nodata : number, optional
            Default: that of the pre-ARD image.

        Raises
        ------
        CollectionError
            Where the collection has no ``clear`` rule, or the numbers are not whole ones.
        """
        if self.clear is None:
            raise CollectionError(
                f"{self.id} does not say when a pixel is clear: add `clear` to its configuration"
            )
        rule, missing = self.clear, self.nodata if nodata is None else nodata
        return as_words(qa, rule.band, missing).where(lambda words: rule.of(words, self.flags))

    def decode_flags(
        self, qa: ArrayLike, nodata: Number | None = None, *, band: str | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return each named flag of a quality band: True = set, nodata is False everywhere.

        Flags that themselves say "no data" are no exception: once a pixel is the image's nodata,
        only the image's nodata tells.

        Parameters
        ----------
        qa : array
            The quality band's numbers, of any shape: integers, or floats that are whole numbers.
        nodata : number, optional
            Default: that of the pre-ARD image.
        band : str, optional
            Which quality band; default `qa_band`.
        """
        name = band or self.qa_band
        words = as_words(qa, str(name), self.nodata if nodata is None else nodata)
        return {
            key: words.where(flag.of)
            for key, flag in self.flags.items()
            if (flag.band or self.qa_band) == name
        }

    # Catalogues ----------------------------------------------------------------------------------

    def stac_for(self, catalog: str | None = None) -> StacSource:
        """Return the entry of a catalogue.

        Parameters
        ----------
        catalog : str, optional
            Its address, or the name of an entry (``usgs``). An address that no entry recognises,
            and None, give the generic entry.

        Raises
        ------
        CollectionError
            Where there is none.
        """
        if catalog is not None:
            if catalog in self.stac:
                return self.stac[catalog]
            for source in self.stac.values():
                if any(part in catalog for part in source.match):
                    return source
        if GENERIC in self.stac:
            return self.stac[GENERIC]
        known = ", ".join(self.stac) or "no catalogue"
        raise CollectionError(
            f"{self.id} is not known to be in {catalog or 'a STAC catalogue'} (known: {known}): "
            f"say where it is under collections: {self.id}: stac"
        )

    def property_map(self, source: StacSource | None = None) -> dict[str, Property]:
        """Return filter name -> STAC property; a catalogue's own entries go first."""
        return {**self.properties, **(source.properties if source else {})}

    def source_rules(
        self, item_properties: Mapping[str, Any], source: StacSource | str | None = None
    ) -> dict[str, SourceRule]:
        """Return what to do with each band of one item, in pre-ARD order.

        Parameters
        ----------
        item_properties : mapping
            The ``properties`` of the STAC item.
        source : StacSource or str, optional
            The catalogue's entry, or what `stac_for` takes.
        """
        entry = source if isinstance(source, StacSource) else self.stac_for(source)
        rules = {}
        for name, band in self.bands.items():
            asset = entry.assets.get(name)
            own = asset.nodata if asset else None
            rules[name] = SourceRule(
                asset=asset.asset if asset else band.asset,
                companion=asset.companion if asset else None,
                nodata=band.nodata if own is None else own,
                subtract=entry.shift.of(band, item_properties) if entry.shift else 0,
                optional=band.optional,
            )
        return rules

    def scene_metadata(
        self,
        item_id: str,
        time: datetime,
        properties: Mapping[str, Any],
        source: StacSource | None = None,
    ) -> dict[str, Any]:
        """Return what is kept of a scene: its id, its time and the ``metadata`` that it has.

        Parameters
        ----------
        item_id : str
            Id of the STAC item.
        time : datetime
            When it was taken; without a time zone it is UTC.
        properties : mapping
            The ``properties`` of the item.
        source : StacSource, optional
            The catalogue's entry.

        Returns
        -------
        dict
            ``id``; ``system:time_start`` (epoch milliseconds UTC); then, in the order of
            ``metadata``, Earth Engine's names with values as Earth Engine has them, and STAC names
            as they are.
        """
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
        scene: dict[str, Any] = {
            "id": item_id,
            "system:time_start": round(time.timestamp() * 1000),
        }
        known = self.property_map(source)
        for name in self.metadata:
            value = known[name].of(properties) if name in known else properties.get(name)
            if value is not None:
                scene[name] = value
        return scene

    def stac_metadata(self, scene: Mapping[str, Any]) -> dict[str, Any]:
        """Return a scene's metadata under STAC names: platform, cloud cover, sun angles, ….

        Parameters
        ----------
        scene : mapping
            As `scene_metadata` makes it, or as Earth Engine does (CEDAR's documents, too).

        Returns
        -------
        dict
            STAC property -> value as a STAC item has it. What has no STAC name keeps its own.
        """
        properties = {}
        for name, value in scene.items():
            known = self.properties.get(name)
            properties[known.name if known else name] = known.back(value) if known else value
        return properties

    # JSON ----------------------------------------------------------------------------------------

    @property
    def json_nodata(self) -> Number | str:
        """``nodata`` as JSON has it, which knows no NaN: ``nan``."""
        return nodata_as_json(self.nodata)

    def describe(self) -> dict[str, Any]:
        """Return what a reader of its images needs, as JSON: see `from_description`."""
        band = {"scale", "offset", "qa", "units", "description"}
        description: dict[str, Any] = {
            "id": self.id,
            "title": self.title,
            "dtype": self.dtype,
            "nodata": self.json_nodata,
            "bands": {
                name: b.model_dump(mode="json", include=band) for name, b in self.bands.items()
            },
            "properties": {
                name: p.model_dump(mode="json", exclude_defaults=True)
                for name, p in self.properties.items()
            },
            "clear": self.clear and self.clear.model_dump(mode="json", exclude_none=True),
            "flags": {
                name: flag.model_dump(mode="json", exclude_defaults=True)
                for name, flag in self.flags.items()
            },
        }
        return description

    @classmethod
    def from_description(
        cls,
        description: Mapping[str, Any],
        *,
        dtype: str | None = None,
        nodata: Number | None = None,
    ) -> Collection:
        """Rebuild from `describe`: enough to decode images; where scenes come from is not in it.

        Parameters
        ----------
        description : mapping
            The ``collection`` entry of an image's metadata; unknown keys are ignored.
        dtype, nodata : optional
            Those of the image, before those of the description.

        Raises
        ------
        CollectionError
            Naming what is missing or wrong.
        """
        known = {key: description[key] for key in cls.model_fields if key in description}
        known.pop("stac", None)
        given = {"dtype": dtype, "nodata": nodata}
        known.update({key: value for key, value in given.items() if value is not None})
        return _build(str(description.get("id")), known)


# The registry ------------------------------------------------------------------------------------


def load_collections(overrides: Mapping[str, Any] | None = None) -> dict[str, Collection]:
    """Return the collections that are known, by id.

    Parameters
    ----------
    overrides : mapping, optional
        The ``collections`` part of a configuration. An entry of a known id is merged into the
        registry's: mappings key by key, anything else (and ``clear``, and each of ``flags``) as a
        whole; null removes a key. A new id must be complete, or start from another collection with
        ``like: ID``.

    Raises
    ------
    CollectionError
        Naming the collection and the key.
    """
    collections = dict(_registry())
    if not overrides:
        return collections
    if not isinstance(overrides, Mapping):
        raise CollectionError(f"collections must be a mapping of ids, not {overrides!r}")
    merged = Merged(package_data(), overrides)
    for name in overrides:
        if not isinstance(name, str):
            raise CollectionError(f"the id of a collection must be a string, not {name!r}")
        collections[name] = _build(name, merged.entry(name), new=name not in package_data())
    return collections


def get_collection(name: str, collections: Mapping[str, Collection] | None = None) -> Collection:
    """Return a collection by its id.

    Raises
    ------
    CollectionError
        Where it is unknown, with the ids that look like it, or that are made of the STAC collection
        of that name.
    """
    known = _registry() if collections is None else collections
    if name in known:
        return known[name]
    made_of_it = sorted(
        found.id
        for found in known.values()
        if any(source.collection == name for source in found.stac.values())
    )
    if made_of_it:
        raise CollectionError(
            f"unknown collection {name!r}: that is what catalogues call it; order by the id "
            f"{' or '.join(made_of_it)}"
        )
    hint = close(name, known) or _of_part(name, known)
    hint = hint or ": 'orchard collections' lists those that are known"
    raise CollectionError(f"unknown collection {name!r}{hint}")


def _of_part(name: str, known: Iterable[str]) -> str:
    """Return ``: did you mean …?`` with the ids that have a name as one of their parts."""
    part = name.strip("/").casefold()
    found = [id_ for id_ in known if f"/{part}/" in f"/{id_.casefold()}/"]
    return f": did you mean {' or '.join(found[:_SUGGESTED])}?" if part and found else ""


@cache
def _registry() -> dict[str, Collection]:
    merged = Merged(package_data(), {})
    return {name: _build(name, merged.entry(name)) for name in package_data()}


def _build(name: str, entry: Mapping[str, Any], *, new: bool = False) -> Collection:
    try:
        return Collection.model_validate({**entry, "id": name})
    except ValidationError as error:
        problems = "; ".join(_problem(e) for e in error.errors())
    hint = ""
    if new:
        hint = f" (it is not in the registry, so it must be complete{close(name, package_data())})"
    raise CollectionError(f"collection {name!r}: {problems}{hint}")


# Whatever part of a collection they belong to: who mistypes one should be told.
_KEYS = {
    key: None
    for model in (Collection, Band, StacSource, StacAsset, Companion, Shift, ClearRule, Flag)
    for key in model.model_fields
}


def _problem(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    what = {"missing": "is missing"}.get(error["type"])
    if error["type"] == "extra_forbidden":
        what = f"unknown key{close(str(error['loc'][-1]), _KEYS)}"
    message = what or re.sub("^Value error, ", "", error["msg"])
    return f"{where}: {message}" if where else message
