"""Finding the tiles that a region of interest touches."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry import mapping

from orchard.errors import GridError
from orchard.grid import TileGrid, get_grid, load_grids

EUROPE = TileGrid((2_600_000, 5_400_000), 3035, (30, 30), (5000, 5000), ((0, 26), (0, 31)))


def indices(tiles) -> list[tuple[int, int]]:
    return [tile.index for tile in tiles]


def in_plane(roi: shapely.Geometry, grid: TileGrid) -> shapely.Geometry:
    """The region in the grid's plane, by brute force."""
    way = Transformer.from_crs(4326, grid.crs, always_xy=True)
    return shapely.transform(shapely.segmentize(roi, 0.02), way.transform, interleaved=False)


def assert_like_brute_force(grid: TileGrid, roi: shapely.Geometry) -> None:
    """Every tile that is touched by more than the tolerance, none that is missed by more."""
    there = in_plane(roi, grid)
    shapely.prepare(there)
    bounds = np.array([tile.bounds for tile in grid.values()])
    touched = {}
    for metres in (-20, 20):
        boxes = shapely.box(*(bounds + np.array([-metres, -metres, metres, metres])).T)
        hits = shapely.intersects(there, boxes)
        touched[metres] = {index for index, hit in zip(grid, hits, strict=True) if hit}
    found = set(indices(grid.roi_to_tiles(mapping(roi))))
    assert touched[-20] <= found <= touched[20]


rings = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=12, unique=True
).map(lambda points: shapely.MultiPoint(points).convex_hull)


def stretched(shape: shapely.Geometry, west, south, east, north) -> shapely.Geometry:
    return shapely.transform(
        shape, lambda x, y: (west + x * (east - west), south + y * (north - south)),
        interleaved=False,
    )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(rings.filter(lambda shape: shape.area > 1e-3))
def test_europe_like_brute_force(shape):
    assert_like_brute_force(EUROPE, stretched(shape, -8, 38, 30, 68))


@settings(max_examples=8, deadline=None)
@given(rings.filter(lambda shape: shape.area > 1e-3))
def test_conus_like_brute_force(shape):
    assert_like_brute_force(load_grids()["LANDSAT_ARD_CU"], stretched(shape, -125, 25, -66, 49))


def test_a_long_edge_is_curved():
    # Between its ends the 49th parallel bulges southwards by more than two tiles.
    grid = load_grids()["LANDSAT_ARD_CU"]
    parallel = shapely.LineString([(-123, 49), (-67, 49)])
    curved = in_plane(parallel, grid)
    found = grid.roi_to_tiles(mapping(parallel))
    assert indices(found) == [i for i, tile in grid.items() if tile.bbox.intersects(curved)]
    ends = shapely.LineString([curved.coords[0], curved.coords[-1]])
    assert not set(indices(found)) & set(indices(grid.roi_to_tiles(ends))[5:-5])


class TestInTheGridsPlane:
    def test_a_shared_border_is_not_enough(self):
        tile = EUROPE[5, 6]
        assert EUROPE.roi_to_tiles(tile.bbox) == [tile]
        assert len(EUROPE.roi_to_tiles(tile.bbox.buffer(1))) == 9

    def test_holes(self):
        left, _, _, top = EUROPE[5, 5].bounds
        frame = shapely.box(left, top - 450_000, left + 450_000, top).difference(EUROPE[6, 6].bbox)
        found = indices(EUROPE.roi_to_tiles(frame))
        assert len(found) == 8
        assert (6, 6) not in found

    def test_a_line_needs_length(self):
        left, bottom, right, top = EUROPE[5, 6].bounds
        inside = shapely.LineString([(left + 1, top - 1), (right, top - 1)])
        assert indices(EUROPE.roi_to_tiles(inside)) == [(5, 6)]
        along = shapely.LineString([(right, top), (right, bottom)])
        assert indices(EUROPE.roi_to_tiles(along)) == [(5, 6), (5, 7)]

    def test_a_point_on_a_corner_is_in_four_tiles(self):
        left, _, _, top = EUROPE[5, 6].bounds
        found = EUROPE.roi_to_tiles(shapely.Point(left, top))
        assert indices(found) == [(4, 5), (4, 6), (5, 5), (5, 6)]
        assert indices(EUROPE.roi_to_tiles(shapely.Point(left + 1, top - 1, 99))) == [(5, 6)]

    def test_only_within_the_limits(self):
        assert len(EUROPE.roi_to_tiles(shapely.box(-1e9, -1e9, 1e9, 1e9))) == len(EUROPE)
        assert EUROPE.roi_to_tiles(shapely.Point(0, 0)) == []

    def test_without_limits(self):
        grid = TileGrid((0, 0), 3035, (10, 10), (100, 100))
        tile = grid[-3000, 4000]
        assert grid.roi_to_tiles(tile.bbox) == [tile]

    def test_mixed_and_broken_shapes(self):
        left, bottom, right, top = EUROPE[5, 6].bounds
        bow_tie = shapely.Polygon([(left, top), (right, bottom), (right, top), (left, bottom)])
        flat = shapely.Polygon([(left + 1, top + 9), (left + 9, top + 9), (left + 1, top + 9)])
        point = shapely.Point(right + 1, top - 1)
        found = EUROPE.roi_to_tiles(
            shapely.GeometryCollection([bow_tie, shapely.GeometryCollection([point, flat])])
        )
        assert indices(found) == [(4, 6), (5, 6), (5, 7)]


class TestOtherCrs:
    def test_a_projected_region(self):
        utm = get_grid("UTM_32N")
        found = EUROPE.roi_to_tiles(utm[43, 5].bbox, utm.crs)
        surely = in_plane(shapely.geometry.shape(utm[43, 5].geojson()["geometry"]), EUROPE)
        assert indices(found) == [i for i, tile in EUROPE.items() if tile.bbox.intersects(surely)]

    def test_lines_points_and_holes(self):
        line = shapely.LineString([(10, 45), (12, 45)])
        assert indices(EUROPE.roi_to_tiles(line, 4326)) == [(19, 11), (19, 12)]
        point = Transformer.from_crs(4326, 3857, always_xy=True).transform(11, 46)
        assert EUROPE.roi_to_tiles(shapely.Point(point), 3857) == [
            EUROPE.point_to_tile((11, 46), crs=4326)
        ]
        tile = EUROPE[18, 12]
        hole = shapely.geometry.shape(EUROPE[18, 12].geojson()["geometry"]).buffer(0.01)
        region = shapely.box(5, 42, 15, 50).difference(hole)
        assert tile not in EUROPE.roi_to_tiles(region, "EPSG:4326")
        assert tile in EUROPE.roi_to_tiles(region.buffer(0.02), "EPSG:4326")

    def test_without_limits(self):
        grid = TileGrid(EUROPE.ul, 3035, EUROPE.res, EUROPE.size)
        roi = mapping(shapely.box(5, 42, 15, 50))
        assert indices(grid.roi_to_tiles(roi)) == indices(EUROPE.roi_to_tiles(roi))
        with pytest.raises(GridError, match="give the grid limits"):
            TileGrid((0, 0), "+proj=gnom +lat_0=90", (10, 10), (10, 10)).roi_to_tiles(
                mapping(shapely.box(-180, -80, 180, 80))
            )

    def test_the_whole_world_has_every_tile(self):
        world = mapping(shapely.box(-180, -90, 180, 90))
        for name in ("LANDSAT_ARD_CU", "EASE2_N25", "EASE2_M36", "GLANCE_AN"):
            grid = load_grids()[name]
            assert len(grid.roi_to_tiles(world)) == len(grid)

    def test_across_the_antimeridian(self):
        grid = TileGrid((0, 9_400_000), "EPSG:3832", (100, 100), (1000, 1000))
        split = shapely.MultiPolygon(
            [shapely.box(179, -18, 180, -17), shapely.box(-180, -18, -179, -17)]
        )
        found = indices(grid.roi_to_tiles(mapping(split)))
        assert found == indices(grid.roi_to_tiles(shapely.box(179, -18, 181, -17), "EPSG:4326"))
        assert found == indices(grid.roi_to_tiles(shapely.box(-181, -18, -179, -17), "EPSG:4326"))
        west = grid.roi_to_tiles(shapely.box(179, -18, 180, -17), "EPSG:4326")
        assert set(indices(west)) < set(found)
        line = shapely.LineString([(179.5, -17.5), (180.5, -17.5)])
        assert len(grid.roi_to_tiles(line, 4326)) == 2
        assert len(grid.roi_to_tiles(shapely.Point(180.5, -17.5), 4326)) == 1

    def test_projected_shapes_across_the_antimeridian(self):
        grid = TileGrid((-180, 90), "EPSG:4269", (0.1, 0.1), (10, 10), ((0, 179), (0, 359)))
        east, _ = Transformer.from_crs(4326, 3832, always_xy=True).transform(180, 0)
        y = 20_000
        line = shapely.LineString([(east - 200_000, y), (east + 200_000, y)])
        assert indices(grid.roi_to_tiles(line, 3832)) == [(89, c) for c in (0, 1, 358, 359)]
        area = line.buffer(1000)
        assert indices(grid.roi_to_tiles(area, 3832)) == [(89, c) for c in (0, 1, 358, 359)]

    def test_around_a_pole(self):
        grid = load_grids()["EASE2_N25"]
        cap = mapping(shapely.box(-180, 89, 180, 90))
        assert indices(grid.roi_to_tiles(cap)) == [(3, 3), (3, 4), (4, 3), (4, 4)]
        ring = shapely.Point(0, 0).buffer(100_000)
        assert indices(grid.roi_to_tiles(ring, 3413)) == [(3, 3), (3, 4), (4, 3), (4, 4)]

    def test_a_geographic_grid_keeps_borders_exact(self):
        grid = TileGrid((-180, 90), 4326, (1 / 3, 1 / 3), (30, 30), ((0, 17), (0, 35)))
        for index in ((4, 3), (4, 0), (4, 35)):
            assert indices(grid.roi_to_tiles(mapping(grid[index].bbox))) == [index]

    def test_outside_the_plane(self):
        with pytest.raises(GridError, match="beyond 90 degrees"):
            EUROPE.roi_to_tiles(mapping(EUROPE[5, 6].bbox))
        with pytest.raises(GridError, match="leaves the area"):
            EUROPE.roi_to_tiles(shapely.box(-2e7, -2e7, 2e7, 2e7), "EPSG:6931")


class TestReading:
    geometry = mapping(shapely.box(10, 45, 10.1, 45.1))
    feature: ClassVar = {"type": "Feature", "properties": {}, "geometry": geometry}
    none: ClassVar = {"type": "Feature", "properties": None, "geometry": None}
    collection: ClassVar = {"type": "FeatureCollection", "features": [feature, none, feature]}
    many: ClassVar = {"type": "GeometryCollection", "geometries": [geometry, geometry]}

    @pytest.mark.parametrize("kind", ["geometry", "feature", "collection", "many"])
    def test_every_kind_of_geojson(self, kind, tmp_path):
        roi = getattr(self, kind)
        expected = indices(EUROPE.roi_to_tiles(shapely.box(10, 45, 10.1, 45.1), 4326))
        assert indices(EUROPE.roi_to_tiles(roi)) == expected
        path = tmp_path / "aoi.geojson"
        path.write_text(json.dumps(roi), encoding="utf-8")
        assert indices(EUROPE.roi_to_tiles(path)) == expected
        assert indices(EUROPE.roi_to_tiles(str(path.rename(tmp_path / "aoi.JSON")))) == expected

    def test_geojson_names_no_crs(self):
        with pytest.raises(GridError, match="leave out crs"):
            EUROPE.roi_to_tiles(self.geometry, 4326)
        old = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3035"}}
        with pytest.raises(GridError, match=r"EPSG::3035.*reproject"):
            EUROPE.roi_to_tiles({**self.collection, "crs": old})
        old = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
        assert EUROPE.roi_to_tiles({**self.collection, "crs": old})

    @pytest.mark.parametrize(
        ("roi", "message"),
        [
            (5, "roi is a int"),
            ({}, "not GeoJSON"),
            ({"type": "Blob"}, "not GeoJSON"),
            ({"type": "FeatureCollection", "features": [3]}, "not GeoJSON"),
            ({"type": "FeatureCollection", "features": []}, "empty"),
            ({"type": "Point", "coordinates": []}, "empty"),
            ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "not GeoJSON"),
            ({"type": "Point", "coordinates": "here"}, "not GeoJSON"),
            (shapely.Polygon(), "empty"),
            (shapely.Point(1, float("inf")), "finite"),
            ("aoi.shp", "not a GeoJSON file"),
            ("nowhere.geojson", "nowhere.geojson cannot be read"),
        ],
    )
    def test_what_is_not_a_region(self, roi, message):
        with pytest.raises(GridError, match=message):
            EUROPE.roi_to_tiles(roi)

    @pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[1]", "holds a list")])
    def test_what_is_not_a_file(self, tmp_path, text, message):
        path = tmp_path / "aoi.geojson"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(GridError, match=f"aoi.geojson.*{message}"):
            EUROPE.roi_to_tiles(path)
