"""Orders on paper: periods, name templates, and the expansion of an order into tasks.

Everything here is pure: the same input gives the same tasks, and nothing is read or written.
"""

from __future__ import annotations

import itertools
import re
import string
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Self

from .errors import GridError, InputError, PeriodError, TemplateError

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

NAME_TEMPLATE = "{collection}_h{tile.horizontal:03d}v{tile.vertical:03d}_{date_start}_{date_end}"
PREFIX_TEMPLATE = "CEDAR_PREARD"
TRACKING_TEMPLATE = "TRACKING_PERIOD{date_start}-{date_end}_TASK{today}"
TRACKING_PREFIX = "CEDAR_TRACKING"

# Characters that no file system, object store or Earth Engine file prefix takes in a name.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


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
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


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
        offset (month starts, …) fall where the calendar has them; those of a plain span (days,
        hours) are counted from ``start``. None: one period.

    Raises
    ------
    PeriodError
        When the start is not before the end, or the frequency is unknown.
    """
    first, last = parse_time(start, what="start"), parse_time(end, what="end")
    if not first < last:
        raise PeriodError(
            f"the period is empty: its start {first.isoformat()} is not before its end "
            f"{last.isoformat()}"
        )
    edges = [first, *_marks(first, last, freq), last] if freq else [first, last]
    return [Period(start=a, end=b) for a, b in itertools.pairwise(edges)]


def _marks(first: datetime, last: datetime, freq: str) -> list[datetime]:
    """Return the marks of `freq` strictly inside ``(first, last)``."""
    import pandas as pd

    try:
        offset = pd.tseries.frequencies.to_offset(freq)
    except ValueError as error:
        raise PeriodError(
            f"period_freq {freq!r} is not a pandas offset ({error}): use for example 'MS' "
            "(month starts), 'QS', 'YS', '5YS', 'SMS' (half months) or '16D'"
        ) from None
    if offset.n <= 0:
        raise PeriodError(f"period_freq {freq!r} must be a span of time greater than zero")
    marks = pd.date_range(first.replace(tzinfo=None), last.replace(tzinfo=None), freq=offset)
    moments = (mark.to_pydatetime().replace(tzinfo=UTC) for mark in marks)
    return [moment for moment in moments if first < moment < last]


class _Stamp(str):
    """A moment in a name: ``2022-06-01``, or what a format spec (``%Y%j``) says."""

    __slots__ = ("moment",)
    moment: datetime

    def __new__(cls, moment: datetime) -> Self:
        whole_day = moment.time() == moment.min.time()
        self = super().__new__(cls, moment.strftime("%Y-%m-%d" if whole_day else "%Y-%m-%dT%H%M%S"))
        self.moment = moment
        return self

    def __format__(self, spec: str) -> str:
        return self.moment.strftime(spec) if "%" in spec else format(str(self), spec)


class _Many(str):
    """Several values in one field of a tracking name."""

    __slots__ = ()

    def __new__(cls, values: Iterable[object]) -> Self:
        return super().__new__(cls, "_".join(map(str, values)))


class _TileName(str):
    """A tile in a name: ``h003v010``; its attributes (``tile.horizontal``) are the tile's own."""

    __slots__ = ("_tile",)
    _tile: Tile

    def __new__(cls, tile: Tile) -> Self:
        self = super().__new__(cls, f"h{tile.horizontal:03d}v{tile.vertical:03d}")
        self._tile = tile
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tile, name)


@dataclass(frozen=True, kw_only=True)
class Templates:
    """The name templates of an order.

    Keys of every template: ``collection`` and ``collections``, ``tile``, ``tiles`` and
    ``tile_indices``, ``date_start`` and ``date_end``, ``period_start``, ``period_end`` and
    ``period_freq`` (of the whole order), ``today`` and ``now`` (UTC). ``date_start`` and
    ``date_end`` are the task's in the names of images and the order's in the tracking name;
    times take a format spec (``{date_start:%Y%j}``), and ``tile`` has the tile's attributes.

    Parameters
    ----------
    name, prefix, tracking : str
        Templates of an image's name, of its folder, and of the tracking name.
    """

    name: str = NAME_TEMPLATE
    prefix: str = PREFIX_TEMPLATE
    tracking: str = TRACKING_TEMPLATE

    def tracking_name(self, spec: OrderSpec, now: datetime) -> str:
        """Name the order.

        Raises
        ------
        TemplateError
            For an unknown key, or a name that no store can take.
        """
        collections = [c.replace("/", "_") for c in spec.collections]
        keys: dict[str, Any] = _order_keys(spec, now)
        keys |= {
            "collection": _Many(collections),
            "tile": _TileName(spec.tiles[0]) if len(spec.tiles) == 1 else _Many(keys["tiles"]),
            "date_start": _Stamp(spec.period.start),
            "date_end": _Stamp(spec.period.end),
        }
        return _filled("tracking_template", self.tracking, keys, slashes=False)

    def name_tasks(
        self, spec: OrderSpec, now: datetime
    ) -> list[tuple[str, str, str, Tile, Period]]:
        """Name every task: ``(name, prefix, collection, tile, period)``, all different.

        Raises
        ------
        TemplateError
            For an unknown key, for a name that no store can take, and when two tasks would get
            the same name.
        """
        shared = _order_keys(spec, now)
        seen: dict[tuple[str, str], tuple[str, str, Period]] = {}
        named = []
        stamps = [(p, _Stamp(p.start), _Stamp(p.end)) for p in spec.periods]
        tiles = [(tile, _TileName(tile)) for tile in spec.tiles]
        for collection in spec.collections:
            keys = {**shared, "collection": collection.replace("/", "_")}
            for tile, tile_name in tiles:
                keys["tile"] = tile_name
                for period, keys["date_start"], keys["date_end"] in stamps:
                    name = _filled("name_template", self.name, keys, slashes=False)
                    prefix = _filled("prefix_template", self.prefix, keys, slashes=True)
                    other = seen.setdefault((prefix, name), (collection, tile_name, period))
                    if other != (collection, tile_name, period):
                        raise _clash(name, other, (collection, tile_name, period))
                    named.append((name, prefix, collection, tile, period))
        return named


def _order_keys(spec: OrderSpec, now: datetime) -> dict[str, Any]:
    tiles = _Many(_TileName(tile) for tile in spec.tiles)
    return {
        "collections": _Many(c.replace("/", "_") for c in spec.collections),
        "tiles": tiles,
        "tile_indices": tiles,
        "period_start": _Stamp(spec.period.start),
        "period_end": _Stamp(spec.period.end),
        "period_freq": spec.period_freq or "",
        "today": _Stamp(now.replace(hour=0, minute=0, second=0, microsecond=0)),
        "now": _Stamp(now),
    }


def _clash(
    name: str, one: tuple[str, str, Period], other: tuple[str, str, Period]
) -> TemplateError:
    keys = ("{collection}", "{tile.horizontal} and {tile.vertical}", "{date_start} and {date_end}")
    missing = [key for key, a, b in zip(keys, one, other, strict=True) if a != b]
    return TemplateError(
        f"name_template gives the name {name!r} to two tasks: add {' and '.join(missing)} to it "
        "or to prefix_template"
    )


def _filled(what: str, template: str, keys: Mapping[str, Any], *, slashes: bool) -> str:
    try:
        text = _FORMATTER.vformat(template, (), keys)
    except KeyError as error:
        known = ", ".join(sorted(keys))
        raise TemplateError(
            f"{what} {template!r} has the unknown key {error.args[0]!r}: known are {known}"
        ) from None
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise TemplateError(f"{what} {template!r} cannot be filled in: {error}") from None
    parts = text.split("/") if slashes else [text]
    for part in parts:
        bad = _FORBIDDEN.search(part)
        if bad or part in {"", ".", ".."} or part != part.strip():
            why = f"it has {bad.group()!r}" if bad else "a part of it is empty, dots or padded"
            raise TemplateError(
                f"{what} {template!r} gives {text!r}, which cannot be stored: {why}"
            )
    return text


class _NamedOnly(string.Formatter):
    """Fields must be named; ``{}`` and ``{0}`` have no meaning here."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        del args
        if isinstance(key, int):
            raise KeyError(f"{{{key}}}")
        return kwargs[key]

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if "._" in field_name or "[_" in field_name:
            raise KeyError(field_name)
        return super().get_field(field_name, args, kwargs)


_FORMATTER = _NamedOnly()


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
    found: list[Any] = list(indices)
    if len(found) == 2 and all(isinstance(part, int) for part in found):
        found = [tuple(found)]
    if not found:
        raise InputError("tile_indices is empty: give at least one (row, col)")
    tiles: dict[tuple[int, int], Tile] = {}
    for index in found:
        try:
            row, col = index
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
