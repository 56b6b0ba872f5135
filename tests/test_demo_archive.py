"""The demo's archive: what a reader of Landsat Collection 2 relies on, and how it is written."""

import hashlib
import itertools
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pyproj import Transformer
from pystac.errors import STACValidationError
from pystac.validation import validate_dict
from rasterio.features import geometry_mask
from rasterio.windows import from_bounds
from shapely.geometry import Polygon, shape

from orchard.collections import load_collections
from orchard.demo import archive
from orchard.demo.archive import make_archive
from orchard.demo.ground import Ground, fractal
from orchard.demo.sky import Sun, Weather, dilated, make_sky, sun_position
from orchard.errors import AccessError, InputError, StoreError

DATES, SIZE = 5, 200
BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive"), dates=DATES, size=SIZE)


@pytest.fixture(scope="module")
def items(catalog) -> list[pystac.Item]:
    found = list(pystac.Catalog.from_file(str(catalog)).get_items(recursive=True))
    return sorted(found, key=lambda item: item.datetime)


@pytest.fixture(scope="module")
def pixels(items):
    """Scene id -> asset -> array."""

    def read(asset):
        with rasterio.open(asset.get_absolute_href()) as dataset:
            return dataset.read(1)

    return {item.id: {key: read(asset) for key, asset in item.assets.items()} for item in items}


def flag(qa, bit):
    return (qa >> bit) & 1 == 1


def two_bits(qa, bit):
    return (qa >> bit) & 3


# The catalogue -----------------------------------------------------------------------------------


def test_documents_are_valid_stac(catalog):
    root = pystac.Catalog.from_file(str(catalog))
    documents = [root, *root.get_children(), *root.get_items(recursive=True)]
    assert len(documents) == 2 + 2 * DATES
    for document in documents:
        raw = json.loads(Path(document.get_self_href()).read_text())
        # The extensions' schemas are on the web; the core's come with pystac.
        assert validate_dict(raw, stac_version="1.1.0", extensions=[])
        del raw["links"]
        with pytest.raises(STACValidationError):
            validate_dict(raw, stac_version="1.1.0", extensions=[])


def test_links_are_relative_and_lead_home(catalog, items):
    collection = pystac.Collection.from_file(str(catalog.parent / "landsat-c2-l2/collection.json"))
    assert collection.id == "landsat-c2-l2"
    for path in catalog.parent.rglob("*.json"):
        for link in json.loads(path.read_text())["links"]:
            assert link["href"].startswith("."), link
            assert (path.parent / link["href"]).exists(), link
    for item in items:
        assert item.collection_id == collection.id
        assert item.get_root().id == "orchard-demo"
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert west == min(item.bbox[0] for item in items)
    assert south == min(item.bbox[1] for item in items)
    assert east == max(item.bbox[2] for item in items)
    assert north == max(item.bbox[3] for item in items)
    first, last = collection.extent.temporal.intervals[0]
    assert (first, last) == (items[0].datetime, items[-1].datetime)


def test_items_describe_their_files(items):
    for item in items:
        properties = item.properties
        assert set(item.assets) == {*BANDS, "qa_pixel"}
        for key, asset in item.assets.items():
            raster = asset.extra_fields["raster:bands"][0]
            with rasterio.open(asset.get_absolute_href()) as dataset:
                assert dataset.dtypes == ("uint16",)
                assert str(dataset.crs) == properties["proj:code"] == "EPSG:32615"
                assert [dataset.height, dataset.width] == properties["proj:shape"]
                assert list(dataset.transform)[:6] == properties["proj:transform"]
                assert dataset.nodata == raster["nodata"] == (1 if key == "qa_pixel" else 0)
                layout = dataset.tags(ns="IMAGE_STRUCTURE")
                assert layout["LAYOUT"] == "COG"
                assert layout["COMPRESSION"] == "DEFLATE"
                assert layout["PREDICTOR"] == "2"
                assert dataset.block_shapes == [(512, 512)]
            if key in BANDS:
                assert (raster["scale"], raster["offset"]) == (0.0000275, -0.2)
        # Collection 2 has pixel centres on multiples of 30 m.
        assert properties["proj:transform"][2] % 30 == 15
        assert properties["proj:transform"][5] % 30 == 15


def test_two_rows_on_each_date_and_none_in_june(items):
    rows = [item.properties["landsat:wrs_row"] for item in items]
    assert rows == ["030", "031"] * DATES
    north, south = items[::2], items[1::2]
    for upper, lower in zip(north, south, strict=True):
        assert lower.datetime - upper.datetime == timedelta(seconds=23.9)
        assert upper.id.startswith(f"LC08_L2SP_026030_{upper.datetime:%Y%m%d}_")
        assert upper.properties["landsat:scene_id"] == f"LC8026030{upper.datetime:%Y%j}LGN00"
    days = [item.datetime.date() for item in north]
    steps = [(b - a).days for a, b in itertools.pairwise(days)]
    assert steps == [16, 16, 48, 16]
    assert {day.month for day in days} == {4, 5, 7}


def test_registry_finds_its_bands(items):
    collection = load_collections()["LANDSAT/LC08/C02/T1_L2"]
    source = collection.stac_for("catalog.json")
    assert source.collection == "landsat-c2-l2"
    for item in items:
        assert source.matches(item.properties)
        for rule in collection.source_rules(item.properties, source).values():
            assert rule.optional or rule.asset in item.assets


# The pixels --------------------------------------------------------------------------------------


def test_footprint_is_the_geometry_and_the_rest_is_nodata(items, pixels):
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32615", always_xy=True)
    for item in items:
        bands = pixels[item.id]
        seen = bands["blue"] > 0
        assert 0.45 < seen.mean() < 0.8  # a tilted square inside its image
        for key in BANDS:
            np.testing.assert_array_equal(bands[key] > 0, seen)
        np.testing.assert_array_equal(bands["qa_pixel"] == 1, ~seen)
        assert not flag(bands["qa_pixel"][seen], 0).any()
        ring = shape(item.geometry).exterior
        assert ring.is_ccw
        footprint = Polygon(zip(*to_utm.transform(*ring.xy), strict=True))
        with rasterio.open(item.assets["blue"].get_absolute_href()) as dataset:
            inside = geometry_mask(
                [footprint], seen.shape, dataset.transform, invert=True, all_touched=False
            )
        # Corners are rounded to a centimetre: a pixel's centre can lie that near to an edge.
        assert (inside != seen).sum() <= 2


def test_rows_overlap_and_show_the_same_ground(items, pixels):
    for upper, lower in zip(items[::2], items[1::2], strict=True):
        a, b = shape(upper.geometry), shape(lower.geometry)
        assert 0.10 < a.intersection(b).area / a.area < 0.20
        both, reflectances = [], []
        with (
            rasterio.open(upper.assets["red"].get_absolute_href()) as one,
            rasterio.open(lower.assets["red"].get_absolute_href()) as other,
        ):
            left, right = max(one.bounds[0], other.bounds[0]), min(one.bounds[2], other.bounds[2])
            bottom, top = max(one.bounds[1], other.bounds[1]), min(one.bounds[3], other.bounds[3])
            for dataset in (one, other):
                values = dataset.read(
                    1, window=from_bounds(left, bottom, right, top, dataset.transform)
                )
                both.append(values > 0)
                reflectances.append(values * 0.0000275 - 0.2)
        common = both[0] & both[1]
        assert common.sum() > 1000
        # Corrected on its own, each differs by up to 0.4 % of the other, and one DN of rounding.
        first, second = reflectances[0][common], reflectances[1][common]
        np.testing.assert_allclose(first, second, rtol=0.0041, atol=3e-5)
        assert (first != second).any()


def test_qa_words_are_those_of_collection_2(pixels):
    words = np.unique(np.concatenate([bands["qa_pixel"].ravel() for bands in pixels.values()]))
    words = words[words != 1]
    # Clear land and clear water, dilated cloud, cloud, and cloud shadow over land.
    assert {21824, 21952, 21762, 22280, 23888} <= set(words.tolist())
    cloud, near, shadow = flag(words, 3), flag(words, 1), flag(words, 4)
    np.testing.assert_array_equal(flag(words, 6), ~cloud & ~near)
    np.testing.assert_array_equal(two_bits(words, 8) == 3, cloud)
    np.testing.assert_array_equal(two_bits(words, 10) == 3, shadow)
    np.testing.assert_array_equal(two_bits(words, 14) == 3, flag(words, 2))
    assert not flag(words, 5).any()
    assert not (cloud & (near | shadow)).any()


def test_cloud_cover_is_measured(items, pixels):
    covers = []
    for item in items:
        qa = pixels[item.id]["qa_pixel"]
        seen, cloud, water = qa != 1, flag(qa, 3), flag(qa, 7)
        covers.append(item.properties["eo:cloud_cover"])
        assert covers[-1] == round(100 * cloud[seen].mean(), 2)
        land = seen & ~water
        assert item.properties["landsat:cloud_cover_land"] == round(100 * cloud[land].mean(), 2)
    assert min(covers) < 10
    assert max(covers) > 40


def test_clouds_are_bright_shadows_dark_water_black_and_crops_grow(items, pixels):
    def mean(item, band, where):
        return float(pixels[item.id][band][where].mean() * 0.0000275 - 0.2)

    greenness = []
    for item in items:
        qa = pixels[item.id]["qa_pixel"]
        clear, cloud, shadow = qa == 21824, flag(qa, 3), flag(qa, 4) & ~flag(qa, 1)
        if cloud.sum() > 100:
            assert mean(item, "blue", cloud) > 3 * mean(item, "blue", clear)
        if shadow.sum() > 100:
            assert mean(item, "nir08", shadow) < 0.8 * mean(item, "nir08", clear)
        if (qa == 21952).sum() > 20:
            assert mean(item, "swir16", qa == 21952) < 0.08
        red, nir = mean(item, "red", clear), mean(item, "nir08", clear)
        greenness.append((nir - red) / (nir + red))
    assert greenness[0] < 0.35
    assert greenness[-1] > 0.6


# The sky -----------------------------------------------------------------------------------------


def test_sun_stands_where_the_usgs_says():
    # LC08_L2SP_028030_20200114: at its centre, as its metadata have it.
    sun = sun_position(datetime(2020, 1, 14, 17, 5, 46, 732651, UTC), -95.55, 43.18)
    assert sun.azimuth == pytest.approx(158.4519, abs=0.1)
    assert sun.elevation == pytest.approx(22.5799, abs=0.1)


def test_items_have_the_morning_sun_of_their_season(items):
    elevations = [item.properties["view:sun_elevation"] for item in items]
    assert all(120 < item.properties["view:sun_azimuth"] < 160 for item in items)
    assert 50 < elevations[0] < elevations[6] < 68


def test_shadows_are_the_clouds_moved_away_from_the_sun():
    ground = Ground(left=600_000, top=4_700_000, width=160, height=140)
    weather = Weather(cover=0.3, scale=1200, base=900)
    # From the south-east at 45 degrees: 900 m are 21 pixels to the east and 21 to the south.
    sky = make_sky(ground, weather, Sun(azimuth=135, elevation=45), seed=4)
    np.testing.assert_array_equal(sky.shadow[:-21, :-21], sky.cloud[21:, 21:])
    assert 0.2 < (sky.cloud > 0.3).mean() < 0.4


def test_noise_belongs_to_the_ground_not_to_the_picture():
    wide = Ground(left=600_000, top=4_700_000, width=90, height=80)
    part = Ground(left=600_000 + 20 * 30, top=4_700_000 - 15 * 30, width=40, height=30)
    whole = fractal(wide, 800.0, seed=3, octaves=5)
    np.testing.assert_allclose(
        fractal(part, 800.0, seed=3, octaves=5), whole[15:45, 20:60], atol=1e-5
    )
    big = fractal(Ground(left=0, top=0, width=600, height=600), 300.0, seed=5, octaves=4, gain=0.6)
    assert abs(big.mean()) < 0.1
    assert big.std() == pytest.approx(1, abs=0.1)


def test_dilation_is_a_square():
    mask = np.zeros((9, 11), bool)
    mask[4, 5] = mask[0, 0] = True
    grown = dilated(mask, 2)
    expected = np.zeros_like(mask)
    expected[2:7, 3:8] = expected[:3, :3] = True
    np.testing.assert_array_equal(grown, expected)


# Writing -----------------------------------------------------------------------------------------


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_same_seed_same_archive_other_seed_other_archive(tmp_path):
    one, two, other = tmp_path / "one", tmp_path / "two", tmp_path / "other"
    steps = []
    make_archive(
        one, dates=2, size=96, callback=lambda item, n_steps: steps.append((item, n_steps))
    )
    assert make_archive(two, dates=2, size=96) == two / "catalog.json"
    make_archive(other, dates=2, size=96, seed=7)
    assert digests(one) == digests(two)
    assert digests(one) != digests(other)
    assert len(steps) == len({item for item, _ in steps}) == 4
    assert sum(n_steps for _, n_steps in steps) == 4
    # Again into the same folder: replaced, nothing left over.
    make_archive(one, dates=2, size=96)
    assert digests(one) == digests(two)


def test_killed_run_leaves_no_catalogue(tmp_path):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from orchard.demo.archive import make_archive\n"
        "def die(*, item, n_steps):\n"
        "    if '031' in item: os.kill(os.getpid(), 9)\n"
        "make_archive(Path(sys.argv[1]), dates=2, size=96, callback=die)\n"
    )
    make_archive(tmp_path, dates=1, size=96, seed=1)  # an older archive must not stay whole either
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "catalog.json").exists()
    assert list(tmp_path.rglob("*.TIF"))
    catalog = make_archive(tmp_path, dates=2, size=96)
    assert len(list(pystac.Catalog.from_file(str(catalog)).get_items(recursive=True))) == 4


@pytest.mark.parametrize(("dates", "size"), [(0, 200), (2, 63)])
def test_too_small_an_archive_is_refused(tmp_path, dates, size):
    with pytest.raises(InputError, match=f"not {dates} and {size}"):
        make_archive(tmp_path / "new", dates=dates, size=size)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ['{"type": "Catalog", "id": "mine"}', "not JSON", "[]"])
def test_a_catalogue_of_somebody_else_is_left_alone(tmp_path, text):
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(InputError, match="another folder"):
        make_archive(tmp_path, dates=1, size=64)
    assert (tmp_path / "catalog.json").read_text() == text
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "landsat-c2-l2").write_text("")
    with pytest.raises(StoreError, match="cannot write the demo's archive") as caught:
        make_archive(tmp_path, dates=1, size=64)
    assert caught.value.key == str(tmp_path)


def test_no_permission_names_the_file(tmp_path, monkeypatch):
    def refuse(path, document):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(archive, "_write_json", refuse)
    with pytest.raises(AccessError, match="not allowed") as caught:
        make_archive(tmp_path, dates=1, size=64)
    assert caught.value.key.endswith("_02_T1.json")
    assert not (tmp_path / "catalog.json").exists()
