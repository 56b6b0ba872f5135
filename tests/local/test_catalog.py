"""Catalogues: static files and URLs, an API, and all that can be wrong with them."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime

import pytest
from shapely.geometry import box
from stac_server import serve
from tiny_world import item

from orchard.engines.local.catalog import open_catalog
from orchard.errors import CatalogError

AREA = box(10, 46, 11, 47)
SQUARE = {
    "type": "Polygon",
    "coordinates": [[[10, 46], [11, 46], [11, 47], [10, 47], [10, 46]]],
}
START, END = datetime(2022, 6, 1, tzinfo=UTC), datetime(2022, 7, 1, tzinfo=UTC)
ASSETS = {"red": {"href": "red.tif"}}


def scene(name="s1", time="2022-06-02T10:00:00Z", **changes):
    return {**item(name, time, SQUARE, ASSETS), **changes}


def write(folder, files):
    for name, document in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
    return folder / "catalog.json"


def catalog(*links, **changes):
    rels = [{"rel": rel, "href": href} for rel, href in links]
    return {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "links": rels, **changes}


def collection(name, *links):
    return {**catalog(*links), "type": "Collection", "id": name}


def find(href, name="tiny"):
    return open_catalog(href).find(name, AREA, START, END)


TREE = {
    "catalog.json": catalog(
        ("child", "./tiny/collection.json"), ("child", "other/collection.json")
    ),
    "tiny/collection.json": collection("tiny", ("item", "a/s1.json"), ("child", "sub.json")),
    "tiny/sub.json": catalog(("item", "a/s2.json"), ("parent", "collection.json")),
    "tiny/a/s1.json": scene("s1"),
    "tiny/a/s2.json": scene("s2", "2022-06-01T10:00:00Z"),
    "other/collection.json": collection("other", ("item", "missing.json")),
}


def test_a_static_catalogue_is_read_below_its_links(tmp_path):
    items = find(write(tmp_path, TREE))
    assert [item.id for item in items] == ["s2", "s1"]
    assert items[1].assets["red"]["href"] == str(tmp_path / "tiny/a/red.tif")


def test_a_collection_an_item_collection_and_an_item_will_do(tmp_path):
    write(tmp_path, {**TREE, "items.json": {"type": "FeatureCollection", "features": [scene()]}})
    for name, ids in [
        ("tiny/collection.json", ["s2", "s1"]), ("items.json", ["s1"]), ("tiny/a/s1.json", ["s1"])
    ]:  # fmt: skip
        assert [item.id for item in find(tmp_path / name)] == ids
    assert [item.id for item in find(f"file://{tmp_path}/catalog.json")] == ["s2", "s1"]


def test_links_that_go_round_in_circles_end(tmp_path):
    files = {
        **TREE,
        "tiny/sub.json": catalog(("item", "a/s2.json"), ("child", "collection.json"),
                                 ("child", "../catalog.json")),
    }  # fmt: skip
    assert len(find(write(tmp_path, files))) == 2


def test_a_static_catalogue_over_http():
    with serve() as stac:
        stac.files = {f"/{name}": document for name, document in TREE.items()}
        items = find(f"{stac.url}/catalog.json")
        assert [item.id for item in items] == ["s2", "s1"]
        assert items[0].assets["red"]["href"] == f"{stac.url}/tiny/a/red.tif"
        assert ("GET", "/other/missing.json") not in stac.requests


def test_what_a_catalogue_has_of_a_collection(tmp_path):
    opened = open_catalog(write(tmp_path, TREE))
    times = (datetime(2022, 6, 1, 10, tzinfo=UTC), datetime(2022, 6, 2, 10, tzinfo=UTC))
    assert opened.extent("tiny") == (times, (10, 46, 11, 47))
    assert opened.extent("unknown") is None
    with serve() as stac:
        stac.files["/collections/a"] = {
            "extent": {
                "spatial": {"bbox": [[5, 40, 0, 6, 41, 100]]},
                "temporal": {"interval": [["2015-06-27T10:25:31Z", None]]},
            }
        }
        stac.files["/collections/odd"] = {"extent": {"spatial": {"bbox": [[1]]}}}
        opened = open_catalog(stac.url)
        since = datetime(2015, 6, 27, 10, 25, 31, tzinfo=UTC)
        assert opened.extent("a") == ((since, None), (5, 40, 6, 41))
        assert opened.extent("b") is None
        with pytest.raises(CatalogError, match=r"the extent of .*/collections/odd is broken"):
            opened.extent("odd")


def test_a_static_catalogue_is_read_once(tmp_path):
    opened = open_catalog(write(tmp_path, TREE))
    first = opened.find("tiny", AREA, START, END)
    for path in tmp_path.rglob("*.json"):
        path.unlink()
    assert opened.find("tiny", AREA, START, END) is first


class TestApi:
    def test_all_pages_of_one_search(self):
        with serve() as stac:
            stac.items = [scene(f"s{i}", f"2022-06-{i + 1:02d}T00:00:00Z") for i in range(5)]
            stac.items.append(scene("other", collection="other"))
            items = find(stac.url)
            assert [item.id for item in items] == [f"s{i}" for i in range(5)]
            assert len(stac.searches) == 3
            assert stac.searches[0]["collections"] == ["tiny"]

    def test_it_is_patient_with_a_busy_server(self):
        with serve() as stac:
            stac.items = [scene()]
            opened = open_catalog(stac.url)
            stac.faults = [429, 503]
            assert len(opened.find("tiny", AREA, START, END)) == 1

    def test_a_search_that_fails_names_what_was_asked(self):
        with serve() as stac:
            opened = open_catalog(stac.url)
            stac.faults = [400] * 9
            with pytest.raises(CatalogError, match=stac.url):
                opened.find("tiny", AREA, START, END)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("not json", "not JSON"),
        ("[]", "holds no JSON object"),
        ({**catalog(), "type": "Thing"}, "not a STAC catalogue"),
        (catalog(("child", None)), "has no href"),
        (catalog(("child", "gone.json")), "no STAC document at .*gone.json"),
    ],
)
def test_broken_catalogues_are_named(tmp_path, broken, says):
    with pytest.raises(CatalogError, match=says):
        find(write(tmp_path, {"catalog.json": broken}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"properties": {}}, "start_datetime"),
        ({"properties": {"datetime": "yesterday"}}, "yesterday"),
        ({"properties": {"datetime": 5}}, "broken"),
        ({"geometry": None}, "broken"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "empty"),
        ({"geometry": {"type": "Polygon"}}, "coordinates"),
        ({"assets": {"red": {}}}, "href"),
        ({"assets": {"red": None}}, "broken"),
        ({"assets": None}, "broken"),
        ({"properties": None}, "broken"),
    ],
)
def test_broken_items_are_named(tmp_path, changes, says):
    path = tmp_path / "s1.json"
    path.write_text(json.dumps(scene(**changes)))
    with pytest.raises(CatalogError, match=says) as caught:
        find(path)
    assert "'s1'" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("missing", ["id", "geometry", "properties", "assets"])
def test_an_item_without_a_part_is_named(tmp_path, missing):
    document = scene()
    del document[missing]
    (tmp_path / "s1.json").write_text(json.dumps(document))
    with pytest.raises(CatalogError, match=missing):
        find(tmp_path / "s1.json")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(CatalogError, match=r"no STAC document at .*nowhere\.json"):
        open_catalog(tmp_path / "nowhere.json")
    with serve() as stac, pytest.raises(CatalogError, match=r"nothing\.json"):
        open_catalog(f"{stac.url}/nothing.json")


def test_a_service_that_is_not_there_is_told_in_a_few_words():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # not listening: connections are refused
        url = f"http://127.0.0.1:{free.getsockname()[1]}/stac"
        with pytest.raises(CatalogError) as caught:
            open_catalog(url)
    assert str(caught.value) == (
        f"{url} cannot be read: Connection refused: is the address right, and the network there?"
    )


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2022-06-01T23:30:00Z", datetime(2022, 6, 1, 23, 30, tzinfo=UTC)),
        ("2022-06-02T05:00:00+05:30", datetime(2022, 6, 1, 23, 30, tzinfo=UTC)),
        ("2022-06-01T13:45:00-09:45", datetime(2022, 6, 1, 23, 30, tzinfo=UTC)),
        ("2022-06-02T13:30:00+14:00", datetime(2022, 6, 1, 23, 30, tzinfo=UTC)),
        ("2022-06-01T23:30:00", datetime(2022, 6, 1, 23, 30, tzinfo=UTC)),
        ("2022-06-01T23:30:00.123456Z", datetime(2022, 6, 1, 23, 30, 0, 123456, tzinfo=UTC)),
        ("2022-06-01", datetime(2022, 6, 1, tzinfo=UTC)),
    ],
)
def test_times_of_any_zone_become_utc(tmp_path, written, utc):
    (tmp_path / "s1.json").write_text(json.dumps(scene(time=written)))
    (found,) = find(tmp_path / "s1.json")
    assert found.time == utc
    assert found.time.tzinfo is UTC


def test_an_item_of_a_span_has_its_start(tmp_path):
    document = scene(time=None)
    document["properties"]["start_datetime"] = "2022-06-03T00:00:00Z"
    (tmp_path / "s1.json").write_text(json.dumps(document))
    (found,) = find(tmp_path / "s1.json")
    assert found.time == datetime(2022, 6, 3, tzinfo=UTC)


def test_each_id_once_in_order_of_time_and_id(tmp_path):
    features = [scene(i) for i in "bacb"]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert [item.id for item in find(path)] == ["a", "b", "c"]


def test_over_an_area_in_time(tmp_path):
    beside = {"type": "Polygon",
              "coordinates": [[[11, 46], [12, 46], [12, 47], [11, 47], [11, 46]]]}  # fmt: skip
    features = [
        scene("in"),
        {**scene("beside"), "geometry": beside},
        scene("end", "2022-07-01T00:00:00Z"),
        scene("start", "2022-06-01T00:00:00Z"),
    ]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    items = find(path)
    assert [item.id for item in items.over(AREA)] == ["start", "in", "end"]


def test_a_bow_tie_is_made_a_footprint(tmp_path):
    bow = {"type": "Polygon",
           "coordinates": [[[10, 46], [11, 47], [11, 46], [10, 47], [10, 46]]]}  # fmt: skip
    (tmp_path / "s1.json").write_text(json.dumps({**scene(), "geometry": bow}))
    (found,) = find(tmp_path / "s1.json")
    assert found.footprint.is_valid
