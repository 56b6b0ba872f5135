"""The demo's tour: one order, from plan to clean, with everything it leaves to look at."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchard.config import Config, load_config
from orchard.errors import EmptyOrderError, InputError, OrderError, OrderExistsError
from orchard.summary import counted

from .archive import make_archive

if TYPE_CHECKING:
    from orchard.collections import Collection
    from orchard.tracker import Tracker
    from orchard.tracking import TrackingInfo

__all__ = ["Place", "run_demo"]

Tell = Callable[[str], None]
Progress = Callable[[str, float], contextlib.AbstractContextManager[Callable[..., None] | None]]

_HEADER = """\
# The demo's configuration: from this folder, every 'orchard' command works on it.
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What to order of a real catalogue.

    Parameters
    ----------
    catalog : str
        STAC catalogue: a file, or a URL (also of an API).
    collection : str
        Id of a known collection.
    bbox : tuple of float
        (west, south, east, north), degrees.
    start, end : str
        Period.
    collections : mapping, optional
        The known collections; by default the registry.
    """

    catalog: str
    collection: str
    bbox: tuple[float, float, float, float]
    start: str
    end: str
    collections: Mapping[str, Collection] | None = None


@contextlib.contextmanager
def _silent(label: str, total: float) -> Iterator[None]:
    del label, total
    yield None


def run_demo(
    dest: str | Path,
    place: Place | None = None,
    *,
    tell: Tell = lambda _: None,
    progress: Progress = _silent,
) -> Path:
    """Run the tour.

    Parameters
    ----------
    dest : path
        Folder for all that it makes.
    place : Place, optional
        What to order; None: of an archive that is made on the spot.
    tell : callable
        Is told each step.
    progress : callable
        Makes a context manager that gives a callback, from a label and a total.

    Returns
    -------
    Path
        `dest`: in it ``orchard.yaml``, ``field.geojson`` (a small area of the first tile),
        ``downloads``, ``cubes``, ``quicklooks`` and ``report.html``.

    Raises
    ------
    OrderExistsError
        When the store in `dest` has another order of the demo's name or images.
    """
    folder = Path(dest).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    order = _of_archive(folder, tell, progress) if place is None else _of_place(folder, place)
    config = order.config
    tracker = config.get_tracker()
    tiles = [tile.index for tile in tracker.tile_grid.roi_to_tiles(order.roi)]
    _write_field(folder / "field.geojson", tracker.tile_grid[tiles[0]].center_lonlat)
    arguments: tuple[Any, ...] = (order.collection, tiles, order.start, order.end, order.freq)

    plan = tracker.plan(*arguments)
    tell(
        f"Plan: {counted(len(plan.plans), 'task')} on {counted(len(tiles), 'tile')} "
        f"({plan.n_empty} of them empty), {counted(plan.n_scenes, 'scene')}, "
        f"{plan.n_pixels / 1e6:.0f} million pixels"
    )
    if plan.n_empty == len(plan.plans):
        raise EmptyOrderError("no image was found: choose another place or period")
    try:
        name, key = tracker.submit(*arguments)
    except OrderExistsError:
        raise OrderExistsError(
            f"{folder} has other orders already ({', '.join(tracker.list())}): give the demo a "
            "folder of its own (orchard demo --dest FOLDER), or delete what is in its way (orchard "
            f"-C {config.path} clean NAME)"
        ) from None
    tell(f"Submitted {name}, recorded in {tracker.store.url} as {key}")
    with progress("Running", len(plan.plans)) as callback:
        info = tracker.wait(name, callback=callback)
    tell(f"Ran: {', '.join(f'{n} {state}' for state, n in sorted(info.states.items()))}")
    for cause, tasks in info.failures().items():
        tell(f"Failed: {', '.join(tasks)}: {cause}")
    if not info.complete:
        raise OrderError(
            f"the demo's order is not done: mend the cause, then 'orchard -C {config.path} retry "
            f"{name} --all-failed' and run the demo again"
        )
    downloads = folder / "downloads" / name
    with progress("Downloading", len(plan.plans)) as callback:
        files = tracker.download(info, downloads, overwrite=False, callback=callback)
    tell(f"Downloaded {counted(sum(map(len, files.values())), 'file')}, verified")
    cubes = _convert(config, downloads, progress)
    tell(f"Converted to {counted(len(cubes), 'cube')}")
    with progress("Drawing", 1) as callback:
        pictures = _pictures(folder / "cubes", folder / "quicklooks", callback)
    tell(f"Drew {counted(pictures, 'quicklook')} and a sheet of them")
    _report(tracker, info, folder, tell)
    _clean(tracker, name, tell)
    tell(_summary(folder, cubes, order, tiles[0]))
    return folder


@dataclass(frozen=True, kw_only=True)
class _Order:
    config: Config
    collection: str
    roi: dict[str, Any]
    start: str
    end: str
    freq: str | None


def _of_archive(folder: Path, tell: Tell, progress: Progress) -> _Order:
    """Make the archive and a configuration for it."""
    catalog = folder / "archive" / "catalog.json"
    if not catalog.exists():
        with progress("Making an archive", 16) as callback:
            make_archive(catalog.parent, callback=callback)
        tell(f"Made a small archive of Landsat-like scenes: {catalog}")
    config = _write_config(
        folder,
        {
            # The Landsat ARD grid's own corner and pixels, in smaller tiles.
            "tile_grid": {
                "name": "DEMO",
                "crs": _CONUS_ALBERS,
                "ul": [-2565585.0, 3314805.0],
                "res": [30, 30],
                "size": [400, 400],
                "limits": [[0, 274], [0, 411]],
            },
            "store": "preard/",
            "engine": {"name": "local", "catalog": "archive/catalog.json", "workers": 2},
            # The archive has no thermal band: what is known of a collection can be changed.
            "collections": {"LANDSAT/LC08/C02/T1_L2": {"bands": {"thermal": None}}},
            "ard": {"destination": "cubes/h{tile.horizontal:03d}v{tile.vertical:03d}"},
        },
    )
    return _Order(
        config=config,
        collection="LANDSAT/LC08/C02/T1_L2",
        roi=_middle(catalog),
        start="2023-04-01",
        end="2023-10-01",
        freq="MS",
    )


_CONUS_ALBERS = (
    "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
)


def _middle(catalog: Path) -> dict[str, Any]:
    """Return a small area where the archive's two rows overlap."""
    import orjson
    import shapely
    from shapely.geometry import mapping, shape

    items = [orjson.loads(path.read_bytes()) for path in sorted(catalog.parent.glob("*/*/*.json"))]
    rows: dict[str, Any] = {}
    for item in items:
        rows.setdefault(item["properties"]["landsat:wrs_row"], shape(item["geometry"]))
    overlap = shapely.intersection_all(list(rows.values()))
    centre = overlap.centroid
    return dict(
        mapping(shapely.box(centre.x - 0.06, centre.y - 0.05, centre.x + 0.06, centre.y + 0.05))
    )


def _of_place(folder: Path, place: Place) -> _Order:
    """Make a configuration for a real catalogue: a grid in the place's UTM zone."""
    import shapely
    from shapely.geometry import mapping

    from orchard.collections import get_collection, load_collections

    west, south, east, north = place.bbox
    if not (-180 <= west < east <= 180 and -80 <= south < north <= 84):
        raise InputError(
            f"--bbox {place.bbox} is not west < east, south < north within UTM's reach"
        )
    collection = get_collection(place.collection, place.collections or load_collections())
    zone = int(((west + east) / 2 + 180) // 6) % 60 + 1
    finest = min((band.resolution or 30 for band in collection.bands.values()), default=30)
    from pyproj import Transformer

    crs = f"EPSG:{(32600 if north + south >= 0 else 32700) + zone}"
    to_utm = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    left, _, _, top = to_utm.transform_bounds(west, south, east, north)
    side = 512 * float(finest)
    known = (
        {}
        if place.collections is None
        else {
            collection.id: collection.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
        }
    )
    config = _write_config(
        folder,
        {
            "tile_grid": {
                "name": "DEMO",
                "crs": crs,
                "ul": [left // side * side, -(-top // side) * side],
                "res": [float(finest)] * 2,
                "size": [512, 512],
                "limits": [[0, 99], [0, 99]],
            },
            "store": "preard/",
            "engine": {
                "name": "local",
                "catalog": place.catalog
                if "://" in place.catalog
                else str(Path(place.catalog).absolute()),
                "workers": 2,
            },
            "collections": known,
            "ard": {"destination": "cubes/h{tile.horizontal:03d}v{tile.vertical:03d}"},
        },
    )
    return _Order(
        config=config,
        collection=place.collection,
        roi=dict(mapping(shapely.box(*place.bbox))),
        start=place.start,
        end=place.end,
        freq=None,
    )


def _write_config(folder: Path, data: dict[str, Any]) -> Config:
    path = folder / "orchard.yaml"
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100)
    path.write_text(_HEADER + text, encoding="utf-8")
    return load_config(path)


def _write_field(path: Path, center: tuple[float, float]) -> None:
    """Write a small area around a point (lon, lat), for the commands' ``--aoi``."""
    import json

    import shapely
    from shapely.geometry import mapping

    lon, lat = (round(degrees, 3) for degrees in center)
    field = mapping(shapely.box(lon - 0.005, lat - 0.005, lon + 0.005, lat + 0.005))
    path.write_text(json.dumps(field), encoding="utf-8")


def _convert(config: Config, downloads: Path, progress: Progress) -> list[Path]:
    from orchard.ard import convert

    total = len(list(downloads.glob("*.json")))
    with progress("Converting", total) as callback:
        made = convert(downloads, config.ard.destination, workers=2, callback=callback)
    return [Path(path) for path in made]


def _pictures(cubes: Path, dest: Path, callback: Callable[..., None] | None) -> int:
    """Draw a picture of each date over all tiles, in true colour where the bands allow."""
    from orchard.ard import open_ard
    from orchard.quicklook import quicklook

    dest.mkdir(exist_ok=True)
    with open_ard(cubes) as dataset:
        names = [str(name) for name in dataset.data_vars if dataset[name].ndim == 3]
        colours = ("red", "green", "blue")
        bands = colours if set(colours) <= set(names) else (names[0],)
        made = quicklook(
            dataset, dest, name="demo", bands=bands, sheet=dest / "sheet.png", callback=callback
        )
    return len(made)


def _report(tracker: Tracker, info: TrackingInfo, folder: Path, tell: Tell) -> None:
    """Write the report, unless its pages are not built (a checkout without Node.js)."""
    from orchard.errors import PagesError
    from orchard.report import make_report

    report = make_report(info, store=tracker.store, cubes=folder / "cubes", beside=folder)
    try:
        path = report.save(folder / "report.html")
    except PagesError as error:
        tell(f"No report: {error}")
    else:
        tell(f"Wrote a report of it: {path}")


def _clean(tracker: Tracker, name: str, tell: Tell) -> None:
    cleaned = tracker.clean(name, tracking_name=name)
    tell(f"Cleaned the store: deleted {counted(sum(map(len, cleaned.values())), 'file')} of {name}")


def _summary(folder: Path, cubes: list[Path], order: _Order, tile: tuple[int, int]) -> str:
    python, orchard = "python", "orchard"
    if shutil.which("orchard") is None:
        python, orchard = sys.executable, f"{sys.executable} -m orchard"
    freq = f" --freq {order.freq}" if order.freq else ""
    return f"""
All of it is in {folder}:
  orchard.yaml   the configuration
  field.geojson  a field in tile {tile}, for --aoi
  downloads/     pre-ARD images and their metadata
  cubes/         {counted(len(cubes), "cube")}
  quicklooks/    one PNG a date, and sheet.png with all of them
  report.html    the order on one page: open it in a browser

What to try next:
  {python} -c "import orchard; print(orchard.open_ard('{folder / "cubes"}'))"
  {orchard} -C {folder / "orchard.yaml"} plan {order.collection} --aoi {folder / "field.geojson"} \\
      --start {order.start} --end {order.end}{freq}
  {orchard} config template -o orchard.yaml    # then: your catalogue, your tiles, your period"""
