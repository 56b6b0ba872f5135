"""Checks of the values that make a tile or a grid."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from orchard.errors import GridError

Limits = tuple[tuple[int, int], tuple[int, int]]
_Number = TypeVar("_Number", int, float)


def floats(what: str, values: Any, count: int) -> tuple[float, ...]:
    """So many finite numbers."""
    try:
        numbers = tuple(float(value) for value in _listed(values))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise GridError(f"{what} {values!r} is not {count} finite numbers")
    return numbers


def ints(what: str, values: Any) -> tuple[int, int]:
    """Two whole numbers."""
    try:
        first, second = (_whole(value) for value in _listed(values))
    except (TypeError, ValueError):
        raise GridError(f"{what} {values!r} is not two whole numbers") from None
    return first, second


def positive(what: str, values: tuple[_Number, ...]) -> tuple[_Number, ...]:
    """The values, all above zero."""
    if min(values) <= 0:
        raise GridError(f"{what} {values!r} is not above zero")
    return values


def checked_limits(values: Any) -> Limits:
    """First and last row, first and last column."""
    try:
        rows, cols = (ints("limits", pair) for pair in _listed(values))
    except (TypeError, ValueError):
        rows, cols = (1, 0), (1, 0)
    if rows[0] > rows[1] or cols[0] > cols[1]:
        raise GridError(
            f"limits {values!r} are not ((first row, last row), (first column, last column))"
        )
    return rows, cols


def keys(
    what: str, document: Any, needed: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The document's values by these keys, and no others."""
    if not isinstance(document, Mapping):
        raise GridError(f"{what} is a {type(document).__name__}, not a mapping")
    missing = [key for key in needed if key not in document]
    unknown = [str(key) for key in document if key not in {*needed, *optional}]
    if missing or unknown:
        wrong = [f"lacks {', '.join(missing)}"] * bool(missing)
        wrong += [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise GridError(
            f"{what} {' and '.join(wrong)}: its keys are {', '.join((*needed, *optional))}"
        )
    return dict(document)


def _listed(values: Any) -> Sequence[Any]:
    if isinstance(values, str | bytes):
        raise TypeError
    return tuple(values)


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)
