"""Maps: pictures where they lie, features that tell, pages that are small and need no network."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import tarfile
from pathlib import Path

import folium
import numpy as np
import pytest
import rasterio
from affine import Affine
from geopandas import GeoDataFrame
from PIL import Image
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.transform import from_bounds, from_origin
from shapely.geometry import Point, box
from test_viz_plots import write

from orchard import viz
from orchard.errors import DataError, InputError
from orchard.viz.features import feature_bounds, features_of, pair, popup
from orchard.viz.pictures import read_for_map

BERLIN = (13.36, 52.48, 13.43, 52.53)


@pytest.fixture
def result(scenes, tmp_path):
    """The real result, unpacked."""
    with tarfile.open(scenes / "up42/result_tif.tgz") as archive:
        archive.extractall(tmp_path / "real", filter="data")
    return sorted(path for path in (tmp_path / "real").rglob("*") if path.is_file())


def overlays(page):
    found = []
    for child in page._children.values():
        if isinstance(child, folium.raster_layers.ImageOverlay):
            png = base64.b64decode(child.url.partition(",")[2])
            found.append((np.array(Image.open(io.BytesIO(png))), child.bounds))
    return found


def layers(page):
    return [child for child in page._children.values() if isinstance(child, folium.GeoJson)]


def names(page):
    control = next(c for c in page._children.values() if isinstance(c, folium.LayerControl))
    page.get_root().render()
    return list(control.overlays)


def test_the_real_result_lies_on_berlin(result, tmp_path):
    page = viz.map_results(result, aoi=BERLIN, save_html=tmp_path / "map.html")
    ((picture, ((south, west), (north, east))),) = overlays(page)
    assert BERLIN[0] - 0.001 < west < east < BERLIN[2]
    assert BERLIN[1] < south < north < BERLIN[3]
    (feature,) = features_of(next(path for path in result if path.suffix == ".json"))
    assert (west, south, east, north) == pytest.approx(feature["bbox"], abs=1e-6)
    assert picture.shape[2] == 4
    uid = feature["properties"]["uid"]
    assert names(page) == [f"Image 1 - {uid}", "aoi", "Features"]
    assert (tmp_path / "map.html").stat().st_size < 1_500_000
    with rasterio.open(next(path for path in result if path.suffix == ".tif")) as src:
        valid = (src.read(4) > 0).mean()
        mean = src.read(1)[src.read(4) > 0].mean()
    assert (picture[..., 3] > 0).mean() == pytest.approx(valid, abs=0.005)
    assert picture[..., 0][picture[..., 3] > 0].mean() == pytest.approx(mean, rel=0.01)


def test_a_picture_is_warped_to_where_its_pixels_are(tmp_path):
    # One bright pixel in a UTM raster: it must be where pyproj says.
    values = np.zeros((3, 400, 400), "uint8")
    values[:, 300:304, 100:104] = 255
    path = write(
        tmp_path / "a.tif", values, crs="EPSG:32632", transform=from_origin(6e5, 5.2e6, 30, 30)
    )
    raster = read_for_map(path, [1, 2, 3], 1024)
    rows, cols = np.nonzero(raster.values[0] == 255)
    x = raster.transform.c + raster.transform.a * (cols.mean() + 0.5)
    y = raster.transform.f + raster.transform.e * (rows.mean() + 0.5)
    expected = Transformer.from_crs(32632, 3857, always_xy=True).transform(
        6e5 + 102 * 30, 5.2e6 - 302 * 30
    )
    assert (x, y) == pytest.approx(expected, abs=25)
    assert raster.alpha[0, 0] == 0  # the corner that the turned raster does not cover
    assert raster.alpha[200, 200] == 255
    left, bottom, right, top = raster.bounds
    merc = Transformer.from_crs(4326, 3857, always_xy=True)
    assert merc.transform(left, top) == pytest.approx((raster.transform.c, raster.transform.f))
    assert merc.transform(right, bottom)[0] == pytest.approx(
        raster.transform.c + raster.transform.a * raster.values.shape[2]
    )


def test_the_whole_world_and_the_antimeridian(tmp_path):
    world = write(
        tmp_path / "w.tif",
        np.full((3, 90, 180), 9, "uint8"),
        crs="EPSG:4326",
        transform=from_bounds(-180, -90, 180, 90, 180, 90),
    )
    raster = read_for_map(world, [1, 2, 3], 300)
    assert raster.bounds == pytest.approx((-180, -85.06, 180, 85.06))
    assert raster.values.shape[1:] == (300, 300)
    assert (raster.alpha > 0).mean() > 0.99
    fiji = write(
        tmp_path / "f.tif",
        np.full((3, 100, 100), 9, "uint8"),
        crs="EPSG:32701",
        transform=from_origin(150_000, 8_100_000, 1000, 1000),
    )
    raster = read_for_map(fiji, [1, 2, 3], 300)
    left, _, right, _ = raster.bounds
    assert 177 < left < 180 < right < 183
    assert (raster.alpha > 0).mean() > 0.9


def test_a_picture_placed_by_ground_control_points(tmp_path):
    plain = np.full((3, 50, 50), 9, "uint8")
    path = write(tmp_path / "a.tif", plain, crs=None, transform=Affine.identity())
    corners = [(0, 0, 13, 53), (0, 50, 14, 53), (50, 0, 13, 52), (50, 50, 14, 52)]
    points = [GroundControlPoint(row=r, col=c, x=x, y=y) for r, c, x, y in corners]
    with rasterio.open(path, "r+") as dst:
        dst.gcps = (points, "EPSG:4326")
    raster = read_for_map(path, [1, 2, 3], 200)
    assert raster.bounds == pytest.approx((13, 52, 14, 53))
    assert (raster.alpha > 0).all()


def test_overviews_are_read(tmp_path):
    values = np.random.default_rng(1).integers(0, 255, (3, 2048, 2048), dtype="uint8")
    path = write(tmp_path / "big.tif", values, tiled=True)
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2], Resampling.nearest)
    with rasterio.open(path, "r+", overview_level=0) as dst:
        dst.write(np.full((3, 1024, 1024), 7, "uint8"))  # to be told from the full picture
    ((picture, _),) = overlays(viz.map_images(path, size=500))
    assert max(picture.shape[:2]) == 500
    assert set(np.unique(picture[..., :3][picture[..., 3] > 0])) == {7}


def test_a_large_raster_makes_a_small_page(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (3, 1250, 1250), dtype="uint8")
    write(tmp_path / "noise.tif", noise)
    band = (
        '<VRTRasterBand dataType="Byte" band="{n}"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">noise.tif</SourceFilename><SourceBand>{n}</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="1250" ySize="1250"/>'
        '<DstRect xOff="0" yOff="0" xSize="10000" ySize="10000"/>'
        "</SimpleSource></VRTRasterBand>"
    )
    (tmp_path / "big.vrt").write_text(
        '<VRTDataset rasterXSize="10000" rasterYSize="10000"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>390000, 10, 0, 5820000, 0, -10</GeoTransform>"
        + "".join(band.format(n=n) for n in (1, 2, 3))
        + "</VRTDataset>"
    )
    page = viz.map_images(tmp_path / "big.vrt", save_html=tmp_path / "m.html")
    ((picture, _),) = overlays(page)
    assert picture.shape[0] > 500
    assert (tmp_path / "m.html").stat().st_size < 6_500_000


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64"],
)
def test_outside_is_transparent_whatever_the_data_type(tmp_path, dtype, bands):
    values = np.full((bands, 50, 50), 7, dtype)
    path = write(tmp_path / "a.tif", values if bands > 1 else values[0])
    with rasterio.open(path, "r+") as dst:
        dst.write_mask(np.arange(50) < np.full((50, 1), 25))
    raster = read_for_map(path, [1, 2, 3], 1024)
    assert len(raster.values) == bands
    assert (raster.values[0][raster.alpha > 0] == 7).all()
    assert set(np.unique(raster.alpha)) == {0, 255}
    assert (raster.alpha[100:-100, :120] == 0).mean() < 0.1
    assert (raster.alpha[:, 140:] == 0).all()


def test_noisy_pictures_share_the_size_of_the_page(tmp_path):
    rng = np.random.default_rng(1)
    paths = [
        write(tmp_path / f"{n}.tif", rng.integers(0, 255, (3, 900, 900), dtype="uint8"))
        for n in range(3)
    ]
    page = viz.map_images(paths, save_html=tmp_path / "m.html", page_size=1_000_000)
    assert (tmp_path / "m.html").stat().st_size < 1_500_000
    shapes = {picture.shape[:2] for picture, _ in overlays(page)}
    assert all(100 < max(shape) < 512 for shape in shapes)


def test_one_band_pictures_share_their_colours_and_a_legend(tmp_path):
    low = write(tmp_path / "low.tif", np.linspace(0, 1, 2500, dtype="f4").reshape(50, 50))
    high = write(tmp_path / "high.tif", np.linspace(1, 2, 2500, dtype="f4").reshape(50, 50))
    page = viz.map_images([low, high], stretch=(0, 100))
    html = page.get_root().render()
    assert '["2 images", "0", "2"]' in html
    assert "linear-gradient(to right, #440154" in html
    (first, _), (second, _) = overlays(page)
    assert first[..., 2].max() > second[..., 2].max()  # viridis: blue below, none above
    one = viz.map_images(low, cmap="magma").get_root().render()
    title, least, most = json.loads(re.search(r"var text = (\[.*?\]);", one)[1])
    assert (title, float(least), float(most)) == (
        "low",
        pytest.approx(0.02, abs=0.01),
        pytest.approx(0.98, abs=0.01),
    )
    with pytest.raises(InputError, match="no colours named 'nope'"):
        viz.map_images(low, cmap="nope")
    rgb = write(tmp_path / "rgb.tif", np.zeros((3, 9, 9), "uint8"))
    assert "linear-gradient" not in viz.map_images(rgb).get_root().render()


def feature(name, bounds, **properties):
    return {
        "type": "Feature",
        "geometry": box(*bounds).__geo_interface__,
        "properties": {"uid": name, **properties},
    }


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


def test_pictures_and_features_belong_together_by_data_path_not_by_order(tmp_path):
    plain = np.zeros((3, 9, 9), "uint8")
    paths = [write(tmp_path / "out" / n / f"{n}.tif", plain, crs=None) for n in ("a", "b")]
    features = collection(
        feature("is-b", (20, 50, 21, 51), **{"up42.data_path": "b/b.tif"}),
        feature("is-a", (10, 50, 11, 51), **{"up42.data_path": "a/a.tif"}),
    )
    page = viz.map_images(paths, features)
    assert [bounds for _, bounds in overlays(page)] == [
        [[50, 10], [51, 11]],
        [[50, 20], [51, 21]],
    ]
    assert names(page) == ["Image 1 - is-a", "Image 2 - is-b", "Features"]


def test_a_picture_that_lies_nowhere_is_left_out_with_a_warning(tmp_path):
    plain = np.zeros((3, 9, 9), "uint8")
    placed = write(tmp_path / "a.tif", plain)
    lost = write(tmp_path / "b.tif", plain, crs=None)
    with pytest.warns(UserWarning, match="left out of the map: .*b.tif has no georeference"):
        page = viz.map_images([placed, lost])
    assert len(overlays(page)) == 1
    with pytest.raises(DataError, match="no feature says where it lies"):
        viz.map_images(lost)
    other = write(tmp_path / "c.tif", plain, crs=None)
    with (
        pytest.raises(DataError, match="none of the 2 pictures"),
        pytest.warns(UserWarning, match="left out"),
    ):
        viz.map_images([lost, other])


def test_quicklooks_lie_on_their_scenes(scenes, tmp_path):
    source = next((scenes / "up42").glob("quicklook_*.jpg"))
    picture = tmp_path / source.name
    shutil.copy(source, picture)
    scene_id = picture.stem.removeprefix("quicklook_")
    other = {**feature("x", (0, 0, 1, 1)), "id": "other"}
    scene = {**feature("y", (9, 40, 10, 41)), "id": scene_id}
    page = viz.map_quicklooks(collection(other, scene), [picture])
    ((_, bounds),) = overlays(page)
    assert bounds == [[40, 9], [41, 10]]
    assert layers(page) == []
    assert names(page) == [f"Image 1 - {scene_id}"]
    table = GeoDataFrame({"id": [scene_id]}, geometry=[box(9, 40, 10, 41)], crs="EPSG:4326")
    ((_, bounds),) = overlays(viz.map_quicklooks(table.to_crs(3857), [picture]))
    assert np.allclose(bounds, [[40, 9], [41, 10]])
    page = viz.map_quicklooks(table, [picture], show_images=False, show_features=True)
    assert overlays(page) == []
    assert len(layers(page)) == 1


def test_vector_results_and_choices_of_what_to_show(tmp_path):
    data = tmp_path / "data.json"
    data.write_text(json.dumps(collection(feature("d", (0, 0, 1, 1)))))
    vector = tmp_path / "v.geojson"
    vector.write_text(json.dumps(collection(feature("v", (5, 5, 6, 6)))))
    picture = write(tmp_path / "a.TIF", np.zeros((3, 9, 9), "uint8"))
    assert "Feature 1 - v" in json.dumps(layers(viz.map_results([data, vector]))[0].data)
    assert "Feature 1 - d" in json.dumps(layers(viz.map_results([data]))[0].data)
    page = viz.map_results([data, picture], show_features=False)
    assert layers(page) == []
    assert len(overlays(page)) == 1
    assert overlays(viz.map_results([data, picture], show_images=False)) == []
    assert viz.map_results([picture, tmp_path / "other.txt"]) is not None
    with pytest.raises(InputError, match="no features among the results"):
        viz.map_results([picture], show_images=False)
    with pytest.raises(InputError, match="nothing to show"):
        viz.map_images()


def test_names_come_from_the_column_asked_for():
    page = viz.map_images(
        (), collection(feature("u", (0, 0, 1, 1), title="T")), name_column="title"
    )
    assert "Feature 1 - T" in json.dumps(layers(page)[0].data)
    page = viz.map_images((), collection(feature("u", (0, 0, 1, 1))), name_column="none")
    assert '"tooltip": "Feature 1"' in json.dumps(layers(page)[0].data)


def test_many_and_detailed_features_make_a_small_page(tmp_path):
    circle = Point(0, 0).buffer(1, quad_segs=200)
    features = [
        {
            "type": "Feature",
            "geometry": circle.__geo_interface__,
            "properties": {"n": n, "x": "y" * 9999},
        }
        for n in range(501)
    ]
    with pytest.warns(UserWarning, match="first 500 of 501"):
        viz.map_images((), collection(*features), save_html=tmp_path / "m.html")
    assert (tmp_path / "m.html").stat().st_size < 4_000_000


@pytest.mark.parametrize("target", ["page.html", "new/page.htm", "folder", "present"])
def test_the_page_goes_to_a_file_or_into_a_folder(tmp_path, target):
    (tmp_path / "present").mkdir()
    viz.map_images((), collection(feature("u", (0, 0, 1, 1))), save_html=tmp_path / target)
    path = tmp_path / target
    path = path if path.suffix else path / "final_map.html"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "<title>Map · Orchard</title>" in text
    assert [p.name for p in path.parent.iterdir() if p.is_file()] == [path.name]


def test_the_page_asks_for_nothing_but_the_basemap():
    page = viz.map_images((), collection(feature("u", (0, 0, 1, 1))))
    html = page.get_root().render()
    used = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', html)
    assert used == []
    urls = {url for url in re.findall(r"https?://[\w./-]+", html) if "w3.org" not in url}
    assert urls == {"https://server.arcgisonline.com/ArcGIS/rest/services/World"} or all(
        "arcgisonline" in url for url in urls
    )
    plain = viz.map_images((), collection(feature("u", (0, 0, 1, 1))), basemap=False)
    assert "arcgisonline" not in plain.get_root().render()
    script = base64.b64decode(re.search(r'src="data:text/javascript;base64,([^"]+)"', html)[1])
    assert b"Leaflet" in script[:300]
    assert b"Agafonkin" in script[:300]


@pytest.mark.parametrize(
    "source",
    [
        collection(feature("u", (1, 2, 3, 4))),
        feature("u", (1, 2, 3, 4)),
        box(1, 2, 3, 4).__geo_interface__,
        box(1, 2, 3, 4),
        (1, 2, 3, 4),
        [box(1, 2, 3, 4)],
        GeoDataFrame(geometry=[box(1, 2, 3, 4)], crs="EPSG:4326"),
        GeoDataFrame(geometry=[box(1, 2, 3, 4)], crs="EPSG:4326").to_crs(3857),
        GeoDataFrame(geometry=[box(1, 2, 3, 4)]),
    ],
)
def test_features_in_all_their_shapes(source):
    (found,) = features_of(source)
    assert feature_bounds(found) == pytest.approx((1, 2, 3, 4))
    assert isinstance(found["properties"], dict)


def test_features_that_are_none(tmp_path):
    assert features_of(None) == []
    assert feature_bounds({"geometry": None}) is None
    assert feature_bounds({"geometry": {"type": "Polygon", "coordinates": []}}) is None
    assert feature_bounds({"bbox": [1, 2, 0, 3, 4, 9]}) == (1, 2, 3, 4)
    for wrong in (7, {"a": 1}, {"type": "Nonsense"}, ["x"], {"type": "Point"}):
        with pytest.raises(InputError, match="aoi: not GeoJSON"):
            features_of(wrong, "aoi")
    with pytest.raises(DataError, match="cannot read"):
        features_of(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("nonsense")
    with pytest.raises(DataError, match="is not GeoJSON"):
        features_of(tmp_path / "a.json")


def test_pairing():
    features = features_of(
        collection(
            feature("one", (0, 0, 1, 1), **{"up42.data_path": "x/deep/a.tif"}),
            feature("two", (0, 0, 1, 1), **{"up42.data_path": "a.tif"}),
            feature("three", (0, 0, 1, 1), sceneId="S3"),
            feature("four", (0, 0, 1, 1), title=4),
        )
    )
    paths = ["/o/x/deep/a.tif", "/o/deep/a.tif", "/o/quicklook_S3.jpg", "/o/4.png", "/o/b.tif"]
    found = pair([Path(p) for p in paths], features, "title")
    assert found == [0, 1, 2, 3, None]


def test_a_popup_tells_safely_and_shortly():
    html = popup(
        "<b>", {"a<": "<script>alert(1)</script>", "n": {"x": [1]}, "e": None, "l": "z" * 999}
    )
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "{&quot;x&quot;: [1]}" in html
    assert ">e<" not in html
    assert len(html) < 600
    assert "and 10 more" in popup("", {str(n): n for n in range(50)})
    assert popup("t", {}) == "<b>t</b>"


def test_a_users_own_marker_can_be_added():
    page = viz.map_images((), collection(feature("u", (0, 0, 1, 1))))
    folium.Marker((0.5, 0.5), popup="mine").add_to(page)
    html = page.get_root().render()
    assert "L.marker" in html
    assert "jquery" not in re.sub(r"base64,[\w+/=]+", "", html).lower()


def test_mercator_is_what_leaflet_stretches_on(tmp_path):
    # A tall raster: half its height in degrees is not half its height on the map.
    values = np.zeros((3, 600, 300), "uint8")
    values[:, 300:, :] = 200
    path = write(
        tmp_path / "a.tif", values, crs="EPSG:4326", transform=from_bounds(0, 0, 30, 60, 300, 600)
    )
    ((picture, _),) = overlays(viz.map_images(path))
    edge = np.argmax(picture[:, 5, 0] == 200) / len(picture)
    y = [math.asinh(math.tan(math.radians(lat))) for lat in (60, 30, 0)]
    assert edge == pytest.approx((y[0] - y[1]) / (y[0] - y[2]), abs=0.005)


def test_a_fourth_band_that_is_called_alpha_and_is_none(tmp_path):
    values = np.random.default_rng(1).integers(1, 200, (4, 300, 300), dtype="uint8")
    path = write(tmp_path / "rgbn.tif", values)
    with rasterio.open(path) as src:
        assert src.colorinterp[3].name == "alpha"  # GDAL's own idea
    for bands in ([1, 2, 3], [4, 3, 2]):
        raster = read_for_map(path, bands, 1024)
        assert (raster.alpha[50:-50, 50:-50] == 255).all()
        assert raster.alpha[0, 0] == 0
        assert raster.values[0].max() == values[bands[0] - 1].max()
