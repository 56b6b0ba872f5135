"""Orders on Earth Engine as users write them: own names of collections, filters in any form."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import rasterio
from ee_world import PERIOD, SIMPLE

from orchard.collections import load_collections
from orchard.config import Config
from orchard.errors import CollectionError, FilterError, InputError
from orchard.tracker import Tracker

OWN = {
    "dtype": "int16",
    "nodata": -1,
    "bands": {"first": {}, "second": {"earthengine": "O"}},
    "metadata": ["CLOUDS"],
    "earthengine": {"id": SIMPLE, "bands": {"first": "V"}},
}


def test_a_collection_under_a_name_of_ones_own(world, simple_archive, simple, bucket):
    tracker = Tracker(
        simple[0],
        bucket,
        engine=world(simple_archive).engine(),
        collections=load_collections({"MINE": OWN}),
    )
    name, _ = tracker.submit("MINE", (0, 0), *PERIOD)
    info = tracker.wait(name)
    assert info.states == {"COMPLETED": 1}
    (file,) = info.statuses[0].files
    assert file.name.startswith("MINE_h000v000")
    data, _ = bucket.get(f"CEDAR_PREARD/{file.name}")
    with rasterio.MemoryFile(data) as memory, memory.open() as image:
        assert image.descriptions == tuple(
            f"2022-06-{day}_{band}" for day in ("01", "11") for band in ("first", "second")
        )
        assert image.read()[:, 3, 3].tolist() == [1, 2, 2, 3]


def test_nan_as_nodata_is_refused(world, simple_archive, simple, bucket):
    known = load_collections({"MINE": {**OWN, "dtype": "float32", "nodata": float("nan")}})
    engine = world(simple_archive).engine()
    tracker = Tracker(simple[0], bucket, engine=engine, collections=known)
    with pytest.raises(InputError, match=r"'MINE'.*NaN.*give 'nodata' a number"):
        tracker.submit("MINE", (0, 0), *PERIOD)
    assert tracker.list() == []


@pytest.mark.parametrize(
    ("earthengine", "message"),
    [
        ({"id": "X", "bands": {"third": "V"}}, "earthengine.bands: there is no band 'third'"),
        ({"name": "X"}, "earthengine: give the id of the collection, or"),
    ],
)
def test_what_cannot_be_meant_of_a_collection(earthengine, message):
    with pytest.raises(CollectionError, match=message):
        load_collections({"MINE": {**OWN, "earthengine": earthengine}})


def test_keys_of_tasks_do_not_change_for_collections_without_it(simple):
    from orchard.documents import _collection_key

    _, collections = simple
    assert "earthengine" not in collections[SIMPLE].model_dump(exclude_defaults=True)
    key = _collection_key(collections[SIMPLE])
    moved = collections[SIMPLE].model_copy(update={"earthengine": "OTHER/ID"})
    assert _collection_key(moved) != key


@pytest.mark.parametrize("form", ["object", "text", "json"])
def test_filters_of_earth_engines_library(world, simple_archive, order, form):
    import ee

    there = world(simple_archive)
    engine = there.engine()
    engine._client.activate()
    given = ee.Filter.lte("CLOUDS", 1)
    if form != "object":
        given = given.serialize()
    if form == "json":
        given = json.loads(given)
    tracker = order(engine, filters=[given])
    plan = tracker.plan(SIMPLE, (0, 0), *PERIOD)
    assert [[s.id for s in day.scenes] for day in plan.plans[0].acquisitions] == [["S1"]]
    name, _ = tracker.submit(SIMPLE, (0, 0), *PERIOD)
    # What is recorded is plain, and can be read without the library.
    recorded = tracker.read(name)["tracking"]["filters"]
    assert recorded == {SIMPLE: [{"function": "lte", "name": "CLOUDS", "value": 1}]}


def test_they_filter_for_the_local_engine_too(world, simple_archive):
    import ee

    from orchard.collections import get_collection
    from orchard.filters import parse_filters, translate

    world(simple_archive).engine()._client.activate()
    collection = get_collection("LANDSAT/LC08/C02/T1_L2")
    wanted = translate(parse_filters([ee.Filter.lt("CLOUD_COVER", 30)]), collection)
    assert [wanted({"eo:cloud_cover": clouds}) for clouds in (10, 30, None)] == [True, False, False]
    with pytest.raises(FilterError, match=r"Filter\.intersects.*bounds and dates"):
        parse_filters([ee.Filter.bounds(ee.Geometry.Point(0, 0))])
    with pytest.raises(FilterError, match="must be a list of filters"):
        parse_filters(ee.Filter.lt("CLOUD_COVER", 30))


def test_serialised_filters_in_a_configuration(world, simple_archive, tmp_path):
    import ee

    world(simple_archive).engine()._client.activate()
    text = ee.Filter.lte("CLOUD_COVER", 80).serialize()
    config = Config(
        {
            "tile_grid": "LANDSAT_ARD_CU",
            "store": str(tmp_path),
            "tracker": {"filters": [text, json.loads(text)]},
        }
    )
    assert len(config.get_tracker().filters) == 2
    with pytest.raises(InputError, match="serialised filter: refers to '0'"):
        Config(
            {
                "tile_grid": "LANDSAT_ARD_CU",
                "store": str(tmp_path),
                "tracker": {"filters": [{"result": "0", "values": {}}]},
            }
        ).get_tracker()


def test_nothing_of_this_imports_the_library():
    code = (
        "import sys, orchard; from orchard.filters import parse_filters; "
        "parse_filters([{'result': '0', 'values': {'0': {'functionInvocationValue': "
        "{'functionName': 'Filter.notNull', 'arguments': {'properties': "
        "{'constantValue': ['A']}}}}}}]); "
        "print('ee' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
