"""The simulator's filters: tests of an image's properties and footprint."""

# ruff: noqa: A006, N803  # arguments are called by the service's names

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import shapely

from .images import EvaluationError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["FILTERS", "Filter"]

Predicate = Callable[[Mapping[str, Any], Any], bool]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter: a test of properties and footprint."""

    test: Predicate


def _comparison(test: Callable[[Any, Any], bool]) -> Callable[..., Filter]:
    """Compare a property; an element that lacks it does not match."""

    def make(leftField: str, rightValue: Any) -> Filter:
        def check(properties: Mapping[str, Any], _: Any) -> bool:
            found = properties.get(leftField)
            if found is None or _is_text(found) != _is_text(rightValue):
                return False
            return bool(test(found, rightValue))

        return Filter(test=check)

    return make


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _in_list(rightField: str, leftValue: Sequence[Any]) -> Filter:
    return Filter(test=lambda p, _: p.get(rightField) in leftValue)


def _range_contains(field: str, minValue: Any, maxValue: Any) -> Filter:
    return Filter(test=lambda p, _: p.get(field) is not None and minValue <= p[field] <= maxValue)


def _dates(rightField: str, leftValue: tuple[int, int]) -> Filter:
    start, end = leftValue
    return Filter(test=lambda p, _: start <= p.get(rightField, -(10**18)) < end)


_CALENDAR: dict[str, Callable[[datetime], int]] = {
    "year": lambda t: t.year,
    "month": lambda t: t.month,
    "day_of_year": lambda t: t.timetuple().tm_yday,
    "day_of_month": lambda t: t.day,
    "day_of_week": lambda t: t.isoweekday(),
    "hour": lambda t: t.hour,
    "minute": lambda t: t.minute,
}


def _calendar(start: int, end: int, field: str) -> Filter:
    part = _CALENDAR[field]

    def check(properties: Mapping[str, Any], _: Any) -> bool:
        found = part(datetime.fromtimestamp(properties["system:time_start"] / 1000, UTC))
        return start <= found <= end if start <= end else found >= start or found <= end

    return Filter(test=check)


def _intersects(leftField: str, rightValue: BaseGeometry) -> Filter:
    if leftField != ".all":
        raise EvaluationError(f"Filter.intersects: unknown field {leftField!r}")
    shapely.prepare(rightValue)
    return Filter(test=lambda _, footprint: bool(rightValue.intersects(footprint)))


def _milliseconds(text: Any) -> int:
    if not isinstance(text, str):
        return int(text)
    time = datetime.fromisoformat(text)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return round(time.timestamp() * 1000)


FILTERS: dict[str, Callable[..., Any]] = {
    "DateRange": lambda start, end: (_milliseconds(start), _milliseconds(end)),
    "Filter.and": lambda filters: Filter(test=lambda *a: all(f.test(*a) for f in filters)),
    "Filter.or": lambda filters: Filter(test=lambda *a: any(f.test(*a) for f in filters)),
    "Filter.not": lambda filter: Filter(test=lambda *a: not filter.test(*a)),
    "Filter.equals": _comparison(lambda a, b: a == b),
    "Filter.notEquals": _comparison(lambda a, b: a != b),
    "Filter.lessThan": _comparison(lambda a, b: a < b),
    "Filter.lessThanOrEquals": _comparison(lambda a, b: a <= b),
    "Filter.greaterThan": _comparison(lambda a, b: a > b),
    "Filter.greaterThanOrEquals": _comparison(lambda a, b: a >= b),
    "Filter.stringContains": _comparison(lambda a, b: b in a),
    "Filter.stringStartsWith": _comparison(lambda a, b: a.startswith(b)),
    "Filter.stringEndsWith": _comparison(lambda a, b: a.endswith(b)),
    "Filter.listContains": _in_list,
    "Filter.rangeContains": _range_contains,
    "Filter.calendarRange": _calendar,
    "Filter.notNull": lambda properties: Filter(
        test=lambda p, _: all(p.get(name) is not None for name in properties)
    ),
    "Filter.dateRangeContains": _dates,
    "Filter.intersects": _intersects,
}
"""What makes filters, and the spans of time that they take, by name."""
