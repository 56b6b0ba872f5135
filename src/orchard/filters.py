"""Filters over scene properties: Earth Engine's functions and names, read, checked and applied.

A filter is ``{function: lte, name: CLOUD_COVER_LAND, value: 80}``; ``and``, ``or`` and ``not``
take ``filters`` instead. Names are Earth Engine's; `translate` maps them to the properties of a
STAC item and refuses, by name, what has no counterpart there.

An item that lacks a property (or has null there) does not match any comparison of it, ``neq`` and
``notNull`` included. ``not`` inverts whatever its filter says, so ``not`` of a comparison does
match such an item.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from ._filters_serialised import is_serialised, read_serialised
from .errors import FilterError

if TYPE_CHECKING:
    from .collections import Collection, StacSource

__all__ = [
    "Filter",
    "Predicate",
    "Property",
    "Scalar",
    "equals_any",
    "parse_filters",
    "translate",
]

Predicate = Callable[[Mapping[str, Any]], bool]
"""Whether a scene of these STAC item properties (``datetime`` among them) is wanted."""

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr

Function = Literal[
    "eq",
    "neq",
    "lt",
    "lte",
    "gt",
    "gte",
    "inList",
    "rangeContains",
    "stringContains",
    "stringStartsWith",
    "stringEndsWith",
    "notNull",
    "calendarRange",
    "and",
    "or",
    "not",
]

# Earth Engine's longer names of the same functions, and those of its Python client.
_ALIASES = {
    "equals": "eq",
    "notEquals": "neq",
    "lessThan": "lt",
    "lessThanOrEquals": "lte",
    "greaterThan": "gt",
    "greaterThanOrEquals": "gte",
    "And": "and",
    "Or": "or",
    "Not": "not",
}

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}

_STRINGS: dict[str, Callable[[str, str], bool]] = {
    "stringContains": lambda text, part: part in text,
    "stringStartsWith": str.startswith,
    "stringEndsWith": str.endswith,
}

# Months, days and weekdays count from 1, Monday is 1, times are UTC: as Earth Engine has it.
_CALENDAR: dict[str, Callable[[datetime], int]] = {
    "year": lambda t: t.year,
    "month": lambda t: t.month,
    "day_of_year": lambda t: t.timetuple().tm_yday,
    "day_of_month": lambda t: t.day,
    "day_of_week": lambda t: t.isoweekday(),
    "hour": lambda t: t.hour,
    "minute": lambda t: t.minute,
}


def _canonical(function: object) -> object:
    return _ALIASES.get(function, function) if isinstance(function, str) else function


class Filter(BaseModel):
    """One filter; immutable and equal by value.

    Parameters
    ----------
    function : str
        ``eq neq lt lte gt gte inList rangeContains stringContains stringStartsWith stringEndsWith
        notNull calendarRange and or not``; Earth Engine's long names (``lessThan`` …) are taken,
        too.
    name : str, optional
        Earth Engine's name of the property; for ``calendarRange`` the calendar field (``year``,
        ``month``, ``day_of_year``, ``day_of_month``, ``day_of_week``, ``hour``, ``minute``; UTC).
    value : bool, int, float, str or a list of them, optional
        What to compare with: a list for ``inList``; ``[low, high]``, both included, for
        ``rangeContains`` and ``calendarRange`` (which wraps around when low > high).
    filters : sequence of Filter, optional
        What ``and``, ``or`` and ``not`` combine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    function: Annotated[Function, BeforeValidator(_canonical)]
    name: StrictStr | None = None
    value: Scalar | tuple[Scalar, ...] | None = None
    filters: tuple[Filter, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Filter:
        problem = _combination(self) if self.function in ("and", "or", "not") else _comparison(self)
        if problem:
            raise ValueError(f"filter {self.function!r}: {problem}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which `parse_filters` reads back to an equal filter."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def names(self) -> set[str]:
        """Return the properties it needs (the calendar is not one)."""
        if self.filters:
            return set().union(*(f.names() for f in self.filters))
        return set() if self.function == "calendarRange" or self.name is None else {self.name}

    def matches(self, properties: Mapping[str, Any]) -> bool:
        """Whether these properties, under the filter's own names, match."""
        return _evaluate(self, properties.get, properties)


class Property(BaseModel):
    """Where a STAC item keeps what Earth Engine calls otherwise, and how the value is made.

    The value as Earth Engine has it is, in this order: the item's value; looked up in ``values``;
    without ``prefix``; and, where it is a number, ``scale * value + offset``.

    Parameters
    ----------
    name : str
        Name of the STAC item property.
    prefix : str, optional
        What to strip in front (``MGRS-`` of ``grid:code``).
    values : mapping of str to str, optional
        Names of the catalogue and Earth Engine's for the same thing.
    number : bool
        The catalogue writes a number as a string (``"008"``).
    scale, offset : float, optional
        For a number that is measured another way (zenith = 90 - elevation).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    prefix: str = ""
    values: Mapping[str, str] = {}
    number: bool = False
    scale: float = 1
    offset: float = 0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        return {"name": data} if isinstance(data, str) else data

    def of(self, properties: Mapping[str, Any]) -> Any:
        """Return the value as Earth Engine has it, or None where the item has none."""
        value = properties.get(self.name)
        if isinstance(value, str):
            value = self.values.get(value, value).removeprefix(self.prefix)
        if not self.number and (self.scale, self.offset) == (1, 0):
            return value
        number = _number(value)
        return None if number is None else self.scale * number + self.offset

    def back(self, value: Any) -> Any:
        """Return the item's value from Earth Engine's: the opposite of `of`."""
        if isinstance(value, str):
            names = {theirs: own for own, theirs in self.values.items()}
            return self.prefix + names.get(value, value)
        if (self.scale, self.offset) == (1, 0):
            return value
        number = _number(value)
        return None if number is None else (number - self.offset) / self.scale


def parse_filters(filters: Iterable[Any]) -> tuple[Filter, ...]:
    """Read and check filters, all of which must match.

    Parameters
    ----------
    filters : iterable of Filter, mapping, ee.Filter or str
        Any form: ``{function, name, value}``; an ``ee.Filter``; what that serialises to (JSON, or
        its text); what CEDAR 0.0.4 wrote into image metadata (``{"type": "CompoundValue", …}``).

    Raises
    ------
    FilterError
        Naming the function or key that is wrong or not understood.
    """
    if isinstance(filters, (str, bytes, Mapping)) or hasattr(filters, "serialize"):
        raise FilterError(f"filters must be a list of filters, not {filters!r}")
    return tuple(_parse(f) for f in filters)


def translate(
    filters: Filter | Sequence[Filter], collection: Collection, source: StacSource | None = None
) -> Predicate:
    """Turn filters into a test of STAC item properties.

    Parameters
    ----------
    filters : Filter or sequence of Filter
        A sequence must match as a whole; an empty one matches everything.
    collection : Collection
        Whose property map translates the names.
    source : StacSource, optional
        The catalogue's own entry of the collection, whose names go first.

    Returns
    -------
    callable
        Takes an item's properties and says whether the item is wanted.

    Raises
    ------
    FilterError
        Naming the property that has no counterpart.
    """
    wanted = (filters,) if isinstance(filters, Filter) else tuple(filters)
    properties = collection.property_map(source)
    for name in sorted(set().union(*(f.names() for f in wanted))):
        if name not in properties:
            known = ", ".join(sorted(properties)) or "none"
            raise FilterError(
                f"cannot filter {collection.id} by {name!r} here: no STAC property is known for "
                f"it. Add it under collections: {collection.id}: properties (known: {known})"
            )

    def predicate(item: Mapping[str, Any]) -> bool:
        return all(_evaluate(f, lambda name: properties[name].of(item), item) for f in wanted)

    return predicate


# Checks ------------------------------------------------------------------------------------------


def _combination(filter_: Filter) -> str | None:
    if filter_.name is not None or filter_.value is not None:
        return "takes `filters`, not `name` and `value`"
    if not filter_.filters:
        return "needs `filters`"
    if filter_.function == "not" and len(filter_.filters) != 1:
        return "takes exactly one filter"
    return None


def _comparison(filter_: Filter) -> str | None:
    if filter_.filters:
        return "takes no `filters`"
    if not filter_.name:
        return "needs `name`"
    value = filter_.value
    match filter_.function:
        case "notNull":
            return None if value is None else "takes no `value`"
        case "inList":
            return None if isinstance(value, tuple) and value else "`value` must be a list"
        case "rangeContains":
            return _range(value)
        case "calendarRange":
            return _calendar_range(filter_.name, value)
        case "stringContains" | "stringStartsWith" | "stringEndsWith":
            return None if isinstance(value, str) else "`value` must be a string"
        case _:
            single = value is not None and not isinstance(value, tuple)
            return None if single else "`value` must be one value"


def _range(value: object) -> str | None:
    if not isinstance(value, tuple) or len(value) != 2:
        return "`value` must be [low, high]"
    return None if _compare("lte", *value) else "`value` must be [low, high] with low <= high"


def _calendar_range(field: str, value: object) -> str | None:
    if field not in _CALENDAR:
        return f"`name` must be one of {', '.join(_CALENDAR)}, not {field!r}"
    whole = isinstance(value, tuple) and len(value) == 2 and all(type(v) is int for v in value)
    return None if whole else "`value` must be two whole numbers, [first, last]"


# Evaluation --------------------------------------------------------------------------------------


def _evaluate(filter_: Filter, lookup: Callable[[str], Any], properties: Mapping[str, Any]) -> bool:
    match filter_.function:
        case "and":
            return all(_evaluate(f, lookup, properties) for f in filter_.filters)
        case "or":
            return any(_evaluate(f, lookup, properties) for f in filter_.filters)
        case "not":
            return not _evaluate(filter_.filters[0], lookup, properties)
        case "calendarRange":
            return _in_calendar(filter_, properties)
        case _:
            found = lookup(str(filter_.name))
            return found is not None and _test(filter_.function, found, filter_.value)


def _test(function: str, found: Any, value: Any) -> bool:
    if function == "notNull":
        return True
    if function == "inList":
        return equals_any(found, value)
    if function == "rangeContains":
        return _compare("gte", found, value[0]) and _compare("lte", found, value[1])
    if function in _STRINGS:
        return isinstance(found, str) and _STRINGS[function](found, value)
    return _compare(function, found, value)


def equals_any(found: Any, values: Iterable[Any]) -> bool:
    """Whether a property is one of these values, as ``eq`` compares them."""
    return any(_compare("eq", found, value) for value in values)


def _compare(function: str, found: Any, value: Any) -> bool:
    """Compare two values; a number and a string of digits ("008") compare as numbers."""
    if isinstance(found, bool) or isinstance(value, bool):
        same = isinstance(found, bool) and isinstance(value, bool) and found == value
        return {"eq": same, "neq": not same}.get(function, False)
    if not (isinstance(found, str) and isinstance(value, str)):
        found, value = _number(found), _number(value)
    if function == "eq":
        return found is not None and found == value
    if function == "neq":
        return bool(found != value)
    return found is not None and value is not None and bool(_ORDER[function](found, value))


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _in_calendar(filter_: Filter, properties: Mapping[str, Any]) -> bool:
    text = properties.get("datetime") or properties.get("start_datetime")
    if not isinstance(text, str):
        return False
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return False
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    bounds: Any = filter_.value  # two whole numbers: the model has checked it
    first, last = bounds
    found = _CALENDAR[str(filter_.name)](time)
    if first <= last:
        return bool(first <= found <= last)
    return bool(found >= first or found <= last)


# Reading -----------------------------------------------------------------------------------------


def _parse(data: Any) -> Filter:
    if isinstance(data, Filter):
        return data
    if callable(serialize := getattr(data, "serialize", None)):
        data = serialize()  # an ee.Filter, of whose library nothing else is needed
    if isinstance(data, str):
        data = _decoded(data)
    if not isinstance(data, Mapping):
        raise FilterError(f"a filter must be {{function, name, value}}, not {data!r}")
    if is_serialised(data):
        data = read_serialised(data)
    try:
        return Filter.model_validate(data)
    except ValidationError as error:
        raise FilterError(f"filter {dict(data)}: {_problem(error)}") from None


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise FilterError(f"a filter must be {{function, name, value}}, not {text!r}") from None


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if "value" in first["loc"]:
        # One line instead of one for each type that it might have been.
        return "`value` must be true or false, a finite number, a string or a list of them"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
