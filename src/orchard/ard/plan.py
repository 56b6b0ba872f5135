"""What a cube will be: its times, bands, chunks and rules, from its images' metadata (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from orchard.collections import Collection, get_collection
from orchard.errors import CollectionError, GridError, InputError, MetadataError
from orchard.grid import Tile

if TYPE_CHECKING:
    from orchard.preard import ImageMetadata

    from .timeline import Step
    from .units import Chunks

__all__ = [
    "CLEAR",
    "FLAG",
    "BandPlan",
    "CubePlan",
    "Encoding",
    "Options",
    "Variable",
    "collection_of",
    "describe",
]

#: Name of the mask variable, and the prefix of the flags' variables.
CLEAR, FLAG = "clear", "flag_"

Format = Literal["netcdf", "zarr", "cog"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How chunks are stored.

    Parameters
    ----------
    chunks : mapping of str to int
        ``time``, ``y``, ``x``; -1 means all. What is not given is chosen.
    compress : bool
    level : int or None
        1-9 as of zlib for NetCDF-4 and COG, 1-22 as of zstd for Zarr; None: the fast one.
    """

    chunks: Mapping[str, int] = field(default_factory=dict)
    compress: bool = True
    level: int | None = None

    @classmethod
    def of(cls, encoding: Mapping[str, Any] | None) -> Encoding:
        """Read ``encoding`` of the configuration: ``chunks``, ``zlib``, ``complevel``.

        Raises
        ------
        InputError
            For an unknown key or a level that there is not.
        """
        given = dict(encoding or {})
        chunks, compress, level = (
            given.pop("chunks", None) or {},
            given.pop("zlib", True),
            given.pop("complevel", None),
        )
        if given:
            raise InputError(
                f"encoding: unknown key {min(given)!r}: use chunks, zlib and complevel"
            )
        if not isinstance(chunks, Mapping):
            raise InputError(f"encoding: chunks must be {{time, y, x}}, not {chunks!r}")
        if level is not None and (not isinstance(level, int) or not 0 <= level <= 22):
            raise InputError(f"encoding: complevel must be a number from 0 to 22, not {level!r}")
        return cls(chunks=dict(chunks), compress=bool(compress) and level != 0, level=level or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is done to the pixels on the way.

    Parameters
    ----------
    mask : bool or tuple of str
        True: bands other than quality bands become nodata where not clear. Names of flags: where
        one of them is set.
    scale : bool
        Bands become physical numbers (float), nodata becomes NaN.
    dilate : int
        By how many pixels, in all directions, what is not clear grows.
    metadata : bool
        Keep platform, cloud cover, sun angles and all other metadata of the scenes.
    encoding : Encoding
    """

    mask: bool | tuple[str, ...] = False
    scale: bool = False
    dilate: int = 0
    metadata: bool = True
    encoding: Encoding = field(default_factory=Encoding)

    def to_dict(self) -> dict[str, Any]:
        """Return what makes the pixels of two cubes differ, as JSON."""
        mask = list(self.mask) if isinstance(self.mask, tuple) else self.mask
        return {"mask": mask, "scale": self.scale, "dilate": self.dilate}


@dataclass(frozen=True, slots=True, kw_only=True)
class BandPlan:
    """One band of the cube, as the images have it."""

    name: str
    qa: bool = False
    scale: float = 1.0
    offset: float = 0.0
    units: str | None = None
    description: str = ""

    @property
    def scaled(self) -> bool:
        """Whether stored numbers are not the physical ones."""
        return not self.qa and (self.scale != 1 or self.offset != 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One ``(time, y, x)`` variable as it is stored; ``fill`` is None where all numbers count."""

    name: str
    dtype: str
    fill: float | None
    kind: Literal["band", "clear", "flag"]


@dataclass(frozen=True, kw_only=True)
class CubePlan:
    """A cube to be made.

    Attributes
    ----------
    name : str
        Of the file, without its suffix.
    tile : Tile
    steps : tuple of Step
    bands : tuple of BandPlan
    dtype : str
        Of the images.
    nodata : float or None
        Of the images.
    collections : mapping of str to Collection
        By id; those that have no description are not in it.
    chunks : Chunks
    unit : tuple of int
        ``(height, width)`` of what is worked on at once.
    options : Options
    """

    name: str
    tile: Tile
    steps: tuple[Step, ...]
    bands: tuple[BandPlan, ...]
    dtype: str
    nodata: float | None
    collections: Mapping[str, Collection]
    chunks: Chunks
    unit: tuple[int, int]
    options: Options

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(time, y, x)``."""
        return (len(self.steps), self.tile.height, self.tile.width)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First step and the one after the last, for each chunk along time."""
        count, step = len(self.steps), self.chunks.time
        return [(t, min(t + step, count)) for t in range(0, count, step)]

    @cached_property
    def quality(self) -> str | None:
        """Name of the quality band that says what is clear."""
        return next((c.clear.band for c in self.collections.values() if c.clear), None)

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """Names of the flags of any collection, in their order."""
        return tuple(dict.fromkeys(name for c in self.collections.values() for name in c.flags))

    @cached_property
    def flag_bands(self) -> tuple[str, ...]:
        """Names of the quality bands that are needed for the mask and the flags."""
        names = [self.quality] if self.quality else []
        for collection in self.collections.values():
            names += sorted(flag_bands(collection))
        return tuple(dict.fromkeys(names))

    @property
    def reference(self) -> str:
        """Name of the band whose data count as valid."""
        return self.quality or self.bands[0].name

    @cached_property
    def variables(self) -> dict[str, Variable]:
        """All ``(time, y, x)`` variables, by name."""
        found = [self._band_variable(band) for band in self.bands]
        if self.quality:
            found.append(Variable(name=CLEAR, dtype="int8", fill=None, kind="clear"))
        found += [Variable(name=FLAG + f, dtype="int8", fill=None, kind="flag") for f in self.flags]
        return {variable.name: variable for variable in found}

    def _band_variable(self, band: BandPlan) -> Variable:
        if self.options.scale and not band.qa:
            return Variable(name=band.name, dtype=self.scaled_dtype, fill=math.nan, kind="band")
        return Variable(name=band.name, dtype=self.dtype, fill=self.nodata, kind="band")

    @property
    def scaled_dtype(self) -> str:
        """The float that holds every number of the images exactly enough."""
        return (
            "float32"
            if np.dtype(self.dtype).itemsize <= 2 or self.dtype == "float32"
            else "float64"
        )


def describe(
    images: Sequence[ImageMetadata], dtype: str
) -> tuple[Tile, tuple[BandPlan, ...], float | None, dict[str, Collection]]:
    """Say what is common to images that are to be one cube.

    Parameters
    ----------
    images : sequence of ImageMetadata
        At least one.
    dtype : str
        Of their files.

    Returns
    -------
    tile, bands, nodata, collections

    Raises
    ------
    InputError
        When they cannot be one cube: names the two that differ and in what.
    MetadataError
        When a description of a collection or tile is wrong.
    """
    first = images[0]
    try:
        tile = Tile.from_dict(first.raw["tile"])
    except GridError as exc:
        raise MetadataError(f"{first.document}: tile: {exc}") from exc
    bands: dict[str, BandPlan] = {}
    collections: dict[str, Collection] = {}
    for image in images:
        if (image.tile.bounds, image.tile.size) != (first.tile.bounds, first.tile.size):
            raise _differ(first, image, "tile")
        if not _equal(image.nodata, first.nodata):
            raise _differ(first, image, "nodata")
        collection = collection_of(image, dtype)
        if collection is not None:
            _check_bands(image, collection)
            collections[image.collection_id] = collection
        for name in image.bands:
            band = _band(name, collection)
            if bands.setdefault(name, band) != band:
                raise _differ(first, image, f"scale, offset, units or kind of band {name!r}")
    _check_rules(images, collections)
    return tile, tuple(bands.values()), first.nodata, collections


def _equal(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))


def _differ(a: ImageMetadata, b: ImageMetadata, what: str) -> InputError:
    return InputError(
        f"{a.name} and {b.name} cannot be one cube: they differ in {what}; keep them apart with "
        "{collection} or {tile} in the destination"
    )


def collection_of(image: ImageMetadata, dtype: str) -> Collection | None:
    """Return the collection as the document has it; the registry's where it has none (CEDAR's)."""
    if image.collection is None:
        try:
            known = get_collection(image.collection_id)
        except CollectionError:
            return None
        # An image of other bands: what the registry says of them may not hold.
        return known if flag_bands(known) <= set(image.bands) <= set(known.bands) else None
    description = {"dtype": dtype, "nodata": image.nodata or 0, **image.collection}
    try:
        return Collection.from_description(description, dtype=dtype, nodata=image.nodata)
    except CollectionError as exc:
        raise MetadataError(f"{image.document}: {exc}") from exc


def flag_bands(collection: Collection) -> set[str]:
    """Return the names of the quality bands that a collection's rules look at."""
    names = {rule.band or collection.qa_band for rule in collection.flags.values()}
    names.add(collection.clear.band if collection.clear else None)
    return {name for name in names if name is not None}


def _check_bands(image: ImageMetadata, collection: Collection) -> None:
    missing = sorted(flag_bands(collection) - set(image.bands))
    if missing:
        raise MetadataError(
            f"{image.document}: image.bands: the quality band {missing[0]!r} of the collection's "
            "rules is not in the image"
        )


def _band(name: str, collection: Collection | None) -> BandPlan:
    if collection is None:
        return BandPlan(name=name)
    band = collection.bands[name]
    return BandPlan(
        name=name,
        qa=band.qa,
        scale=float(band.scale),
        offset=float(band.offset),
        units=band.units,
        description=band.description or "",
    )


def _check_rules(images: Sequence[ImageMetadata], collections: Mapping[str, Collection]) -> None:
    """One cube has one mask: its collections say by the same band what is clear, or none does."""
    rules = {}
    for image in images:
        collection = collections.get(image.collection_id)
        rules[image.collection_id] = collection and collection.clear and collection.clear.band
    other = next(
        (i for i in images if rules[i.collection_id] != rules[images[0].collection_id]), None
    )
    if other is not None:
        raise _differ(images[0], other, "quality band")
