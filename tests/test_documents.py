"""The documents of an order, and the keys that its content gives its tasks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from orchard.collections import load_collections
from orchard.documents import (
    encode,
    image_document,
    order_key,
    task_key,
    task_keys,
    tracking_document,
)
from orchard.engines import PlannedAcquisition, PlannedScene, TaskPlan
from orchard.errors import InputError
from orchard.grid import TileGrid
from orchard.orders import OrderSpec, Period, TaskRequest, Templates, expand
from orchard.preard import ImageMetadata
from orchard.tracking import State, TaskStatus, TrackingInfo

ID = "LANDSAT/LC08/C02/T1_L2"
START = datetime(2022, 1, 1, tzinfo=UTC)


def _grid(**changes) -> TileGrid:
    values = {"ul": (0, 1000), "crs": "EPSG:3035", "res": (10, 10), "size": (10, 10), "name": "G"}
    return TileGrid(**{**values, "limits": ((0, 9), (0, 9)), **changes})


def _request(**changes) -> TaskRequest:
    values = {
        "name": "N",
        "prefix": "P",
        "collection": ID,
        "tile": _grid()[1, 2],
        "period": Period(start=START, end=START + timedelta(days=30)),
        "filters": ({"function": "lte", "name": "CLOUD_COVER", "value": 5},),
    }
    return TaskRequest(**{**values, **changes})


def _collection(**override):
    return load_collections({ID: override} if override else None)[ID]


def _key(request=None, collection=None, export=None, engine="local", content=None) -> str:
    return task_key(
        request or _request(),
        collection or _collection(),
        {"shardSize": 256} if export is None else export,
        engine,
        {"resampling": "nearest"} if content is None else content,
    )


def test_a_key_looks_like_earth_engines_and_is_always_the_same():
    assert re.fullmatch(r"[A-Z2-7]{24}", _key())
    assert _key() == _key()


def test_a_key_is_the_same_in_another_process():
    code = "import test_documents as t; print(t._key())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    assert out.stdout.strip() == _key()


CHANGES = {
    "name": {"request": {"name": "M"}},
    "prefix": {"request": {"prefix": "Q"}},
    "swapped": {"request": {"name": "P", "prefix": "N"}},
    "tile": {"request": {"tile": _grid()[2, 1]}},
    "tile size": {"request": {"tile": _grid(size=(10, 11))[1, 2]}},
    "tile res": {"request": {"tile": _grid(res=(10, 5), size=(10, 20))[1, 2]}},
    "tile place": {"request": {"tile": _grid(ul=(0, 1001))[1, 2]}},
    "tile crs": {"request": {"tile": _grid(crs="EPSG:3034")[1, 2]}},
    "start": {"request": {"period": Period(start=START, end=START + timedelta(days=31))}},
    "end": {
        "request": {"period": Period(start=START - timedelta(1), end=START + timedelta(days=30))}
    },
    "filters": {"request": {"filters": ()}},
    "filter value": {
        "request": {"filters": ({"function": "lte", "name": "CLOUD_COVER", "value": 6},)}
    },
    "export": {"export": {"shardSize": 512}},
    "no export": {"export": {}},
    "engine": {"engine": "earthengine"},
    "content": {"content": {"resampling": "cubic"}},
    "dtype": {"collection": {"dtype": "int32"}},
    "nodata": {"collection": {"nodata": 1}},
    "bands": {"collection": {"bands": {"thermal": None}}},
    "asset": {"collection": {"bands": {"red": {"asset": "other"}}}},
    "source nodata": {"collection": {"bands": {"red": {"nodata": 7}}}},
    "catalogue": {"collection": {"stac": {"*": {"collection": "other"}}}},
}


def _changed(change: dict) -> str:
    how = dict(change)
    if "request" in how:
        how["request"] = _request(**how["request"])
    if "collection" in how:
        how["collection"] = _collection(**how["collection"])
    return _key(**how)


def test_any_change_gives_another_key():
    keys = {name: _changed(change) for name, change in CHANGES.items()}
    assert len({_key(), *keys.values()}) == len(CHANGES) + 1


def test_the_order_of_bands_is_content_and_words_for_people_are_not():
    known = _collection()
    turned = known.model_copy(update={"bands": dict(reversed(known.bands.items()))})
    assert _key(collection=turned) != _key()
    words = _collection(title="Another", bands={"red": {"description": "the red one"}})
    assert _key(collection=words) == _key()


def test_a_key_does_not_depend_on_what_was_keyed_before():
    # Equal tiles, whose CRS was said in two ways: a cache by equality would mix them up.
    by_code = _grid()[5, 5]
    by_text = _grid(crs=by_code.crs.to_wkt())[5, 5]
    assert by_code == by_text
    assert _key(_request(tile=by_text)) != _key(_request(tile=by_code))


def test_many_keys_are_the_single_ones():
    requests = [_request(name=name) for name in "ABC"]
    keys = task_keys(
        requests, {ID: _collection()}, {"shardSize": 256}, "local", {"resampling": "nearest"}
    )
    assert keys == [_key(request) for request in requests]
    assert order_key(keys) != order_key(keys[::-1])
    assert order_key(keys) == order_key(iter(keys))


def test_what_is_no_json_cannot_be_ordered():
    with pytest.raises(InputError, match="export_image_kwds must be"):
        _key(export={"region": object()})
    assert _key(export={"shardSize": np.int64(256)}) == _key()


# Documents


def _order():
    grid = _grid()
    spec = OrderSpec(
        collections=(ID,), tiles=(grid[1, 2],),
        period=Period(start=START, end=START + timedelta(days=59)), period_freq="MS",
    )  # fmt: skip
    requests = expand(
        spec, Templates(), {ID: [{"function": "lte", "name": "CLOUD_COVER", "value": 5}]}, START
    )
    moment = datetime(2022, 1, 5, 10, tzinfo=UTC)
    scene = PlannedScene(
        id="S", time=moment,
        metadata={"id": "S", "system:time_start": int(moment.timestamp() * 1000)},
    )  # fmt: skip
    found = (PlannedAcquisition(day=date(2022, 1, 5), scenes=(scene,)),)
    plans = [
        TaskPlan(request=r, acquisitions=found if not n else ()) for n, r in enumerate(requests)
    ]
    return grid, spec, plans


def test_the_record_is_written_before_anything_starts():
    grid, spec, plans = _order()
    document = tracking_document(
        spec, plans, ["K1", "K2"], name="T", prefix="TP", grid=grid, templates=Templates(),
        engine="local", export={"shardSize": 256}, submitted=START,
    )  # fmt: skip
    info = TrackingInfo(json.loads(encode(document)))
    assert [s.state for s in info.statuses] == [State.UNSUBMITTED, State.EMPTY]
    assert [s.id for s in info.statuses] == ["K1", "K2"]
    assert info.progress == 0.5
    submission, tracking = info["submission"], info["tracking"]
    assert TileGrid.from_dict(submission["tile_grid"]) == grid
    assert submission["tile_indices"] == [[1, 2]]
    assert submission["period_start"] == "2022-01-01T00:00:00+00:00"
    assert submission["period_freq"] == "MS"
    assert tracking["name"] == "T"
    assert tracking["key"] == order_key(["K1", "K2"])
    assert tracking["filters"] == {ID: list(plans[0].request.filters)}
    assert tracking["tiles"][0]["index"] == [1, 2]
    assert {"index", "crs", "bounds", "res", "size"} <= tracking["tiles"][0].keys()
    for status in info.statuses:
        assert status.creation_timestamp_ms == START.timestamp() * 1000


def test_the_image_metadata_says_all_that_a_reader_needs():
    _, _, plans = _order()
    collection = _collection()
    status = TaskStatus(id="K", state=State.READY)
    document = image_document(
        plans[0], collection, order="T", status=status, service="FolderStore",
        export={"fileDimensions": 256}, submitted=START,
    )  # fmt: skip
    metadata = ImageMetadata.from_json(encode(document), document="N.json")
    assert metadata.collection_id == ID
    assert metadata.file_dimensions == (256, 256)
    assert list(metadata.bands) == list(collection.bands)
    assert metadata.period == (START, START + timedelta(days=31))
    assert document["image"]["dates"] == ["2022-01-05"]
    assert document["image"]["images"] == [[{"id": "S", "system:time_start": 1641376800000}]]
    assert document["order"]["name"] == "T"
    assert document["task"]["status"]["id"] == "K"
    other = image_document(
        plans[0], collection, order="T", status=status, service="S", export={},
        submitted=START, description={"id": "given"},
    )  # fmt: skip
    assert other["collection"] == {"id": "given"}
