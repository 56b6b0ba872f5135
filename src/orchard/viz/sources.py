"""Plots and maps of what Orchard makes: cubes, pre-ARD images, results, in files and folders.

Cubes and pre-ARD images have dates and bands by name; they are drawn by `orchard.quicklook` first.
Everything else is a raster, a picture or GeoJSON already.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchard.errors import DataError, InputError
from orchard.viz.files import QUICKLOOK_FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from folium import Map
    from matplotlib.figure import Figure

__all__ = ["Found", "find_sources", "map_sources", "plot_sources"]

_CUBES = (".nc", ".zarr", ".cog")
_RASTERS = (".tif", ".tiff")
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is to look at.

    Attributes
    ----------
    imagery : tuple of Path
        Cubes, and documents of pre-ARD images: what `orchard.quicklook` takes.
    pictures : tuple of Path
        Other rasters and pictures.
    features : tuple of Path
        GeoJSON files.
    """

    imagery: tuple[Path, ...] = ()
    pictures: tuple[Path, ...] = ()
    features: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.imagery or self.pictures or self.features)


def find_sources(paths: Iterable[str | os.PathLike[str]]) -> Found:
    """Tell cubes, pre-ARD images, pictures and features apart.

    Parameters
    ----------
    paths : iterable of paths
        Files, cubes, and folders, which are looked through with all folders in them. PNG and JPEG
        pictures of a folder count only where it has nothing else to draw: they are quicklooks of
        what is there.

    Raises
    ------
    InputError
        A path is not there, or there is nothing to look at in it.
    """
    found = Found()
    for path in map(Path, paths):
        if not path.exists():
            raise InputError(
                f"{path}: there is no such file or folder. The files of an order or a job are "
                "looked at where they were downloaded: give that folder"
            )
        inside = path.is_dir() and path.suffix not in _CUBES
        one = _in_folder(path) if inside else _sorted_out([path])
        if not one:
            raise InputError(f"{path}: no cube, image, picture or GeoJSON to look at")
        found = Found(
            imagery=_once(found.imagery, one.imagery),
            pictures=_once(found.pictures, one.pictures),
            features=_once(found.features, one.features),
        )
    return found


def map_sources(
    paths: Iterable[str | os.PathLike[str]],
    *,
    bands: Sequence[str] | Sequence[int] | None = None,
    date: Sequence[str] | None = None,
    aoi: Any = None,
    save_html: str | os.PathLike[str] | None = None,
) -> Map:
    """Show files, cubes or folders on a map, a layer for each picture and date.

    Parameters
    ----------
    paths : iterable of paths
        See `find_sources`.
    bands : sequence of str, or of int, optional
        Names say what is shown of cubes and pre-ARD images (default red, green, blue), numbers what
        is shown of other rasters (default 1, 2, 3).
    date : sequence of str ("YYYY-MM-DD"), optional
        Only these dates of cubes and pre-ARD images.
    aoi, save_html
        See `orchard.viz.map_images`.

    Raises
    ------
    InputError
        There is nothing to show, or no such date.
    CollectionError
        If a band is not there.
    DataError
        A file cannot be read.
    """
    from orchard import viz
    from orchard.viz.features import features_of

    found = find_sources(paths)
    names, numbers = _bands(bands)
    with TemporaryDirectory(prefix="orchard-") as folder:
        drawn = _drawn(found.imagery, Path(folder), names, date, size=1024)
        placed = [_placed(path, source) for path, source in drawn]
        return viz.map_images(
            [*placed, *found.pictures],
            [feature for path in found.features for feature in features_of(path)],
            bands=numbers,
            aoi=aoi,
            save_html=save_html,
        )


def plot_sources(
    paths: Iterable[str | os.PathLike[str]],
    *,
    bands: Sequence[str] | Sequence[int] | None = None,
    date: Sequence[str] | None = None,
    figsize: tuple[float, float] = (14, 8),
) -> Figure:
    """Plot files, cubes or folders, a picture for each file and date.

    Parameters
    ----------
    paths, bands, date
        See `map_sources`.
    figsize : (width, height)
        Of the figure, in inches.

    Raises
    ------
    InputError, CollectionError, DataError
        As `map_sources`.
    """
    from orchard import viz

    found = find_sources(paths)
    if not found.imagery and not found.pictures:
        raise InputError("there is no picture to plot, only features: see them on a map")
    names, numbers = _bands(bands)
    with TemporaryDirectory(prefix="orchard-") as folder:
        drawn = _drawn(found.imagery, Path(folder), names, date, size=1024)
        return viz.plot_results(
            [*(path for path, _ in drawn), *found.pictures],
            figsize=figsize,
            bands=numbers,
            plot_file_format=(*_RASTERS, *QUICKLOOK_FORMATS),
        )


def _once(*groups: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(path for group in groups for path in group))


def _in_folder(folder: Path) -> Found:
    found = _sorted_out(_files(folder))
    rasters = tuple(path for path in found.pictures if path.suffix.lower() in _RASTERS)
    if not found.imagery and not rasters:
        return found
    return Found(imagery=found.imagery, pictures=rasters, features=found.features)


def _files(folder: Path) -> Iterable[Path]:
    """Give the files and cubes below a folder, in order; hidden ones are not looked at."""
    for place, folders, files in os.walk(folder):
        names = sorted(name for name in [*folders, *files] if not name.startswith("."))
        cubes = {name for name in folders if name.endswith(_CUBES)}
        folders[:] = [name for name in names if name in folders and name not in cubes]
        yield from (Path(place, name) for name in names if name not in folders)


def _sorted_out(paths: Iterable[Path]) -> Found:
    imagery: list[Path] = []
    pictures: list[Path] = []
    features: list[Path] = []
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in _CUBES:
            imagery.append(path)
        elif suffix in _RASTERS:
            document = _document_of(path)
            (pictures if document is None else imagery).append(document or path)
        elif suffix in QUICKLOOK_FORMATS:
            pictures.append(path)
        elif suffix in (".json", ".geojson") and not path.name.endswith(".stac.json"):
            kind = _kind(path)
            if kind is not None:
                {"image": imagery, "features": features}[kind].append(path)
    return Found(imagery=_once(imagery), pictures=_once(pictures), features=_once(features))


def _document_of(raster: Path) -> Path | None:
    """Return the image metadata of a GeoTIFF, if it is (part of) a pre-ARD image."""
    from orchard.preard import metadata_name, parse_shard_name

    if raster.suffix != ".tif":
        return None
    document = raster.with_name(metadata_name(parse_shard_name(raster.name).name))
    return document if document.is_file() and _kind(document) == "image" else None


def _kind(path: Path) -> str | None:
    """Tell what a JSON file is: metadata of an image, features, or neither."""
    from orchard.ard.find import looks_like_metadata

    try:
        content = json.loads(path.read_bytes())
    except OSError as exc:
        raise DataError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise DataError(f"{path} is not JSON: {exc}") from exc
    if looks_like_metadata(content):
        return "image"
    is_features = isinstance(content, dict) and content.get("type") in (
        "FeatureCollection",
        "Feature",
    )
    return "features" if is_features else None


def _bands(bands: Sequence[str] | Sequence[int] | None) -> tuple[Sequence[str], Sequence[int]]:
    """Return the names for what has named bands, and the numbers for other rasters."""
    names = [band for band in bands or () if isinstance(band, str)]
    numbers = [band for band in bands or () if isinstance(band, int)]
    if names and numbers:
        raise InputError(f"bands are names or numbers, not both: {list(bands or ())}")
    return names or _COLOURS, numbers or (1, 2, 3)


def _drawn(
    imagery: Sequence[Path],
    folder: Path,
    bands: Sequence[str],
    date: Sequence[str] | None,
    *,
    size: int,
) -> list[tuple[Path, Path]]:
    """Draw quicklooks, all stretched together; give each with what it is of."""
    from orchard.quicklook import quicklook
    from orchard.quicklook.sources import open_stack

    if not imagery:
        if date:
            raise InputError("only cubes and pre-ARD images have dates to choose from")
        return []
    made = iter(quicklook(imagery, folder, bands=bands, date=date or None, size=size))
    pairs = []
    for source in imagery:
        with open_stack(source, bands) as stack:
            days = [str(day) for day in stack.days if not date or str(day) in date]
        pairs += [(next(made), source) for _ in days]
    return pairs


def _placed(picture: Path, source: Path) -> Path:
    """Write a quicklook, which covers all of its source, as a GeoTIFF that knows where it lies."""
    import numpy as np
    import rasterio
    from PIL import Image
    from rasterio.enums import ColorInterp
    from rasterio.transform import from_bounds

    with Image.open(picture) as image:
        layers = np.asarray(image).transpose(2, 0, 1)
    count, height, width = layers.shape
    crs, bounds = _place(source)
    path = picture.with_suffix(".tif")
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype="uint8",
        crs=crs,
        transform=from_bounds(*bounds, width, height),
    ) as target:
        colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        shown = colours if count == len(colours) + 1 else [ColorInterp.gray]
        target.colorinterp = [*shown, ColorInterp.alpha]
        target.write(layers)
    return path


def _place(source: Path) -> tuple[str, tuple[float, float, float, float]]:
    """Return the coordinate system and the (left, bottom, right, top) of a cube or an image."""
    from orchard.ard import info
    from orchard.preard import ImageMetadata

    if source.suffix == ".json":
        tile = ImageMetadata.from_file(source).tile
        return tile.crs, tile.bounds
    told = info(source)
    left, bottom, right, top = told["bounds"]
    return str(told["crs"]), (left, bottom, right, top)
