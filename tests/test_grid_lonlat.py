"""Footprints of tiles in longitude and latitude: the antimeridian, the poles, edges of maps."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from orchard.errors import GridError
from orchard.grid import Tile, TileGrid, get_grid, load_grids

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m"


def footprint(tile: Tile) -> shapely.Geometry:
    return shapely.geometry.shape(tile.geojson()["geometry"])


def samples(tile: Tile, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of the plane from share ``low`` to ``high`` of the tile's width and height."""
    shares = np.linspace(low, high, 23)
    across, down = (values.ravel() for values in np.meshgrid(shares, shares))
    left, bottom, right, top = tile.bounds
    return left + across * (right - left), bottom + down * (top - bottom)


def assert_exact(tile: Tile) -> shapely.Geometry:
    """The footprint has what is inside the tile, and nothing of what is around it."""
    shape = footprint(tile)
    assert shape.is_valid
    for part in shapely.get_parts(shape):
        assert part.exterior.is_ccw
    to_lonlat = Transformer.from_crs(tile.crs, "OGC:CRS84", always_xy=True)
    lon, lat = to_lonlat.transform(*samples(tile, 0.002, 0.998))
    assert shapely.intersects_xy(shape, lon.clip(-180, 180), lat).all()
    x, y = samples(tile, -0.3, 1.3)
    left, bottom, right, top = tile.bounds
    margin = 0.002 * (right - left)
    outside = (x < left - margin) | (x > right + margin) | (y < bottom - margin)
    outside |= y > top + margin
    lon, lat = to_lonlat.transform(x[outside], y[outside])
    assert not shapely.intersects_xy(shape, lon, lat).any()
    return shape


@pytest.mark.parametrize(
    ("grid", "index", "kind"),
    [
        ("LANDSAT_ARD_CU", (10, 3), "Polygon"),
        ("LANDSAT_ARD_AK", (0, 0), "Polygon"),
        ("GLANCE_OC", (40, 80), "Polygon"),
        ("UTM_33N", (40, 3), "Polygon"),
        ("UTM_33N_30M", (0, 0), "Polygon"),
        ("ABOVE_A", (0, 0), "Polygon"),
        ("EASE2_M09", (0, 0), "Polygon"),  # the antimeridian is its edge
        ("EASE2_M09", (3, 7), "Polygon"),
        ("EASE2_M36", (1, 3), "Polygon"),
        ("EASE2_N25", (0, 0), "Polygon"),
        ("EASE2_N25", (3, 3), "Polygon"),  # the pole is its corner
        ("EASE2_S25", (4, 4), "Polygon"),
        ("EASE2_S25", (4, 3), "Polygon"),
    ],
)
def test_named_grids(grid, index, kind):
    assert assert_exact(get_grid(grid)[index]).geom_type == kind


@pytest.mark.parametrize(
    ("grid", "lat"),
    [("UTM_60S", -17), ("UTM_01N", 66), ("UTM_01N_30M", 51), ("GLANCE_AS", 67), ("GLANCE_OC", -38)],
)
def test_named_grids_at_the_antimeridian(grid, lat):
    tile = get_grid(grid).point_to_tile((179.999, lat), crs=4326)
    assert assert_exact(tile).geom_type == "MultiPolygon"


@pytest.mark.parametrize("crs", ["EPSG:3832", "EPSG:3460", "EPSG:3994", "EPSG:3571", "EPSG:3338"])
def test_across_the_antimeridian(crs):
    """Pacific Mercator, Fiji, New Zealand's Mercator, Bering Sea LAEA, Alaska Albers."""
    lat = {"EPSG:3460": -17, "EPSG:3994": -41, "EPSG:3571": 66, "EPSG:3338": 52}.get(crs, 5)
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(180, lat)
    tile = TileGrid((x - 40_000, y + 60_000), crs, (20, 20), (5000, 5000))[0, 0]
    shape = assert_exact(tile)
    assert shape.geom_type == "MultiPolygon"
    east, west = sorted(shapely.get_parts(shape), key=lambda part: part.bounds[0], reverse=True)
    assert east.bounds[2] == 180
    assert west.bounds[0] == -180
    assert east.area < west.area  # 40 km of it lie to the west of the antimeridian, 60 km beyond


def test_mercator_beyond_its_edge_goes_on_at_the_other_side():
    tile = TileGrid((20_000_000, 50_000), 3857, (100, 100), (1000, 1000))[0, 0]
    shape = footprint(tile)
    assert shape.geom_type == "MultiPolygon"
    assert shape.bounds[0] == -180
    assert shape.bounds[2] == 180


@pytest.mark.parametrize(("crs", "pole"), [(3571, 90), (3413, 90), (3031, -90), (6932, -90)])
class TestPoles:
    @pytest.mark.parametrize("ul", [(-5e5, 5e5), (-3e5, 7e5), (-1e4, 9e5)])
    def test_inside(self, crs, pole, ul):
        shape = assert_exact(TileGrid(ul, crs, (100, 100), (10_000, 10_000))[0, 0])
        assert shape.covers(shapely.LineString([(-180, pole), (180, pole)]))
        west, south, east, north = shape.bounds
        assert (west, east) == (-180, 180)
        assert pole in (south, north)

    @pytest.mark.parametrize("ul", [(0, 1e6), (-1e6, 1e6), (0, 0), (-1e6, 0)])
    def test_at_a_corner(self, crs, pole, ul):
        shape = assert_exact(TileGrid(ul, crs, (100, 100), (10_000, 10_000))[0, 0])
        edge = shape.intersection(shapely.LineString([(-180, pole), (180, pole)]))
        assert edge.length == pytest.approx(90)

    @pytest.mark.parametrize("ul", [(0, 3e5), (-1e6, 3e5), (-3e5, 0), (-3e5, 1e6)])
    def test_on_an_edge(self, crs, pole, ul):
        shape = assert_exact(TileGrid(ul, crs, (100, 100), (10_000, 10_000))[0, 0])
        edge = shape.intersection(shapely.LineString([(-180, pole), (180, pole)]))
        assert edge.length == pytest.approx(180)


def test_both_poles_inside():
    crs = "+proj=aeqd +lat_0=0 +lon_0=30"
    tile = TileGrid((-1.1e7, 1.1e7), crs, (1000, 1000), (22_000, 22_000))[0, 0]
    shape = footprint(tile)
    assert shape.is_valid
    for pole in (-90, 90):
        assert shape.covers(shapely.LineString([(-180, pole), (180, pole)]))
    to_lonlat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    assert shapely.intersects_xy(shape, *to_lonlat.transform(*samples(tile, 0.002, 0.998))).all()
    around_the_antipode = shapely.Point(-150, 0).buffer(25)
    assert not shape.intersects(around_the_antipode)


def test_the_quarters_of_a_polar_grid_fill_the_globe():
    grid = TileGrid((-5e6, 5e6), 3571, (1000, 1000), (1000, 1000), ((0, 9), (0, 9)))
    shapes = [shapely.geometry.shape(one["geometry"]) for one in grid.geojson()["features"]]
    assert sum(one.area for one in shapes) == pytest.approx(shapely.union_all(shapes).area)


def test_longitudes_of_a_geographic_grid_stay_exact():
    grid = TileGrid((0, 90), 4326, (0.1, 0.1), (100, 100), ((0, 17), (0, 35)))
    assert footprint(grid[4, 3]).equals(shapely.box(30, 40, 40, 50))
    assert footprint(grid[4, 18]).equals(shapely.box(-180, 40, -170, 50))
    shapes = [shapely.geometry.shape(one["geometry"]) for one in grid.geojson()["features"]]
    assert sum(one.area for one in shapes) == pytest.approx(360 * 180)
    wide = TileGrid((100, 50), 4326, (1, 1), (200, 20))[0, 0]
    both = shapely.box(100, 30, 180, 50).union(shapely.box(-180, 30, -60, 50))
    assert footprint(wide).equals(both)


class TestBeyondTheEdgeOfAMap:
    """The corners of a sinusoidal map are nowhere on Earth, though PROJ gives them a place."""

    grid = TileGrid(
        (-20015109.354, 10007554.677), SINUSOIDAL, (463.31271653,) * 2, (2400, 2400),
        ((0, 17), (0, 35)), name="sinusoidal",
    )  # fmt: skip

    def test_tiles_off_earth_have_no_geometry(self):
        assert self.grid[0, 0].geojson()["geometry"] is None
        assert self.grid[5, 0].geojson()["geometry"] is None

    def test_tiles_in_part_on_earth(self):
        shape = footprint(self.grid[4, 8])  # h08v04, whose west is beyond 180 W
        assert shape.is_valid
        assert shape.bounds[1] == pytest.approx(40, abs=0.01)
        assert shape.bounds[3] == pytest.approx(50, abs=0.01)
        edge = footprint(self.grid[4, 5])
        assert edge.bounds[0] == pytest.approx(-180, abs=1.5)
        assert 0 < edge.area < shape.area

    def test_they_are_not_found(self):
        siberia = shapely.box(150, 55, 170, 65)
        found = self.grid.roi_to_tiles(siberia, "EPSG:4326")
        assert {tile.horizontal for tile in found} <= set(range(23, 29))
        assert {tile.vertical for tile in found} == {2, 3}


def test_edges_follow_the_plane_to_half_a_pixel():
    tile = load_grids()["LANDSAT_ARD_CU"][3, 0]
    ring = footprint(tile).exterior
    to_plane = Transformer.from_crs(4326, tile.crs, always_xy=True)
    lon, lat = shapely.get_coordinates(shapely.segmentize(ring, 0.001)).T
    x, y = to_plane.transform(lon, lat)
    away = shapely.distance(tile.bbox.exterior, shapely.points(x, y))
    assert away.max() < 15
    assert len(ring.coords) < 40


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([3035, 3031, 3413, 3571, 6933, 3857, 32601, 5070]),
    st.integers(-30, 30),
    st.integers(-30, 30),
)
def test_neighbours_do_not_overlap(crs, row, col):
    grid = TileGrid((12_345, 54_321), crs, (250, 250), (400, 400))
    centre = {3035: (4_300_000, 3_200_000), 32601: (500_000, 5_000_000)}.get(crs, (0, 0))
    row -= int(centre[1] // 100_000)
    col += int(centre[0] // 100_000)
    shape = footprint(grid[row, col])
    assert shape.is_valid
    for neighbour in ((row + 1, col), (row, col + 1)):
        other = footprint(grid[neighbour])
        assert shape.intersection(other).area < 1e-3 * min(shape.area, other.area)


class TestCollection:
    def test_features(self):
        grid = load_grids()["LANDSAT_ARD_HI"]
        collection = grid.geojson()
        assert collection["type"] == "FeatureCollection"
        assert len(collection["features"]) == len(grid)
        feature = collection["features"][7]
        assert feature == grid[1, 2].geojson()
        assert feature["type"] == "Feature"
        assert feature["properties"] == {"row": 1, "col": 2, "horizontal": 2, "vertical": 1}

    def test_chosen_rows_and_columns(self):
        grid = TileGrid((0, 0), 3035, (10, 10), (1000, 1000))
        collection = grid.geojson(rows=range(-300, -298), cols=iter([400, 401]))
        found = [(f["properties"]["row"], f["properties"]["col"]) for f in collection["features"]]
        assert found == [(-300, 400), (-300, 401), (-299, 400), (-299, 401)]

    def test_outside_the_limits(self):
        with pytest.raises(GridError, match="LANDSAT_ARD_HI"):
            load_grids()["LANDSAT_ARD_HI"].geojson(rows=[3])
