"""``orchard convert`` with the options that change what a cube holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import orchard
from orchard.cli import cli
from orchard.grid import TileGrid
from orchard.stores import open_store

COLLECTION = "LANDSAT/LC08/C02/T1_L2"


@pytest.fixture(scope="module")
def downloads(archive, tmp_path_factory):
    """The images of one small tile in two periods."""
    folder = tmp_path_factory.mktemp("convert")
    collections = orchard.load_collections({COLLECTION: {"bands": {"thermal": None}}})
    item = json.loads(next(archive.parent.glob("*/*/*.json")).read_text())["properties"]
    corner = item["proj:transform"][2], item["proj:transform"][5]
    grid = TileGrid(corner, item["proj:code"], (30, 30), (128, 128), ((0, 3), (0, 3)))
    tracker = orchard.Tracker(
        grid,
        open_store(folder / "preard"),
        engine=orchard.open_engine("local", catalog=archive),
        collections=collections,
    )
    name, _ = tracker.submit(COLLECTION, (0, 0), "2023-04-01", "2023-10-01", "3MS")
    info = tracker.wait(name)
    assert info.states.get("COMPLETED"), info.failures()
    tracker.download(info, folder / "downloads")
    return folder / "downloads"


def convert(*words: str) -> list[str]:
    done = CliRunner().invoke(cli, ["-q", "convert", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.split()


def test_join_makes_one_cube_of_all_periods(downloads, tmp_path):
    single = convert(str(downloads), "--dest", str(tmp_path / "single"))
    (joined,) = convert(str(downloads), "--dest", str(tmp_path / "joined"), "--join")
    times = np.concatenate([xr.open_dataset(path).time.values for path in sorted(single)])
    with xr.open_dataset(joined) as cube:
        np.testing.assert_array_equal(cube.time.values, np.sort(times))


def test_mask_and_scale_change_the_numbers(downloads, tmp_path):
    (plain,) = convert(str(downloads), "--dest", str(tmp_path / "a"), "--join")
    (masked,) = convert(
        str(downloads), "--dest", str(tmp_path / "b"), "--join", "--mask", "--scale"
    )
    with xr.open_dataset(plain) as one, xr.open_dataset(masked) as two:
        wanted = one.red.where(one.clear.astype(bool))
        np.testing.assert_allclose(two.red.values, wanted.values, atol=1e-6)
        assert "scale_factor" not in two.red.encoding


def test_both_ways_of_masking_are_refused(downloads):
    words = ["convert", str(downloads), "--mask", "--mask-flag", "cloud"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
