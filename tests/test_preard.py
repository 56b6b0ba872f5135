"""The pre-ARD format: shard names, layouts and image metadata."""

from __future__ import annotations

import copy
import json
import math
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.errors import InputError, MetadataError, ShardError
from orchard.preard import (
    ImageMetadata,
    ShardName,
    Window,
    expected_files,
    file_dimensions,
    image_metadata,
    layout,
    parse_shard_name,
    shard_name,
)

CEDAR = Path(__file__).parents[2] / "shared/data/cedar/example_metadata_image.json"

names = st.text(st.characters(codec="ascii", exclude_characters="/\0"), min_size=1).filter(
    lambda name: parse_shard_name(f"{name}.tif").name == name
)
sides = st.integers(1, 60)


def parts() -> dict:
    """The plain values of a small valid document."""
    return {
        "program": {"name": "orchard", "version": "0.1.0"},
        "order": {
            "collection": "LANDSAT/LC08/C02/T1_L2",
            "date_start": "2022-06-01T00:00:00+00:00",
            "date_end": "2022-07-01",
            "filters": [{"function": "lte", "name": "CLOUD_COVER", "value": 80}],
            "submitted": "2026-11-20T00:00:00+00:00",
        },
        "tile": {
            "index": [2, 3],
            "crs": "EPSG:32632",
            "bounds": [600000.0, 5000000.0, 600300.0, 5000200.0],
            "res": [30, 20],
            "size": [10, 10],
        },
        "store": {"service": "FolderStore", "export_image_kwds": {"fileDimensions": [6, 10]}},
        "task": {
            "name": "LC08-2022",
            "prefix": "PRE",
            "status": {
                "state": "COMPLETED",
                "files": [{"name": "LC08-2022-0000000000-0000000000.tif", "size": 5, "md5": "0a"}],
            },
        },
        "image": {
            "bands": ["red", "qa"],
            "dtype": "uint16",
            "nodata": 0,
            "dates": ["2022-06-02"],
            "images": [
                [
                    {"id": "b", "system:time_start": 1654165824000.5, "CLOUD_COVER": 3},
                    {"id": "a", "system:time_start": 1654165800000},
                ]
            ],
        },
        "collection": {
            "id": "LANDSAT/LC08/C02/T1_L2",
            "bands": {"red": {"scale": 0.1}, "qa": {"qa": True}},
            "clear": None,
            "flags": {},
        },
    }


numbers = st.integers(0, 10**10 - 1)


@given(names, st.none() | st.tuples(numbers, numbers), st.none() | numbers)
def test_a_shard_name_reads_back_as_what_it_was_made_of(name, offset, date):
    found = parse_shard_name(shard_name(name, offset, date))
    assert found == ShardName(name=name, offset=offset, date=date)


def test_names_with_dashes_and_digits_are_told_from_offsets():
    assert parse_shard_name("A-2010-01-01_2011-01-01.tif").offset is None
    assert parse_shard_name("A-0000000001-0000000512-0000001024.tif") == ShardName(
        name="A-0000000001", offset=(512, 1024)
    )
    assert parse_shard_name("A-T0000000007-0000000512-0000001024.tif") == ShardName(
        name="A", offset=(512, 1024), date=7
    )
    assert parse_shard_name("A-T0000000007-0000001024.tif").date is None


@pytest.mark.parametrize("name", ["", "X-0000000000-0000000000", "X-T0000000000"])
def test_a_name_that_reads_as_a_shard_is_refused(name):
    with pytest.raises(InputError, match="cannot name"):
        shard_name(name)


@pytest.mark.parametrize("name", ["a.TIFF", "a", ".tif", "a.json"])
def test_other_files_are_no_shards(name):
    with pytest.raises(ShardError, match=r"\.tif"):
        parse_shard_name(name)


def test_an_offset_of_eleven_digits_is_refused():
    with pytest.raises(InputError, match="ten digits"):
        shard_name("a", (10**10, 0))


@given(st.tuples(sides, sides), st.none() | sides | st.tuples(sides, sides))
def test_a_layout_covers_each_pixel_once_row_by_row(size, dimensions):
    width, height = size
    seen = np.zeros((height, width), int)
    windows = layout(size, dimensions)
    for w in windows:
        seen[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width] += 1
    assert (seen == 1).all()
    assert windows == sorted(windows)
    assert list(expected_files("n", size, dimensions).values()) == windows


def test_expected_files_of_one_and_of_many_shards():
    assert expected_files("n", (10, 5), 10) == {"n.tif": Window(0, 0, 5, 10)}
    assert expected_files("n", (10, 5), (6, 5)) == {
        "n-0000000000-0000000000.tif": Window(0, 0, 5, 6),
        "n-0000000000-0000000006.tif": Window(0, 6, 5, 4),
    }


@pytest.mark.parametrize("value", [0, -1, 1.5, "512", True, [1], [1, 2, 3], [4, 0], {}])
def test_wrong_file_dimensions_are_refused(value):
    with pytest.raises(InputError, match="fileDimensions"):
        file_dimensions(value)


def test_a_layout_of_nothing_is_refused():
    with pytest.raises(InputError, match="0 x 5"):
        layout((0, 5))


def test_a_document_is_built_checked_and_round_tripped():
    meta = image_metadata(**parts())
    assert meta.to_dict() == parts()
    assert ImageMetadata.from_json(json.dumps(meta.to_dict())).acquisitions == meta.acquisitions
    assert meta.period == (datetime(2022, 6, 1, tzinfo=UTC), datetime(2022, 7, 1, tzinfo=UTC))
    assert meta.tile.geotransform == (600000.0, 30.0, 0.0, 5000200.0, 0.0, -20.0)
    assert (meta.tile.vertical, meta.tile.horizontal) == (2, 3)
    assert meta.count == 2
    assert list(meta.expected_files) == [
        "LC08-2022-0000000000-0000000000.tif",
        "LC08-2022-0000000000-0000000006.tif",
    ]
    (acquisition,) = meta.acquisitions
    assert acquisition.day == date(2022, 6, 2)
    assert [s.id for s in acquisition.scenes] == ["b", "a"]
    assert acquisition.time == datetime(2022, 6, 2, 10, 30, tzinfo=UTC)
    assert acquisition.scenes[0].time == datetime(2022, 6, 2, 10, 30, 24, 500, tzinfo=UTC)
    assert meta.manifest[0].size == 5


def test_an_empty_task_has_metadata_and_no_files():
    data = parts()
    data["image"] |= {"images": [], "dates": []}
    meta = image_metadata(**data)
    assert meta.expected_files == {}
    assert meta.count == 0


def test_nodata_may_be_nan_and_survives_json():
    data = parts()
    data["image"]["nodata"] = "NaN"
    assert math.isnan(image_metadata(**data).nodata)


@pytest.mark.skipif(not CEDAR.exists(), reason="shared/data/cedar is not beside the project")
def test_a_document_of_cedar_is_read_as_it_is():
    meta = ImageMetadata.from_file(CEDAR)
    assert meta.to_dict() == json.loads(CEDAR.read_text())
    assert meta.collection_id == "LANDSAT/LE07/C01/T1_SR"
    assert meta.tile.size == (5000, 5000)
    assert meta.nodata == -9999
    assert meta.dtype is None
    assert meta.collection is None
    assert meta.acquisitions[0].day == date(2007, 1, 15)
    assert meta.acquisitions[0].time == datetime(2007, 1, 15, 14, 52, 47, 610000, tzinfo=UTC)
    assert len(meta.expected_files) == 100
    assert list(meta.expected_files.values())[-1] == Window(4608, 4608, 392, 392)


def test_solar_days_of_a_document_without_dates_follow_the_longitude():
    data = parts()
    # 23:30 UTC at 10.3 degrees east is 40 minutes later in solar time: the next day.
    data["image"]["images"] = [[{"id": "a", "system:time_start": 1654212600000}]]
    del data["image"]["dates"]
    assert ImageMetadata.from_dict(data).acquisitions[0].day == date(2022, 6, 3)


MISSING = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("order",), MISSING, r"order\.collection: is missing"),
        (("order", "date_start"), "soon", r"order\.date_start: 'soon' is not an ISO"),
        (("order", "collection"), 5, r"order\.collection: must be text"),
        (("tile", "bounds"), [1, 2, 3], r"tile\.bounds: must be 4 numbers"),
        (("tile", "bounds"), [9, 0, 0, 9], r"tile\.bounds: must be \(left"),
        (("tile", "size"), [9, 10], r"tile: bounds, res and size"),
        (("tile", "size"), [0, 10], r"tile\.size"),
        (("tile", "res"), [30, -20], r"tile\.res"),
        (("tile", "crs"), MISSING, r"tile\.crs: is missing"),
        (("task", "name"), "X-0000000000-0000000000", "cannot name"),
        (("task", "status", "files"), ["a.tif"], r"task\.status\.files"),
        (("store", "export_image_kwds", "fileDimensions"), -5, "fileDimensions"),
        (("image", "bands"), [], r"image\.bands"),
        (("image", "bands"), ["a", "a"], r"image\.bands: names a band twice"),
        (("image", "bands"), ["red", "nir"], r"collection\.bands: does not describe nir"),
        (("image", "dtype"), "complex64", r"image\.dtype"),
        (("image", "dtype"), MISSING, r"image\.dtype: is missing"),
        (("image", "dates"), MISSING, r"image\.dates: is missing"),
        (("image", "dates"), [], r"image\.dates: must be 1 dates"),
        (("image", "dates"), ["June"], r"image\.dates: must be dates"),
        (("image", "nodata"), "none", r"image\.nodata"),
        (("image", "images"), 5, r"image\.images"),
        (("image", "images"), [[]], r"image\.images\[0\]: "),
        (("image", "images"), [[3]], r"image\.images\[0\]\[0\]: must be an object"),
        (("image", "images"), [[{"id": "a"}]], r"images\[0\]\[0\]\.system:time_start"),
        (("image", "images"), [[{"system:time_start": 0}]], r"images\[0\]\[0\]\.id"),
        (("collection",), [], r"collection: must describe"),
    ],
)
def test_an_error_names_the_document_and_the_key(path, value, message):
    data = copy.deepcopy(parts())
    *folders, last = path
    place = data
    for step in folders:
        place = place[step]
    if value is MISSING:
        place[last] = {} if last == "order" else None
    else:
        place[last] = value
    with pytest.raises(MetadataError, match=message) as caught:
        image_metadata(**data)
    assert str(data["task"]["name"]) in str(caught.value)


def test_a_file_that_is_no_document_is_named(tmp_path):
    path = tmp_path / "a.json"
    for text in ("{", "[]", '{"a": 1}'):
        path.write_text(text)
        with pytest.raises(MetadataError, match=r"a\.json"):
            ImageMetadata.from_file(path)
    with pytest.raises(MetadataError, match=r"b\.json: cannot be read"):
        ImageMetadata.from_file(tmp_path / "b.json")


def test_an_unknown_crs_is_named():
    data = parts()
    data["tile"]["crs"] = "moon"
    del data["image"]["dates"]
    with pytest.raises(MetadataError, match=r"tile\.crs"):
        ImageMetadata.from_dict(data)
