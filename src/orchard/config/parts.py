"""The parts of a configuration: every key that there is, and what it may be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from orchard.orders import NAME_TEMPLATE, PREFIX_TEMPLATE, TRACKING_PREFIX, TRACKING_TEMPLATE

__all__ = ["ArdPart", "ConfigFile", "EnginePart", "GridPart", "PlatformPart", "TrackerPart"]


class _Part(BaseModel):
    # Names and ids that look like numbers are names all the same.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class GridPart(_Part):
    """A tile grid: a named one (of a file of one's own), or a definition.

    See `orchard.grid.get_grid` and `orchard.TileGrid`.
    """

    name: str | None = None
    file: str | None = None
    crs: int | str | None = None
    ul: tuple[float, float] | None = None
    res: tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    limits: tuple[tuple[int, int], tuple[int, int]] | None = None

    @property
    def defined(self) -> bool:
        """Whether this is a definition, not the name of a grid."""
        return self.crs is not None

    @model_validator(mode="after")
    def _whole(self) -> GridPart:
        needed = {"crs": self.crs, "ul": self.ul, "res": self.res, "size": self.size}
        missing = [key for key, value in needed.items() if value is None]
        if len(missing) == len(needed) and self.limits is None:
            if self.name is None:
                raise ValueError("needs the name of a grid, or crs, ul, res and size")
        elif missing:
            raise ValueError(f"a definition needs {', '.join(missing)}, too")
        elif self.file is not None:
            raise ValueError("a grid is either defined here or in a file, not in both")
        return self


class StorePart(_Part):
    """Where everything is kept; see `orchard.open_store`."""

    url: str
    options: dict[str, Any] = {}


Count = Annotated[int, Field(ge=1)]


class EnginePart(BaseModel):
    """What makes the images; all but the name are the engine's own options.

    Those that several engines have, or that nearly everybody sets, are checked here; the engine
    checks all.
    """

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    name: str = "local"
    catalog: str | None = None
    executor: str | None = None
    workers: Count | None = None
    attempts: Count | None = None
    ledger: str | None = None
    project: str | None = None
    queue: Count | None = None


def _filters(value: Any) -> Any:
    lists = value.values() if isinstance(value, dict) else [value]
    if value is not None and not all(isinstance(some, list) for some in lists):
        raise ValueError("must be a list of filters, or such lists by collection")
    return value


def _export(value: dict[str, Any]) -> dict[str, Any]:
    from orchard.preard import file_dimensions

    given = {"crs", "crsTransform", "crs_transform", "dimensions", "region", "scale"} & set(value)
    if given:
        raise ValueError(f"{min(given)} is given by the tile grid")
    file_dimensions(value.get("fileDimensions"))
    return value


class TrackerPart(_Part):
    """Arguments of `orchard.Tracker`."""

    name_template: str = NAME_TEMPLATE
    prefix_template: str = PREFIX_TEMPLATE
    tracking_template: str = TRACKING_TEMPLATE
    tracking_prefix: str = TRACKING_PREFIX
    filters: Annotated[Any, BeforeValidator(_filters)] = None
    export_image_kwds: Annotated[dict[str, Any], AfterValidator(_export)] = {}

    @model_validator(mode="after")
    def _apart(self) -> TrackerPart:
        # What lies in the folder of the records is taken for records.
        if self.prefix_template.strip("/") == self.tracking_prefix.strip("/"):
            raise ValueError("prefix_template and tracking_prefix must be different folders")
        return self


class EncodingPart(_Part):
    """How the chunks of a cube are stored; -1 pixels (or dates) mean all."""

    chunks: dict[Literal["time", "y", "x"], Annotated[int, Field(ge=-1)]] = {}
    zlib: bool = True
    complevel: Annotated[int, Field(ge=0, le=22)] | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What was said: the ``encoding`` of `orchard.convert`, which knows the defaults."""
        return self.model_dump(exclude_unset=True)


class ArdPart(_Part):
    """How cubes are made; arguments of `orchard.convert`."""

    destination: str = "ARD/{collection}/h{tile.horizontal:03d}v{tile.vertical:03d}"
    format: Literal["netcdf", "zarr", "cog"] = "netcdf"
    encoding: EncodingPart = EncodingPart()


class PlatformPart(_Part):
    """A remote job platform."""

    base_url: str = Field(repr=False)
    project_id: str | None = None
    project_api_key: str | None = Field(default=None, repr=False)


def _named(key: str) -> BeforeValidator:
    """Let a part be one word for its most important key."""
    return BeforeValidator(lambda v: {key: v} if isinstance(v, str) else v)


class ConfigFile(_Part):
    """A whole configuration file."""

    tile_grid: Annotated[GridPart, _named("name")]
    store: Annotated[StorePart, _named("url")]
    engine: EnginePart | None = None
    tracker: TrackerPart = TrackerPart()
    collections: dict[str, dict[str, Any]] = {}
    ard: ArdPart = ArdPart()
    platform: PlatformPart | None = None
