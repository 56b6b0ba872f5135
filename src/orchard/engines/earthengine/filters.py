"""Filters, from Orchard's form to Earth Engine's and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchard.filters import Filter, parse_filters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["build_filters", "read_filter"]

_NEGATED = {"neq": "eq", "lte": "gt", "gte": "lt"}


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
    """Read an ``ee.Filter``, or what it serialises to, as a filter of Orchard.

    Returns
    -------
    dict
        ``{function, name, value}``, see `orchard.filters.parse_filters`, which takes the same.

    Raises
    ------
    FilterError
        Naming the function that has no counterpart: bounds and dates come from tile and period.
    """
    (found,) = parse_filters([filter_])
    return found.to_dict()
