"""The interpolated mapping is the exact one, for any pair of grids."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.engines.local.pixels.geo import Grid, lattice_of
from orchard.engines.local.pixels.mapping import BOUND, EDGE, map_window, positions

# CRS, and a range of (lon, lat) in which it is used.
PLACES = {
    "EPSG:32618": ((-79, -70), (-5, 70)),
    "EPSG:32601": ((-182, -176), (50, 75)),
    "EPSG:5070": ((-110, -75), (25, 48)),
    "EPSG:3035": ((-5, 30), (38, 65)),
    "EPSG:3857": ((-179, 179), (-70, 70)),
    "EPSG:3031": ((-180, 180), (-89.9, -62)),
    "EPSG:3413": ((-180, 180), (62, 89.9)),
    "EPSG:6933": ((-179, 179), (-70, 70)),
    "EPSG:4326": ((-179, 179), (-75, 75)),
    "ESRI:54052": ((-179, 179), (-70, 70)),
}
METRES = 111_320


def grid_at(crs, lon, lat, res, *, turned=0.0, size=120):
    """A grid whose upper left corner is near a place, of about `res` metres."""
    parsed = pyproj.CRS(crs)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", parsed, always_xy=True).transform(lon, lat)
    res = res / METRES if parsed.is_geographic else res
    transform = Affine.translation(x, y) @ Affine.rotation(turned) @ Affine.scale(res, -res)
    return Grid(crs=parsed.to_wkt(), transform=transform, height=size, width=size)


def check(target, source, threads=1):
    """Compare every pixel with the exact position; give back the share that differs."""
    lattice, _ = lattice_of(source)
    exact = positions(pyproj.CRS(target.crs), target.transform, lattice)
    mapping = map_window(exact, lattice, target.height, target.width, threads=threads)
    cols, rows = exact(*np.meshgrid(np.arange(target.width) + 0.5, np.arange(target.height) + 0.5))
    seen = np.zeros((target.height, target.width), int)
    differ = np.zeros(seen.shape, bool)
    for piece in mapping.pieces:
        part = (piece.rows, piece.cols)
        seen[part] += 1
        nowhere = piece.index == piece.height * piece.width
        assert (nowhere == ~(np.isfinite(cols[part]) & np.isfinite(rows[part]))).all()
        col = piece.index % max(piece.width, 1) + piece.col
        row = piece.index // max(piece.width, 1) + piece.row
        with np.errstate(invalid="ignore"):
            other = (col != np.floor(cols[part] + EDGE)) | (row != np.floor(rows[part] + EDGE))
        differ[part] = other & ~nowhere
    assert (seen == 1).all()
    near = np.minimum(np.abs(cols - np.rint(cols)), np.abs(rows - np.rint(rows)))
    assert not differ.any() or near[differ].max() < BOUND
    return differ.mean()


@st.composite
def pairs(draw):
    """Two grids near one place."""
    target, source = draw(st.sampled_from(sorted(PLACES))), draw(st.sampled_from(sorted(PLACES)))
    (west, east), (south, north) = PLACES[target]
    lon = draw(st.floats(west, east))
    lat = draw(st.floats(south, north))
    fine = draw(st.sampled_from([10, 30, 250, 5000]))
    ratio = draw(st.sampled_from([0.2, 1, 3]))
    turned = draw(st.sampled_from([0, 0, 30, 137.5]))
    return (
        grid_at(target, lon, lat, fine, turned=draw(st.sampled_from([0, 0, 12]))),
        grid_at(source, lon - 0.01, lat + 0.01, fine * ratio, turned=turned),
    )


@settings(max_examples=50, deadline=None)
@given(pairs())
def test_any_pair_of_grids(pair):
    target, source = pair
    if not all(np.isfinite(grid.transform).all() for grid in pair):
        return  # the place is outside what one of them can show
    assert check(target, source) < 1e-3


@pytest.mark.parametrize(
    ("target", "source"),
    [
        # across the antimeridian, onto geographic pixels from -180 and from 0 on
        (("EPSG:32601", -180.2, 66, 300), ("EPSG:4326", -180, 70, 300)),
        (("EPSG:32660", 179.8, -17, 100), ("EPSG:4326", 170, -10, 100)),
        # over a pole
        (("EPSG:3031", 0, -89.9, 2000), ("EPSG:4326", -180, -60, 2000)),
        (("EPSG:3413", 10, 89.95, 500), ("EPSG:32633", 15, 85, 500)),
        # far outside what the source's projection is for
        (("EPSG:3857", 0, 20, 20_000), ("EPSG:32618", -75, 50, 30)),
        # where Mercator's plane ends
        (("EPSG:3413", -45, 89.9, 1000), ("EPSG:3857", 0, 85, 1000)),
    ],
)
def test_seams_of_projections(target, source):
    assert check(grid_at(*target), grid_at(*source), threads=2) == 0


def test_the_share_that_differs_is_printed(capsys):
    """On a tile of the size that is worked on."""
    target = grid_at("EPSG:5070", -75, 43, 30, size=1000)
    share = check(target, grid_at("EPSG:32618", -75.3, 43.3, 30), threads=2)
    with capsys.disabled():
        print(f" {share:.4%} of {1000 * 1000} pixels differ", end="")
    assert share == 0


def test_aligned_pixels_need_no_rounding_luck():
    """Centres of coarse pixels lie exactly on edges of the fine ones: the right, lower one wins."""
    coarse = Grid(
        crs=pyproj.CRS(32618).to_wkt(),
        transform=Affine(20, 0, 500_000, 0, -20, 4_500_000),
        height=70,
        width=70,
    )
    fine = Grid(
        crs=coarse.crs,
        transform=Affine(10, 0, 499_990, 0, -10, 4_500_010),
        height=200,
        width=200,
    )
    lattice, place = lattice_of(fine)
    exact = positions(pyproj.CRS(32618), coarse.transform, lattice)
    (piece,) = map_window(exact, lattice, 70, 70).pieces
    first = (
        piece.row + piece.index[0, 0] // piece.width,
        piece.col + piece.index[0, 0] % piece.width,
    )
    assert first == (place.row + 2, place.col + 2)
    assert set(np.diff(piece.index[0])) == {2}


def test_files_of_one_zone_share_a_lattice():
    crs = pyproj.CRS(32618).to_wkt()
    one = Grid(crs=crs, transform=Affine(30, 0, 300_015, 0, -30, 4_500_015), height=5, width=5)
    two = Grid(crs=crs, transform=Affine(30, 0, 309_015, 0, -30, 4_200_015), height=9, width=9)
    other = Grid(crs=crs, transform=Affine(30, 0, 300_000, 0, -30, 4_500_015), height=5, width=5)
    (first, here), (second, there) = lattice_of(one), lattice_of(two)
    assert first == second
    assert (there.row - here.row, there.col - here.col) == (10_000, 300)
    assert lattice_of(other)[0] != first
