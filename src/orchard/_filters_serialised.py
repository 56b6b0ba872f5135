"""Filters as Earth Engine's Python client serialised them in 2019, which CEDAR 0.0.4 recorded.

A document is ``{"type": "CompoundValue", "scope": [[name, node], …], "value": node}``. A node is a
plain value, a list of nodes, ``{"type": "ValueRef", "value": name}`` or a call, ``{"type":
"Invocation", "functionName": "Filter.…", "arguments": {…}}``. The client (0.1.182) wrote ``lte``,
``gte`` and ``neq`` as ``not`` of their opposites; that is undone here, so the user's own filter is
read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import FilterError

__all__ = ["read_serialised"]

_OPPOSITE = {"greaterThan": "lte", "lessThan": "gte", "equals": "neq"}

# Earth Engine's function -> ours, and its arguments: the property, then the value or values.
_COMPARISONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "equals": ("eq", "leftField", ("rightValue",)),
    "notEquals": ("neq", "leftField", ("rightValue",)),
    "lessThan": ("lt", "leftField", ("rightValue",)),
    "lessThanOrEquals": ("lte", "leftField", ("rightValue",)),
    "greaterThan": ("gt", "leftField", ("rightValue",)),
    "greaterThanOrEquals": ("gte", "leftField", ("rightValue",)),
    "stringContains": ("stringContains", "leftField", ("rightValue",)),
    "stringStartsWith": ("stringStartsWith", "leftField", ("rightValue",)),
    "stringEndsWith": ("stringEndsWith", "leftField", ("rightValue",)),
    # inList is written with its sides swapped.
    "listContains": ("inList", "rightField", ("leftValue",)),
    "rangeContains": ("rangeContains", "field", ("minValue", "maxValue")),
    "calendarRange": ("calendarRange", "field", ("start", "end")),
}

_MAX_DEPTH = 50


def read_serialised(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{function, name, value}`` or ``{function, filters}`` of a serialised filter.

    Raises
    ------
    FilterError
        Naming what is not understood.
    """
    scope = document.get("scope", ())
    try:
        reader = _Reader(dict(scope))
    except (TypeError, ValueError):
        raise FilterError(f"serialised filter: scope {scope!r} is not understood") from None
    compound = document.get("type") == "CompoundValue"
    return reader.filter(document.get("value") if compound else document, 0)


class _Reader:
    def __init__(self, scope: dict[Any, Any]) -> None:
        self.scope = scope

    def value(self, node: Any, depth: int) -> Any:
        """Follow references, in lists too."""
        if depth > _MAX_DEPTH:
            raise FilterError("serialised filter: nested too deeply, or referring to itself")
        if isinstance(node, Mapping) and node.get("type") == "ValueRef":
            name = node.get("value")
            if name not in self.scope:
                raise FilterError(f"serialised filter: refers to {name!r}, which is not there")
            return self.value(self.scope[name], depth + 1)
        if isinstance(node, list):
            return [self.value(part, depth + 1) for part in node]
        return node

    def filter(self, node: Any, depth: int) -> dict[str, Any]:
        """Read a call, or a reference to one."""
        node = self.value(node, depth)
        if not isinstance(node, Mapping) or node.get("type") != "Invocation":
            raise FilterError(f"serialised filter: {node!r} is not a filter")
        called = str(node.get("functionName"))
        function = called.removeprefix("Filter.")
        given = {key: self.value(v, depth) for key, v in node.get("arguments", {}).items()}
        if called == function or function not in {*_COMPARISONS, "and", "or", "not"}:
            raise FilterError(f"serialised filter: {called!r} has no counterpart here")
        if function in _COMPARISONS:
            return _comparison(function, given)
        parts = given.get("filters", ()) if function != "not" else [given.get("filter")]
        if function == "not" and (opposite := _negated(parts[0])):
            return {**self.filter(parts[0], depth + 1), "function": opposite}
        return {"function": function, "filters": [self.filter(p, depth + 1) for p in parts]}


def _negated(node: Any) -> str | None:
    name = node.get("functionName") if isinstance(node, Mapping) else None
    return _OPPOSITE.get(str(name).removeprefix("Filter."))


def _comparison(function: str, given: Mapping[str, Any]) -> dict[str, Any]:
    ours, field, values = _COMPARISONS[function]
    found = {key for key, value in given.items() if value is not None}
    if found != {field, *values}:
        raise FilterError(
            f"serialised filter: Filter.{function} with {sorted(found)} is not understood"
        )
    value = [given[key] for key in values]
    return {
        "function": ours,
        "name": given[field],
        "value": value if len(value) > 1 else value[0],
    }
