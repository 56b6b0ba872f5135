"""Commands to look at data: info, quicklook, plot, map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .common import State, example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["COMMANDS"]

_sources = click.argument(
    "sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path)
)
_dates = click.option(
    "--date", "dates", multiple=True, metavar="YYYY-MM-DD", help="This date only; repeatable."
)


class _Bands(click.ParamType[Any]):
    """Band names, or numbers, one or three of them: ``red,green,blue``."""

    name = "BANDS"

    def __init__(self, *, numbers: bool) -> None:
        self._numbers = numbers

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str] | list[int]:
        words = [word.strip() for word in str(value).split(",")]
        if len(words) not in (1, 3) or not all(words):
            self.fail(f"{value!r}: say one band or three, as red,green,blue", param, ctx)
        if self._numbers and all(word.isdecimal() for word in words):
            return [int(word) for word in words]
        return words


class _Stretch(click.ParamType[Any]):
    """What becomes black and white: ``percentile``, ``none`` or ``LOW,HIGH``."""

    name = "STRETCH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Literal["percentile"] | tuple[float, float] | None:
        if value in ("percentile", "none"):
            return "percentile" if value == "percentile" else None
        try:
            low, high = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not percentile, none or LOW,HIGH", param, ctx)
        return low, high


def _picture_bands(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--bands",
        type=_Bands(numbers=True),
        help="Names for cubes and pre-ARD images (default red,green,blue), numbers for other "
        "rasters (default 1,2,3).",
    )(command)


@click.command("info", epilog=example("orchard info cubes/h003v009.nc"))
@click.argument("cubes", nargs=-1, required=True, metavar="CUBE...", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="All there is to tell, as JSON.")
def info(cubes: tuple[str, ...], as_json: bool) -> None:
    """Tell what is in cubes; of a folder, in all of its cubes."""
    from orchard.ard import info as tell
    from orchard.ard.open import find_cubes

    told = [tell(cube) for cube in find_cubes(cubes)]
    if as_json:
        click.echo(json.dumps(told[0] if len(told) == 1 else told, indent=2))
        return
    click.echo("\n\n".join(map(_told, told)))


def _told(told: dict[str, Any]) -> str:
    from orchard.ard.plan import CLEAR, FLAG

    steps, (_, height, width) = told["steps"], told["shape"]
    row, col = told["tile"]
    times = [step["time"][:10] for step in steps]
    clear = [step["clear_fraction"] for step in steps if step.get("clear_fraction") is not None]
    flags = [name for name in _names(told) if name.startswith(FLAG)]
    bands = [band for band in told["bands"] if band["name"] not in (CLEAR, *flags)]
    lines = {
        "Cube": told["path"],
        "Format": f"{told['format']}, {told['bytes'] / 1e6:,.1f} MB",
        "Tile": f"row {row}, column {col}: {height} x {width} pixels (rows x columns)",
        "CRS": _crs(told["crs"]),
        "Bounds": " ".join(f"{value:.10g}" for value in told["bounds"]) + " (l b r t)",
        "Times": f"{len(steps)}, {min(times)} to {max(times)}" if times else "none",
        "Clear": f"{sum(clear) / len(clear):.0%} of the tile on average" if clear else "unknown",
        "Bands": ", ".join(f"{band['name']} {band['data_type']}" for band in bands),
        "Masks": f"{CLEAR} (true where usable)" if CLEAR in _names(told) else "",
        "Flags": _flags([flag.removeprefix(FLAG) for flag in flags]),
    }
    return "\n".join(f"{name:<8}{value}" for name, value in lines.items() if value)


def _names(told: dict[str, Any]) -> list[str]:
    return [band["name"] for band in told["bands"]]


def _flags(flags: Sequence[str]) -> str:
    from orchard.ard.plan import FLAG

    return f"{', '.join(flags)} (variables {FLAG}{flags[0]}, …)" if flags else ""


def _crs(known: str) -> str:
    """Name a coordinate system in a few words: its code, name or projection, and its unit."""
    from pyproj import CRS

    crs = CRS.from_user_input(known)
    projection = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
    name = crs.name if crs.name.lower() not in ("", "unknown", "undefined") else projection
    unit = crs.axis_info[0].unit_name if crs.axis_info else ""
    code = "" if "[" in known else known  # else it is WKT
    return ", ".join(part for part in (code, name or crs.type_name, unit) if part)


@click.command(
    "quicklook",
    epilog=example(
        "orchard quicklook downloads/NAME --dest quicklooks --sheet quicklooks/sheet.png",
        "orchard quicklook cubes --bands nir,red,green --date 2023-06-14 --dest quicklooks",
    ),
)
@_sources
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("quicklooks"),
    show_default=True,
    help="Folder of the pictures.",
)
@click.option(
    "--bands",
    type=_Bands(numbers=False),
    default="red,green,blue",
    show_default=True,
    help="Three bands for red, green and blue, or one for grey.",
)
@click.option(
    "--size",
    type=click.IntRange(1),
    default=768,
    show_default=True,
    help="Pixels of a picture's longer side, at most.",
)
@click.option(
    "--stretch",
    type=_Stretch(),
    default="percentile",
    show_default=True,
    help="What becomes black and white: percentile, LOW,HIGH in the bands' units, or none.",
)
@_dates
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all pictures on one page, to this PNG file.",
)
@click.pass_obj
def quicklook(
    state: State,
    sources: tuple[Path, ...],
    dest: Path,
    bands: list[str],
    size: int,
    stretch: Literal["percentile"] | tuple[float, float] | None,
    dates: tuple[str, ...],
    sheet: Path | None,
) -> None:
    """Make a small PNG for each date of cubes or pre-ARD images.

    Print their paths.

    SOURCE is a cube, a pre-ARD image (its GeoTIFF or metadata), or a folder of them. All are
    stretched together, so that their pictures compare.
    """
    from orchard.quicklook import quicklook as draw
    from orchard.viz.sources import find_sources

    imagery = find_sources(sources).imagery
    if not imagery:
        raise click.UsageError("there is no cube and no pre-ARD image: see 'orchard plot'")
    with state.progress("Drawing", len(imagery)) as callback:
        made = draw(
            imagery,
            dest,
            bands=bands,
            size=size,
            stretch=stretch,
            date=dates or None,
            sheet=sheet,
            callback=callback,
        )
    for path in made:
        click.echo(path)


@click.command(
    "plot",
    epilog=example(
        "orchard plot cubes/h003v009.nc -o picture.png",
        "orchard plot composite.tif --bands 4,3,2 -o picture.pdf",
    ),
)
@_sources
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The picture: .png, .jpg, .pdf or .svg.",
)
@_picture_bands
@_dates
@click.pass_obj
def plot(
    state: State,
    sources: tuple[Path, ...],
    output: Path,
    bands: list[str] | list[int] | None,
    dates: tuple[str, ...],
) -> None:
    """Plot rasters, cubes or folders into one picture, with titles.

    SOURCE is a file, a cube, or a folder: of an order's downloads, of a job's results.
    """
    if output.suffix.lower() not in _PICTURES:
        raise click.UsageError(f"{output}: the picture is one of {', '.join(_PICTURES)}")
    _no_window()
    from orchard.viz.sources import plot_sources

    figure = plot_sources(sources, bands=bands, date=dates or None)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, bbox_inches="tight")
    state.say(f"Wrote {output}")


_PICTURES = (".png", ".jpg", ".pdf", ".svg")


def _no_window() -> None:
    """Draw into files, whether there is a screen or not."""
    from orchard.errors import MissingDependencyError

    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingDependencyError("matplotlib", "viz") from error
    mpl.use("agg")


@click.command(
    "map",
    epilog=example(
        "orchard map downloads/NAME -o map.html",
        "orchard map cubes --date 2023-06-14 --aoi field.geojson -o map.html",
    ),
)
@_sources
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("map.html"),
    show_default=True,
    help="The page, or a folder for it.",
)
@_picture_bands
@_dates
@click.option(
    "--aoi",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GeoJSON of an area, drawn as an outline.",
)
@click.pass_obj
def map_(
    state: State,
    sources: tuple[Path, ...],
    output: Path,
    bands: list[str] | list[int] | None,
    dates: tuple[str, ...],
    aoi: Path | None,
) -> None:
    """Show rasters, cubes or folders on a map.

    The page works without a network.

    SOURCE is a file, a cube, or a folder: of an order's downloads, of a job's results. Every date
    is a layer.
    """
    from orchard.viz.sources import map_sources

    map_sources(sources, bands=bands, date=dates or None, aoi=aoi, save_html=output)
    state.say(f"Wrote {output}")


COMMANDS = (info, quicklook, plot, map_)
