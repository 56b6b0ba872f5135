"""Every pixel of both sets of real scenes is the one that exact transformation picks."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from pixel_reference import edge_distance, image
from pixel_scenes import Ground, read, request

from orchard.engines.local.pixels import Scene, Source, Window, write_shard

S2 = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "scl": "SCL"}
ESPA = ("thermal", "cfmask")


def tiles_over(files, crs, res, size):
    """Tiles of a grid over some files, as `orchard.grid` would lay them."""
    boxes = []
    for path in files:
        with rasterio.open(path) as file:
            boxes.append(rasterio.warp.transform_bounds(file.crs, crs, *file.bounds))
    step = res * size
    found = {
        (row, col)
        for left, bottom, right, top in boxes
        for col in range(int(left // step), int(right // step) + 1)
        for row in range(int(-top // step), int(-bottom // step) + 1)
    }
    for row, col in sorted(found):
        transform = Affine(res, 0, col * step, 0, -res, -row * step)
        yield Ground(pyproj.CRS(crs), transform, (size, size))


def compare(asked, path, files):
    """Assert that all pixels are exact but those at an edge; give back pixels and which differ."""
    whole = Window.whole(asked.tile)
    write_shard(asked, whole, path, threads=2)
    got = read(path)
    differ = (got != image(asked, whole)).any(axis=0)
    if differ.any():
        assert min(edge_distance(asked, whole, f) for f in files)[differ].max() < 0.001
    return got, differ


def tell(capsys, differ):
    """Print the share of pixels that differ from exact ones, and bound it."""
    share = np.mean(differ)
    with capsys.disabled():
        print(f" {share:.4%} of {np.size(differ)} pixels differ", end="")
    assert share < 1e-4


def test_sentinel_2_on_the_european_grid(scenes, tmp_path, capsys):
    folders = sorted(p for p in (scenes / "s2-bolzano").iterdir() if p.is_dir())[::4]
    days = [
        [
            Scene(
                id=p.name,
                time=datetime.strptime(p.name[-8:], "%Y%m%d").replace(tzinfo=UTC),
                bands={b: Source(href=str(p / f"{n}.tif")) for b, n in S2.items()},
            )
        ]
        for p in folders
    ]
    files = [folders[0] / "B02.tif"]
    seen, differ = 0, []
    for tile in tiles_over(files, "EPSG:3035", 20, 256):
        asked = request(tile, *days, bands=tuple(S2))
        got, other = compare(asked, tmp_path / "x.tif", files)
        seen += np.count_nonzero(got)
        differ.append(other)
    assert seen > 1_000_000
    tell(capsys, differ)


def test_landsat_of_two_zones_on_the_grid_of_conus(scenes, tmp_path, capsys):
    folders = sorted(p for p in (scenes / "landsat-espa").iterdir() if p.is_dir())
    found = [
        Scene(
            id=p.name,
            time=datetime.strptime(re.findall(r"\d{7}$", p.name)[0], "%Y%j").replace(tzinfo=UTC),
            bands={b: Source(href=str(p / f"{b}.tif")) for b in ESPA},
        )
        for p in folders
    ]
    files = [p / "blue.tif" for p in folders]
    seen, differ = set(), []
    for tile in tiles_over(files, "EPSG:5070", 30, 256):
        # One acquisition of all: both zones in one mosaic, in either order.
        asked = request(tile, found, found[::-1], bands=ESPA, dtype="int16", nodata=-9999)
        got, other = compare(asked, tmp_path / "x.tif", files)
        seen |= set(np.unique(got[1]))
        differ.append(other)
    assert {0, 1, 2, 4, -9999} <= seen
    assert 255 not in seen, "the mask's own nodata becomes the image's"
    tell(capsys, differ)


@pytest.mark.parametrize("method", ["bilinear", "cubic"])
def test_smooth_resampling_is_that_of_gdal(scenes, tmp_path, method):
    folder = next(p for p in (scenes / "s2-bolzano").iterdir() if p.is_dir())
    source = {"red": Source(href=str(folder / "B04.tif"))}
    day = [Scene(id=folder.name, time=datetime(2022, 6, 2, tzinfo=UTC), bands=source)]
    for tile in list(tiles_over([folder / "B04.tif"], "EPSG:3035", 20, 256))[:2]:
        asked = request(tile, day, resampling={"red": method})
        write_shard(asked, Window.whole(tile), tmp_path / "x.tif")
        got = read(tmp_path / "x.tif")[0].astype(int)
        want = image(asked, Window.whole(tile), scale=0.5)[0].astype(int)
        assert (np.abs(got - want) > 1).mean() < 1e-4
        assert ((got == 0) != (want == 0)).mean() < 1e-4
