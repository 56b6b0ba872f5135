"""The model of an order: it says what the record says, in little room."""

from __future__ import annotations

import json
from datetime import date
from itertools import product

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_orders import made_order

import orchard
from orchard.report import AcquisitionFacts, Known, build_model, render
from orchard.report.model import CODES
from orchard.report.names import pack_names
from orchard.tracking import State, TrackingInfo


def sizes(model: dict) -> tuple[int, int, int]:
    return len(model["collections"]), len(model["tiles"]["label"]), len(model["periods"])


def unpack_names(packed, sizes):
    """Return the names that were packed, as the pages do."""
    if "parts" in packed:
        return [
            "".join(p if isinstance(p, str) else p[1][index[p[0]]] for p in packed["parts"])
            for index in product(*map(range, sizes))
        ]
    names = [""]
    for same, rest in zip(packed["front"][::2], packed["front"][1::2], strict=True):
        names.append(names[-1][:same] + rest)
    return names[1:]


words = st.text("ab-_2", min_size=0, max_size=4)


@given(
    axes=st.lists(st.lists(words, min_size=1, max_size=3), min_size=3, max_size=3),
    between=st.lists(words, min_size=4, max_size=4),
    order=st.permutations(range(3)),
)
def test_names_of_all_combinations_come_back(axes, between, order):
    names = []
    for a in axes[0]:
        for b in axes[1]:
            for c in axes[2]:
                values = [(a, b, c)[i] for i in order]
                names.append("".join(x + y for x, y in zip(between, [*values, ""], strict=True)))
    counts = tuple(map(len, axes))
    assert unpack_names(pack_names(names, counts), counts) == names


@given(names=st.lists(words, max_size=12), counts=st.tuples(*[st.integers(0, 4)] * 3))
def test_any_names_come_back(names, counts):
    assert unpack_names(pack_names(names, counts), counts) == names


def test_the_model_says_what_the_record_says():
    info = made_order(3, 4, collections=("LANDSAT/LC08/C02/T1_L2", "COPERNICUS/S2_SR_HARMONIZED"))
    model = orjson.loads(orjson.dumps(build_model(info)))
    tasks = model["tasks"]
    assert sizes(model) == (2, 12, 24)
    assert model["product"]
    names = [str(State(order["status"]["state"])) for order in info.orders]
    code = {state["code"]: state["name"] for state in model["states"]}
    assert [code[letter] for letter in tasks["state"]] == names
    assert set(tasks["state"]) == set(CODES.values())
    assert unpack_names(tasks["names"], sizes(model)) == [order["name"] for order in info.orders]
    assert unpack_names(tasks["folders"], sizes(model)) == [
        order["prefix"] for order in info.orders
    ]
    assert len(str(tasks["names"])) < 2000
    assert {c["text"]: len(c["tasks"]) for c in model["causes"]} == {
        cause: len(found) for cause, found in info.failures().items()
    }
    failed = {position for cause in model["causes"] for position in cause["tasks"]}
    assert failed == {i for i, name in enumerate(names) if name in ("FAILED", "LOST")}
    for position, status in enumerate(info.statuses):
        for column, moment in (
            ("started", status.start_timestamp_ms),
            ("updated", status.update_timestamp_ms),
        ):
            seconds = tasks[column][position]
            assert (seconds == -1) == (moment == 0)
            assert not moment or abs(tasks["zero"] + 1000 * seconds - moment) <= 50
        assert tasks["bytes"][position] == sum(file.size for file in status.files)
    # The place of a task is told by its position alone.
    for position in (0, 30, 287, 288, 575):
        c, rest = divmod(position, 12 * 24)
        t, p = divmod(rest, 24)
        name = info.orders[position]["name"]
        assert name.startswith(model["collections"][c].replace("/", "_"))
        assert model["tiles"]["label"][t] in name
        start = np.datetime64(model["periods"][p][0], "ms")
        assert f"{start.astype('datetime64[D]')}" in name


def test_footprints_are_those_of_the_grid():
    info = made_order(2, 2)
    for tile, ring in zip(
        info["tracking"]["tiles"], build_model(info)["tiles"]["ring"], strict=True
    ):
        (outline,) = orchard.Tile.from_dict(tile).geojson()["geometry"]["coordinates"]
        lon, lat = np.array(ring).reshape(-1, 2).T
        want = np.array(outline)
        found = [lon.min(), lat.min(), lon.max(), lat.max()]
        assert found == pytest.approx([*want.min(axis=0), *want.max(axis=0)], abs=0.02)
        # Clockwise, as d3 wants a polygon that is not the rest of the Earth.
        assert np.sum(np.roll(lon, -1) * lat - lon * np.roll(lat, -1)) > 0


def test_a_tile_without_a_place_on_earth_is_listed_but_not_drawn():
    info = made_order(1, 2)
    corner = info["tracking"]["tiles"][1]
    corner["crs"] = "+proj=sinu +R=6371007.181"
    corner["bounds"] = [-20015109.0, 8895604.0, -18903158.0, 10007555.0]
    tiles = build_model(info)["tiles"]
    assert [ring is None for ring in tiles["ring"]] == [False, True]
    assert len(tiles["label"]) == 2


def test_a_record_of_cedar(scenes):
    document = json.loads((scenes / "cedar" / "example_metadata_tracking.json").read_text())
    model = build_model(TrackingInfo(document))
    assert model["tasks"]["state"] == "C"
    assert model["program"]["name"] == "cedar"
    assert model["tiles"]["ring"][0] is not None
    assert "orchard-drawn" in render(model)


def test_tasks_that_are_not_one_for_each_place_are_still_there():
    info = made_order(2, 2)
    cut = TrackingInfo({**info, "orders": info.orders[:-1]})
    model = build_model(cut)
    assert not model["product"]
    names = unpack_names(model["tasks"]["names"], sizes(model))
    assert names == [order["name"] for order in cut.orders]


def test_the_time_left_is_known_only_while_something_runs():
    done = made_order(2, 2, states=["COMPLETED", "EMPTY"])
    assert build_model(done)["eta"] == 0
    assert build_model(made_order(2, 2, states=["READY"]))["eta"] is None
    assert build_model(made_order(2, 2, states=["READY", "COMPLETED"]))["eta"] is None
    going = made_order(2, 2, states=["READY", "COMPLETED", "RUNNING"])
    start = min(s.start_timestamp_ms for s in going.statuses if s.state is State.COMPLETED)
    model = build_model(going, made=start + 3_600_000)
    ended = model["tasks"]["state"].count("C")
    left = going.states["READY"] + going.states["RUNNING"]
    assert model["eta"] == pytest.approx(left * 3600 / ended)


def test_acquisitions_are_columns():
    facts = {
        3: [AcquisitionFacts(day=date(2023, 4, 2), scenes=2, clear=0.4567)],
        1: [AcquisitionFacts(day=date(1969, 12, 31), scenes=1, cloud=7.25)],
    }
    found = build_model(made_order(1, 1), Known(acquisitions=facts))["acquisitions"]
    assert found == {
        "looked": [1, 3],
        "task": [1, 3],
        "day": [-1, 19449],
        "scenes": [1, 2],
        "clear": [None, 45.7],
        "cloud": [7.2, None],
    }


def test_nothing_in_a_record_can_end_the_script():
    info = made_order(1, 1, states=["FAILED"])
    evil = "</script><script>alert(1)</script><!-- \u2028 &lt;"
    info.orders[0]["status"]["error_message"] = evil
    page = render(build_model(TrackingInfo(dict(info))))
    start = page.index('id="model">') + len('id="model">')
    data = page[start : page.index("</script>", start)]
    assert json.loads(data)["causes"][-1]["text"] == evil
    assert page.count("alert(1)") == 1
    assert "<!--" not in data


def test_a_notebook_shows_a_small_order_task_by_task():
    info = made_order(2, 3)
    shown = info._repr_html_()
    for code, state in ((code, str(state)) for state, code in CODES.items()):
        of_it = info.states.get(state, 0)
        # Each task is a patch with its letter, and each state has one beside its name.
        assert shown.count(f">{code}</span>") == of_it + bool(of_it)
        assert shown.count(f": {state}'") == of_it
    assert "h009v006 LANDSAT/LC08/C02/T1_L2, from 2021-02-01: " in shown
    assert "title=" not in made_order(5, 5)._repr_html_()


def test_a_hundred_thousand_tasks_take_less_than_ten_megabytes(large):
    info, path = large
    assert len(info.orders) == 100_000
    assert path.stat().st_size < 5_000_000
