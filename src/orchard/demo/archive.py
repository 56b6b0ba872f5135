"""A small synthetic archive of Landsat-like scenes with a static STAC catalogue.

Two overlapping rows of one path over eastern Iowa, every 16 days from April 2023 on (none in
June), in the files and the figures of Landsat Collection 2 Level-2: one COG an asset, uint16,
reflectance = DN * 0.0000275 - 0.2, nodata 0 around a tilted footprint, QA_PIXEL bits (fill 1).
The same seed gives the same archive.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from orchard.errors import AccessError, InputError, StoreError

from .catalogue import (
    ASSETS,
    CATALOG_ID,
    COLLECTION_ID,
    OFFSET,
    SCALE,
    catalog_document,
    collection_document,
    item_document,
)
from .landscape import BANDS, Place, make_landscape
from .scenes import CENTRE, CRS, bounding_ground, plan_passes
from .sky import QA_FILL, make_sky, qa_pixel, seen_through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .ground import Ground
    from .landscape import Landscape
    from .scenes import Pass, SceneFrame

__all__ = ["make_archive"]

_SMALLEST = 64
# Noise of the sensor and of the correction, in reflectance.
_NOISE = 0.0012
_CLOUD_BIT, _WATER_BIT = np.uint16(1 << 3), np.uint16(1 << 7)


class Callback(Protocol):
    """The progress interface of the library."""

    def __call__(self, *, item: str, n_steps: float) -> object:
        """Take note of what was just done."""


def make_archive(
    folder: Path,
    *,
    seed: int = 2026,
    dates: int = 8,
    size: int = 1000,
    callback: Callback | None = None,
) -> Path:
    """Make the archive; the catalogue is written last, so a killed run leaves none.

    Parameters
    ----------
    folder : Path
        Made if absent. An older archive of the demo in it is replaced.
    seed : int
        Another seed, another landscape with other clouds.
    dates : int
        Number of acquisitions, 16 days apart but for June 2023, which has none; each is two
        scenes, taken 24 s apart.
    size : int
        Width and height of a scene in 30 m pixels, at least 64.
    callback : callable, optional
        Called as ``callback(item=scene id, n_steps=1.0)`` after each of the ``2 * dates`` scenes.

    Returns
    -------
    Path
        The catalogue, ``FOLDER/catalog.json``; its one collection is ``landsat-c2-l2``.

    Raises
    ------
    InputError
        If `dates` or `size` is too small, or the folder holds somebody else's catalogue.
    AccessError
        If the folder cannot be written to.
    StoreError
        If writing fails otherwise, as on a full disk.
    """
    if dates < 1 or size < _SMALLEST:
        raise InputError(
            f"an archive has at least 1 date and {_SMALLEST} pixels a side, not {dates} and {size}"
        )
    folder = Path(folder)
    catalog = folder / "catalog.json"
    with _writing(folder):
        _withdraw(catalog)
        items = _write_scenes(folder / COLLECTION_ID, seed, dates, size, callback)
        _write_json(folder / COLLECTION_ID / "collection.json", collection_document(items))
        _write_json(catalog, catalog_document())
    return catalog


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Translate what can go wrong while writing."""
    from rasterio.errors import RasterioError

    try:
        yield
    except PermissionError as error:
        where = str(error.filename or folder)
        raise AccessError(
            f"cannot write the demo's archive to {where}: not allowed; choose another folder",
            key=where,
        ) from error
    except (OSError, RasterioError) as error:
        raise StoreError(
            f"cannot write the demo's archive to {folder}: {error}", key=str(folder)
        ) from error


def _withdraw(catalog: Path) -> None:
    """Take an older archive's catalogue away, as its scenes are about to change."""
    try:
        known = json.loads(catalog.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        known = None
    if not isinstance(known, dict) or known.get("id") != CATALOG_ID:
        raise InputError(f"{catalog} is not the demo's own catalogue; choose another folder")
    catalog.unlink()


def _write_scenes(
    folder: Path, seed: int, dates: int, size: int, callback: Callback | None
) -> list[dict[str, Any]]:
    """Write all scenes and return their items."""
    passes = plan_passes(seed=seed, dates=dates, size=size)
    ground = bounding_ground(passes)
    land = make_landscape(ground, _place(seed))
    items = []
    # GDAL compresses without the GIL.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for one in passes:
            bands, qa = _render(one, ground, land, seed)
            for scene in one.scenes:
                items.append(_write_scene(folder / scene.id, scene, ground, bands, qa, pool))
                if callback is not None:
                    callback(item=scene.id, n_steps=1.0)
    return items


def _place(seed: int) -> Place:
    from pyproj import Proj, Transformer

    x, y = CENTRE
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    factors = Proj(CRS).get_factors(lon, lat)
    return Place(x=x, y=y, convergence=factors.meridian_convergence, seed=seed)


def _render(
    one: Pass, ground: Ground, land: Landscape, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Return what one pass sees of the ground: reflectance (band, y, x) and QA (y, x)."""
    scene = one.scenes[0]
    sky = make_sky(ground, one.weather, scene.sun, seed=seed * 31 + 101 * one.number)
    surface = land.reflectance(scene.time.timetuple().tm_yday, sun=scene.sun, wetness=one.wetness)
    bands = seen_through(surface, sky)
    rng = np.random.default_rng([seed, 2, one.number])
    for band in bands:
        band += np.float32(_NOISE) * rng.standard_normal(band.shape, np.float32)
    return bands, qa_pixel(sky, land.water)


def _write_scene(
    folder: Path,
    scene: SceneFrame,
    ground: Ground,
    bands: NDArray[np.float32],
    qa: NDArray[np.uint16],
    pool: ThreadPoolExecutor,
) -> dict[str, Any]:
    """Cut a scene out of its pass, write its files, then its item."""
    folder.mkdir(parents=True, exist_ok=True)
    own = scene.ground
    row, col = round((ground.top - own.top) / own.res), round((own.left - ground.left) / own.res)
    window = (slice(row, row + own.height), slice(col, col + own.width))
    seen = scene.seen()
    cut = np.where(seen, qa[window], np.uint16(QA_FILL))
    layers = {"qa_pixel": cut}
    # Each scene is corrected for the atmosphere on its own: where two overlap they differ a bit.
    gain = np.float32(1 + 0.004 * (scene.row % 2))
    for name, band in zip(BANDS, bands, strict=True):
        numbers = np.rint((band[window] * gain - np.float32(OFFSET)) / np.float32(SCALE))
        layers[name] = np.where(seen, np.clip(numbers, 1, 65535), 0).astype(np.uint16)
    list(
        pool.map(
            lambda name: _write_cog(
                folder / f"{scene.id}_{ASSETS[name]}.TIF",
                layers[name],
                own,
                nodata=QA_FILL if name == "qa_pixel" else 0,
            ),
            ASSETS,
        )
    )
    cloud, land = (cut & _CLOUD_BIT) > 0, seen & ((cut & _WATER_BIT) == 0)
    item = item_document(
        scene,
        cloud_cover=_percent(cloud & seen, seen),
        cloud_cover_land=_percent(cloud & land, land),
    )
    _write_json(folder / f"{scene.id}.json", item)
    return item


def _percent(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return 100 * int(part.sum()) / max(int(whole.sum()), 1)


def _write_cog(path: Path, values: NDArray[np.uint16], ground: Ground, *, nodata: int) -> None:
    """Write one band as a COG, under its name only when it is whole."""
    import rasterio
    from affine import Affine

    partial = path.with_suffix(".partial")
    with rasterio.open(
        partial,
        "w",
        driver="COG",
        width=ground.width,
        height=ground.height,
        count=1,
        dtype="uint16",
        nodata=nodata,
        crs=CRS,
        transform=Affine(ground.res, 0, ground.left, 0, -ground.res, ground.top),
        compress="DEFLATE",
        predictor="STANDARD",
        level=6,
        blocksize=512,
        overviews="NONE",
    ) as dataset:
        dataset.write(values, 1)
    partial.replace(path)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(path)
