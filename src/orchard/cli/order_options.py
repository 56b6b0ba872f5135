"""The options that say what an order is of: collections, tiles, period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchard.grid import TileGrid

__all__ = ["OrderOptions", "order_options"]


@dataclass(frozen=True, kw_only=True)
class OrderOptions:
    """What the options said.

    Parameters
    ----------
    collections : tuple of str
    index : tuple of (row, col)
    rows, cols : tuple of int
    aoi : Path or None
        A GeoJSON file.
    start, end : str or datetime
    freq : str or None
    name : str or None
        Of the order, or a template of it.
    """

    collections: tuple[str, ...]
    index: tuple[tuple[int, int], ...]
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    aoi: Path | None
    start: str | datetime
    end: str | datetime
    freq: str | None
    name: str | None

    def __post_init__(self) -> None:
        """Refuse a place that is said in two ways, in half of one, or not at all."""
        if bool(self.rows) != bool(self.cols) and not (self.index or self.aoi):
            raise click.UsageError("--row and --col go together")
        if sum([bool(self.index), bool(self.rows or self.cols), self.aoi is not None]) != 1:
            raise click.UsageError("say where in one way: --index, --row with --col, or --aoi")

    def tiles(self, grid: TileGrid) -> list[tuple[int, int]]:
        """Return the ``(row, col)`` indices of the tiles that are meant.

        Raises
        ------
        BadParameter
            When the area touches no tile.
        """
        if self.index:
            return list(self.index)
        if self.aoi is None:
            return [(row, col) for row in self.rows for col in self.cols]
        found = [tile.index for tile in grid.roi_to_tiles(self.aoi)]
        if not found:
            raise click.BadParameter(
                f"no tile of the grid touches what is in {self.aoi}", param_hint="--aoi"
            )
        return found

    def arguments(self, grid: TileGrid) -> dict[str, Any]:
        """Return the arguments that `Tracker.plan` and `Tracker.submit` share."""
        return {
            "collections": self.collections,
            "tile_indices": self.tiles(grid),
            "period_start": self.start,
            "period_end": self.end,
            "period_freq": self.freq,
        }


_OPTIONS = (
    click.argument("collections", nargs=-1, required=True, metavar="COLLECTION..."),
    click.option(
        "--index", "-i", nargs=2, type=int, multiple=True, help="ROW COL of a tile; repeatable."
    ),
    click.option(
        "--row", "-r", "rows", type=int, multiple=True, help="Row of tiles, with --col; repeatable."
    ),
    click.option(
        "--col", "-c", "cols", type=int, multiple=True, help="Column, with --row; repeatable."
    ),
    click.option(
        "--aoi",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="GeoJSON file (lon/lat): all tiles that it touches.",
    ),
    click.option(
        "--start",
        "--period_start",
        "--period-start",
        "start",
        required=True,
        metavar="DATE",
        help="First moment of the period (UTC), as 2022-06-01.",
    ),
    click.option(
        "--end",
        "--period_end",
        "--period-end",
        "end",
        required=True,
        metavar="DATE",
        help="End of the period (UTC), not in it any more.",
    ),
    click.option(
        "--freq",
        "--period_freq",
        "--period-freq",
        "freq",
        metavar="OFFSET",
        help="Split the period: a pandas offset, as MS, SMS (1st and 15th), QS, YS, 16D.",
    ),
    click.option(
        "--name",
        metavar="NAME",
        help="Of the order, as IOWA_{date_start}; by default tracking_template.",
    ),
    click.option(
        "--date_format",
        "--date-format",
        metavar="FORMAT",
        help="How --start and --end are written, as %d.%m.%Y; by default ISO 8601.",
    ),
)


def order_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it gets them together, as ``wanted``."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        own = {name: kwargs.pop(name) for name in _NAMES}
        return command(*args, wanted=_wanted(own), **kwargs)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


_NAMES = (
    "collections",
    "index",
    "rows",
    "cols",
    "aoi",
    "start",
    "end",
    "freq",
    "name",
    "date_format",
)


def _wanted(options: Mapping[str, Any]) -> OrderOptions:
    values = dict(options)
    form = values.pop("date_format")
    for key in ("start", "end"):
        values[key] = _date(values[key], form, key)
    return OrderOptions(**values)


def _date(text: str, form: str | None, key: str) -> str | datetime:
    from orchard.errors import PeriodError
    from orchard.orders import parse_time

    if form is None:
        try:
            parse_time(text)
        except PeriodError:
            raise PeriodError(
                f"--{key} {text!r} is not a date: write it as 2022-06-01 or 2022-06-01T12:00:00, "
                "or say with --date-format how it is written, as %d.%m.%Y"
            ) from None
        return text
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - UTC unless the format has a zone
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--{key}") from None
