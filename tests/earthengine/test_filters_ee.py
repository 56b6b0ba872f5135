"""Filters: dicts, the library's objects and what CEDAR wrote all mean the same at Earth Engine."""

from __future__ import annotations

import json

import pytest
import shapely
from google.auth.credentials import AnonymousCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchard.engines.earthengine.client import Client
from orchard.engines.earthengine.filters import build_filters, read_filter
from orchard.errors import FilterError
from orchard.filters import Filter, parse_filters
from orchard.testing.earthengine import Archive, Image, Interpreter


@pytest.fixture
def client(world):
    made = world(Archive(collections={}))
    client = Client("test-project", url=made.server.url, credentials=AnonymousCredentials())
    client.activate()
    return client


NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -1.5]))
COMPARISONS = st.one_of(
    st.builds(
        lambda f, n, v: {"function": f, "name": n, "value": v},
        st.sampled_from(["eq", "neq", "lt", "lte", "gt", "gte"]),
        st.sampled_from("ab"),
        NUMBERS,
    ),
    st.builds(
        lambda v: {"function": "inList", "name": "a", "value": v},
        st.lists(NUMBERS, min_size=1, max_size=3),
    ),
    st.builds(
        lambda v: {"function": "rangeContains", "name": "b", "value": sorted(v)},
        st.lists(NUMBERS, min_size=2, max_size=2),
    ),
    st.builds(
        lambda f, v: {"function": f, "name": "c", "value": v},
        st.sampled_from(["stringContains", "stringStartsWith", "stringEndsWith", "eq"]),
        st.text("xy", min_size=1, max_size=2),
    ),
    st.just({"function": "notNull", "name": "a"}),
    st.just({"function": "calendarRange", "name": "month", "value": [11, 2]}),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(
            lambda f, parts: {"function": f, "filters": parts},
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=3),
        ),
        st.builds(lambda part: {"function": "not", "filters": [part]}, inner),
    ),
    max_leaves=4,
)
SCENES = [
    {"a": a, "b": b, "c": c, "system:index": f"{n}", "system:time_start": time}
    for n, (a, b, c, time) in enumerate(
        [
            (0, 1, "xy", 1654084800000),
            (2, None, "yx", 1640000000000),
            (None, -1.5, "x", 1643000000000),
            (-3, 3, None, 1668000000000),
            (0.5, 0, "", 1660000000000),
        ]
    )
]


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(FILTERS)
def test_filters_mean_what_they_mean_elsewhere(client, data):
    import ee

    (built,) = build_filters([data])
    scenes = [
        Image(
            properties={k: v for k, v in scene.items() if v is not None},
            footprint=shapely.Point(0, 0),
        )
        for scene in SCENES
    ]
    found = (
        ee.ImageCollection("X").filter(built).reduceColumns(ee.Reducer.toList(1), ["system:index"])
    )
    expression = ee.serializer.encode(found, for_cloud_api=True)
    answer = Interpreter(Archive(collections={"X": scenes})).evaluate(expression)
    (filter_,) = parse_filters([data])
    expected = [
        scene["system:index"]
        for scene, image in zip(SCENES, scenes, strict=True)
        if filter_.matches({**image.properties, "datetime": _iso(scene)})
    ]
    assert [row[0] for row in answer["list"]] == expected


def _iso(scene):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(scene["system:time_start"] / 1000, UTC).isoformat()


def test_objects_of_the_library(client):
    import ee

    cloud = {"function": "lte", "name": "CLOUD_COVER_LAND", "value": 80}
    assert read_filter(ee.Filter.lte("CLOUD_COVER_LAND", 80)) == cloud
    assert read_filter(json.loads(ee.Filter.lte("CLOUD_COVER_LAND", 80).serialize())) == cloud
    both = read_filter(
        ee.Filter.And(
            ee.Filter.eq("SATELLITE", "LANDSAT_7"),
            ee.Filter.Or(ee.Filter.neq("WRS_PATH", 12), ee.Filter.inList("WRS_ROW", [3, 4])),
            ee.Filter.rangeContains("SUN", 1, 2),
            ee.Filter.calendarRange(4, 9, "month"),
            ee.Filter.notNull(["SUN"]),
            ee.Filter.stringContains("ID", "x").Not(),
        )
    )
    assert both == {
        "function": "and",
        "filters": [
            {"function": "eq", "name": "SATELLITE", "value": "LANDSAT_7"},
            {
                "function": "or",
                "filters": [
                    {"function": "neq", "name": "WRS_PATH", "value": 12},
                    {"function": "inList", "name": "WRS_ROW", "value": [3, 4]},
                ],
            },
            {"function": "rangeContains", "name": "SUN", "value": [1, 2]},
            {"function": "calendarRange", "name": "month", "value": [4, 9]},
            {"function": "notNull", "name": "SUN"},
            {
                "function": "not",
                "filters": [{"function": "stringContains", "name": "ID", "value": "x"}],
            },
        ],
    }
    assert Filter.model_validate(both)
    assert parse_filters([ee.Filter.notNull(["A", "B"]).serialize()])[0].names() == {"A", "B"}


def test_what_has_no_counterpart(client):
    import ee

    with pytest.raises(FilterError, match=r"Filter\.dateRangeContains.*the period's"):
        read_filter(ee.Filter.date("2020-01-01", "2021-01-01"))
    with pytest.raises(FilterError, match=r"a filter must be .* not 'clouds < 80'"):
        read_filter("clouds < 80")
    with pytest.raises(FilterError, match="nested too deeply, or referring to itself"):
        read_filter({"result": "0", "values": {"0": {"valueReference": "0"}}})
    with pytest.raises(FilterError, match="is not understood"):
        read_filter({"result": "0", "values": {"0": {"what": 1}}})


def test_what_cedar_wrote(scenes, client):
    document = json.loads((scenes / "cedar" / "example_metadata_image.json").read_text())
    import ee

    (built,) = build_filters(document["order"]["filters"])
    (same,) = build_filters([{"function": "lte", "name": "CLOUD_COVER_LAND", "value": 80.0}])
    assert built.serialize() == same.serialize()
    assert isinstance(built, ee.Filter)
