"""Orders on paper: periods, and the expansion of an order into tasks.

Everything here is pure: the same input gives the same tasks, and nothing is read or written.
"""

from __future__ import annotations

import itertools
import operator
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from numbers import Integral
from typing import TYPE_CHECKING, Any

from .errors import GridError, InputError, PeriodError
from .naming import (
    NAME_TEMPLATE,
    PREFIX_TEMPLATE,
    TRACKING_PREFIX,
    TRACKING_TEMPLATE,
    Templates,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .grid import Tile, TileGrid

__all__ = [
    "NAME_TEMPLATE",
    "PREFIX_TEMPLATE",
    "TRACKING_PREFIX",
    "TRACKING_TEMPLATE",
    "OrderSpec",
    "Period",
    "TaskRequest",
    "Templates",
    "expand",
    "parse_indices",
    "parse_time",
    "split_period",
]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Period:
    """A half-open span of time ``[start, end)``; both aware, UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """One task as it was asked for: one collection, one tile, one period.

    ``filters`` are the collection's filters as JSON (see `orchard.filters`).
    """

    name: str
    prefix: str
    collection: str
    tile: Tile
    period: Period
    filters: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSpec:
    """What an order asks for: collections x tiles x periods."""

    collections: tuple[str, ...]
    tiles: tuple[Tile, ...]
    period: Period
    period_freq: str | None = None

    @property
    def periods(self) -> list[Period]:
        """The periods of the order, in time."""
        return split_period(self.period.start, self.period.end, self.period_freq)


def parse_time(value: str | date | datetime, *, what: str = "time") -> datetime:
    """Read a moment as an aware UTC datetime.

    Parameters
    ----------
    value : str, date or datetime
        ISO 8601 text (also ``2022``, ``2022-06``), a date or a datetime. Without a
        time zone it is taken as UTC; with one it is converted.
    what : str
        What the moment is, for the error.

    Raises
    ------
    PeriodError
        When it cannot be read.
    """
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - set to UTC below
    else:
        text = str(value).strip()
        if re.fullmatch(r"\d{4}(-\d{2})?", text):
            text += "-01-01"[: 10 - len(text)] if len(text) == 4 else "-01"
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise PeriodError(
                f"{what} {value!r} is not a date: write it as 2022-06-01 or 2022-06-01T12:00:00"
            ) from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise PeriodError(f"{what} {value!r} is too far away in time") from None


def split_period(
    start: str | date | datetime, end: str | date | datetime, freq: str | None = None
) -> list[Period]:
    """Split ``[start, end)`` at the marks of a frequency.

    The periods cover exactly ``[start, end)``: the first begins at ``start``, the last ends at
    ``end``, each begins where the one before it ends.

    Parameters
    ----------
    start, end : str, date or datetime
        See `parse_time`.
    freq : str, optional
        A pandas offset (``"MS"``, ``"SMS"``, ``"5YS"``, ``"16D"``, …). Marks of an anchored
        offset (month starts, …) fall where the calendar has them, at midnight UTC; those of a plain
        span (days, hours) are counted from ``start``. None: one period.

    Raises
    ------
    PeriodError
        When the start is not before the end, or the frequency is unknown or too fine.
    """
    first, last = parse_time(start, what="start"), parse_time(end, what="end")
    if not first < last:
        raise PeriodError(
            f"the period is empty: its start {first.isoformat()} is not before its end "
            f"{last.isoformat()} (the end is not in it any more: June 2022 is 2022-06-01 to "
            "2022-07-01)"
        )
    edges = [first, *_marks(first, last, freq), last] if freq else [first, last]
    return [Period(start=a, end=b) for a, b in itertools.pairwise(edges)]


def _marks(first: datetime, last: datetime, freq: str) -> list[datetime]:
    """Return the marks of `freq` strictly inside ``(first, last)``."""
    import pandas as pd

    try:
        offset = pd.tseries.frequencies.to_offset(freq)
    except ValueError as error:
        raise PeriodError(_unknown(freq, str(error))) from None
    if offset.n <= 0:
        raise PeriodError(f"period_freq {freq!r} must be a span of time greater than zero")
    start, end = first.replace(tzinfo=None), last.replace(tzinfo=None)
    if isinstance(offset, pd.offsets.Tick | pd.offsets.Day):
        day = isinstance(offset, pd.offsets.Day)
        step = timedelta(days=offset.n) if day else pd.Timedelta(offset.nanos)
        _check_span(step, end - start, freq)
    else:
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        marks = pd.date_range(start, end, freq=offset)
    except (ValueError, OverflowError):
        raise PeriodError(
            f"period_freq {freq!r} cannot split {first.isoformat()} to {last.isoformat()}: it is "
            "too far away in time"
        ) from None
    moments = (mark.to_pydatetime().replace(tzinfo=UTC) for mark in marks)
    return [moment for moment in moments if first < moment < last]


_MOST = 1_000_000


def _check_span(step: timedelta, whole: timedelta, freq: str) -> None:
    """Refuse a frequency that is certainly a slip, before it fills the memory."""
    if step.total_seconds() < 1 or whole / step > _MOST:
        raise PeriodError(
            f"period_freq {freq!r} gives periods that are shorter than a second, or more than "
            f"{_MOST:,} of them"
        )


def _unknown(freq: str, text: str) -> str:
    """Say that a frequency is unknown, with the new name of one that pandas has renamed."""
    near = re.search(r"(?:did you mean|use) '?([\w-]+)'?", text, re.IGNORECASE)
    hint = f"did you mean {near[1]!r}? Use" if near else "use"
    return (
        f"period_freq {freq!r} is not a pandas offset: {hint} for example 'MS' (month starts), "
        "'QS', 'YS', '5YS', 'SMS' (half months) or '16D'"
    )


def parse_indices(
    indices: tuple[int, int] | Iterable[tuple[int, int]], grid: TileGrid
) -> tuple[Tile, ...]:
    """Return the tiles of one or several ``(row, col)`` indices, each once, in their order.

    Raises
    ------
    GridError
        For an index that is not two integers, or outside the grid's limits.
    InputError
        When there is none.
    """
    try:
        found: list[Any] = list(indices)
    except TypeError:
        raise GridError(f"tile index {indices!r} is not a (row, col) pair") from None
    if len(found) == 2 and all(isinstance(part, Integral) for part in found):
        found = [tuple(found)]
    if not found:
        raise InputError("tile_indices is empty: give at least one (row, col)")
    tiles: dict[tuple[int, int], Tile] = {}
    for index in found:
        try:
            row, col = map(operator.index, index)
        except (TypeError, ValueError):
            raise GridError(f"tile index {index!r} is not a (row, col) pair") from None
        tiles[row, col] = grid[row, col]
    return tuple(tiles.values())


def expand(
    spec: OrderSpec,
    templates: Templates,
    filters: Mapping[str, Sequence[Mapping[str, Any]]],
    now: datetime,
) -> list[TaskRequest]:
    """Expand an order into its tasks: collections, then tiles, then periods.

    Raises
    ------
    PeriodError, TemplateError
        Before anything is asked of anybody.
    """
    per_collection = {c: tuple(filters.get(c, ())) for c in spec.collections}
    return [
        TaskRequest(
            name=name,
            prefix=prefix,
            collection=collection,
            tile=tile,
            period=period,
            filters=per_collection[collection],
        )
        for name, prefix, collection, tile, period in templates.name_tasks(spec, now)
    ]
