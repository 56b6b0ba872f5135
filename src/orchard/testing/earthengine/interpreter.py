"""An interpreter of Earth Engine expressions: the functions that Orchard's expressions are made of.

A function it does not know, or an argument it does not use, is an error: nothing passes unseen.
"""

# ruff: noqa: A002, A006, N803  # arguments are called by the service's names

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError

from . import images
from .filters import FILTERS, Filter
from .images import EvaluationError, Image

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from .scenes import Archive

__all__ = ["Interpreter"]


@dataclass(frozen=True, kw_only=True)
class _Projection:
    crs: CRS
    transform: Affine


@dataclass(frozen=True, kw_only=True)
class _Rectangle:
    """A rectangle ``(x0, y0, x1, y1)`` in the pixels of a projection."""

    coordinates: tuple[float, ...]
    projection: _Projection


class Interpreter:
    """Evaluates expressions over an archive.

    Parameters
    ----------
    archive : Archive
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def evaluate(self, expression: Mapping[str, Any]) -> Any:
        """Evaluate a serialised expression.

        Returns
        -------
        object
            An `Image`, or plain JSON.

        Raises
        ------
        EvaluationError
            For anything that the expression has no right to.
        """
        try:
            run = _Run(self.archive, expression["values"])
            return run.named(expression["result"], {})
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"malformed expression: {error!r}") from error


class _Run:
    """One evaluation; what does not depend on a function's argument is evaluated once."""

    def __init__(self, archive: Archive, values: Mapping[str, Any]) -> None:
        self.archive = archive
        self.values = values
        self.known: dict[str, Any] = {}

    def named(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name in self.known:
            return self.known[name]
        value = self.value(self.values[name], arguments)
        if name not in self._dependent:
            self.known[name] = value
        return value

    @cached_property
    def _dependent(self) -> set[str]:
        """Names whose value depends on the argument of a function."""
        names = {name for name, node in self.values.items() if "argumentReference" in str(node)}
        uses = {name: set(_references(node)) for name, node in self.values.items()}
        while more := {name for name, used in uses.items() if used & names} - names:
            names |= more
        return names

    def value(self, node: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        ((kind, content),) = node.items()
        match kind:
            case "constantValue":
                return content
            case "integerValue":
                return int(content)
            case "valueReference":
                return self.named(content, arguments)
            case "argumentReference":
                return arguments[content]
            case "arrayValue":
                return [self.value(v, arguments) for v in content["values"]]
            case "dictionaryValue":
                return {k: self.value(v, arguments) for k, v in content["values"].items()}
            case "functionDefinitionValue":
                return self._function(content)
            case "functionInvocationValue":
                return self._call(content, arguments)
        raise EvaluationError(f"unknown node {kind!r}")

    def _function(self, definition: Mapping[str, Any]) -> Callable[..., Any]:
        names = definition["argumentNames"]
        return lambda *given: self.named(definition["body"], dict(zip(names, given, strict=True)))

    def _call(self, call: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        name = call["functionName"]
        given = {k: self.value(v, arguments) for k, v in call.get("arguments", {}).items()}
        if name == "ImageCollection.load":
            return self._load(given["id"])
        function = _FUNCTIONS.get(name)
        if function is None:
            raise EvaluationError(f"Unknown function {name!r}: not known to this simulator")
        try:
            return function(**given)
        except TypeError as error:
            raise EvaluationError(f"{name}: {error}") from error

    def _load(self, name: str) -> list[Image]:
        if name not in self.archive.collections:
            raise EvaluationError(
                f"ImageCollection.load: ImageCollection asset '{name}' not found "
                "(does not exist or caller does not have access)."
            )
        return list(self.archive.collections[name])


def _references(node: Any) -> list[str]:
    """Names that a node uses; the body of a function is not among them: its argument is its own."""
    if isinstance(node, Mapping):
        own = [node["valueReference"]] if "valueReference" in node else []
        return own + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []


# Geometry ----------------------------------------------------------------------------------------


def _polygon(coordinates: Any, geodesic: bool, evenOdd: bool = True) -> BaseGeometry:
    if geodesic:
        raise EvaluationError("GeometryConstructors.Polygon: only planar edges are known here")
    del evenOdd
    return shapely.Polygon(coordinates[0], coordinates[1:])


def _multi_polygon(coordinates: Any, geodesic: bool, evenOdd: bool = True) -> BaseGeometry:
    return shapely.union_all([_polygon(part, geodesic, evenOdd) for part in coordinates])


def _projection(crs: str) -> _Projection:
    if not re.match(r"EPSG:\d+$|PROJCS\[|GEOGCS\[", crs):
        raise EvaluationError(f"Projection: The CRS of a map projection could not be parsed: {crs}")
    try:
        return _Projection(crs=CRS.from_user_input(crs), transform=Affine.identity())
    except CRSError as error:
        raise EvaluationError(f"Projection: {error}") from error


def _reproject(image: Image, crs: _Projection, crsTransform: Sequence[float]) -> Image:
    return replace(image, crs=crs.crs, transform=Affine(*crsTransform))


def _projection_of(image: Image) -> _Projection:
    if image.crs is None or image.transform is None:
        raise EvaluationError("Image.projection: the image has no projection of its own")
    return _Projection(crs=image.crs, transform=image.transform)


def _rectangle(
    coordinates: Sequence[float],
    crs: _Projection,
    geodesic: bool,
    evenOdd: bool,
) -> _Rectangle:
    if geodesic or not evenOdd:
        raise EvaluationError("GeometryConstructors.Rectangle: only planar ones are known here")
    return _Rectangle(coordinates=tuple(coordinates), projection=crs)


def _clip(input: Image, geometry: _Rectangle) -> Image:
    own = _projection_of(input)
    if geometry.projection != own:
        raise EvaluationError("Image.clipToBoundsAndScale: a rectangle of another projection")
    x0, y0, x1, y1 = (round(c) for c in geometry.coordinates)
    return replace(input, size=(x1 - x0, y1 - y0), offset=(x0, y0))


# Collections -------------------------------------------------------------------------------------


def _filtered(collection: list[Image], filter: Filter) -> list[Image]:
    return [image for image in collection if filter.test(image.properties, image.footprint)]


def _first(collection: list[Image]) -> Image:
    if not collection:
        raise EvaluationError("Collection.first: the collection is empty")
    return collection[0]


def _map(collection: list[Image], baseAlgorithm: Callable[[Image], Image]) -> list[Image]:
    return [baseAlgorithm(image) for image in collection]


def _from_images(images: list[Image]) -> list[Image]:
    return list(images)


def _mosaic(collection: list[Image]) -> Image:
    return images.mosaic(collection)


def _to_bands(collection: list[Image]) -> Image:
    bands = tuple(
        (f"{index}_{name}", reader)
        for index, image in enumerate(collection)
        for name, reader in image.bands
    )
    if len(bands) > 5000:
        raise EvaluationError(f"ImageCollection.toBands: too many bands ({len(bands)} > 5000)")
    return Image(bands=bands)


def _reduce_columns(
    collection: list[Image], reducer: tuple[int, int], selectors: Sequence[str]
) -> dict[str, Any]:
    size, optional = reducer
    if len(selectors) != size:
        raise EvaluationError(f"Collection.reduceColumns: {len(selectors)} selectors, not {size}")
    rows = [[image.properties.get(name) for name in selectors] for image in collection]
    return {"list": [row for row in rows if None not in row[: size - optional]]}


# Pixels ------------------------------------------------------------------------------------------


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Image, Image], Image]:
    def apply(image1: Image, image2: Image) -> Image:
        return images.combine(image1, image2, lambda a, b: (function(a[0], b[0]), a[1] & b[1]))

    return apply


def _update_mask(image: Image, mask: Image) -> Image:
    return images.combine(image, mask, lambda a, m: (a[0], a[1] & m[1] & (m[0] != 0)), keep=True)


def _unmask(input: Image, value: Image, sameFootprint: bool = True) -> Image:
    if sameFootprint:
        raise EvaluationError(
            "Image.unmask: with sameFootprint what lies outside the scenes would stay masked"
        )
    return images.combine(
        input, value, lambda a, b: (np.where(a[1], a[0], b[0]), a[1] | b[1]), keep=True
    )


def _constant(value: Any) -> Image:
    return images.constant(value if isinstance(value, list) else [value])


def _cast(dtype: str) -> Callable[[Image], Image]:
    return lambda value: images.cast(value, dtype)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **FILTERS,
    "Collection.filter": _filtered,
    "Collection.first": _first,
    "Collection.map": _map,
    "Collection.reduceColumns": _reduce_columns,
    "Dictionary.get": lambda dictionary, key: dictionary[key],
    "Feature": lambda geometry: geometry,
    "GeometryConstructors.MultiPolygon": _multi_polygon,
    "GeometryConstructors.Polygon": _polygon,
    "GeometryConstructors.Rectangle": _rectangle,
    "Image.add": _arithmetic(lambda a, b: a + b),
    "Image.addBands": lambda dstImg, srcImg, names=None, overwrite=False: dstImg.add_bands(
        srcImg, names, overwrite=overwrite
    ),
    "Image.clipToBoundsAndScale": _clip,
    "Image.constant": _constant,
    "Image.multiply": _arithmetic(lambda a, b: a * b),
    "Image.neq": _arithmetic(lambda a, b: (a != b).astype("float64")),
    "Image.projection": _projection_of,
    "Image.rename": lambda input, names: input.rename(names),
    "Image.reproject": _reproject,
    "Image.round": lambda value: value.each(lambda p: (np.rint(p[0]), p[1])),
    "Image.select": lambda input, bandSelectors, newNames=None: input.select(
        bandSelectors, newNames
    ),
    "Image.unmask": _unmask,
    "Image.updateMask": _update_mask,
    "ImageCollection.fromImages": _from_images,
    "ImageCollection.mosaic": _mosaic,
    "ImageCollection.toBands": _to_bands,
    "Projection": _projection,
    "Reducer.toList": lambda tupleSize, numOptional=0: (tupleSize, numOptional),
    "Image.toByte": _cast("uint8"),
    "Image.toDouble": _cast("float64"),
    "Image.toFloat": _cast("float32"),
    "Image.toInt8": _cast("int8"),
    "Image.toInt16": _cast("int16"),
    "Image.toInt32": _cast("int32"),
    "Image.toUint8": _cast("uint8"),
    "Image.toUint16": _cast("uint16"),
    "Image.toUint32": _cast("uint32"),
}
