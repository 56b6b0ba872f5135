"""orchard status watch: a line a look, until the orders have ended."""

from __future__ import annotations

import threading

import yaml
from click.testing import CliRunner
from tiny_world import COLLECTION, CRS, RES, SIDE, UL, description

from orchard.cli import cli


def run(world, *args):
    config = {
        "tile_grid": {"crs": CRS, "ul": list(UL), "res": [RES, RES], "size": [SIDE, SIDE],
                      "limits": [[0, 1], [0, 1]], "name": "TINY"},
        "store": str(world.folder / "store"),
        "engine": {"name": "local", "catalog": str(world.catalog)},
        "collections": {COLLECTION: description()},
    }  # fmt: skip
    path = world.folder / "orchard.yaml"
    path.write_text(yaml.safe_dump(config))
    return CliRunner().invoke(cli, ["-C", str(path), *args], standalone_mode=False)


def test_it_follows_an_order_to_its_end(world):
    tracker = world.tracker()
    name, _ = tracker.submit(*world.order())
    working = threading.Thread(target=tracker.wait, args=(name,))
    working.start()
    result = run(world, "status", "watch", "--all", "--interval", "0.05")
    working.join()
    assert result.return_value == 0
    assert result.output.splitlines()[-1] == "order: 4/4; 4 COMPLETED"
    assert run(world, "status", "watch", "--all").output == ""


def test_failures_are_told_by_cause(world):
    (world.scenes / "s1_red.tif").write_bytes(b"II*\x00 no image at all")
    tracker = world.tracker()
    name, _ = tracker.submit(*world.order())
    tracker.wait(name)
    result = run(world, "status", "watch", name)
    assert result.return_value == 3
    assert result.output.startswith("order: 4/4; 4 FAILED; failed: band red of scene s1")


def test_orders_are_named_or_all(world):
    assert "name orders" in str(run(world, "status", "watch").exception)
