"""``orchard tasks``: the operations of a project, through the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from ee_world import PERIOD, SIMPLE, tiles

from orchard.cli import cli
from orchard.config import Config
from orchard.errors import InputError


@pytest.fixture
def run(monkeypatch, world, simple_archive, order, bucket):
    """Run `orchard tasks …` on a project with one order of three tasks."""
    here = world(simple_archive, live=False)
    engine = here.engine()
    tracker = order(engine)
    name, _ = tracker.submit(SIMPLE, tiles(3), *PERIOD)
    tracker.update(name)
    monkeypatch.setattr(Config, "get_engine", lambda self, **options: engine)
    monkeypatch.setattr(
        "orchard.cli.common.State.config",
        lambda self: Config({"tile_grid": "LANDSAT_ARD_CU", "store": "memory://cli"}),
    )

    def run(*words: str):
        done = CliRunner().invoke(cli, ["tasks", *words])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    run.name, run.engine = name, engine
    return run


def test_list_shows_each_operation_with_its_order(run):
    rows = json.loads(run("list", "--json").stdout)
    assert len(rows) == 3
    assert {row["order"] for row in rows} == {run.name}
    assert {row["kind"] for row in rows} == {"EXPORT_IMAGE"}
    assert len(run("list", "--order", run.name).stdout.splitlines()) == 3
    assert run("list", "--state", "failed").stdout == ""


def test_summary_counts_by_order_and_state(run):
    assert run("summary").stdout.startswith(f"{run.name}: 3 ")


def test_cancel_asks_for_one_or_for_all_of_an_order(run):
    first = json.loads(run("list", "--json").stdout)[0]["id"]
    run("cancel", first)
    states = {row["id"]: row["state"] for row in json.loads(run("list", "--json").stdout)}
    assert states[first] in {"CANCELLED", "CANCEL_REQUESTED"}
    run("cancel", "--order", run.name)
    states = {row["state"] for row in json.loads(run("list", "--json").stdout)}
    assert states <= {"CANCELLED", "CANCEL_REQUESTED"}
    assert run("cancel").exit_code == 2


def test_another_engine_is_refused(run, monkeypatch):
    monkeypatch.setattr(Config, "get_engine", lambda self, **options: None)
    with pytest.raises(InputError, match="not Earth Engine"):
        run("list")
