"""Filters, from Orchard's form to Earth Engine's and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchard.errors import FilterError
from orchard.filters import Filter, parse_filters

__all__ = ["build_filters", "read_filter"]

_NEGATED = {"neq": "eq", "lte": "gt", "gte": "lt"}
_DEEPEST = 50


def build_filters(filters: Iterable[Filter | Mapping[str, Any]]) -> list[Any]:
    """Build ``ee.Filter`` objects, one for each filter; all must match.

    The library must be initialised.

    Raises
    ------
    FilterError
        For what is no filter.
    """
    return [_build(filter_) for filter_ in parse_filters(filters)]


def _build(filter_: Filter) -> Any:
    import ee

    parts = [_build(part) for part in filter_.filters]
    match filter_.function:
        case "and":
            return ee.Filter.And(*parts)
        case "or":
            return ee.Filter.Or(*parts)
        case "not":
            return parts[0].Not()
        case "calendarRange":
            first, last = _pair(filter_)
            return ee.Filter.calendarRange(first, last, filter_.name)
        case "notNull":
            return ee.Filter.notNull([filter_.name])
        case "inList":
            return ee.Filter.inList(filter_.name, list(filter_.value))  # type: ignore[arg-type]
        case "rangeContains":
            low, high = _pair(filter_)
            return ee.Filter.rangeContains(filter_.name, low, high)
    if filter_.function in _NEGATED:
        # The library writes these as the opposite's negation, which an image without the property
        # would match: with us it matches no comparison.
        opposite = _compare(_NEGATED[filter_.function], filter_)
        return ee.Filter.And(ee.Filter.notNull([filter_.name]), opposite.Not())
    return _compare(filter_.function, filter_)


def _pair(filter_: Filter) -> tuple[Any, Any]:
    """Return the two numbers of a range; the model has checked that they are two."""
    assert isinstance(filter_.value, tuple)
    low, high = filter_.value
    return low, high


def _compare(function: str, filter_: Filter) -> Any:
    import ee

    return getattr(ee.Filter, function)(filter_.name, filter_.value)


def read_filter(filter_: Any) -> dict[str, Any]:
    """Read an ``ee.Filter``, or the JSON that it serialises to, as a filter of Orchard.

    Parameters
    ----------
    filter_ : ee.Filter or mapping
        ``{"result": …, "values": {…}}``.

    Returns
    -------
    dict
        ``{function, name, value}``, see `orchard.filters`.

    Raises
    ------
    FilterError
        Naming the function that has no counterpart: bounds and dates come from tile and period.
    """
    if hasattr(filter_, "serialize"):
        import json

        filter_ = json.loads(filter_.serialize())
    if not isinstance(filter_, Mapping) or not {"result", "values"} <= filter_.keys():
        raise FilterError(f"{filter_!r} is not a serialised filter of Earth Engine")
    return _Reader(filter_["values"]).filter({"valueReference": filter_["result"]}, 0).to_dict()


class _Reader:
    """A serialised expression, where a name stands for a part that is used more than once."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def value(self, node: Any, depth: int) -> Any:
        """Return a node as plain JSON, function calls as they are."""
        if depth > _DEEPEST:
            raise FilterError("serialised filter: nested too deeply, or referring to itself")
        if "valueReference" in node:
            if node["valueReference"] not in self.values:
                raise FilterError(f"serialised filter: {node} refers to what is not there")
            return self.value(self.values[node["valueReference"]], depth + 1)
        if "constantValue" in node:
            return node["constantValue"]
        if "arrayValue" in node:
            return [self.value(part, depth + 1) for part in node["arrayValue"]["values"]]
        if "functionInvocationValue" in node:
            return node
        raise FilterError(f"serialised filter: {sorted(node)} is not understood")

    def filter(self, node: Any, depth: int) -> Filter:
        call = self.value(node, depth)
        if not isinstance(call, Mapping) or "functionInvocationValue" not in call:
            raise FilterError(f"serialised filter: {call!r} is not a filter")
        called = call["functionInvocationValue"]
        name = str(called.get("functionName"))
        given = {key: self.value(value, depth + 1) for key, value in called["arguments"].items()}
        function = name.removeprefix("Filter.")
        if function in {"and", "or"}:
            parts = tuple(self.filter(part, depth + 1) for part in given["filters"])
            return Filter(function=function, filters=parts)
        if function == "not":
            return _negation(self.filter(given["filter"], depth + 1))
        (found,) = parse_filters([_comparison(function, name, given)])
        return found


def _negation(inner: Filter) -> Filter:
    """Undo the library's habit of writing ``lte`` as not ``gt``."""
    for function, opposite in _NEGATED.items():
        if inner.function == opposite:
            return inner.model_copy(update={"function": function})
    return Filter(function="not", filters=(inner,))


def _comparison(function: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    keys = set(given)
    if function == "listContains" and keys == {"leftValue", "rightField"}:
        return {"function": "inList", "name": given["rightField"], "value": given["leftValue"]}
    if function == "rangeContains" and keys == {"field", "minValue", "maxValue"}:
        value = [given["minValue"], given["maxValue"]]
        return {"function": function, "name": given["field"], "value": value}
    if function == "calendarRange" and keys == {"start", "end", "field"}:
        value = [given["start"], given["end"]]
        return {"function": function, "name": given["field"], "value": value}
    if function == "notNull" and keys == {"properties"} and len(given["properties"]) == 1:
        return {"function": function, "name": given["properties"][0]}
    if keys == {"leftField", "rightValue"} and name.startswith("Filter."):
        return {"function": function, "name": given["leftField"], "value": given["rightValue"]}
    raise FilterError(
        f"the Earth Engine filter {name} with {sorted(keys)} has no counterpart here: filters "
        "compare properties; bounds and dates are the tile's and the period's"
    )
