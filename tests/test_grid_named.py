"""The named grids against what their makers publish, and files of grids."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import pytest
from pyproj import Transformer

from orchard.errors import GridError
from orchard.grid import TileGrid, get_grid, load_grids


def lower_right(grid: TileGrid) -> tuple[float, float]:
    bounds = grid[grid.rows[-1], grid.cols[-1]].bounds
    return bounds.right, bounds.bottom


class TestLandsatArd:
    """USGS, "What is the U.S. Landsat ARD tile grid system?", table 1."""

    @pytest.mark.parametrize(
        ("name", "ul", "h_v", "lr"),
        [
            ("CU", (-2565585, 3314805), (32, 21), (2384415, 14805)),
            ("AK", (-851715, 2474325), (16, 13), (1698285, 374325)),
            ("HI", (-444345, 2168895), (4, 2), (305655, 1718895)),
        ],
    )
    def test_corners(self, name, ul, h_v, lr):
        grid = load_grids()[f"LANDSAT_ARD_{name}"]
        assert (grid.ul, grid.res, grid.size) == (ul, (30, 30), (5000, 5000))
        assert (grid.cols[-1], grid.rows[-1]) == h_v
        assert lower_right(grid) == lr

    def test_a_tile(self):
        tile = load_grids()["LANDSAT_ARD_CU"][10, 3]  # h003v010
        assert (tile.horizontal, tile.vertical) == (3, 10)
        assert tile.bounds == (-2115585, 1664805, -1965585, 1814805)

    def test_datum(self):
        # WGS 84, not the NAD 83 of EPSG:5070 that has the same parameters.
        crs = load_grids()["LANDSAT_ARD_CU"].crs
        assert crs.geodetic_crs.to_epsg() == 4326
        there = Transformer.from_crs(4326, crs, always_xy=True).transform(-77, 39)
        other = Transformer.from_crs(4269, 5070, always_xy=True).transform(-77, 39)
        assert there == pytest.approx(other, abs=0.01)


class TestAbove:
    """ORNL DAAC's shapefile of the 240 m grid has 24 tiles within these bounds."""

    def test_corners(self):
        grid = load_grids()["ABOVE_A"]
        assert grid.ul == (-3400020, 4640000)
        assert lower_right(grid) == (3079980, 320000)
        assert len(grid) == 24

    def test_levels_are_nested(self):
        coarse, fine = load_grids()["ABOVE_A"], load_grids()["ABOVE_B"]
        assert lower_right(fine) == lower_right(coarse)
        assert len(fine) == 36 * len(coarse)
        assert len(fine.bounds_to_tiles(coarse[2, 3].bounds)) == 36


class TestGlance:
    @pytest.mark.parametrize(
        ("name", "centre", "count"),
        [("AF", (20, 5), 4575), ("AN", (0, -90), 3591), ("AS", (100, 45), 5226),
         ("EU", (20, 55), 2145), ("NA", (-100, 50), 5525), ("OC", (135, -15), 9006),
         ("SA", (-60, -15), 5175)],
    )  # fmt: skip
    def test_centre_and_count(self, name, centre, count):
        grid = load_grids()[f"GLANCE_{name}"]
        assert len(grid) == count
        origin = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(0, 0)
        assert origin[1] == pytest.approx(centre[1])
        if name != "AN":
            assert origin[0] == pytest.approx(centre[0])


class TestEase:
    """NSIDC's grid parameters: columns and rows of the whole grid, upper left corner."""

    @pytest.mark.parametrize(
        ("name", "shape", "ul"),
        [
            ("M01", (34704, 14616), (-17367530.45, 7314540.83)),
            ("M03", (11568, 4872), (-17367530.45, 7314540.83)),
            ("M09", (3856, 1624), (-17367530.45, 7314540.83)),
            ("M25", (1388, 584), (-17367530.44, 7307375.92)),
            ("M36", (964, 406), (-17367530.45, 7314540.83)),
            *((f"{half}{km:02d}", (18000 // km,) * 2, (-9e6, 9e6))
              for half in "NS" for km in (1, 3, 9, 25, 36)),
        ],
    )  # fmt: skip
    def test_parameters(self, name, shape, ul):
        grid = load_grids()[f"EASE2_{name}"]
        assert grid.crs.to_epsg() == {"M": 6933, "N": 6931, "S": 6932}[name[0]]
        assert (len(grid.cols) * grid.size[0], len(grid.rows) * grid.size[1]) == shape
        assert grid.ul == pytest.approx(ul, abs=0.006)
        assert lower_right(grid) == pytest.approx((-ul[0], -ul[1]), abs=0.006)

    def test_resolutions_are_nested(self):
        fine, coarse = load_grids()["EASE2_M01"], load_grids()["EASE2_M09"]
        assert fine.res[0] * 9 == pytest.approx(coarse.res[0], rel=1e-12)
        assert fine[2, 5].bounds == pytest.approx(coarse[2, 5].bounds, abs=1e-3)


class TestUtm:
    @pytest.mark.parametrize("suffix", ["", "_30M"])
    def test_zones_are_covered(self, suffix):
        for zone, half in ((1, "N"), (33, "N"), (60, "S")):
            grid = get_grid(f"UTM_{zone:02d}{half}{suffix}")
            assert grid.crs.to_epsg() == {"N": 32600, "S": 32700}[half] + zone
            west = 6 * zone - 186
            lats = (0.001, 45, 56, 72, 83.9) if half == "N" else (-0.001, -45, -79.9)
            for lon in (west + 0.001, west + 3, west + 5.999):
                for lat in lats:
                    assert grid.point_to_tile((lon, lat), crs=4326)

    @pytest.mark.parametrize(
        ("zone", "lon", "lat"), [(32, 3.001, 56), (32, 3.001, 63.9), (31, 8.999, 72), (33, 9, 72)]
    )
    def test_wide_zones_of_norway_and_svalbard(self, zone, lon, lat):
        assert get_grid(f"UTM_{zone}N").point_to_tile((lon, lat), crs=4326)
        assert get_grid(f"UTM_{zone}N_30M").point_to_tile((lon, lat), crs=4326)

    def test_tiles_are_squares_of_the_military_grid(self):
        # 32TPS: easting 600 to 700 km, northing 5100 to 5200 km.
        tile = get_grid("UTM_32N").point_to_tile((674_990, 5_154_960))
        assert tile.bounds == (600_000, 5_100_000, 700_000, 5_200_000)
        assert get_grid("UTM_32S")[0, 0].bounds.top == 10_000_000

    @pytest.mark.parametrize(
        ("zone", "x", "y"), [("18N", 652_785, 4_831_515), ("17S", 416_685, -1_014_285)]
    )
    def test_pixels_of_landsat(self, zone, x, y):
        """Corners of two Landsat scenes; the second is south of the equator, on the N system."""
        grid = get_grid(f"UTM_{zone}_30M")
        if zone.endswith("S"):
            y += 10_000_000
        assert ((x - grid.ul[0]) % 30, (y - grid.ul[1]) % 30) == (0, 0)

    def test_the_same_grid_each_time(self):
        assert get_grid("UTM_33N") is get_grid("UTM_33N")
        assert get_grid("UTM_33N").name == "UTM_33N"


class TestGetGrid:
    definition: ClassVar = {"ul": [0, 0], "crs": "EPSG:3035", "res": [10, 10], "size": [100, 100]}

    def test_names_definitions_and_grids(self):
        grid = get_grid("LANDSAT_ARD_HI")
        assert grid == load_grids()["LANDSAT_ARD_HI"]
        assert get_grid(grid) is grid
        assert get_grid(grid.to_dict()) == grid
        assert get_grid(self.definition) == TileGrid((0, 0), 3035, (10, 10), (100, 100))
        assert get_grid("mine", {"mine": grid}) is grid

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("LANDSAT_ARD_CO", "did you mean LANDSAT_ARD_CU"),
            ("landsat_ard_cu", "did you mean LANDSAT_ARD_CU"),
            ("utm_33n", "did you mean UTM_33N"),
            ("UTM_61N", "did you mean UTM_"),
            ("UTM_33N_10M", "did you mean UTM_33N"),
            ("?", "known are LANDSAT_ARD_CU, "),
            (5, "int, not a mapping"),
            ({"ul": [0, 0]}, "lacks crs, res, size"),
        ],
    )
    def test_what_there_is_not(self, spec, message):
        with pytest.raises(GridError, match=message):
            get_grid(spec)


class TestFiles:
    def test_a_file_of_ones_own(self, tmp_path):
        path = tmp_path / "grids.yaml"
        path.write_text("mine: {ul: [0, 0], crs: EPSG:3035, res: [10, 10], size: [100, 100]}\n")
        assert load_grids(path) == {
            "mine": TileGrid((0, 0), 3035, (10, 10), (100, 100), name="mine")
        }

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("mine: {ul: [0, 0]}", "grids.yaml: mine: tile grid lacks crs"),
            ("mine: 3", "grids.yaml: mine: tile grid is a int"),
            ("- mine", "not a mapping of names"),
            ("mine: [", "not YAML"),
        ],
    )
    def test_what_is_wrong_with_a_file(self, tmp_path, text, message):
        path = tmp_path / "grids.yaml"
        path.write_text(text)
        with pytest.raises(GridError, match=message):
            load_grids(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(GridError, match="cannot be read"):
            load_grids(tmp_path / "none.yaml")

    def test_the_dict_is_the_callers(self):
        load_grids().clear()
        assert load_grids()

    def test_every_grid_is_sound(self):
        for name, grid in load_grids().items():
            assert grid.name == name
            assert TileGrid.from_dict(grid.to_dict()) == grid
            assert grid[grid.rows[-1], grid.cols[-1]].geojson()["geometry"]


def test_listing_names_loads_no_geometry():
    program = (
        "import sys; from orchard.grid import TileGrid, load_grids; list(load_grids());"
        "print(sorted({'pyproj', 'shapely', 'rasterio', 'odc.geo', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, check=True).stdout.strip() == b"[]"
