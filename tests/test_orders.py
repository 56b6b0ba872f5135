"""Orders on paper: periods, names and tasks."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.errors import GridError, InputError, PeriodError, TemplateError
from orchard.grid import TileGrid
from orchard.orders import (
    NAME_TEMPLATE,
    OrderSpec,
    Period,
    Templates,
    expand,
    parse_indices,
    parse_time,
    split_period,
)
from orchard.stores import check_key

GRID = TileGrid(
    name="G", ul=(0, 1000), crs="EPSG:3035", res=(10, 10), size=(10, 10), limits=((0, 9), (0, 9))
)
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

# Anchored offsets, plain spans, and multiples of both.
OFFSETS = (
    "MS", "ME", "2MS", "QS", "QS-FEB", "QE", "YS", "YE", "YS-JUL", "5YS", "SMS", "SME", "W",
    "W-WED", "2W", "WOM-1MON", "BMS", "B", "D", "16D", "1D12h", "6h", "90min",
)  # fmt: skip

moments = st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
days = moments.map(lambda m: m.replace(hour=0, minute=0, second=0, microsecond=0))


# Periods


@given(
    moments | days, st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
    st.sampled_from((None, *OFFSETS)),
)  # fmt: skip
def test_periods_cover_exactly_what_was_asked_for(start, span, freq):
    periods = split_period(start, start + span, freq)
    assert periods[0].start == start
    assert periods[-1].end == start + span
    assert all(a.end == b.start for a, b in itertools.pairwise(periods))
    assert all(period.start < period.end for period in periods)
    assert all(p.start.tzinfo is UTC and p.end.tzinfo is UTC for p in periods)


@given(days, st.integers(1, 400), st.sampled_from(OFFSETS[:19]))
def test_every_mark_of_the_calendar_is_a_boundary(start, n, freq):
    end = start + timedelta(days=n)
    marks = pd.date_range(start.replace(tzinfo=None), end.replace(tzinfo=None), freq=freq)
    inner = [m.to_pydatetime().replace(tzinfo=UTC) for m in marks]
    edges = [period.start for period in split_period(start, end, freq)]
    assert edges == [start, *(m for m in inner if start < m < end)]


def test_marks_of_the_calendar_are_at_midnight_whenever_the_period_starts():
    periods = split_period("2022-01-15T05:30", "2022-03-02", "MS")
    assert [p.start.isoformat()[:16] for p in periods] == [
        "2022-01-15T05:30", "2022-02-01T00:00", "2022-03-01T00:00",
    ]  # fmt: skip


def test_plain_spans_are_counted_from_the_start():
    periods = split_period("2022-01-15T05:30", "2022-02-20", "16D")
    assert [p.start.isoformat()[:16] for p in periods] == [
        "2022-01-15T05:30", "2022-01-31T05:30", "2022-02-16T05:30",
    ]  # fmt: skip


def test_cedars_order_gets_its_five_periods_although_it_does_not_start_on_a_boundary():
    periods = split_period("1997-06-01", "2020-01-01", "5YS")
    years = [(p.start.year, p.end.year) for p in periods]
    assert years == [(1997, 1998), (1998, 2003), (2003, 2008), (2008, 2013), (2013, 2018),
                     (2018, 2020)]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2022", "2022-01-01T00:00:00+00:00"),
        ("2022-06", "2022-06-01T00:00:00+00:00"),
        ("2022-06-03", "2022-06-03T00:00:00+00:00"),
        ("2022-06-03T10:10:00Z", "2022-06-03T10:10:00+00:00"),
        ("2022-06-03T10:10+02:00", "2022-06-03T08:10:00+00:00"),
        (" 2022-06-03 ", "2022-06-03T00:00:00+00:00"),
        (date(2022, 6, 3), "2022-06-03T00:00:00+00:00"),
        (datetime.fromisoformat("2022-06-03T01:00"), "2022-06-03T01:00:00+00:00"),
        (datetime(2022, 6, 3, 1, tzinfo=timezone(timedelta(hours=3))), "2022-06-02T22:00:00+00:00"),
        (pd.Timestamp("2022-06-03T01:00"), "2022-06-03T01:00:00+00:00"),
        (np.datetime64("2022-06-03T01:00"), "2022-06-03T01:00:00+00:00"),
    ],
)
def test_times_are_read_as_utc(value, expected):
    assert parse_time(value).isoformat() == expected


@pytest.mark.parametrize("value", ["", "June", "2022-13", "2022-02-30", "03.06.2022", None])
def test_what_is_no_date_is_refused_by_name(value):
    with pytest.raises(PeriodError, match=r"period_start .* is not a date"):
        parse_time(value, what="period_start")


def test_a_moment_beyond_the_calendar_is_refused():
    with pytest.raises(PeriodError, match="too far away"):
        parse_time("0001-01-01T00:00+05:00")


@pytest.mark.parametrize(
    ("start", "end", "freq", "message"),
    [
        ("2022-01-02", "2022-01-01", None, "not before its end"),
        ("2022-01-01", "2022-01-01", "MS", "not before its end"),
        ("2022", "2023", "XX", "'XX' is not a pandas offset: use for example 'MS'"),
        ("2022", "2023", "AS", "'AS' is not a pandas offset: did you mean 'YS'\\? Use for"),
        ("2022", "2023", "-1D", "greater than zero"),
        ("2022", "2023", "0h", "greater than zero"),
        ("2022", "2023", "ms", "shorter than a second"),
        ("2000", "2023", "s", "more than 1,000,000"),
    ],
)
def test_periods_that_cannot_be_meant(start, end, freq, message):
    with pytest.raises(PeriodError, match=message):
        split_period(start, end, freq)


# Names


def _spec(collections=("A/B", "C/D"), tiles=((1, 2), (3, 4)), freq="QS") -> OrderSpec:
    return OrderSpec(
        collections=tuple(collections),
        tiles=tuple(GRID[index] for index in tiles),
        period=Period(start=parse_time("2022"), end=parse_time("2023")),
        period_freq=freq,
    )


@pytest.mark.parametrize(
    ("template", "task", "order"),
    [
        ("{collection}", "A_B", "A_B_C_D"),
        ("{collections}", "A_B_C_D", "A_B_C_D"),
        ("{tile}", "h002v001", "h002v001_h004v003"),
        ("{tiles}", "h002v001_h004v003", "h002v001_h004v003"),
        ("{tile_indices}", "h002v001_h004v003", "h002v001_h004v003"),
        ("{date_start}", "2022-01-01", "2022-01-01"),
        ("{date_end}", "2022-04-01", "2023-01-01"),
        ("{period_start}", "2022-01-01", "2022-01-01"),
        ("{period_end}", "2023-01-01", "2023-01-01"),
        ("{period_freq}", "QS", "QS"),
        ("{today}", "2026-03-04", "2026-03-04"),
        ("{now}", "2026-03-04T050607", "2026-03-04T050607"),
        ("{now:%H}h{today:%j}", "05h063", "05h063"),
        ("{date_end:%Y%j}", "2022091", "2023001"),
        ("{date_start:>12}x", "  2022-01-01x", None),
        ("a{{b}}{collection:_<5}", "a{b}A_B__", "a{b}A_B_C_D"),
    ],
)
def test_every_key_of_the_templates(template, task, order):
    spec = _spec()
    if task.startswith(" "):
        with pytest.raises(TemplateError, match="padded"):
            Templates(name=template).name_tasks(spec, NOW)
        return
    unique = template + "-{tile}-{collection}-{date_start}"
    first = Templates(name=unique).name_tasks(spec, NOW)[0]
    assert first[0] == f"{task}-h002v001-A_B-2022-01-01"
    assert Templates(tracking=template).tracking_name(spec, NOW) == order


def test_the_tiles_attributes_are_keys_of_the_names():
    names = Templates(name="{tile.horizontal:03d}.{tile.vertical}.{tile.size[0]}")
    with pytest.raises(TemplateError, match=r"unknown key 'tile\.size"):
        names.name_tasks(_spec(["A"], freq=None), NOW)
    names = Templates(name="{tile.horizontal:03d}.{tile.vertical}.{tile.width}")
    found = names.name_tasks(_spec(["A"], freq=None), NOW)
    assert [name for name, *_ in found] == ["002.1.10", "004.3.10"]


def test_one_tile_has_its_attributes_in_the_orders_name_several_have_not():
    templates = Templates(tracking="T{tile.horizontal}")
    assert templates.tracking_name(_spec(tiles=[(1, 2)]), NOW) == "T2"
    with pytest.raises(TemplateError, match=r"no tile\.horizontal, use \{tiles\}"):
        templates.tracking_name(_spec(), NOW)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{colection}", "unknown key 'colection': known are collection, collections, date_end"),
        ("{}", "unknown key"),
        ("{0}", "unknown key"),
        ("{tile.__class__}", "unknown key"),
        ("{tile._tile}", "unknown key"),
        ("{tile.crs._crs}", "unknown key"),
        ("{collection.__class__.__mro__[1]}", "unknown key"),
        ("{now.moment.__class__}", "unknown key"),
        ("{tile[0]}", "unknown key"),
        ("{collection:{tile.__class__}}", "unknown key"),
        ("{tile.horizontl}", "cannot be filled in"),
        ("{collection:d}", "cannot be filled in"),
        ("{collection", "cannot be filled in"),
        ("}", "cannot be filled in"),
        ("{collection!x}", "cannot be filled in"),
        ("", "cannot be stored: a part of it is empty"),
        ("..", "cannot be stored"),
        ("a/{collection}", "cannot be stored: it has '/'"),
        ("a:{collection}", "cannot be stored: it has ':'"),
        ("a\\{collection}", "cannot be stored"),
        ("{tile.crs}", "cannot be stored"),
        ("{collection}" + 200 * "x", "longer than 160 bytes"),
    ],
)
def test_templates_that_cannot_be_meant(template, message):
    spec = _spec(["A/B"], [(1, 2)], None)
    with pytest.raises(TemplateError, match=rf"name_template .*{message}"):
        Templates(name=template).name_tasks(spec, NOW)
    with pytest.raises(TemplateError, match=rf"tracking_template .*{message}"):
        Templates(tracking=template).tracking_name(spec, NOW)


def test_a_prefix_is_a_path_without_tricks():
    tasks = Templates(prefix="a/{collection}/b").name_tasks(_spec(["A/B"], [(1, 2)], None), NOW)
    assert tasks[0][1] == "a/A_B/b"
    for bad in ("/a", "a/", "a//b", "../a", "a/./b", "a/ b"):
        with pytest.raises(TemplateError, match=r"prefix_template .* cannot be stored"):
            Templates(prefix=bad).name_tasks(_spec(["A"], [(1, 2)], None), NOW)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_whatever_a_template_says_its_names_can_be_stored_or_are_refused(text):
    spec = _spec(["A/B"], [(1, 2)], None)
    templates = Templates(name=text, tracking=text, prefix=text)
    try:
        name, prefix, *_ = templates.name_tasks(spec, NOW)[0]
    except TemplateError:
        return
    check_key(f"{prefix}/{name}-0000000000-0000000000.tif")


@given(
    st.lists(
        st.sampled_from(["x", "{{", "}}", "{collection}", "{tile.vertical:02d}", "{date_start:%Y}",
                         "{tile:>{tile.vertical}}", "{period_freq!s:_^4}"]),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_names_are_what_str_format_makes_of_them(parts):
    text = "".join(parts) + "{collection}{tile.vertical}{date_start}"
    for name, _, collection, tile, period in Templates(name=text).name_tasks(_spec(), NOW):
        name_of_tile = f"h{tile.horizontal:03d}v{tile.vertical:03d}"
        expected = text.replace("{tile:>{tile.vertical}}", name_of_tile)
        expected = expected.replace("{date_start}", f"{period.start:%Y-%m-%d}")
        assert name == expected.format(
            collection=collection.replace("/", "_"),
            tile=tile, date_start=period.start, period_freq="QS",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("template", "missing"),
    [
        ("{tile}{date_start}", r"add \{collection\} to it"),
        ("{collection}{date_start}", r"add \{tile.horizontal\} and \{tile.vertical\} to it"),
        ("{collection}{tile}", r"add \{date_start\} and \{date_end\} to it"),
        ("x", "gives the name 'x' to two tasks"),
    ],
)
def test_names_that_clash_are_named_with_what_is_missing(template, missing):
    with pytest.raises(TemplateError, match=missing):
        Templates(name=template).name_tasks(_spec(), NOW)


def test_names_may_be_the_same_in_different_folders():
    templates = Templates(name="{tile}{date_start}", prefix="{collection}")
    assert len({task[:2] for task in templates.name_tasks(_spec(), NOW)}) == 16


# Expansion


def test_tasks_come_by_collection_then_tile_then_period():
    spec = _spec()
    lte = {"function": "lte", "name": "CLOUD_COVER", "value": 5}
    tasks = expand(spec, Templates(), {"A/B": [lte], "X": []}, NOW)
    expected = list(itertools.product(spec.collections, spec.tiles, spec.periods))
    assert [(t.collection, t.tile, t.period) for t in tasks] == expected
    assert all(t.filters == ((lte,) if t.collection == "A/B" else ()) for t in tasks)
    assert tasks[0].name == "A_B_h002v001_2022-01-01_2022-04-01"
    assert len({(t.prefix, t.name) for t in tasks}) == len(tasks) == 16


def test_the_same_order_is_always_expanded_alike():
    assert expand(_spec(), Templates(), {}, NOW) == expand(_spec(), Templates(), {}, NOW)


def test_the_default_name_is_cedars():
    assert NAME_TEMPLATE.format(
        collection="LANDSAT_LE07_C01_T1_SR", tile=GRID[5, 6], date_start="1997-01-01",
        date_end="2002-01-01",
    ) == "LANDSAT_LE07_C01_T1_SR_h006v005_1997-01-01_2002-01-01"  # fmt: skip


# Indices


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ((1, 2), [(1, 2)]),
        ([1, 2], [(1, 2)]),
        ([(1, 2)], [(1, 2)]),
        ([(1, 2), (0, 0)], [(1, 2), (0, 0)]),
        ([(1, 2), (3, 4), (1, 2)], [(1, 2), (3, 4)]),
        (np.array([1, 2]), [(1, 2)]),
        (np.array([[1, 2], [3, 4]]), [(1, 2), (3, 4)]),
        (iter([(1, 2), (3, 4)]), [(1, 2), (3, 4)]),
    ],
)
def test_indices_are_read_once_each_in_their_order(indices, expected):
    assert [tile.index for tile in parse_indices(indices, GRID)] == expected


@pytest.mark.parametrize(
    "indices",
    [5, None, [(1,)], [(1, 2, 3)], [1], ["12x"], [(1.5, 2)], [("1", "2")], [(10, 0)], (0, -1)],
)
def test_what_is_no_index_of_the_grid_is_refused(indices):
    with pytest.raises(GridError):
        parse_indices(indices, GRID)


def test_no_index_at_all_is_refused():
    with pytest.raises(InputError, match="at least one"):
        parse_indices([], GRID)
