"""Planning: solar days, edges of periods, filters, mosaic order, missing and companion assets."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_world import BANDS, COLLECTION, SIDE, UL, World, description, footprint, item

import orchard
from orchard.collections import load_collections
from orchard.engines.local.catalog import Items
from orchard.engines.local.catalog import _item as read_item
from orchard.engines.local.planning import plan_tasks, solar_day
from orchard.errors import CollectionError, FilterError
from orchard.orders import Period, TaskRequest

JUNE = Period(start=datetime(2022, 6, 1, tzinfo=UTC), end=datetime(2022, 7, 1, tzinfo=UTC))
ASSETS = {name: {"href": f"/{name}.tif"} for name in BANDS}


class Shelf:
    """A catalogue of items that are at hand; counts what it is asked for."""

    href = "shelf"

    def __init__(self, items):
        self.items = items
        self.asked = []

    def find(self, collection, area, start, end):
        self.asked.append(collection)
        return Items(read_item(i, "shelf") for i in self.items if i["collection"] == collection)


def scene(name, time="2022-06-02T10:00:00Z", assets=ASSETS, tiles=(2, 2), **properties):
    return item(name, time, footprint(tiles), assets, **properties)


def grid(left=UL[0]):
    return orchard.TileGrid(
        ul=(left, UL[1]), crs="EPSG:32632", res=(20, 20), size=(SIDE, SIDE), limits=((0, 9), (0, 9))
    )


def request(index=(0, 0), period=JUNE, filters=(), name="task", tile=None):
    return TaskRequest(
        name=name, prefix="P", collection=COLLECTION, tile=tile or grid()[index], period=period,
        filters=tuple(filters),
    )  # fmt: skip


def plan(items, *requests, **changes):
    known = load_collections({COLLECTION: description(**changes)})
    return plan_tasks(requests or [request()], known, Shelf(items))


def ids(task_plan):
    return [[scene.id for scene in acquisition.scenes] for acquisition in task_plan.acquisitions]


def test_scenes_of_a_day_are_one_acquisition_in_order_of_time_and_id():
    (found,) = plan([
        scene("c", "2022-06-02T10:00:10Z"), scene("b", "2022-06-02T10:00:10Z"),
        scene("a", "2022-06-02T10:00:24Z"), scene("d", "2022-06-05T10:00:00Z"),
    ])  # fmt: skip
    assert ids(found) == [["b", "c", "a"], ["d"]]
    assert [acquisition.day for acquisition in found.acquisitions] == [
        date(2022, 6, 2), date(2022, 6, 5)
    ]  # fmt: skip


def test_periods_take_their_start_and_not_their_end():
    edges = ["2022-05-31T23:59:59.999Z", "2022-06-01T00:00:00Z", "2022-06-30T23:59:59.999Z",
             "2022-07-01T00:00:00Z"]  # fmt: skip
    items = [scene(f"s{i}", time) for i, time in enumerate(edges)]
    july = Period(start=JUNE.end, end=JUNE.end + timedelta(days=1))
    june, after = plan(items, request(), request(period=july))
    assert ids(june) == [["s1"], ["s2"]]
    assert ids(after) == [["s3"]]


def test_a_zone_decides_neither_the_period_nor_the_day():
    (found,) = plan([
        scene("a", "2022-06-01T05:29:59+05:30"),  # 23:59:59 of May in UTC
        scene("b", "2022-06-01T05:30:00+05:30"),
        scene("c", "2022-05-31T14:30:00-09:30"),
    ])  # fmt: skip
    assert ids(found) == [["b", "c"]]


@given(
    st.integers(86400, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC)),
    st.floats(-180, 180),
)
def test_a_solar_day_is_within_half_a_day_of_utc(time, longitude):
    noon = datetime.combine(solar_day(time, longitude), datetime.min.time(), UTC)
    shifted = time + timedelta(hours=longitude / 15)
    assert noon <= shifted < noon + timedelta(days=1)


@pytest.mark.parametrize(
    ("longitude", "time", "day"),
    [
        (0, "2022-06-02T23:59", 2), (15, "2022-06-02T23:00", 3), (15, "2022-06-02T22:59", 2),
        (-180, "2022-06-02T11:59", 1), (180, "2022-06-02T12:00", 3), (178, "2022-06-02T22:30", 3),
    ],
)  # fmt: skip
def test_solar_days_by_hand(longitude, time, day):
    assert solar_day(datetime.fromisoformat(time).replace(tzinfo=UTC), longitude).day == day


def test_passes_around_midnight_utc_are_of_one_day_where_it_is_noon():
    # A tile near 178.5 degrees east: 23:50 and 00:10 UTC are before and after noon of one day.
    tile = orchard.TileGrid(
        ul=(500000, 5200000), crs="EPSG:32660", res=(20, 20), size=(SIDE, SIDE),
        limits=((0, 1), (0, 1)),
    )[0, 0]  # fmt: skip
    outline = tile.geojson()["geometry"]
    items = [
        {**scene("a", "2022-06-02T23:50:00Z"), "geometry": outline},
        {**scene("b", "2022-06-03T00:10:00Z"), "geometry": outline},
    ]
    (found,) = plan(items, request(tile=tile))
    assert ids(found) == [["a", "b"]]
    assert found.acquisitions[0].day == date(2022, 6, 3)


def test_only_scenes_that_share_ground_with_the_tile():
    left, right = plan([scene("s", tiles=(1, 1))], request((0, 0)), request((0, 2)))
    assert ids(left) == [["s"]]
    assert ids(right) == []


def test_one_search_serves_all_tasks_of_a_collection():
    known = load_collections({COLLECTION: description()})
    shelf = Shelf([scene("s")])
    steps = []
    plans = plan_tasks(
        [request((r, c), name=f"{r}{c}") for r in range(2) for c in range(2)], known, shelf,
        lambda item, n_steps: steps.append((item, n_steps)),
    )  # fmt: skip
    assert shelf.asked == ["tiny"]
    assert [p.request.name for p in plans] == ["00", "01", "10", "11"]
    assert steps == [(name, 1) for name in ("00", "01", "10", "11")]
    assert plans[0].acquisitions[0].scenes[0] is plans[3].acquisitions[0].scenes[0]


class TestFilters:
    ITEMS = (
        scene("clear", **{"eo:cloud_cover": 5}), scene("cloudy", **{"eo:cloud_cover": 90}),
    )  # fmt: skip

    def test_they_are_applied_by_the_catalogues_names(self):
        lte = {"function": "lte", "name": "CLOUD_COVER", "value": 50}
        only, all_ = plan(list(self.ITEMS), request(filters=[lte]), request())
        assert ids(only) == [["clear"]]
        assert ids(all_) == [["clear", "cloudy"]]

    def test_one_that_cannot_be_translated_is_refused_before_anything_is_asked(self):
        known = load_collections({COLLECTION: description()})
        shelf = Shelf(list(self.ITEMS))
        sun = {"function": "lte", "name": "SUN_ELEVATION", "value": 50}
        with pytest.raises(FilterError, match="SUN_ELEVATION"):
            plan_tasks([request(filters=[sun])], known, shelf)
        assert shelf.asked == []


class TestAssets:
    def test_a_band_that_no_scene_has_is_a_mistake_of_the_collection(self):
        with pytest.raises(CollectionError, match=r"'nir'.*scenes have red"):
            plan([scene("s", assets={"red": ASSETS["red"]})])

    def test_one_scene_without_it_is_left_to_the_task(self):
        (found,) = plan([scene("a"), scene("b", assets={"red": ASSETS["red"]})])
        (acquisition,) = found.acquisitions
        assert [sorted(s.source["bands"]) for s in acquisition.scenes] == [["nir", "red"], ["red"]]

    def test_no_scene_at_all_is_no_mistake(self):
        (found,) = plan([])
        assert found.acquisitions == ()

    def test_metadata_keeps_what_the_collection_asks_for(self):
        (found,) = plan([scene("s", **{"eo:cloud_cover": 7, "private": 1})])
        (kept,) = [s.metadata for s in found.acquisitions[0].scenes]
        assert kept == {
            "id": "s", "system:time_start": 1654164000000, "eo:cloud_cover": 7
        }  # fmt: skip

    def test_assets_of_a_companion_are_found_by_its_id(self):
        items = [
            scene("s1", assets={"red": ASSETS["red"]}),
            {**scene("s1_qa", assets={"q": {"href": "/q.tif"}}), "collection": "tiny-qa"},
        ]
        bands = {"red": {"asset": "red"}, "qa": {"asset": "q", "qa": True}}
        stac = {
            "collection": "tiny",
            "companions": {"tiny-qa": {"suffix": ["", "_qa"]}},
            "assets": {"qa": {"asset": "q", "companion": "tiny-qa"}},
        }
        (found,) = plan(items, bands=bands, stac=stac)
        (source,) = [s.source for s in found.acquisitions[0].scenes]
        assert source["bands"]["qa"]["href"] == "/q.tif"


def test_a_world_is_planned_through_its_engine(tmp_path):
    world = World(tmp_path, tiles=(1, 2), days=3)
    plan = world.tracker().plan(*world.order())
    assert [ids(task) for task in plan.plans] == [[["s0"], ["s1"], ["s2"]]] * 2
    assert (plan.n_scenes, plan.n_acquisitions) == (3, 6)
    assert plan.n_pixels == 6 * len(BANDS) * SIDE * SIDE
    assert plan.n_bytes == 2 * plan.n_pixels
    assert not (tmp_path / "store").exists()
