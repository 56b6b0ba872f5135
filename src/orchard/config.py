"""The configuration file: orchard.yaml -> grid, store, engine, collections, tracker."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import ConfigError, InputError
from .orders import NAME_TEMPLATE, PREFIX_TEMPLATE, TRACKING_PREFIX, TRACKING_TEMPLATE

if TYPE_CHECKING:
    from .collections import Collection
    from .engines import Engine
    from .grid import TileGrid
    from .stores import Store
    from .tracker import Tracker

__all__ = ["Config", "find_config", "has_config", "load_config", "template"]

ENVIRONMENT = "ORCHARD_CONFIG"
DEFAULT = "orchard.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GridPart(_Part):
    """A tile grid of one's own; see `orchard.TileGrid`."""

    name: str | None = None
    crs: str
    ul: tuple[float, float]
    res: tuple[float, float]
    size: tuple[int, int]
    limits: tuple[tuple[int, int], tuple[int, int]] | None = None


class StorePart(_Part):
    """Where everything is kept; see `orchard.open_store`."""

    url: str
    options: dict[str, Any] = {}


class EnginePart(BaseModel):
    """What makes the images; all but the name are its own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "local"


class TrackerPart(_Part):
    """Arguments of `orchard.Tracker`."""

    name_template: str = NAME_TEMPLATE
    prefix_template: str = PREFIX_TEMPLATE
    tracking_template: str = TRACKING_TEMPLATE
    tracking_prefix: str = TRACKING_PREFIX
    filters: dict[str, list[dict[str, Any]]] | list[dict[str, Any]] | None = None
    export_image_kwds: dict[str, Any] = {}


class ArdPart(_Part):
    """How cubes are made; arguments of `orchard.convert`."""

    destination: str = "ARD/{collection}/h{tile.horizontal:03d}v{tile.vertical:03d}"
    format: Literal["netcdf", "zarr", "cog"] = "netcdf"
    encoding: dict[str, Any] = {}


class PlatformPart(_Part):
    """A remote job platform."""

    base_url: str
    project_id: str | None = None
    project_api_key: str | None = Field(default=None, repr=False)


class _File(_Part):
    tile_grid: str | GridPart
    store: Annotated[StorePart, BeforeValidator(lambda v: {"url": v} if isinstance(v, str) else v)]
    engine: EnginePart | None = None
    tracker: TrackerPart = TrackerPart()
    collections: dict[str, dict[str, Any]] = {}
    ard: ArdPart = ArdPart()
    platform: PlatformPart | None = None


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

    def __init__(
        self, data: Mapping[str, Any], path: Path | None = None, lines: _Lines | None = None
    ) -> None:
        self.path = path
        self.folder = path.parent if path else Path.cwd()
        self._lines = lines
        try:
            self._file = _File.model_validate(_of_cedar(data))
        except ValidationError as error:
            raise self._invalid(error) from None

    @property
    def data(self) -> dict[str, Any]:
        """The configuration with all defaults, without secrets."""
        data = self._file.model_dump(mode="json", exclude_none=True)
        data.get("platform", {}).pop("project_api_key", None)
        data["store"].pop("options", None)
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
        from .grid import get_grid

        part = self._file.tile_grid
        with self._at("tile_grid"):
            return get_grid(part if isinstance(part, str) else part.model_dump(exclude_none=True))

    @cached_property
    def store(self) -> Store:
        """The store."""
        from .stores import open_store

        part = self._file.store
        with self._at("store"):
            return open_store(self._located(part.url), **part.options)

    @cached_property
    def collections(self) -> dict[str, Collection]:
        """The registry with the file's own collections."""
        from .collections import load_collections

        with self._at("collections"):
            return load_collections(self._file.collections)

    def get_engine(self, **changes: Any) -> Engine | None:
        """Open the engine, with some of its options changed; None when the file has none."""
        from .engines import open_engine

        part = self._file.engine
        if part is None:
            return None
        options = {**(part.model_extra or {}), **changes}
        for key in ("catalog", "ledger"):
            if isinstance(options.get(key), str):
                options[key] = self._located(options[key])
        with self._at("engine"):
            return open_engine(part.name, **options)

    def get_tracker(self, **engine: Any) -> Tracker:
        """Return the tracker that the file describes, with some options of its engine changed."""
        from .tracker import Tracker

        return Tracker(
            self.tile_grid,
            self.store,
            **{key: getattr(self._file.tracker, key) for key in TrackerPart.model_fields},
            engine=self.get_engine(**engine),
            collections=self.collections,
        )

    def check(self) -> None:
        """Open everything that can be opened without a catalogue or a network."""
        self.get_tracker()

    def _located(self, href: str) -> str:
        """Make a relative path relative to the file."""
        if len(urlsplit(href).scheme) > 1:
            return href
        trailing = "/" if href.endswith("/") else ""
        return f"{self.folder / Path(href).expanduser()}{trailing}"

    def _at(self, key: str) -> _Naming:
        return _Naming(self._where((key,)))

    def _where(self, loc: tuple[str | int, ...]) -> str:
        line = self._lines.of(loc) if self._lines else None
        name = str(self.path or "configuration")
        return f"{name}, line {line}" if line else name

    def _invalid(self, error: ValidationError) -> ConfigError:
        known = {"StorePart", "GridPart", "EnginePart", "str"}
        problems: dict[str, str] = {}
        for problem in error.errors():
            loc = tuple(part for part in problem["loc"] if str(part) not in known)
            key = ".".join(map(str, loc))
            text = problem["msg"][0].lower() + problem["msg"][1:]
            if problem["type"] == "extra_forbidden":
                text = "is not known here"
            elif problem["type"] == "missing":
                text = "is missing"
            problems.setdefault(key, f"{self._where(loc)}: {key}: {text}")
        return ConfigError("\n".join(problems.values()))


class _Naming:
    """Says where in the configuration an error comes from."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InputError) and not isinstance(error, ConfigError):
            raise ConfigError(f"{self.where}: {error}") from error


class _Lines:
    """Line numbers of a YAML document's keys."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root

    def of(self, loc: tuple[str | int, ...]) -> int | None:
        """Return the line (from 1) of the deepest part of a location that there is."""
        node, line = self._root, None
        for part in loc:
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == str(part):
                        node, line = value, key.start_mark.line + 1
                        break
                else:
                    break
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line


def has_config(path: str | os.PathLike[str] | None = None) -> bool:
    """Whether a configuration file is named (by `path` or ``$ORCHARD_CONFIG``) or here."""
    return bool(path or os.environ.get(ENVIRONMENT)) or Path(DEFAULT).is_file()


def find_config(path: str | os.PathLike[str] | None = None) -> Path:
    """Find the configuration file: `path`, ``$ORCHARD_CONFIG``, or ``orchard.yaml`` here.

    Raises
    ------
    ConfigError
        When there is none.
    """
    named = path or os.environ.get(ENVIRONMENT)
    found = Path(named) if named else Path(DEFAULT)
    if found.is_file():
        return found
    if named:
        raise ConfigError(f"there is no configuration file {named}")
    raise ConfigError(
        f"no configuration: there is no {DEFAULT} here. Write one with 'orchard config template', "
        f"or name one with -C FILE or {ENVIRONMENT}"
    )


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
    file = find_config(path)
    try:
        text = file.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        lines = _Lines(yaml.compose(text, Loader=yaml.SafeLoader))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML: {error}") from None
    if not isinstance(data, Mapping):
        raise ConfigError(f"{file} holds no mapping of keys: see 'orchard config template'")
    return Config(_expanded(data, file), file.absolute(), lines)


def _expanded(value: Any, file: Path) -> Any:
    """Fill in ``${VARIABLES}``."""
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda match: _variable(match[1], file), value)
    if isinstance(value, Mapping):
        return {key: _expanded(part, file) for key, part in value.items()}
    if isinstance(value, list):
        return [_expanded(part, file) for part in value]
    return value


def _variable(name: str, file: Path) -> str:
    if name not in os.environ:
        raise ConfigError(
            f"{file}: the environment has no variable {name}, which ${{{name}}} names"
        )
    return os.environ[name]


def _of_cedar(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read a configuration file that was written for CEDAR."""
    tracker = data.get("tracker")
    if not (isinstance(tracker, Mapping) and "store" in tracker):
        return data
    new = dict(data)
    gcs, gdrive = new.pop("gcs", None) or {}, new.pop("gdrive", None) or {}
    kind = tracker["store"]
    new["tracker"] = {key: value for key, value in tracker.items() if key != "store"}
    if kind == "gcs":
        url = f"gs://{gcs.get('bucket_name')}"
        options = {"credentials_file": gcs.get("credentials_file")}
    elif kind == "gdrive":
        url, options = "gdrive://", dict(gdrive)
    else:
        raise ConfigError(f"tracker.store must be gcs or gdrive in CEDAR's files, not {kind!r}")
    new.setdefault("store", {"url": url, "options": {k: v for k, v in options.items() if v}})
    new.setdefault("engine", {"name": "earthengine"})
    if gcs.get("project"):
        new["engine"] = {"project": gcs["project"], **new["engine"]}
    warnings.warn(
        f"this configuration was written for CEDAR: tracker.store, gcs and gdrive are now "
        f"'store: {url}' and 'engine: {{name: earthengine}}'",
        stacklevel=4,
    )
    return new


def template() -> str:
    """Return a configuration file to begin with, with comments."""
    return (Path(__file__).parent / "orchard.template.yaml").read_text(encoding="utf-8")
