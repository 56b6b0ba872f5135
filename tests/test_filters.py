"""Filters: what is accepted, what matches, and what is refused by name."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.collections import get_collection
from orchard.errors import FilterError
from orchard.filters import Filter, Property, parse_filters, translate

DATA = Path(__file__).parents[2] / "shared" / "data"


def one(**kwargs):
    (filter_,) = parse_filters([kwargs])
    return filter_


PROPERTIES = {
    "cloud": 20.5,
    "path": "008",
    "name": "LC08_L2SP",
    "old": False,
    "empty": None,
    "datetime": "2021-12-31T23:30:00-02:00",
}


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"function": "eq", "name": "cloud", "value": 20.5}, True),
        ({"function": "neq", "name": "cloud", "value": 20.5}, False),
        ({"function": "lt", "name": "cloud", "value": 20.5}, False),
        ({"function": "lte", "name": "cloud", "value": 20.5}, True),
        ({"function": "gt", "name": "cloud", "value": 20.4}, True),
        ({"function": "gte", "name": "cloud", "value": 21}, False),
        ({"function": "lessThanOrEquals", "name": "cloud", "value": 20.5}, True),
        # numbers and zero-padded strings of digits compare as numbers, both ways round
        ({"function": "eq", "name": "path", "value": 8}, True),
        ({"function": "eq", "name": "cloud", "value": "20.50"}, True),
        ({"function": "lt", "name": "path", "value": 10}, True),
        ({"function": "eq", "name": "path", "value": "8"}, False),
        ({"function": "gt", "name": "name", "value": 8}, False),
        ({"function": "neq", "name": "name", "value": 8}, True),
        ({"function": "eq", "name": "old", "value": False}, True),
        ({"function": "eq", "name": "old", "value": 0}, False),
        ({"function": "neq", "name": "old", "value": True}, True),
        ({"function": "gte", "name": "old", "value": False}, False),
        ({"function": "inList", "name": "path", "value": [7, 8]}, True),
        ({"function": "inList", "name": "path", "value": ["7", "8"]}, False),
        ({"function": "rangeContains", "name": "cloud", "value": [20.5, 30]}, True),
        ({"function": "rangeContains", "name": "cloud", "value": [0, 20]}, False),
        ({"function": "stringContains", "name": "name", "value": "08_"}, True),
        ({"function": "stringStartsWith", "name": "name", "value": "LC08"}, True),
        ({"function": "stringEndsWith", "name": "name", "value": "LC08"}, False),
        ({"function": "stringContains", "name": "cloud", "value": "20"}, False),
        ({"function": "notNull", "name": "cloud"}, True),
        ({"function": "notNull", "name": "empty"}, False),
    ],
)
def test_functions(filter_, expected):
    assert one(**filter_).matches(PROPERTIES) is expected


@pytest.mark.parametrize("name", ["missing", "empty"])
@pytest.mark.parametrize("function", ["eq", "neq", "lt", "lte", "gt", "gte"])
def test_what_lacks_the_property_does_not_match_and_not_of_it_does(function, name):
    comparison = {"function": function, "name": name, "value": 1}
    assert not one(**comparison).matches(PROPERTIES)
    assert one(function="not", filters=[comparison]).matches(PROPERTIES)


def test_combinations():
    yes = {"function": "lt", "name": "cloud", "value": 50}
    no = {"function": "gt", "name": "cloud", "value": 50}
    assert one(function="and", filters=[yes, yes]).matches(PROPERTIES)
    assert not one(function="and", filters=[yes, no]).matches(PROPERTIES)
    assert one(function="or", filters=[no, yes]).matches(PROPERTIES)
    assert not one(function="Or", filters=[no, no]).matches(PROPERTIES)
    nested = one(function="not", filters=[{"function": "or", "filters": [no, {**no, "name": "x"}]}])
    assert nested.matches(PROPERTIES)
    assert nested.names() == {"cloud", "x"}


@pytest.mark.parametrize(
    ("field", "bounds", "expected"),
    [
        ("year", [2022, 2022], True),  # 2022-01-01T01:30Z
        ("month", [11, 2], True),
        ("month", [2, 11], False),
        ("day_of_year", [1, 1], True),
        ("day_of_month", [2, 31], False),
        ("day_of_week", [6, 6], True),  # a Saturday
        ("hour", [1, 1], True),
        ("minute", [0, 29], False),
    ],
)
def test_the_calendar_is_in_utc_counts_from_one_and_wraps(field, bounds, expected):
    season = one(function="calendarRange", name=field, value=bounds)
    assert season.matches(PROPERTIES) is expected
    assert season.names() == set()


def test_the_calendar_reads_intervals_and_times_without_a_zone():
    winter = one(function="calendarRange", name="month", value=[12, 2])
    assert winter.matches({"datetime": None, "start_datetime": "2021-01-05T00:00:00"})
    assert not winter.matches({"datetime": "some day"})
    assert not winter.matches({})


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ({"function": "near", "name": "x", "value": 1}, "near"),
        ({"function": "lte", "value": 1}, "needs `name`"),
        ({"function": "lte", "name": "x"}, "one value"),
        ({"function": "lte", "name": "x", "value": [1, 2]}, "one value"),
        ({"function": "lte", "name": "x", "value": 1, "vlaue": 1}, "vlaue"),
        ({"function": "lte", "name": "x", "value": float("nan")}, "finite"),
        ({"function": "inList", "name": "x", "value": 3}, "a list"),
        ({"function": "rangeContains", "name": "x", "value": [3]}, "low, high"),
        ({"function": "rangeContains", "name": "x", "value": [3, 1]}, "low <= high"),
        ({"function": "stringContains", "name": "x", "value": 3}, "a string"),
        ({"function": "notNull", "name": "x", "value": 3}, "takes no `value`"),
        ({"function": "calendarRange", "name": "season", "value": [1, 2]}, "day_of_year"),
        ({"function": "calendarRange", "name": "month", "value": [1.5, 2]}, "whole"),
        ({"function": "and", "filters": []}, "needs `filters`"),
        ({"function": "and", "name": "x", "filters": []}, "not `name`"),
        ({"function": "not", "filters": [{"function": "notNull", "name": "x"}] * 2}, "exactly one"),
        ({"function": "lt", "name": "x", "value": 1, "filters": [{"function": "eq"}]}, "filters"),
    ],
)
def test_a_wrong_filter_says_what_is_wrong(filter_, message):
    with pytest.raises(FilterError, match=message):
        parse_filters([filter_])


@pytest.mark.parametrize("filters", ["lte", {"function": "lte"}, [3]])
def test_filters_are_a_list_of_mappings(filters):
    with pytest.raises(FilterError, match="must be"):
        parse_filters(filters)


names = st.text(min_size=1)
scalars = (
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
comparisons = (
    st.builds(
        Filter,
        function=st.sampled_from(["eq", "neq", "lt", "lte", "gt", "gte"]),
        name=names,
        value=scalars,
    )
    | st.builds(
        Filter,
        function=st.just("inList"),
        name=names,
        value=st.lists(scalars, min_size=1).map(tuple),
    )
    | st.builds(
        Filter,
        function=st.just("rangeContains"),
        name=names,
        value=st.tuples(numbers, numbers).map(lambda pair: tuple(sorted(pair))),
    )
    | st.builds(Filter, function=st.just("stringContains"), name=names, value=st.text())
    | st.builds(Filter, function=st.just("notNull"), name=names)
)
filters = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(
            Filter,
            function=st.sampled_from(["and", "or"]),
            filters=st.lists(inner, min_size=1, max_size=3).map(tuple),
        )
        | st.builds(Filter, function=st.just("not"), filters=st.tuples(inner))
    ),
    max_leaves=6,
)


@given(filters)
def test_json_round_trip(filter_):
    again = one(**json.loads(json.dumps(filter_.to_dict())))
    assert again == filter_
    assert again.to_dict() == filter_.to_dict()


@given(filters, st.dictionaries(names, scalars | st.none()))
def test_not_inverts_whatever_its_filter_says(filter_, properties):
    inverse = Filter(function="not", filters=(filter_,))
    assert inverse.matches(properties) is not filter_.matches(properties)


# What CEDAR recorded -----------------------------------------------------------------------------


def call(function, **arguments):
    return {"type": "Invocation", "functionName": f"Filter.{function}", "arguments": arguments}


def ref(name):
    return {"type": "ValueRef", "value": name}


def test_the_filter_of_a_cedar_document():
    path = DATA / "cedar" / "example_metadata_image.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    document = json.loads(path.read_text())
    assert parse_filters(document["order"]["filters"]) == (
        Filter(function="lte", name="CLOUD_COVER_LAND", value=80.0),
    )


def test_serialised_filters():
    compound = {
        "type": "CompoundValue",
        "scope": [
            ["0", call("lessThan", leftField="SUN_ELEVATION", rightValue=20)],
            ["1", call("listContains", leftValue=[1, 2], rightField="WRS_PATH")],
            ["2", call("rangeContains", field="WRS_ROW", minValue=3, maxValue=5)],
            ["3", call("calendarRange", start=5, end=9, field="month")],
            ["4", [call("not", filter=ref("0")), call("not", filter=ref("1")), ref("2"), ref("3")]],
            ["5", call("and", filters=ref("4"))],
        ],
        "value": ref("5"),
    }
    inner = [
        {"function": "gte", "name": "SUN_ELEVATION", "value": 20},
        {
            "function": "not",
            "filters": [{"function": "inList", "name": "WRS_PATH", "value": [1, 2]}],
        },
        {"function": "rangeContains", "name": "WRS_ROW", "value": [3, 5]},
        {"function": "calendarRange", "name": "month", "value": [5, 9]},
    ]
    assert parse_filters([compound]) == (one(function="and", filters=inner),)
    plain = call("equals", leftField="WRS_PATH", rightValue=7, rightField=None)
    assert parse_filters([plain]) == (one(function="eq", name="WRS_PATH", value=7),)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (call("intersects", leftField=".geo", rightValue={}), "Filter.intersects"),
        (call("dateRangeContains", leftValue={}, rightField="x"), "Filter.dateRangeContains"),
        ({"type": "Invocation", "functionName": "Image.add"}, "Image.add"),
        (call("equals", leftField="a", rightField="b"), "rightField"),
        ({"type": "CompoundValue", "scope": [["0", ref("0")]], "value": ref("0")}, "itself"),
        ({"type": "CompoundValue", "scope": [], "value": ref("0")}, "'0'"),
        ({"type": "CompoundValue", "scope": 3, "value": ref("0")}, "scope"),
        ({"type": "CompoundValue", "value": 7}, "not a filter"),
        (call("not"), "not a filter"),
        (call("and"), "needs `filters`"),
    ],
)
def test_what_is_not_understood_is_refused(document, message):
    with pytest.raises(FilterError, match=message):
        parse_filters([document])


# Names -------------------------------------------------------------------------------------------


def test_properties_both_ways():
    zenith = Property(name="view:sun_elevation", scale=-1, offset=90)
    assert zenith.of({"view:sun_elevation": 57.5}) == 32.5
    assert zenith.back(32.5) == 57.5
    tile = Property(name="grid:code", prefix="MGRS-")
    assert tile.of({"grid:code": "MGRS-33XWJ"}) == "33XWJ"
    assert tile.back("33XWJ") == "MGRS-33XWJ"
    platform = Property(name="platform", values={"landsat-8": "LANDSAT_8"})
    assert platform.of({"platform": "landsat-8"}) == "LANDSAT_8"
    assert platform.of({"platform": "landsat-x"}) == "landsat-x"
    assert platform.back("LANDSAT_8") == "landsat-8"
    assert Property(name="landsat:wrs_path", number=True).of({"landsat:wrs_path": "008"}) == 8
    assert zenith.of({"view:sun_elevation": "low"}) is None
    assert tile.of({}) is None


def test_translate_uses_the_catalogues_own_names():
    s2 = get_collection("COPERNICUS/S2_SR_HARMONIZED")
    wanted = parse_filters(
        [
            {"function": "lt", "name": "CLOUDY_PIXEL_PERCENTAGE", "value": 50},
            {"function": "eq", "name": "MGRS_TILE", "value": "06VVN"},
            {"function": "lt", "name": "MEAN_SOLAR_ZENITH_ANGLE", "value": 40},
        ]
    )
    here = translate(wanted, s2, s2.stac_for("https://planetarycomputer.microsoft.com/api/stac/v1"))
    item = {"eo:cloud_cover": 3, "s2:mgrs_tile": "06VVN", "s2:mean_solar_zenith": 37.9}
    assert here(item)
    assert not here({**item, "eo:cloud_cover": 51})
    there = translate(wanted, s2, s2.stac_for("https://earth-search.aws.element84.com/v1"))
    assert not there(item)
    assert there({"eo:cloud_cover": 3, "grid:code": "MGRS-06VVN", "view:sun_elevation": 52.1})


def test_translate_refuses_by_name():
    landsat = get_collection("LANDSAT/LC08/C02/T1_L2")
    wanted = one(
        function="or",
        filters=[
            {"function": "lt", "name": "CLOUD_COVER", "value": 50},
            {"function": "lt", "name": "IMAGE_QUALITY_OLI", "value": 9},
        ],
    )
    with pytest.raises(FilterError, match=r"LANDSAT/LC08/C02/T1_L2 by 'IMAGE_QUALITY_OLI'"):
        translate(wanted, landsat, landsat.stac_for("usgs"))


def test_no_filter_matches_everything():
    assert translate((), get_collection("LANDSAT/LC08/C02/T1_L2"))({})
