"""Mosaics: order, and that no block is read without need, or twice."""

from __future__ import annotations

import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_reference import image
from pixel_scenes import ground, noise, read, request, scene, write_scene

from orchard.engines.local.pixels import Window, raster, write_shard

TILE = ground(left=500_000, top=4_500_000, res=30, size=(256, 256))


@pytest.fixture
def decoded(monkeypatch):
    """How often each (file, block, band) is decoded."""
    seen, lock = Counter(), threading.Lock()
    decode = raster.TiffRaster.decode

    def count(self, block, data, band):
        with lock:
            seen[str(self._file._path.name), block, band] += 1
        return decode(self, block, data, band)

    monkeypatch.setattr(raster.TiffRaster, "decode", count)
    return seen


def at(col, row):
    """A grid whose first pixel lies at (col, row) of the tile."""
    return Affine(30, 0, 500_000 + 30 * col, 0, -30, 4_500_000 - 30 * row)


def write(asked, path, threads=1):
    write_shard(asked, Window.whole(asked.tile), path, threads=threads)
    got = read(path)
    np.testing.assert_array_equal(got, image(asked, Window.whole(asked.tile)))
    return got


def test_the_first_scene_that_has_data_wins(tmp_path):
    one, two = noise((256, 256), seed=1), noise((256, 256), seed=2)
    one[:, 100:] = 0
    two[:50] = 0
    three = noise((256, 256), seed=3)
    paths = [write_scene(tmp_path / f"{k}.tif", v) for k, v in enumerate((one, two, three))]
    scenes = [scene(str(k), red=p) for k, p in enumerate(paths)]
    got = write(request(TILE, scenes), tmp_path / "x.tif")[0]
    want = np.where(one > 0, one, np.where(two > 0, two, three))
    np.testing.assert_array_equal(got, want)


def test_only_blocks_that_contribute_are_read_and_each_once(tmp_path, decoded):
    one = noise((256, 256), seed=1)
    one[130:] = 0
    write_scene(tmp_path / "one.tif", one)
    # The second scene reaches far beyond the tile.
    write_scene(tmp_path / "two.tif", noise((512, 512), seed=2), transform=at(-128, -128))
    scenes = [scene(n, red=str(tmp_path / f"{n}.tif")) for n in ("one", "two")]
    write(request(TILE, scenes, scenes[:1]), tmp_path / "x.tif", threads=2)
    first = {key: n for key, n in decoded.items() if key[0] == "one.tif"}
    assert first == {("one.tif", (r, c), 1): 2 for r in range(4) for c in range(4)}
    # Of it, the tile needs rows from 130 on: its blocks 4 (258 - 64 * 4 = 2) and 5, columns 2 to 5.
    second = {key: n for key, n in decoded.items() if key[0] == "two.tif"}
    assert second == {("two.tif", (r, c), 1): 1 for r in (4, 5) for c in (2, 3, 4, 5)}


def test_a_tile_that_is_turned_leaves_out_corners(tmp_path, decoded):
    tile = ground("EPSG:5070", 1_700_000, 2_200_000, 30, size=(256, 256))
    centre = tile.transform @ (128, 128)
    import pyproj

    go = pyproj.Transformer.from_crs(tile.crs, "EPSG:32618", always_xy=True)
    x, y = (round(v / 30) * 30 for v in go.transform(*centre))
    path = write_scene(
        tmp_path / "a.tif",
        noise((640, 640)),
        transform=Affine(30, 0, x - 320 * 30, 0, -30, y + 320 * 30),
        blockxsize=16,
        blockysize=16,
    )
    write(request(tile, [scene("a", red=path)]), tmp_path / "x.tif")
    rows = [key[1][0] for key in decoded]
    cols = [key[1][1] for key in decoded]
    box = (max(rows) - min(rows) + 1) * (max(cols) - min(cols) + 1)
    assert set(decoded.values()) == {1}
    assert len(decoded) < 0.85 * box


def test_scenes_of_two_zones_fill_each_other(tmp_path, decoded):
    tile = ground("EPSG:5070", 2_000_000, 2_200_000, 300, size=(128, 128))
    import pyproj

    paths = []
    for k, zone in enumerate(("EPSG:32618", "EPSG:32619", "EPSG:32618")):
        go = pyproj.Transformer.from_crs(tile.crs, zone, always_xy=True)
        x, y = (round(v / 300) * 300 for v in go.transform(2_000_000, 2_200_000))
        transform = Affine(300, 0, x - 15_000, 0, -300, y + 15_000)
        values = noise((256, 256), seed=k)
        values[:, 90 + 30 * k :] = 0
        paths.append(write_scene(tmp_path / f"{k}.tif", values, crs=zone, transform=transform))
    scenes = [scene(str(k), red=p) for k, p in enumerate(paths)]
    for order in (scenes, scenes[::-1]):
        write(request(tile, order), tmp_path / "x.tif", threads=2)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_mosaic(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    scenes = []
    for k in range(data.draw(st.integers(1, 4))):
        values = noise((90, 110), seed=k)
        row, col = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 110))
        values[row:, :col] = 0
        place = at(data.draw(st.integers(-80, 200)), data.draw(st.integers(-80, 200)))
        if data.draw(st.booleans()):
            place *= Affine.translation(0.25, 0.4)
        block = data.draw(st.sampled_from([16, 32, 64]))
        path = write_scene(
            folder / f"{k}.tif", values, transform=place, blockxsize=block, blockysize=block
        )
        scenes.append(scene(str(k), red=path))
    write(request(TILE, scenes), folder / "x.tif", threads=data.draw(st.sampled_from([1, 2])))


def test_memory_does_not_grow_with_dates(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise((512, 512)), blockxsize=256, blockysize=256)
    tile = ground(left=500_000, top=4_500_000, res=30, size=(512, 512))

    def peak(dates):
        asked = request(tile, *[[scene("a", red=path)]] * dates)
        tracemalloc.start()
        write_shard(asked, Window.whole(tile), tmp_path / "x.tif")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    few, many = peak(4), peak(40)
    assert many < few * 1.05 + 200_000
