"""Cubes made straight from stores that are no folders, by their URL."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import preard_files as pre
import pytest
import yaml
from click.testing import CliRunner

from orchard.ard import convert, open_ard
from orchard.cli import cli
from orchard.errors import BulkError
from orchard.stores import open_store

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))

from fixtures import *  # noqa: F403 - pytest finds fixtures by their names here


def upload(store, folder: Path, prefix: str) -> np.ndarray:
    """Put an image of four shards into a store; return its pixels."""
    doc = pre.document(shards=[12, 8])
    data = pre.pixels(doc)
    pre.write(folder, doc, data)
    for file in folder.iterdir():
        store.put(f"{prefix}/{file.name}", file)
    return data


def nothing_left(folder: Path) -> bool:
    return not [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("kind", ["netcdf", "zarr", "cog"])
def test_from_memory_by_its_url(tmp_path, kind):
    data = upload(open_store(f"memory://cubes-{kind}"), tmp_path / "in", "far/PRE")
    (cube,) = convert(f"memory://cubes-{kind}", tmp_path / "ard", kind)
    np.testing.assert_array_equal(open_ard(cube).red, data[:, 0])
    assert nothing_left(tmp_path / "ard")


def test_from_s3_by_its_url_and_the_environment(tmp_path, s3, monkeypatch):
    store = open_store(f"{s3.url}/straight", **s3.options)
    data = upload(store, tmp_path / "in", "PRE")
    names = {"endpoint": "AWS_ENDPOINT_URL", "region": "AWS_REGION"}
    for key, value in s3.options.items():
        monkeypatch.setenv(names.get(key, f"AWS_{key.upper()}"), str(value))
    (cube,) = convert(f"{s3.url}/straight/PRE", tmp_path / "ard", "zarr")
    np.testing.assert_array_equal(open_ard(cube).nir, data[:, 1])
    assert nothing_left(tmp_path / "ard")


def test_the_command_line_takes_the_options_of_the_configured_store(tmp_path, s3):
    store = open_store(f"{s3.url}/configured", **s3.options)
    data = upload(store, tmp_path / "in", "PRE")
    config = tmp_path / "orchard.yaml"
    options = {"store": {"url": f"{s3.url}/configured", "options": dict(s3.options)}}
    config.write_text(yaml.safe_dump({"tile_grid": "LANDSAT_ARD_CU", **options}))
    words = ["-q", "-C", str(config), "convert", f"{s3.url}/configured/PRE"]
    done = CliRunner().invoke(cli, [*words, "--dest", str(tmp_path / "ard")])
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(open_ard(done.stdout.strip()).red, data[:, 0])
    done = CliRunner().invoke(cli, [*words, str(tmp_path / "in")])
    assert done.exit_code == 2
    assert "stands alone" in done.output


def test_a_shard_that_is_missing_in_the_store_is_named(tmp_path):
    store = open_store("memory://cubes-missing")
    upload(store, tmp_path / "in", "PRE")
    gone = next(info.key for info in store.list("PRE") if info.key.endswith("12.tif"))
    store.delete(gone)
    with pytest.raises(BulkError) as caught:
        convert("memory://cubes-missing", tmp_path / "ard")
    assert f"missing {gone.removeprefix('PRE/')}" in str(caught.value)
    assert list((tmp_path / "ard").iterdir()) == []


def test_what_a_killed_run_has_fetched_is_cleared_away(tmp_path):
    data = upload(open_store("memory://cubes-killed"), tmp_path / "in", "PRE")
    name = pre.document()["task"]["name"]
    left = tmp_path / "ard" / f".orchard-tmp-{name}.nc~{_host()}~{2**22 + 1}~0"
    left.mkdir(parents=True)
    (left / "half.tif").write_bytes(b"half")
    (cube,) = convert("memory://cubes-killed", tmp_path / "ard")
    np.testing.assert_array_equal(open_ard(cube).red, data[:, 0])
    assert nothing_left(tmp_path / "ard")


def _host() -> str:
    import socket

    return socket.gethostname()
