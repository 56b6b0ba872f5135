"""`orchard download --clean` and `orchard clean --dry-run`: nothing goes that is not meant to."""

from __future__ import annotations

import json

import pytest

from orchard.cli import cli
from orchard.cli.errors import report_errors
from orchard.stores import open_store
from orders import make_order


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.fixture
def line(tmp_path, monkeypatch, capsys):
    """Run a command line on the store; give its exit code, output and error stream."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchard.delivery.transfer.random.uniform", lambda low, high: 0.0)
    config = tmp_path / "orchard.yaml"
    said = {"tile_grid": "LANDSAT_ARD_CU", "store": "store", "tracker": {"tracking_prefix": "T"}}
    config.write_text(json.dumps(said))

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        arguments = ["-C", str(config), *map(str, words)]
        code = report_errors(lambda: cli.main(args=arguments, standalone_mode=False))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def keys(store) -> set[str]:
    return {info.key for info in store.list()}


def test_a_dry_run_names_exactly_what_clean_deletes(store, line):
    make_order(store, name="OTHER", tasks=2)
    others = keys(store)
    make_order(store, tasks=3, shards=2)
    before = keys(store)
    code, out, err = line("clean", "ORDER", "--dry-run")
    assert code == 0
    assert "Would delete 9 files of 3 tasks" in err
    assert keys(store) == before
    listed = out.splitlines()
    assert listed[-1] == "T/ORDER.json", "the record goes last"
    kept = line("clean", "ORDER", "--dry-run", "--keep-tracking")[1].splitlines()
    assert kept == listed[:-1]
    assert line("clean", "ORDER")[0] == 0
    assert keys(store) == before - set(listed) == others


def test_download_and_clean_deletes_what_has_arrived(store, line, tmp_path):
    make_order(store, name="OTHER", tasks=1)
    others = keys(store)
    _, contents = make_order(store, tasks=2, shards=2)
    assert line("download", "ORDER", "--clean")[0] == 0
    assert keys(store) == others
    found = {path.name: path.read_bytes() for path in (tmp_path / "ORDER").glob("*.tif")}
    assert found == contents


@pytest.mark.parametrize("damage", ["flipped", "missing", "short"])
def test_nothing_is_deleted_when_one_file_is_not_verified(store, line, tmp_path, damage):
    _, contents = make_order(store, tasks=2, shards=2)
    name = min(contents)
    spoilt = {"flipped": b"\x00" + contents[name][1:], "short": contents[name][:-1]}
    if damage == "missing":
        store.delete(f"P/{name}")
    else:
        store.put(f"P/{name}", spoilt[damage])
    before = keys(store)
    code, _, err = line("download", "ORDER", "--clean")
    assert code == 3
    assert name in err
    assert keys(store) == before
    # What is here was verified before: a file that was altered since is not taken for it, either.
    store.put(f"P/{name}", contents[name])
    other = max(contents)
    (tmp_path / "ORDER" / other).write_bytes(b"\x00" + contents[other][1:])
    store.delete(f"P/{other}")
    assert line("download", "ORDER", "--clean")[0] == 3
    assert f"P/{name}" in keys(store)


def test_an_order_that_is_not_done_is_not_cleaned(store, line):
    make_order(store, tasks=2, states={1: "RUNNING"})
    before = keys(store)
    code, _, err = line("download", "ORDER", "--clean")
    assert code == 3
    assert "Not cleaned" in err
    assert keys(store) == before
