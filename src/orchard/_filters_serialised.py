"""Filters as Earth Engine's Python client serialises them: now, and in 2019 for CEDAR 0.0.4.

In 2019 a document was ``{"type": "CompoundValue", "scope": [[name, node], …], "value": node}``. A
node is a plain value, a list of nodes, ``{"type": "ValueRef", "value": name}`` or a call,
``{"type": "Invocation", "functionName": "Filter.…", "arguments": {…}}``. Since then it is
``{"result": name, "values": {name: node}}``, with other words for the same nodes. The client writes
``lte``, ``gte`` and ``neq`` as ``not`` of their opposites; that is undone here, so the user's own
filter is read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import FilterError

__all__ = ["is_serialised", "read_serialised"]

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
    if "result" in document:
        document = _as_in_2019(document)
    scope = document.get("scope", ())
    try:
        reader = _Reader(dict(scope))
    except (TypeError, ValueError):
        raise FilterError(f"serialised filter: scope {scope!r} is not understood") from None
    compound = document.get("type") == "CompoundValue"
    return reader.filter(document.get("value") if compound else document, 0)


def is_serialised(data: Mapping[str, Any]) -> bool:
    """Whether a document is a serialised filter, and not one of ours."""
    return "function" not in data and ("type" in data or {"result", "values"} <= data.keys())


def _as_in_2019(document: Mapping[str, Any]) -> dict[str, Any]:
    values = document.get("values")
    if not isinstance(values, Mapping):
        raise FilterError("serialised filter: it has no `values`")
    return {
        "type": "CompoundValue",
        "scope": [[name, _node(node, 0)] for name, node in values.items()],
        "value": {"type": "ValueRef", "value": document["result"]},
    }


def _node(node: Any, depth: int) -> Any:
    """Translate a node of today's into one of 2019."""
    if depth > _MAX_DEPTH:
        raise FilterError("serialised filter: nested too deeply, or referring to itself")
    match node:
        case {"constantValue": value}:
            return value
        case {"valueReference": name}:
            return {"type": "ValueRef", "value": name}
        case {"arrayValue": {"values": values}}:
            return [_node(part, depth + 1) for part in values]
        case {"functionInvocationValue": {"functionName": name, **more}}:
            given: Any = more.get("arguments", {})
            arguments = {key: _node(value, depth + 1) for key, value in given.items()}
            return {"type": "Invocation", "functionName": name, "arguments": arguments}
    raise FilterError(f"serialised filter: {node!r} is not understood")


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
        if called == function or function not in {*_COMPARISONS, "and", "or", "not", "notNull"}:
            raise FilterError(
                f"serialised filter: {called} has no counterpart here: filters compare properties; "
                "bounds and dates are the tile's and the period's"
            )
        if function == "notNull":
            return _not_null(given)
        if function in _COMPARISONS:
            return _comparison(function, given)
        parts = given.get("filters", ()) if function != "not" else [given.get("filter")]
        if function == "not" and (opposite := _negated(parts[0])):
            return {**self.filter(parts[0], depth + 1), "function": opposite}
        return {"function": function, "filters": [self.filter(p, depth + 1) for p in parts]}


def _not_null(given: Mapping[str, Any]) -> dict[str, Any]:
    names = given.get("properties")
    if not isinstance(names, list) or not names:
        raise FilterError("serialised filter: Filter.notNull without properties is not understood")
    filters = [{"function": "notNull", "name": name} for name in names]
    return filters[0] if len(filters) == 1 else {"function": "and", "filters": filters}


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
