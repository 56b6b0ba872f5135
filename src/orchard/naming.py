"""The names of an order and of its tasks, from templates (pure)."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from .grid import Tile
    from .orders import OrderSpec, Period

__all__ = [
    "NAME_TEMPLATE",
    "PREFIX_TEMPLATE",
    "TRACKING_PREFIX",
    "TRACKING_TEMPLATE",
    "Templates",
]

NAME_TEMPLATE = "{collection}_h{tile.horizontal:03d}v{tile.vertical:03d}_{date_start}_{date_end}"
PREFIX_TEMPLATE = "CEDAR_PREARD"
TRACKING_TEMPLATE = "TRACKING_PERIOD{date_start}-{date_end}_TASK{today}"
TRACKING_PREFIX = "CEDAR_TRACKING"

# Characters that no file system, object store or Earth Engine file prefix takes in a name.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\:*?"<>|]')
# Bytes of a part of a name: the usual 255 of a file name, less room for what is added to it (the
# offsets of a shard, a suffix, the marks of a temporary file).
_LONGEST = 160


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

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"an order of several tiles has no tile.{name}, use {{tiles}}")


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
            "tile": _TileName(spec.tiles[0]) if len(spec.tiles) == 1 else keys["tiles"],
            "date_start": _Stamp(spec.period.start),
            "date_end": _Stamp(spec.period.end),
        }
        return _Template("tracking_template", self.tracking).fill(keys)

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
        name_of = _Template("name_template", self.name)
        prefix_of = _Template("prefix_template", self.prefix, slashes=True)
        dated = prefix_of.is_dated
        shared = _order_keys(spec, now)
        seen: dict[tuple[str, str], tuple[str, str, Period]] = {}
        named = []
        stamps = [(p, _Stamp(p.start), _Stamp(p.end)) for p in spec.periods]
        tiles = [(tile, _TileName(tile)) for tile in spec.tiles]
        for collection in spec.collections:
            keys = {**shared, "collection": collection.replace("/", "_")}
            for tile, tile_name in tiles:
                keys["tile"] = tile_name
                prefix = None
                for period, keys["date_start"], keys["date_end"] in stamps:
                    name = name_of.fill(keys)
                    if prefix is None or dated:
                        prefix = prefix_of.fill(keys)
                    this = (collection, tile_name, period)
                    other = seen.setdefault((prefix, name), this)
                    if other is not this:
                        raise _clash(name, other, this)
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


_DATES = frozenset({"date_start", "date_end"})


class _NamedOnly(string.Formatter):
    """Fields must be named; ``{}`` and ``{0}`` have no meaning here."""

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        del args
        if isinstance(key, int):
            raise KeyError(f"{{{key}}}")
        return kwargs[key]

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        # What begins with an underscore is nobody's business; an item of a name has no meaning.
        if "._" in field_name or "[" in field_name:
            raise KeyError(field_name)
        return super().get_field(field_name, args, kwargs)


_FORMATTER = _NamedOnly()


class _Template:
    """A template, taken apart once; each field is written once for each value of its key.

    An order has far more names than tiles, dates and collections.

    Parameters
    ----------
    what : str
        What the template is called, for errors.
    text : str
    slashes : bool
        Whether names are paths.
    """

    def __init__(self, what: str, text: str, *, slashes: bool = False) -> None:
        self._what, self._text, self._slashes = what, text, slashes
        self._written: dict[tuple[int, int], tuple[object, str]] = {}
        self._checked: set[str] = set()
        try:
            self._fields = [_Field.of(*part) for part in _FORMATTER.parse(text)]
        except ValueError as error:
            raise self._unfit(error) from None

    @property
    def is_dated(self) -> bool:
        """Whether the dates of a task are in it, as far as can be told."""
        return any(field.nested or field.key in _DATES for field in self._fields)

    def fill(self, keys: Mapping[str, Any]) -> str:
        """Return a name, checked.

        Raises
        ------
        TemplateError
        """
        try:
            text = "".join([self._write(n, field, keys) for n, field in enumerate(self._fields)])
        except KeyError as error:
            raise TemplateError(
                f"{self._what} {self._text!r} has the unknown key {error.args[0]!r}: known are "
                f"{', '.join(sorted(keys))}"
            ) from None
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise self._unfit(error) from None
        if text not in self._checked:
            self._check(text)
            self._checked.add(text)
        return text

    def _write(self, position: int, field: _Field, keys: Mapping[str, Any]) -> str:
        if field.key is None:
            return field.text
        value = keys.get(field.key)
        # The value is kept, so that nothing else can get its id.
        kept, text = self._written.get((position, id(value)), (None, ""))
        if value is None or kept is not value:
            text = _FORMATTER.vformat(field.text, (), keys)
            if not field.nested:
                self._written[position, id(value)] = (value, text)
        return text

    def _check(self, text: str) -> None:
        for part in text.split("/") if self._slashes else [text]:
            bad = _FORBIDDEN.search(part) or re.search("/", part)
            why = None
            if bad:
                why = f"it has {bad.group()!r}"
            elif part in {"", ".", ".."} or part != part.strip():
                why = "a part of it is empty, dots or padded"
            elif len(part.encode()) > _LONGEST:
                why = f"a part of it is longer than {_LONGEST} bytes"
            if why:
                raise TemplateError(
                    f"{self._what} {self._text!r} gives {text!r}, which cannot be stored: {why}"
                )

    def _unfit(self, error: Exception) -> TemplateError:
        return TemplateError(f"{self._what} {self._text!r} cannot be filled in: {error}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A literal text with the one field that follows it, as a template of its own.

    ``key`` is None when no field follows; ``nested``: the field's format has fields in it.
    """

    text: str
    key: str | None
    nested: bool = False

    @classmethod
    def of(
        cls, literal: str, field: str | None, spec: str | None, conversion: str | None
    ) -> _Field:
        if field is None:
            return cls(text=literal, key=None)
        escaped = literal.replace("{", "{{").replace("}", "}}")
        how = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        text = f"{escaped}{{{field}{how}}}"
        key = re.split(r"[.\[]", field, maxsplit=1)[0]
        return cls(text=text, key=key, nested="{" in (spec or ""))
