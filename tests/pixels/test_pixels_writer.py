"""Files as they are written: what other readers see, layout, overviews, and nothing half done."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from pixel_scenes import ground, noise, read, request, scene, write_scene

from orchard.engines.local.pixels import (
    Creation,
    ImageRequest,
    ShardCancelledError,
    Window,
    shard,
    write_shard,
    writer,
)
from orchard.errors import InputError, SceneError

TILE = ground(left=499_000, top=4_501_000, res=30, size=(150, 130))


@pytest.mark.parametrize("codec", ["zstd", "deflate", "none"])
@pytest.mark.parametrize("predictor", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_codecs_and_dtypes_read_back(tmp_path, codec, predictor, dtype):
    values = noise((200, 200), low=0, high=120).astype(dtype)
    path = write_scene(tmp_path / "a.tif", values)
    creation = {"blocksize": 32, "codec": codec, "predictor": predictor}
    asked = request(TILE, [scene("a", red=path)], dtype=dtype, creation=creation)
    write_shard(asked, Window.whole(TILE), tmp_path / "x.tif", threads=2)
    with rasterio.open(tmp_path / "x.tif") as file:
        got = file.read(1)
        expected = {"zstd": "zstd", "deflate": "deflate", "none": None}[codec]
        assert (file.compression.value.lower() if file.compression else None) == expected
    # The scene's first pixel is the tile's (33, 33), and a third of a pixel off.
    np.testing.assert_array_equal(got[33:130, 33:150], values[:97, :117])
    assert not got[:33].any()


@pytest.mark.parametrize("level", [None, 1, 6])
def test_levels(tmp_path, level):
    path = write_scene(tmp_path / "a.tif", noise((200, 200)))
    asked = request(TILE, [scene("a", red=path)], creation={"codec": "deflate", "level": level})
    write_shard(asked, Window.whole(TILE), tmp_path / "x.tif")
    assert read(tmp_path / "x.tif").any()


@pytest.mark.parametrize("big", [False, True])
def test_the_file_says_what_it_is(tmp_path, big, monkeypatch):
    if big:
        monkeypatch.setattr(writer, "CLASSIC_LIMIT", 0)
    path = write_scene(tmp_path / "a.tif", noise((200, 200)))
    days = [[scene("a", red=path, nir=path)], [scene("b", red=path, nir=path)]]
    asked = request(TILE, *days, bands=("red", "nir"))
    window = Window(row_off=10, col_off=20, height=100, width=90)
    write_shard(asked, window, tmp_path / "x.tif")
    with rasterio.open(tmp_path / "x.tif") as file:
        assert file.descriptions == (
            "2022-06-02 red",
            "2022-06-02 nir",
            "2022-06-03 red",
            "2022-06-03 nir",
        )
        assert file.shape == (100, 90)
        assert set(file.dtypes) == {"uint16"}
        assert set(file.nodatavals) == {0}
        assert file.crs == rasterio.crs.CRS.from_wkt(TILE.crs.to_wkt())
        assert file.transform.almost_equals(TILE.transform @ TILE.transform.translation(20, 10))
        assert file.block_shapes == [(64, 64)] * 4
        assert file.interleaving.value == "BAND"
        assert file.overviews(1) == []
    assert (tmp_path / "x.tif").read_bytes()[2] == (43 if big else 42)
    assert [p.name for p in tmp_path.iterdir() if p.name != "a.tif"] == ["x.tif"]


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:5070", "EPSG:4326", "ESRI:102008"])
def test_grids_are_written_as_they_are(tmp_path, crs):
    tile = ground(crs, 10, 20, 0.5, size=(40, 30))
    path = write_scene(tmp_path / "a.tif", noise((10, 10)))
    asked = request(tile, [scene("a", red=path)])
    write_shard(asked, Window.whole(tile), tmp_path / "x.tif")
    with rasterio.open(tmp_path / "x.tif") as file:
        assert file.crs == rasterio.crs.CRS.from_wkt(tile.crs.to_wkt())
        assert file.transform == tile.transform


def test_a_cog_has_overviews_before_its_pixels(tmp_path):
    tile = ground(left=499_000, top=4_501_000, res=10, size=(500, 420))
    path = write_scene(tmp_path / "a.tif", noise((200, 200)))
    days = [[scene("a", red=path)], [scene("b", red=path)]]
    plain, cog = request(tile, *days), request(tile, *days, creation={"blocksize": 64, "cog": True})
    write_shard(plain, Window.whole(tile), tmp_path / "plain.tif")
    write_shard(cog, Window.whole(tile), tmp_path / "cog.tif", threads=2)
    np.testing.assert_array_equal(read(tmp_path / "cog.tif"), read(tmp_path / "plain.tif"))
    with rasterio.open(tmp_path / "cog.tif") as file:
        assert file.overviews(2) == [2, 4, 8]
        full = file.read(2)

        def first(level):
            where = {} if level is None else {"ovr": level}
            return int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, **where))

        assert first(0) < first(None)
        assert first(2) < first(None)
    for level, step in enumerate((2, 4, 8)):
        with rasterio.open(tmp_path / "cog.tif", overview_level=level) as file:
            np.testing.assert_array_equal(file.read(2), full[::step, ::step])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "cog.tif", "plain.tif"]


def test_shards_of_a_tile_fit_together(tmp_path, monkeypatch):
    path = write_scene(tmp_path / "a.tif", noise((400, 400)), transform=None)
    tile = ground("EPSG:5070", 1_750_000, 2_150_000, 70, size=(150, 130))
    for method in ("nearest", "cubic"):
        asked = request(tile, [scene("a", red=path)], resampling={"red": method})
        write_shard(asked, Window.whole(tile), tmp_path / "whole.tif")
        whole = read(tmp_path / "whole.tif")[0]
        for row, col in ((0, 0), (64, 64)):
            window = Window(
                row_off=row, col_off=col, height=min(64, 130 - row), width=min(86, 150 - col)
            )
            write_shard(asked, window, tmp_path / "part.tif")
            part = whole[row : row + window.height, col : col + window.width].astype(int)
            off = np.abs(read(tmp_path / "part.tif")[0] - part)
            # GDAL's transformer is exact to 0.001 px only, and neighbours differ by thousands.
            assert off.max() <= (0 if method == "nearest" else 20)
        # Large windows are worked on in bands of rows, large frames in pieces.
        with monkeypatch.context() as patch:
            patch.setattr(shard, "AREA_PIXELS", 64 * 150)
            patch.setattr("orchard.engines.local.pixels.mapping.FRAME_PIXELS", 20_000)
            write_shard(asked, Window.whole(tile), tmp_path / "bands.tif", threads=2)
        off = np.abs(read(tmp_path / "bands.tif")[0].astype(int) - whole)
        assert off.max() <= (0 if method == "nearest" else 20)


def test_cancelling_leaves_nothing(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise((200, 200)))
    asked = request(TILE, *[[scene("a", red=path)]] * 6)
    out = tmp_path / "out"
    out.mkdir()
    calls = []

    def cancelled():
        calls.append(list(out.iterdir()))
        return len(calls) > 3

    with pytest.raises(ShardCancelledError):
        write_shard(asked, Window.whole(TILE), out / "x.tif", cancelled=cancelled)
    assert calls[-1]
    assert not any(p.name == "x.tif" for seen in calls for p in seen)
    assert not list(out.iterdir())


def test_a_file_that_is_not_complete_does_not_open(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise((200, 200)))
    asked = request(TILE, *[[scene("a", red=path)]] * 3)
    tried = []

    def cancelled():
        (part,) = tmp_path.glob(".x.tif.*.part")
        with pytest.raises(rasterio.errors.RasterioIOError):
            rasterio.open(part, driver="GTiff")
        tried.append(part)
        return False

    write_shard(asked, Window.whole(TILE), tmp_path / "x.tif", cancelled=cancelled)
    assert len(tried) >= 3


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "x.tif"
    out.write_bytes(b"before")
    asked = request(TILE, [scene("a", red=str(tmp_path / "none.tif"))])
    with pytest.raises(SceneError):
        write_shard(asked, Window.whole(TILE), out)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tif"]
    assert out.read_bytes() == b"before"


@pytest.mark.parametrize("wrong", [
    {"bands": ()},
    {"dtype": "complex64"},
    {"nodata": -1},
    {"nodata": 0.5},
    {"resampling": {"red": "lanczos"}},
    {"creation": {"tiles": 5}},
    {"creation": {"blocksize": 100}},
    {"creation": {"codec": "lzma"}},
])  # fmt: skip
def test_requests_are_checked_when_they_are_built(wrong):
    day = [scene("a", red="a.tif")]
    with pytest.raises(InputError):
        request(TILE, day, **wrong)


def test_windows_are_checked(tmp_path):
    with pytest.raises(InputError):
        Window(row_off=-1, col_off=0, height=5, width=5)
    asked = request(TILE, [scene("a", red="a.tif")])
    window = Window(row_off=100, col_off=0, height=64, width=64)
    with pytest.raises(InputError, match="outside the tile of 150 x 130"):
        write_shard(asked, window, tmp_path / "x.tif")


def test_values_are_plain():
    assert Creation.of({"blocksize": 256, "cog": True}) == Creation(blocksize=256, cog=True)
    assert isinstance(request(TILE, [scene("a", red="a.tif")]), ImageRequest)
