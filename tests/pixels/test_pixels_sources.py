"""What scenes may look like: storage, nodata, masks, dtypes, places; and what is refused."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_reference import image
from pixel_scenes import ground, noise, read, request, scene, write_scene

from orchard.engines.local.pixels import Source, Window, raster, write_shard
from orchard.errors import SceneError

TILE = ground(left=499_000, top=4_501_000, res=30, size=(150, 130))


def write(asked, path, window=None, **more):
    """The image as it comes out."""
    write_shard(asked, window or Window.whole(asked.tile), path, **more)
    return read(path)


def check(asked, path):
    """It equals the slow truth, and is not all nodata."""
    got = write(asked, path)
    np.testing.assert_array_equal(got, image(asked, Window.whole(asked.tile)))
    assert (got != asked.nodata).any()
    return got


STORED = {
    "cog": {"driver": "COG"},
    "strips": {"tiled": False, "blockysize": 7},
    "one strip": {"tiled": False, "blockysize": 200},
    "zstd": {"compress": "zstd"},
    "lzw": {"compress": "lzw"},
    "packbits": {"compress": "packbits", "predictor": 1},
    "plain": {"compress": "none", "predictor": 1},
    "no predictor": {"predictor": 1},
    "big-endian": {"ENDIANNESS": "BIG"},
    "BigTIFF": {"BIGTIFF": "YES"},
    "sparse": {"SPARSE_OK": True},
    "LERC": {"compress": "lerc", "predictor": 1},
    "JPEG 2000": {"driver": "JP2OpenJPEG", "REVERSIBLE": "YES", "QUALITY": "100", "nodata": None},
}


@pytest.mark.parametrize("how", STORED)
def test_ways_to_store_a_band(tmp_path, how):
    values = noise((200, 180))
    values[:64, 64:128] = 0
    options = dict(STORED[how])
    driver = options.pop("driver", "GTiff")
    if driver == "GTiff":
        path = write_scene(tmp_path / "a.tif", values, **options)
    else:
        plain = write_scene(tmp_path / "plain.tif", values)
        path = str(tmp_path / ("a.jp2" if "JP2" in driver else "a.tif"))
        extra = {k: v for k, v in options.items() if k != "nodata"}
        rasterio.shutil.copy(plain, path, driver=driver, **extra)
    ours = not isinstance(raster.open_raster(path), raster.GdalRaster)
    assert ours == (how not in ("LERC", "JPEG 2000"))
    source = Source(href=path, nodata=0)
    check(request(TILE, [scene("a", red=source)]), tmp_path / "x.tif")


@pytest.mark.parametrize(
    "name", ["uint8", "int8", "int16", "uint32", "int32", "float32", "float64"]
)
@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
def test_dtypes(tmp_path, name, order):
    values = noise((100, 100), low=1, high=120).astype(name)
    values[20:40] = 0
    path = write_scene(tmp_path / "a.tif", values, ENDIANNESS=order)
    check(request(TILE, [scene("a", red=path)], dtype=name), tmp_path / "x.tif")


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_bands_of_one_file(tmp_path, interleave):
    path = write_scene(tmp_path / "a.tif", noise((3, 150, 170)), interleave=interleave)
    bands = {"red": Source(href=path, band=3), "nir": Source(href=path, band=1)}
    asked = request(TILE, [scene("a", **bands)], bands=("red", "nir"))
    got = check(asked, tmp_path / "x.tif")
    assert (got[0] != got[1]).any()


def test_values_are_copied_whatever_scale_and_offset_say(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise((200, 200)))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [0.0001], [-0.1]
    check(request(TILE, [scene("a", red=path)]), tmp_path / "x.tif")


def test_blocks_left_out_where_the_dtype_has_no_nodata_are_for_gdal(tmp_path):
    values = np.full((128, 128), -9999, "int16")
    values[:64] = noise((64, 128), low=1, high=99)
    path = Path(write_scene(tmp_path / "a.tif", values, nodata=-9999, SPARSE_OK=True))
    assert isinstance(raster.open_raster(str(path)), raster.TiffRaster)
    signed, unsigned = (struct.pack("<HHIH", 339, 3, 1, kind) for kind in (2, 1))
    path.write_bytes(path.read_bytes().replace(signed, unsigned))
    assert isinstance(raster.open_raster(str(path)), raster.GdalRaster)
    check(request(TILE, [scene("a", red=str(path))]), tmp_path / "x.tif")


def test_masks_of_files_become_nodata(tmp_path):
    values = noise((200, 200))
    keep = np.ones(values.shape, bool)
    keep[10:90, 20:110] = False
    path = write_scene(tmp_path / "a.tif", values, nodata=None, mask=keep)
    assert isinstance(raster.open_raster(path), raster.TiffRaster)
    asked = request(TILE, [scene("a", red=path)])
    inside = check(asked, tmp_path / "x.tif")
    # … and another scene shows through the hole.
    other = write_scene(tmp_path / "b.tif", noise((200, 200), seed=1), nodata=None)
    both = check(request(TILE, [scene("a", red=path), scene("b", red=other)]), tmp_path / "y.tif")
    assert (both != 0).sum() > (inside != 0).sum()


def test_a_mask_beside_the_file(tmp_path):
    values = noise((120, 120))
    path = write_scene(tmp_path / "a.tif", values, nodata=None)
    keep = np.ones(values.shape, bool)
    keep[:60] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(keep)
    assert (tmp_path / "a.tif.msk").exists()
    check(request(TILE, [scene("a", red=path)]), tmp_path / "x.tif")


def test_nodata_of_the_source_becomes_that_of_the_image(tmp_path):
    values = noise((200, 200), "uint8", low=0, high=5)
    values[50:90] = 255
    path = write_scene(tmp_path / "a.tif", values, nodata=255)
    got = check(
        request(TILE, [scene("a", red=path)], dtype="int16", nodata=-9999), tmp_path / "x.tif"
    )
    assert set(np.unique(got)) == {-9999, 0, 1, 2, 3, 4}


def test_not_a_number_is_nodata(tmp_path):
    values = noise((200, 200)).astype("float32") / 7
    values[30:90] = np.nan
    path = write_scene(tmp_path / "a.tif", values, nodata=None)
    for nodata in (float("nan"), -9999):
        asked = request(TILE, [scene("a", red=path)], dtype="float32", nodata=nodata)
        got = write(asked, tmp_path / "x.tif")
        missing = np.isnan(got) if np.isnan(nodata) else got == nodata
        assert 0 < missing.sum() < got.size
        assert np.isnan(got).sum() == (missing.sum() if np.isnan(nodata) else 0)


def test_shift_clips_but_never_makes_nodata(tmp_path):
    values = noise((200, 200), low=1, high=3000)
    values[:30] = 0
    path = write_scene(tmp_path / "a.tif", values)
    source = Source(href=path, shift=1000)
    got = check(request(TILE, [scene("a", red=source)]), tmp_path / "x.tif")
    plain = check(request(TILE, [scene("a", red=path)]), tmp_path / "y.tif")
    assert ((got == 0) == (plain == 0)).all()
    assert (got[plain > 1000] == plain[plain > 1000] - 1000).all()
    assert (got[(plain > 0) & (plain <= 1000)] == 1).all()


@pytest.mark.parametrize("transform", [
    Affine.translation(500_000, 4_501_000) @ Affine.rotation(33) @ Affine.scale(30, -30),
    Affine(30, 0, 500_000, 0, 30, 4_495_000),
    Affine(20, 0, 499_995, 0, -20, 4_501_005),
], ids=["rotated", "south up", "finer"])  # fmt: skip
def test_rotated_flipped_and_finer_scenes(tmp_path, transform):
    path = write_scene(tmp_path / "a.tif", noise((200, 200)), transform=transform)
    check(request(TILE, [scene("a", red=path)]), tmp_path / "x.tif")


def test_a_rotated_scene_is_said_once_by_name(tmp_path, caplog):
    turned = Affine.translation(500_000, 4_501_000) @ Affine.rotation(-33) @ Affine.scale(30, -30)
    rotated = write_scene(tmp_path / "a.tif", noise((200, 200)), transform=turned)
    straight = write_scene(tmp_path / "b.tif", noise((200, 200)))
    scenes = [scene("turned", red=rotated, nir=rotated), scene("plain", red=straight, nir=straight)]
    with caplog.at_level("INFO", logger="orchard"):
        write(request(TILE, scenes, bands=("red", "nir")), tmp_path / "x.tif")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["scene turned is stored rotated by -33 degrees"]


def test_bands_of_different_pixel_sizes(tmp_path):
    fine = write_scene(
        tmp_path / "a.tif", noise((400, 400)), transform=Affine(10, 0, 499_980, 0, -10, 4_500_980)
    )
    coarse = write_scene(
        tmp_path / "b.tif", noise((200, 200)), transform=Affine(20, 0, 499_980, 0, -20, 4_500_980)
    )
    asked = request(TILE, [scene("a", red=fine, swir=coarse)], bands=("red", "swir"))
    check(asked, tmp_path / "x.tif")


@pytest.mark.parametrize(("crs", "left", "top", "res", "source", "transform"), [
    ("EPSG:32601", 360_000, 7_310_000, 300, "EPSG:4326", Affine(0.003, 0, 179.4, 0, -0.003, 66.4)),
    ("EPSG:32660", 600_000, 7_310_000, 300, "EPSG:4326", Affine(0.003, 0, -180.9, 0, -0.003, 66.4)),
    ("EPSG:3031", -60_000, 60_000, 1000, "EPSG:4326", Affine(0.9, 0, -180, 0, -0.005, -89)),
    ("EPSG:4326", 179.5, 66, 0.005, "EPSG:32601", Affine(300, 0, 340_000, 0, -300, 7_340_000)),
], ids=["from 179 on", "from -181 on", "over the pole", "a geographic tile"])  # fmt: skip
@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_antimeridian_and_poles(tmp_path, crs, left, top, res, source, transform, method):
    tile = ground(crs, left, top, res, size=(150, 130))
    y, x = np.mgrid[0:400, 0:400]
    values = (1000 + x + 2 * y).astype("uint16")
    path = write_scene(tmp_path / "a.tif", values, crs=source, transform=transform)
    asked = request(tile, [scene("a", red=path)], resampling={"red": method})
    if method == "nearest":
        got = check(asked, tmp_path / "x.tif")
    else:
        # A plane is resampled to itself, so the nearest pixel is close everywhere but at the seam
        # of the file.
        got = write(asked, tmp_path / "x.tif").astype(int)
        near = image(request(tile, [scene("a", red=path)]), Window.whole(tile)).astype(int)
        both = (got > 0) & (near > 0)
        assert both.sum() > 0.98 * (near > 0).sum()
        assert (np.abs(got - near)[both] > 3).mean() < 0.02
    assert (got > 0).mean() > 0.1


def test_a_tile_beside_all_scenes_is_nodata(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise((50, 50)))
    for tile in (ground(left=900_000), ground("EPSG:3031", 0, 0, 1000), ground(top=2_000_000)):
        assert not write(request(tile, [scene("a", red=path)]), tmp_path / "x.tif").any()


def test_optional_bands_may_be_missing(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise((200, 200)))
    for missing in (scene("b"), scene("b", red=None)):
        asked = request(TILE, [scene("a", red=path)], [missing], optional=frozenset({"red"}))
        got = check(asked, tmp_path / "x.tif")
        assert not got[1].any()
        with pytest.raises(SceneError, match="scene b has no band red"):
            write(request(TILE, [missing]), tmp_path / "y.tif")


def broken_block(path):
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset + 20 : offset + 40] = b"not what was there !"
    path.write_bytes(data)


def no_georeference(path):
    # Both of its geographic tags become unknown ones.
    data = path.read_bytes()
    for tag in (33550, 34735):
        assert data.count(tag.to_bytes(2, "little")) >= 1
        data = data.replace(tag.to_bytes(2, "little"), b"\xff\xfe")
    path.write_bytes(data)


def short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


@pytest.mark.parametrize("damage", [broken_block, no_georeference, short, empty, gone])
@pytest.mark.parametrize("method", ["nearest", "cubic"])
@pytest.mark.parametrize("compress", ["deflate", "lerc"])
def test_what_cannot_be_read_fails_by_name(tmp_path, damage, method, compress):
    good = write_scene(tmp_path / "good.tif", noise((200, 200)))
    more = {"predictor": 1} if compress == "lerc" else {}
    bad = write_scene(tmp_path / "bad.tif", noise((200, 200)), compress=compress, **more)
    damage(Path(bad))
    asked = request(
        TILE, [scene("fine", red=good)], [scene("spoilt", red=bad)], resampling={"red": method}
    )
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(
        SceneError, match=r"band red of scene spoilt cannot be read .*bad\.tif"
    ) as error:
        write(asked, out / "x.tif", threads=2)
    assert error.value.scene == "spoilt"
    assert not list(out.iterdir())


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_to_a_header_leaks_another_error(tmp_path_factory, changes):
    folder = tmp_path_factory.getbasetemp() / "damage"
    if not folder.exists():
        folder.mkdir()
        write_scene(folder / "good.tif", noise((40, 40)), blockxsize=16, blockysize=16)
    data = bytearray((folder / "good.tif").read_bytes())
    for place, value in changes:
        data[place] = value
    (folder / "bad.tif").write_bytes(data)
    tile = ground(left=500_000, top=4_500_000, res=30, size=(20, 20))
    asked = request(tile, [scene("spoilt", red=str(folder / "bad.tif"))])
    with contextlib.suppress(SceneError):
        write_shard(asked, Window.whole(tile), folder / "x.tif")


@pytest.mark.parametrize(("values", "dtype", "says"), [
    (np.full((200, 200), 70_000, "int32"), "uint16", "70000 is out of .* uint16; .*: int32"),
    (np.full((200, 200), -3, "int16"), "uint16", "-3 is out of .*: int32'.* the band's nodata"),
    (np.full((200, 200), -3, "int16"), "uint8", "value -3 is out of .*: int16'"),
    (np.full((200, 200), 2**32 - 1, "uint32"), "int32", "value 4294967295 is out .*: float64'"),
    (np.full((200, 200), 0.5, "float32"), "uint16",
     "value 0.5 is not a whole number, .* dtype is uint16; declare 'dtype: float32' for the coll"),
    (np.full((200, 200), 2**24 + 1, "int32"), "float32", "16777217 cannot be held .*: float64'"),
])  # fmt: skip
def test_values_that_do_not_fit_fail_by_name(tmp_path, values, dtype, says):
    path = write_scene(tmp_path / "a.tif", values)
    asked = request(TILE, [scene("a", red=path)], dtype=dtype)
    with pytest.raises(SceneError, match=f"band red of scene a does not fit .*{says}"):
        write(asked, tmp_path / "x.tif")


def test_a_band_that_the_file_does_not_have(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise((20, 20)))
    asked = request(TILE, [scene("a", red=Source(href=path, band=2))])
    with pytest.raises(SceneError, match="the file has 1 bands, not 2"):
        write(asked, tmp_path / "x.tif")


def test_file_urls(tmp_path):
    path = write_scene(tmp_path / "a scene.tif", noise((200, 200)))
    url = (tmp_path / "a scene.tif").as_uri()
    assert "%20" in url
    one = write(request(TILE, [scene("a", red=url)]), tmp_path / "x.tif")
    np.testing.assert_array_equal(
        one, write(request(TILE, [scene("a", red=path)]), tmp_path / "y.tif")
    )
