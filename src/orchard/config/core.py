"""A checked configuration: opens the grid, the store, the engine and the tracker it describes."""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from orchard.errors import CatalogError, ConfigError, InputError

from .cedar import from_cedar
from .filtering import check_names
from .parts import (
    ArdPart,
    ConfigFile,
    EncodingPart,
    GridPart,
    PlatformPart,
    StorePart,
    TrackerPart,
)
from .secrets import without_secrets
from .source import Location, Source, find_config, read_source

if TYPE_CHECKING:
    import os

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from orchard.collections import Collection
    from orchard.engines import Engine
    from orchard.grid import TileGrid
    from orchard.stores import Store
    from orchard.tracker import Tracker

__all__ = ["Config", "load_config", "template"]

_PATHS = frozenset(
    {"catalog", "ledger", "credentials", "service_account", "application_credentials"}
)
"""Options of engines and stores that may be paths, beside those that end with ``_file``."""

_DESTINATION = ("collection", "date_end", "date_start", "name", "prefix", "tile")


class Config:
    """A configuration, checked.

    Parameters
    ----------
    data : mapping
        The content of a configuration file.
    path : Path, optional
        The file: relative paths are relative to its folder, else to the working directory.

    Raises
    ------
    ConfigError
        Naming the file, the line and the key.
    """

    def __init__(self, data: Mapping[str, Any], path: Path | None = None) -> None:
        self._read(Source(data=data, path=path))

    @classmethod
    def of(cls, source: Source) -> Config:
        """Check what a file says; errors name its lines."""
        self = cls.__new__(cls)
        self._read(source)
        return self

    def _read(self, source: Source) -> None:
        self._source = source
        self.path = source.path
        self.folder = source.path.parent if source.path else Path.cwd()
        said = {key: value for key, value in from_cedar(source.data).items() if value is not None}
        try:
            self._file = ConfigFile.model_validate(said)
        except ValidationError as error:
            raise ConfigError("\n".join(_problems(error, source))) from None

    def __repr__(self) -> str:
        return f"<Config {self.path or ''}>"

    @property
    def data(self) -> dict[str, Any]:
        """The configuration with all defaults, without secrets."""
        data = self._file.model_dump(mode="json", exclude_none=True)
        for part in ("store", "engine", "platform"):
            if part in data:
                data[part] = without_secrets(data[part])
        return data

    @property
    def ard(self) -> ArdPart:
        """How cubes are made; a relative destination is made relative to the file."""
        part = self._file.ard
        return part.model_copy(update={"destination": self._located(part.destination)})

    @property
    def platform(self) -> PlatformPart | None:
        """The remote job platform, if there is one."""
        return self._file.platform

    @cached_property
    def tile_grid(self) -> TileGrid:
        """The tile grid."""
        from orchard.grid import get_grid, load_grids

        part = self._file.tile_grid
        with self._at("tile_grid"):
            if part.defined:
                return get_grid(part.model_dump(exclude_none=True))
            grids = load_grids(self._located(part.file)) if part.file else None
            return get_grid(str(part.name), grids)

    @cached_property
    def store(self) -> Store:
        """The store."""
        from orchard.stores import open_store

        part = self._file.store
        with self._at("store", "options"):
            return open_store(self._located(part.url), **self._with_paths(part.options))

    @cached_property
    def collections(self) -> dict[str, Collection]:
        """The registry with the file's own collections."""
        from orchard.collections import load_collections

        with self._at("collections"):
            return load_collections(self._file.collections)

    def engine_options(self, name: str) -> dict[str, Any]:
        """Return the options that the file has for an engine; none when it is of another one."""
        part = self._file.engine
        if part is None or part.name != name:
            return {}
        return self._with_paths(part.model_dump(exclude={"name"}, exclude_unset=True))

    def get_engine(self, **changes: Any) -> Engine | None:
        """Open the engine, with some of its options changed; None when the file has none."""
        from orchard.engines import open_engine

        part = self._file.engine
        if part is None:
            return None
        options = self.engine_options(part.name)
        # What a change cannot mean is not the file's fault.
        with nullcontext() if changes else self._at("engine"):
            return open_engine(part.name, **{**options, **changes})

    def get_tracker(self, *, tracking_template: str | None = None, **engine: Any) -> Tracker:
        """Return the tracker that the file describes.

        Parameters
        ----------
        tracking_template : str, optional
            Instead of the file's.
        **engine
            Options of the engine, instead of the file's.
        """
        from orchard.tracker import Tracker

        part = self._file.tracker
        self._check_filters(part)
        options = {key: getattr(part, key) for key in TrackerPart.model_fields}
        if tracking_template is not None:
            options["tracking_template"] = tracking_template
        return Tracker(
            self.tile_grid,
            self.store,
            **options,
            engine=self.get_engine(**engine),
            collections=self.collections,
        )

    def check(self) -> None:
        """Open everything that can be opened without a network, and try the names.

        Of a catalogue on this machine its own document is read, not what that links to.

        Raises
        ------
        ConfigError
            Naming the file, the line and the key.
        """
        self._check_templates(self.get_tracker())
        self._check_filter_names()
        self._check_destination()
        self._check_catalog()

    def _check_filters(self, part: TrackerPart) -> None:
        from orchard.collections import get_collection
        from orchard.filters import parse_filters

        given = part.filters or {}
        if not isinstance(given, Mapping):
            with self._at("tracker", "filters"):
                parse_filters(given)
            return
        for name, filters in given.items():
            with self._at("tracker", "filters", name):
                get_collection(name, self.collections)
                parse_filters(filters)

    def _check_filter_names(self) -> None:
        """Refuse what the local engine could not filter by, as a plan would."""
        if self._file.engine is None or self._file.engine.name != "local":
            return
        given = self._file.tracker.filters or {}
        catalog = self.engine_options("local").get("catalog")
        if not isinstance(given, Mapping):
            for number, one in enumerate(given):
                with self._at("tracker", "filters", number):
                    check_names(one, self.collections.values(), catalog)
            return
        for name, filters in given.items():
            for number, one in enumerate(filters):
                with self._at("tracker", "filters", name, number):
                    check_names(one, [self.collections[name]], catalog)

    def _check_templates(self, tracker: Tracker) -> None:
        """Name an order of one task, as a trial."""
        from datetime import UTC, datetime

        from orchard.orders import OrderSpec, Period

        first = tracker.tile_grid.limits
        start, end = datetime(2000, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC)
        spec = OrderSpec(
            collections=(next(iter(self.collections)),),
            tiles=(tracker.tile_grid[(first[0][0], first[1][0]) if first else (0, 0)],),
            period=Period(start=start, end=end),
        )
        with self._at("tracker"):
            tracker.templates.tracking_name(spec, end)
            tracker.templates.name_tasks(spec, end)

    def _check_destination(self) -> None:
        with self._at("ard", "destination"):
            for _, key, _, _ in string.Formatter().parse(self._file.ard.destination):
                name = (key or "").split(".")[0]
                if key is not None and name not in _DESTINATION:
                    raise InputError(
                        f"destination has the unknown key {key!r}: known are "
                        f"{', '.join(_DESTINATION)}"
                    )

    def _check_catalog(self) -> None:
        catalog = self.engine_options("local").get("catalog")
        if catalog is None or len(urlsplit(catalog).scheme) > 1:
            return
        with self._at("engine", "catalog"):
            if not Path(catalog).is_file():
                raise InputError(
                    f"there is no STAC catalogue at {catalog}: give the path of its JSON file, or "
                    "the URL of a STAC API"
                )
            from orchard.engines.local.catalog import open_catalog

            try:
                open_catalog(catalog)
            except CatalogError as error:
                raise InputError(str(error)) from None

    def _with_paths(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Make the paths among an engine's or a store's options relative to the file."""
        return {
            key: self._located(value)
            if isinstance(value, str) and (key in _PATHS or key.endswith("_file"))
            else value
            for key, value in options.items()
        }

    def _located(self, href: str) -> str:
        """Make a relative path relative to the file."""
        if len(urlsplit(href).scheme) > 1:  # one letter is a drive
            return href
        trailing = "/" if href.endswith("/") else ""
        return f"{self.folder / Path(href).expanduser()}{trailing}"

    @contextmanager
    def _at(self, *loc: str | int) -> Iterator[None]:
        """Say where in the configuration an error comes from."""
        try:
            yield
        except ConfigError:
            raise
        except (InputError, TypeError, ValueError) as error:
            raise ConfigError(f"{self._source.where(self._meant(loc, str(error)))}: {error}") from (
                error
            )

    def _meant(self, loc: Location, text: str) -> Location:
        """Return the location in a part that an error's text is about, where it names a key."""
        value: Any = self._source.data
        for key in loc:
            value = value.get(key) if isinstance(value, Mapping) else None
        found: list[Any] = list(loc)
        while isinstance(value, Mapping):
            places = {key: _place(text, key, value[key]) for key in value}
            named = [key for key in places if places[key] is not None]
            if not named:
                break
            found.append(min(named, key=lambda key: places[key] or ()))
            value = value[found[-1]]
        return tuple(found)


def _place(text: str, key: object, value: object) -> tuple[int, ...] | None:
    """Rank where a text names a key or, less surely, quotes its value; None: nowhere."""
    match = re.search(rf"(?<!\w){re.escape(str(key))}(?!\w)", text)
    if match:
        return 0, match.start()
    place = text.find(repr(value)) if isinstance(value, str) else -1
    return None if place < 0 else (1, place)


_MODELS: dict[str, type[BaseModel]] = {
    "": ConfigFile,
    "tile_grid": GridPart,
    "store": StorePart,
    "tracker": TrackerPart,
    "ard": ArdPart,
    "ard.encoding": EncodingPart,
    "platform": PlatformPart,
}


def _problems(error: ValidationError, source: Source) -> list[str]:
    """Tell each problem once, with its line and key."""
    told: dict[str, str] = {}
    for problem in error.errors():
        loc = tuple(part for part in problem["loc"] if part != "[key]")
        key = ".".join(map(str, loc))
        told.setdefault(key, f"{source.where(loc)}: {key}: {_told(problem, loc)}")
    return list(told.values())


def _told(problem: ErrorDetails, loc: Location) -> str:
    kind = problem["type"]
    if kind == "extra_forbidden":
        model = _MODELS.get(".".join(map(str, loc[:-1])))
        near = difflib.get_close_matches(str(loc[-1]), model.model_fields if model else (), n=1)
        return f"is not known here{f': did you mean {near[0]}?' if near else ''}"
    if kind == "missing":
        return "is missing"
    if kind in {"model_type", "dict_type"}:
        return "must be a mapping of keys"
    text = problem["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:]


def load_config(path: str | os.PathLike[str] | None = None) -> Config:
    """Read a configuration file.

    Parameters
    ----------
    path : path, optional
        See `find_config`.

    Raises
    ------
    ConfigError
        When it is missing, is not YAML, or says what cannot be meant; names the line and the key.
    """
    return Config.of(read_source(find_config(path)))


def template() -> str:
    """Return a configuration file to begin with, with comments."""
    return (Path(__file__).parents[1] / "orchard.template.yaml").read_text(encoding="utf-8")
