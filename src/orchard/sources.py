"""One band of a collection, and where and how catalogues keep a collection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    field_validator,
    model_validator,
)

from .filters import Filter, Property, Scalar, equals_any, parse_filters

__all__ = [
    "Band",
    "Companion",
    "Model",
    "Nodata",
    "Number",
    "Shift",
    "SourceRule",
    "StacAsset",
    "StacSource",
    "nodata_as_json",
    "with_earthengine",
]

Number = int | float


def nodata_as_json(nodata: Number) -> Number | str:
    """Return nodata as JSON has it, which knows no NaN: ``nan``."""
    return "nan" if math.isnan(nodata) else nodata


def _finite_or_nan(nodata: Number) -> Number:
    if math.isinf(nodata):
        raise ValueError("must be a finite number, or .nan")
    return math.nan if math.isnan(nodata) else nodata  # one NaN, that collections may be equal


Nodata = Annotated[
    int | Annotated[float, AllowInfNan()],
    AfterValidator(_finite_or_nan),
    PlainSerializer(nodata_as_json, when_used="json"),
]
"""A number, or NaN."""


def _listed(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else (value,)


class Model(BaseModel):
    """Immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Band(Model):
    """One band of a collection.

    The physical value is ``scale * number + offset``, in ``units``.

    Parameters
    ----------
    name : str
        Common name, the key of the band.
    asset : str
        Key of the STAC asset, where a catalogue's entry does not say otherwise; default ``name``.
    earthengine : str or mapping, optional
        Name of the band at Earth Engine. ``{band, scale, offset}`` where Earth Engine has decoded
        the numbers already: ``scale`` and ``offset`` make the integers again.
    earthengine_scale, earthengine_offset : float
        The number in the pre-ARD is ``earthengine_scale * value + earthengine_offset``, rounded.
    qa : bool
        A quality band: never interpolated, never scaled.
    nodata : number, optional
        What the source's files mean by nodata where they do not say it themselves.
    optional : bool
        A scene may be without it; its pixels are nodata then.
    resolution : float, optional
        Pixel size of the source in metres.
    """

    name: str
    asset: str
    earthengine: str | None = None
    earthengine_scale: Number = 1
    earthengine_offset: Number = 0
    qa: bool = False
    scale: Number = 1
    offset: Number = 0
    nodata: Number | None = None
    units: str | None = None
    description: str | None = None
    optional: bool = False
    resolution: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = {"asset": data.get("name"), **data}
        engine = data.get("earthengine")
        if isinstance(engine, Mapping):
            if "band" not in engine or set(engine) - {"band", "scale", "offset"}:
                raise ValueError("earthengine: give {band, scale, offset}")
            data["earthengine"] = engine["band"]
            data["earthengine_scale"] = engine.get("scale", 1)
            data["earthengine_offset"] = engine.get("offset", 0)
        return data


def with_earthengine(collection: Mapping[str, Any]) -> dict[str, Any]:
    """Hand what ``earthengine: {id, bands}`` of a collection says of bands to these.

    Raises
    ------
    ValueError
        For an unknown key or band.
    """
    found, given = dict(collection), collection.get("earthengine")
    if not isinstance(given, Mapping):
        return found
    theirs, bands = given.get("bands") or {}, collection.get("bands")
    if set(given) - {"id", "bands"} or not isinstance(theirs, Mapping):
        raise ValueError("earthengine: give the id of the collection, or {id, bands}")
    found["earthengine"] = given.get("id")
    if not isinstance(bands, Mapping):
        return found  # which the model refuses
    if unknown := set(theirs) - set(bands):
        raise ValueError(f"earthengine.bands: there is no band {min(map(str, unknown))!r}")
    found["bands"] = {
        name: {**band, "earthengine": theirs[name]}
        if name in theirs and isinstance(band, Mapping)
        else band
        for name, band in bands.items()
    }
    return found


class StacAsset(Model):
    """What a catalogue has other than the band's defaults.

    Parameters
    ----------
    asset : str
        Key of the asset.
    nodata : number, optional
        As of `Band`, for this catalogue's files.
    companion : str, optional
        The companion collection whose item holds the asset; without it, the item itself.
    """

    asset: str
    nodata: Number | None = None
    companion: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        return {"asset": data} if isinstance(data, str) else data


class Companion(Model):
    """A second STAC collection that holds other bands of the same scenes.

    Parameters
    ----------
    suffix : (str, str)
        The end of an item's id, and what takes its place in the companion's.
    """

    suffix: tuple[str, str]

    def item_id(self, item_id: str) -> str:
        """Return the id of the companion's item of the same scene."""
        own, other = self.suffix
        return item_id.removesuffix(own) + other


class Shift(Model):
    """Numbers that must be shifted to be comparable, for the items that say so.

    Parameters
    ----------
    subtract : number
        What to subtract from every number that is not nodata.
    bands : list of str, optional
        Which bands; without it all but quality bands.
    when : list of filters
        Over the item's STAC properties; all must match.
    """

    subtract: Number
    bands: tuple[str, ...] | None = None
    when: tuple[Filter, ...] = ()

    @field_validator("when", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return parse_filters(value)

    def of(self, band: Band, properties: Mapping[str, Any]) -> Number:
        """Return what to subtract from this band of the item of these properties."""
        concerned = not band.qa if self.bands is None else band.name in self.bands
        return self.subtract if concerned and all(f.matches(properties) for f in self.when) else 0


class StacSource(Model):
    """Where and how one catalogue (or any, the generic entry) keeps a collection.

    Parameters
    ----------
    collection : str
        Id of the STAC collection.
    match : list of str
        Parts of the catalogue's address that recognise it.
    assets : mapping
        Band -> asset key, or `StacAsset`, where it differs from the band's own ``asset``.
    properties : mapping
        Filter name -> `Property`, before those of the collection.
    where : mapping
        Property -> value or list of values that an item must have to belong to the collection.
    shift : Shift, optional
        Numbers to harmonise.
    companions : mapping
        STAC collection id -> `Companion`.
    """

    collection: str
    match: tuple[str, ...] = ()
    assets: Mapping[str, StacAsset] = {}
    properties: Mapping[str, Property] = {}
    where: Mapping[str, Annotated[tuple[Scalar, ...], BeforeValidator(_listed)]] = {}
    shift: Shift | None = None
    companions: Mapping[str, Companion] = {}

    @model_validator(mode="after")
    def _check(self) -> StacSource:
        for band, asset in self.assets.items():
            if asset.companion is not None and asset.companion not in self.companions:
                raise ValueError(f"assets.{band}: {asset.companion!r} is not among companions")
        return self

    def matches(self, properties: Mapping[str, Any]) -> bool:
        """Whether an item of these properties belongs to the collection (``where``)."""
        return all(equals_any(properties.get(name), values) for name, values in self.where.items())


@dataclass(frozen=True, kw_only=True)
class SourceRule:
    """What to do with one band of one item.

    A number of the file that is ``nodata`` (or masked by the file) becomes the image's nodata. Any
    other becomes ``number - subtract``, held within the image's dtype and off its nodata: what was
    valid stays valid.

    Parameters
    ----------
    asset : str
        Key of the asset in the item, or in that of the companion.
    companion : str or None
        STAC collection of the companion item; see `Companion.item_id`.
    nodata : number or None
        Nodata of the file, where known; None: what the file says.
    subtract : number
        0 for almost all.
    optional : bool
        An item without this asset is no error: its pixels are nodata.
    """

    asset: str
    companion: str | None = None
    nodata: Number | None = None
    subtract: Number = 0
    optional: bool = False
