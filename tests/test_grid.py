"""Tile grids and tiles: values, lookup, points and bounds, documents."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.errors import GridError
from orchard.grid import Tile, TileGrid

CEDAR = Path(__file__).parents[2] / "shared" / "data" / "cedar"
ALBERS = "EPSG:5070"


def albers(**changes: object) -> TileGrid:
    values = {
        "ul": (-2565585, 3314805),
        "crs": ALBERS,
        "res": (30, 30),
        "size": (5000, 5000),
        "limits": ((0, 21), (0, 32)),
        "name": "albers",
    }
    return TileGrid(**{**values, **changes})


@pytest.fixture
def oblong() -> TileGrid:
    """Neither tiles nor pixels are square, and the limits begin below and above zero."""
    return TileGrid(
        ul=(1000.5, -200), crs=3035, res=(10, 20), size=(7, 3), limits=((-2, 1), (3, 5))
    )


class TestTile:
    def test_pixels_that_are_not_square(self, oblong):
        tile = oblong[-2, 3]
        assert tile.bounds == (1210.5, -140, 1280.5, -80)
        assert (tile.width, tile.height) == tile.size == (7, 3)
        assert (tile.vertical, tile.horizontal) == (-2, 3)
        assert tile.transform @ (0, 0) == (tile.bounds.left, tile.bounds.top)
        assert tile.transform @ tile.size == (tile.bounds.right, tile.bounds.bottom)
        assert tile.bbox.bounds == tuple(tile.bounds)
        assert tile.bbox.area == 7 * 10 * 3 * 20

    def test_coordinates_of_pixels(self, oblong):
        tile = oblong[0, 3]
        y, x = tile.coords()
        assert y.dtype == x.dtype == np.float64
        assert y.tolist() == [-210, -230, -250]
        assert x.tolist() == [1215.5 + 10 * n for n in range(7)]
        y, x = tile.coords(center=False)
        assert (y[0], x[0]) == (tile.bounds.top, tile.bounds.left)
        assert (y.shape, x.shape) == ((3,), (7,))

    def test_geobox_has_the_same_pixels(self, oblong):
        tile = oblong[1, 5]
        box = tile.geobox
        assert tuple(box.shape) == (tile.height, tile.width)
        assert box.affine == tile.transform
        assert box.crs.to_epsg() == 3035
        assert tuple(box.boundingbox) == pytest.approx(tuple(tile.bounds))
        y, x = tile.coords()
        assert box.coordinates["y"].values == pytest.approx(y)
        assert box.coordinates["x"].values == pytest.approx(x)

    def test_geobox_of_a_large_tile_is_exact(self):
        tile = albers()[3, 10]
        assert tile.geobox.affine == tile.transform
        assert tuple(tile.geobox.shape) == (5000, 5000)

    def test_centre(self):
        tile = TileGrid((500_000 - 500, 500), "EPSG:32633", (10, 10), (100, 100))[0, 0]
        assert tile.center_lonlat == pytest.approx((15, 0), abs=1e-9)

    def test_equality_ignores_how_the_crs_was_spelt(self):
        one = albers()[3, 10]
        other = albers(crs=one.crs.to_wkt())[3, 10]
        assert one == other
        assert hash(one) == hash(other)
        assert one != albers(crs="EPSG:3310")[3, 10]
        assert one != albers()[3, 11]
        assert one != "tile"

    def test_frozen_and_picklable(self):
        tile = albers()[3, 10]
        with pytest.raises(dataclasses.FrozenInstanceError):
            tile.size = (1, 1)
        assert pickle.loads(pickle.dumps(tile)) == tile
        assert copy.deepcopy(tile) == tile

    def test_repr_is_short(self):
        assert repr(albers()[3, 10]).startswith("Tile(index=(3, 10), crs='EPSG:5070', bounds=(")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"index": (1.5, 2)}, "tile index"),
            ({"index": (True, 2)}, "tile index"),
            ({"bounds": (0, 0, 70)}, "tile bounds"),
            ({"bounds": (0, 0, 71, 60)}, "not size"),
            ({"bounds": (0, 60, 70, 0)}, "not size"),
            ({"res": (0, 20)}, "above zero"),
            ({"size": (7, 3.0)}, "whole"),
            ({"crs": "EPSG:999999"}, "not understood"),
        ],
    )
    def test_what_cannot_be(self, changes, message):
        values = {
            "index": (1, 2),
            "crs": 3035,
            "bounds": (0, 0, 70, 60),
            "res": (10, 20),
            "size": (7, 3),
        }
        Tile(**values)
        with pytest.raises(GridError, match=message):
            Tile(**{**values, **changes})


class TestGridAsMapping:
    def test_iterates_over_its_limits(self, oblong):
        assert list(oblong) == [(row, col) for row in (-2, -1, 0, 1) for col in (3, 4, 5)]
        assert len(oblong) == 12
        assert list(oblong.rows) == [-2, -1, 0, 1]
        assert list(oblong.cols) == [3, 4, 5]
        assert [tile.index for tile in oblong.values()] == list(oblong)
        assert dict(oblong)[1, 5] == oblong[1, 5]

    def test_neighbours_share_their_edges_exactly(self):
        grid = TileGrid((0.1, 0.7), 4326, (0.1 / 3, 0.2 / 7), (7, 11), ((-9, 9), (-9, 9)))
        for row, col in grid:
            bounds = grid[row, col].bounds
            if col < 9:
                assert bounds.right == grid[row, col + 1].bounds.left
            if row < 9:
                assert bounds.bottom == grid[row + 1, col].bounds.top

    def test_membership(self, oblong):
        assert (0, 3) in oblong
        assert [np.int64(0), np.int64(3)] in oblong
        assert (0, 0) not in oblong
        assert (0, 3, 1) not in oblong
        assert "ab" not in oblong
        assert oblong.get((0, 3)) == oblong[0, 3]
        assert oblong.get((0, 0)) is None

    @pytest.mark.parametrize("index", [(2, 3), (0, 6), (-3, 3), (0, 2)])
    def test_outside_the_limits(self, oblong, index):
        with pytest.raises(GridError, match="rows are -2 to 1, its columns 3 to 5"):
            oblong[index]

    @pytest.mark.parametrize("index", [3, (1,), "12", (0.0, 3), (None, 3), (False, True)])
    def test_not_an_index(self, oblong, index):
        with pytest.raises(GridError, match="two whole numbers"):
            oblong[index]

    def test_without_limits(self):
        grid = albers(limits=None)
        assert grid[-3, 100].bounds.top == 3314805 + 3 * 150_000
        assert (10**6, -(10**6)) in grid
        assert bool(grid)
        for ask in (len, list, lambda grid: grid.rows, lambda grid: grid.geojson()):
            with pytest.raises(GridError, match="albers has no limits"):
                ask(grid)
        assert [tile.index for tile in grid.bounds_to_tiles(grid[-3, 7].bounds)] == [(-3, 7)]

    def test_equality_and_pickling(self):
        assert albers() == albers()
        assert hash(albers()) == hash(albers(crs=albers().crs.to_wkt()))
        assert albers() != albers(limits=None)
        assert albers() != dict(albers(limits=((0, 0), (0, 0))))
        assert pickle.loads(pickle.dumps(albers())) == albers()
        assert dataclasses.replace(albers(), limits=None) == albers(limits=None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            albers().name = "other"
        assert not hasattr(albers(), "colour")

    def test_repr_is_short(self):
        assert repr(albers()) == (
            "TileGrid(ul=(-2565585.0, 3314805.0), crs='EPSG:5070', res=(30.0, 30.0), "
            "size=(5000, 5000), limits=((0, 21), (0, 32)), name='albers')"
        )

    def test_transform(self, oblong):
        assert oblong.transform @ (5 * 7, 3) == oblong[1, 5].transform @ (0, 0)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"ul": (1, float("nan"))}, "ul"),
            ({"ul": "12"}, "ul"),
            ({"res": (30, -30)}, "above zero"),
            ({"res": 30}, "res 30"),
            ({"res": (30, float("inf"))}, "finite"),
            ({"size": (5000, 0)}, "above zero"),
            ({"size": (5000.5, 5000)}, "whole"),
            ({"limits": ((21, 0), (0, 32))}, "first row"),
            ({"limits": ((0, 21),)}, "first row"),
            ({"limits": (0, 21)}, "limits"),
            ({"name": 5}, "name"),
            ({"crs": "no such system"}, "no such system.*not understood"),
            ({"crs": None}, "not understood"),
            ({"crs": "EPSG:5773"}, "no map coordinates"),
        ],
    )
    def test_what_cannot_be(self, changes, message):
        with pytest.raises(GridError, match=message):
            albers(**changes)

    def test_any_spelling_of_a_crs(self):
        import odc.geo
        import rasterio.crs

        crs = albers().crs
        for spelling in (5070, crs.to_wkt(), crs, crs.to_json_dict(), odc.geo.CRS(5070)):
            assert albers(crs=spelling) == albers()
        assert albers(crs=rasterio.crs.CRS.from_epsg(5070)).crs.to_epsg() == 5070


class TestPoints:
    def test_half_open(self, oblong):
        bounds = oblong[0, 4].bounds
        assert oblong.point_to_tile((bounds.left, bounds.top)).index == (0, 4)
        assert oblong.point_to_tile((bounds.right, bounds.top)).index == (0, 5)
        assert oblong.point_to_tile((bounds.left, bounds.bottom)).index == (1, 4)

    def test_outside_the_limits(self, oblong):
        with pytest.raises(GridError, match=r"would be in tile \(-3, 3\).*rows are -2 to 1"):
            oblong.point_to_tile((1215, -30))

    def test_other_crs(self):
        # The Washington Monument.
        assert albers().point_to_tile((-77.0353, 38.8895), crs=4326).index == (9, 27)

    def test_no_place_in_the_plane(self):
        with pytest.raises(GridError, match="no place"):
            TileGrid((0, 0), "EPSG:3035", (10, 10), (10, 10)).point_to_tile((0, 91), crs=4326)

    def test_another_world(self):
        moon = TileGrid((-1e5, 1e5), "IAU_2015:30135", (100, 100), (1000, 1000))
        with pytest.raises(GridError, match="no transformation from EPSG:4326 to IAU_2015:30135"):
            moon.point_to_tile((0, -80), crs="EPSG:4326")

    @pytest.mark.parametrize("point", [(1,), (1, float("inf")), "ab", None])
    def test_not_a_point(self, oblong, point):
        with pytest.raises(GridError, match="point"):
            oblong.point_to_tile(point)


class TestBounds:
    def test_shared_edges_do_not_count(self):
        grid = albers()
        tile = grid[3, 10]
        assert grid.bounds_to_tiles(tile.bounds) == [tile]
        left, bottom, right, top = tile.bounds
        more = grid.bounds_to_tiles((left - 1, bottom, right, top + 1))
        assert [one.index for one in more] == [(2, 9), (2, 10), (3, 9), (3, 10)]

    def test_clipped_to_the_limits(self):
        grid = albers()
        assert len(grid.bounds_to_tiles((-1e9, -1e9, 1e9, 1e9))) == len(grid)
        assert grid.bounds_to_tiles((1e8, 0, 2e8, 1)) == []

    def test_a_point_and_a_line(self):
        grid = albers()
        x, y = grid[3, 10].bounds.left, grid[3, 10].bounds.top
        assert [t.index for t in grid.bounds_to_tiles((x, y, x, y))] == [(3, 10)]
        found = grid.bounds_to_tiles((x, y - 1, x + 150_001, y - 1))
        assert [t.index for t in found] == [(3, 10), (3, 11)]

    @pytest.mark.parametrize("bounds", [(1, 0, 0, 1), (0, 1, 1, 0), (0, 0, 1), (0, 0, 1, "x")])
    def test_not_bounds(self, bounds):
        with pytest.raises(GridError, match="bounds"):
            albers().bounds_to_tiles(bounds)

    def test_across_the_antimeridian(self):
        fiji = TileGrid((0, 9_400_000), "EPSG:3832", (100, 100), (1000, 1000))
        across = fiji.bounds_to_tiles((179, -19, -179, -16), crs=4326)
        west = fiji.bounds_to_tiles((179, -19, 180, -16), crs=4326)
        east = fiji.bounds_to_tiles((-180, -19, -179, -16), crs=4326)
        assert {t.index for t in across} == {t.index for t in [*west, *east]}
        assert len(across) == 5 * 3

    def test_across_the_antimeridian_in_the_grids_own_crs(self):
        grid = TileGrid((-180, 90), 4326, (1, 1), (10, 10), ((0, 17), (0, 35)))
        found = grid.bounds_to_tiles((175, 1, -175, 9), crs=4326)
        assert [t.index for t in found] == [(8, 0), (8, 35)]

    def test_other_crs(self):
        grid = albers()
        found = grid.bounds_to_tiles((-77.2, 38.8, -77.0, 39.0), crs="EPSG:4326")
        assert [t.index for t in found] == [(9, 27)]
        assert [t.index for t in grid.bounds_to_tiles((-77, 39, -77, 39), crs=4326)] == [(9, 27)]


class TestDocuments:
    def test_round_trip(self, oblong):
        for grid in (albers(), albers(limits=None, name=None), oblong):
            assert TileGrid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid
            tile = grid[0, 3]
            assert Tile.from_dict(json.loads(json.dumps(tile.to_dict()))) == tile

    def test_crs_is_wkt(self):
        assert albers().to_dict()["crs"].startswith("PROJCRS[")
        assert albers()[0, 0].to_dict()["crs"] == albers().to_dict()["crs"]

    def test_unknown_and_missing_keys(self):
        document = albers().to_dict()
        document["sizes"] = document.pop("size")
        with pytest.raises(GridError, match="lacks size and has unknown sizes"):
            TileGrid.from_dict(document)
        with pytest.raises(GridError, match="list, not a mapping"):
            Tile.from_dict([])

    @pytest.mark.skipif(not CEDAR.exists(), reason="the CEDAR documents are not beside the project")
    def test_documents_of_cedar(self):
        tracking = json.loads((CEDAR / "example_metadata_tracking.json").read_text())
        image = json.loads((CEDAR / "example_metadata_image.json").read_text())
        grid = TileGrid.from_dict(tracking["submission"]["tile_grid"])
        assert len(grid) == 65 * 85
        for document in (*tracking["tracking"]["tiles"], image["tile"]):
            tile = Tile.from_dict(document)
            assert tile == grid[tile.index]
            assert list(tile.bounds) == document["bounds"]


# -- properties --------------------------------------------------------------------------------

indices = st.integers(-500, 500)
corner = st.floats(-1e7, 1e7)
lengths = st.floats(1e-3, 1e3)
pixels = st.integers(1, 6000)
grids = st.builds(
    TileGrid,
    ul=st.tuples(corner, corner),
    crs=st.just("EPSG:3035"),
    res=st.tuples(lengths, lengths),
    size=st.tuples(pixels, pixels),
)


@settings(deadline=None)
@given(grids, indices, indices, st.floats(0, 1), st.floats(0, 1))
def test_a_point_of_a_tile_is_in_that_tile(grid, row, col, across, down):
    tile = grid[row, col]
    left, bottom, right, top = tile.bounds
    x, y = left + across * (right - left), top - down * (top - bottom)
    if left <= x < right and bottom < y <= top:
        assert grid.point_to_tile((x, y)) == tile
    assert grid.point_to_tile((left, top)) == tile


@settings(deadline=None)
@given(grids, indices, indices)
def test_bounds_lead_back_to_the_index(grid, row, col):
    assert [tile.index for tile in grid.bounds_to_tiles(grid[row, col].bounds)] == [(row, col)]


@settings(deadline=None)
@given(grids, indices, indices)
def test_documents_keep_everything(grid, row, col):
    assert TileGrid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid
    tile = grid[row, col]
    back = Tile.from_dict(json.loads(json.dumps(tile.to_dict())))
    assert (back, hash(back), back.bounds) == (tile, hash(tile), tile.bounds)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-40, 140), min_size=2, max_size=2, unique=True),
    st.lists(st.integers(-40, 140), min_size=2, max_size=2, unique=True),
    st.sampled_from([0.0, 0.25]),
)
def test_bounds_find_what_a_look_at_every_tile_finds(xs, ys, shift):
    grid = TileGrid((0, 100), 3035, (2.5, 5), (4, 3), ((0, 6), (1, 9)))
    left, right = sorted(x + shift for x in xs)
    bottom, top = sorted(y + shift for y in ys)
    expected = [
        index
        for index, tile in grid.items()
        if tile.bounds.left < right
        and tile.bounds.right > left
        and tile.bounds.bottom < top
        and tile.bounds.top > bottom
    ]
    assert [tile.index for tile in grid.bounds_to_tiles((left, bottom, right, top))] == expected
    assert set(expected) <= set(product(grid.rows, grid.cols))
