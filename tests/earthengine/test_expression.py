"""What the expression of a task says, decoded, and what it makes of scenes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
import shapely
from affine import Affine
from google.auth.credentials import AnonymousCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchard.engines import PlannedAcquisition, PlannedScene, Task, TaskPlan
from orchard.engines.earthengine.client import Client
from orchard.engines.earthengine.destinations import Destination
from orchard.engines.earthengine.expression import build_image, export_request, finish
from orchard.engines.earthengine.planning import expression_size
from orchard.engines.earthengine.spec import ImageSpec, PartSpec, crs_name, tile_ring
from orchard.errors import InputError
from orchard.grid import TileGrid, get_grid
from orchard.orders import Period, TaskRequest
from orchard.testing.earthengine import Archive, EvaluationError, Image, Interpreter
from orchard.testing.earthengine.images import Grid

GRID = get_grid("LANDSAT_ARD_CU")
L8 = "LANDSAT/LC08/C02/T1_L2"
FILTERS = ({"function": "lte", "name": "CLOUD_COVER_LAND", "value": 80},)


@pytest.fixture
def client(world):
    made = world(Archive(collections={}))
    client = Client("test-project", url=made.server.url, credentials=AnonymousCredentials())
    client.activate()
    return client


def _task(collection, days, *, grid=GRID, index=(3, 10), filters=FILTERS, export=None):
    """``days``: {day: [scene, …]} with scenes at noon UTC."""
    acquisitions = [
        PlannedAcquisition(
            day=day,
            scenes=tuple(
                PlannedScene(
                    id=name,
                    time=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
                    metadata={"id": name},
                    source={"index": name},
                )
                for name in scenes
            ),
        )
        for day, scenes in days.items()
    ]
    request = TaskRequest(
        name="IMAGE",
        prefix="PRE/ARD",
        collection=collection.id,
        tile=grid[index],
        period=Period(start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2021, 1, 1, tzinfo=UTC)),
        filters=filters,
    )
    return Task(
        key="K" * 24,
        order="ORDER",
        plan=TaskPlan(request=request, acquisitions=tuple(acquisitions)),
        collection=collection,
        export=export or {},
    )


def _request(task, *, generation=0, number=0, url="gs://bucket/root"):
    request = task.plan.request
    spec = ImageSpec.of(task)
    part = PartSpec.of(
        request.name, request.tile.size, task.export, len(spec.days), generation, number
    )
    body, size = export_request(
        spec, part, Destination.of(url, request.prefix), task.export, description="D"
    )
    assert size > 0
    return body


class Decoded:
    """A serialised expression, to be asked for calls."""

    def __init__(self, expression):
        self.values = expression["values"]
        self.root = self.node({"valueReference": expression["result"]})

    def node(self, value):
        while "valueReference" in value:
            value = self.values[value["valueReference"]]
        return value

    def plain(self, value):
        """Constants as they are, calls as (name, arguments)."""
        value = self.node(value)
        if "constantValue" in value:
            return value["constantValue"]
        if "arrayValue" in value:
            return [self.plain(v) for v in value["arrayValue"]["values"]]
        if "functionInvocationValue" in value:
            call = value["functionInvocationValue"]
            arguments = {k: self.plain(v) for k, v in call["arguments"].items()}
            return call["functionName"], arguments
        return value

    def calls(self, name, value=None, found=None):
        """All calls of a function, anywhere."""
        found = [] if found is None else found
        for start in [value] if value is not None else self.values.values():
            self._walk(start, name, found)
        return found

    def _walk(self, value, name, found):
        if isinstance(value, dict):
            call = value.get("functionInvocationValue")
            if call and call["functionName"] == name:
                found.append({k: self.plain(v) for k, v in call["arguments"].items()})
            for part in value.values():
                self._walk(part, name, found)
        elif isinstance(value, list):
            for part in value:
                self._walk(part, name, found)


DAYS = {date(2020, 3, 5): ["LC08_A", "LC08_B"], date(2020, 3, 21): ["LC08_C"]}


def test_filters_bounds_and_dates_are_in_it(client, collections):
    body = _request(_task(collections[L8], DAYS))
    decoded = Decoded(body["expression"])
    assert decoded.calls("ImageCollection.load") == [{"id": L8}]
    (dates,) = decoded.calls("DateRange")
    assert dates == {"start": 1577836800000, "end": 1609459200000}
    (bounds,) = decoded.calls("GeometryConstructors.Polygon")
    ground = shapely.geometry.shape(GRID[3, 10].geojson()["geometry"])
    ring = shapely.Polygon(bounds["coordinates"][0])
    assert bounds["geodesic"] is False
    assert ring.within(ground)
    assert ring.area / ground.area > 0.998
    # lte: with the property, and not greater
    (negated,) = decoded.calls("Filter.not")
    assert negated["filter"] == (
        "Filter.greaterThan",
        {"leftField": "CLOUD_COVER_LAND", "rightValue": 80},
    )
    assert decoded.calls("Filter.notNull") == [{"properties": ["CLOUD_COVER_LAND"]}]


def test_exactly_the_bands_dates_and_grid(client, collections):
    collection = collections[L8]
    body = _request(_task(collection, DAYS))
    decoded = Decoded(body["expression"])
    selections = decoded.calls("Image.select")
    assert selections[0]["bandSelectors"] == [b.earthengine for b in collection.bands.values()]
    assert selections[0]["newNames"] == list(collection.bands)
    (names,) = [c["names"] for c in decoded.calls("Image.rename") if len(c["names"]) > 9]
    assert names == [
        f"{day}_{band}" for day in ("2020-03-05", "2020-03-21") for band in collection.bands
    ]
    wanted = [c["rightValue"] for c in decoded.calls("Filter.equals")]
    assert sorted(wanted) == ["LC08_A", "LC08_B", "LC08_C"]
    # The first scene is on top, that is the last of the mosaic.
    first, second = _mosaics(decoded)
    assert first == ["LC08_B", "LC08_A"]
    assert second == ["LC08_C"]
    (unmask,) = decoded.calls("Image.unmask")
    assert unmask["sameFootprint"] is False
    assert unmask["value"] == ("Image.constant", {"value": collection.nodata})
    assert decoded.calls(f"Image.toU{collection.dtype[1:]}")
    tile = GRID[3, 10]
    (grid,) = decoded.calls("Image.reproject")
    assert grid["crsTransform"] == [30, 0, tile.bounds.left, 0, -30, tile.bounds.top]
    assert grid["crs"][1]["crs"] == crs_name(tile.crs)
    (clip,) = decoded.calls("GeometryConstructors.Rectangle")
    assert clip["coordinates"] == [0, 0, 5000, 5000]


def _mosaics(decoded):
    """Scenes of each mosaic, in the order of its images."""
    (days,) = [c["collection"][1]["images"] for c in decoded.calls("ImageCollection.toBands")]
    return [
        [
            scene[1]["collection"][1]["filter"][1]["rightValue"]
            for scene in day[1]["collection"][1]["collection"][1]["images"]
        ]
        for day in days
    ]


def test_the_request_beside_the_expression(client, collections):
    export = {
        "fileDimensions": 512,
        "shardSize": 256,
        "cloudOptimized": True,
        "priority": 300,
        "maxPixels": 1e9,
        # what CEDAR wrote besides
        "crs": "something",
        "crs_transform": "[1, 2]",
        "dimensions": "5000x5000",
    }
    kept = dict(export)
    body = _request(_task(collections[L8], DAYS, export=export))
    assert export == kept
    assert body["description"] == "D"
    assert body["maxPixels"] == {"value": "1000000000"}
    assert body["priority"] == {"value": 300}
    assert body["fileExportOptions"] == {
        "fileFormat": "GEO_TIFF",
        # Cloud Storage appends the offsets as they are
        "cloudStorageDestination": {"bucket": "bucket", "filenamePrefix": "root/PRE/ARD/IMAGE-"},
        "geoTiffOptions": {
            "cloudOptimized": True,
            "tileDimensions": {"width": 512, "height": 512},
            "tileSize": {"value": 256},
        },
    }


def test_drive_and_one_file(client, collections):
    body = _request(_task(collections[L8], DAYS), url="gdrive://orchard/sub")
    assert body["fileExportOptions"]["driveDestination"] == {
        "folder": "ARD",
        "filenamePrefix": "IMAGE",
    }
    body = _request(_task(collections[L8], DAYS))
    prefix = body["fileExportOptions"]["cloudStorageDestination"]["filenamePrefix"]
    assert prefix == "root/PRE/ARD/IMAGE"
    assert body["maxPixels"] == {"value": "100000000"}


def test_a_quarter_is_one_file_named_as_the_tiles_shard(client, collections):
    task = _task(collections[L8], DAYS, export={"fileDimensions": 512})
    body = _request(task, generation=1, number=3)
    prefix = body["fileExportOptions"]["cloudStorageDestination"]["filenamePrefix"]
    assert prefix == "root/PRE/ARD/IMAGE-0000002512-0000002512"
    assert "tileDimensions" not in body["fileExportOptions"].get("geoTiffOptions", {})
    decoded = Decoded(body["expression"])
    (grid,) = decoded.calls("Image.reproject")
    tile = GRID[3, 10]
    offset = 2512 * 30
    assert grid["crsTransform"][2] == tile.bounds.left + offset
    assert grid["crsTransform"][5] == tile.bounds.top - offset
    (clip,) = decoded.calls("GeometryConstructors.Rectangle")
    assert clip["coordinates"] == [0, 0, 5000 - 2512, 5000 - 2512]


def test_a_part_of_the_period_has_its_dates_only(client, collections):
    task = _task(collections[L8], DAYS, export={"fileDimensions": 2500})
    whole = ImageSpec.of(task)
    body = _request(task, generation=10, number=1)
    options = body["fileExportOptions"]
    assert len(whole.days) == 2
    assert options["cloudStorageDestination"]["filenamePrefix"] == "root/PRE/ARD/IMAGE-T0000000001-"
    assert options["geoTiffOptions"]["tileDimensions"] == {"width": 2500, "height": 2500}
    decoded = Decoded(body["expression"])
    (names,) = decoded.calls("Image.rename")[-1:]
    assert names["names"] == [f"{whole.days[1][0]}_{band.name}" for band in whole.bands]
    body = _request(task, generation=11, number=7)
    prefix = body["fileExportOptions"]["cloudStorageDestination"]["filenamePrefix"]
    assert prefix == "root/PRE/ARD/IMAGE-T0000000001-0000002512-0000002512"


def test_files_that_would_be_empty_stay_masked(client, collections):
    body = _request(_task(collections[L8], DAYS, export={"skipEmptyTiles": True}))
    assert body["fileExportOptions"]["geoTiffOptions"] == {
        "skipEmptyFiles": True,
        "noData": {"floatValue": collections[L8].nodata},
    }
    assert not Decoded(body["expression"]).calls("Image.unmask")


def test_unknown_options_and_stores_are_refused(client, collections):
    task = _task(collections[L8], DAYS, export={"fileDimension": 3})
    with pytest.raises(InputError, match="'fileDimension'"):
        _request(task)
    with pytest.raises(InputError, match=r"s3://x.*gs://"):
        Destination.of("s3://x", "p")


def test_the_size_is_not_underestimated(client, collections):
    """Planning tells by a rule of thumb, and before it is built, what would be too large."""
    for name, days, per_day in ((L8, 200, 1), (L8, 5, 1), ("COPERNICUS/S2_SR_HARMONIZED", 60, 4)):
        found = {
            date.fromordinal(737500 + day): [
                f"20200101T100319_20200101T100321_T33UU{letter}{day:03d}"
                for letter in "PQRS"[:per_day]
            ]
            for day in range(days)
        }
        spec = ImageSpec.of(_task(collections[name], found))
        part = PartSpec.of("IMAGE", spec.size, {}, days)
        _, size = export_request(spec, part, Destination.of("gs://b", "p"), {}, description="D")
        assert size < expression_size(days * per_day, days, len(spec.bands)) < 3 * size


def test_specs_survive_packing(collections):
    spec = ImageSpec.of(_task(collections["NASA/HLS/HLSL30/v002"], DAYS))
    assert ImageSpec.unpack(spec.pack()) == spec
    assert len(spec.pack()) < 3000


@pytest.mark.parametrize(
    ("crs", "expected"),
    [("EPSG:32632", "EPSG:32632"), ("EPSG:3035", "EPSG:3035"), ("CEDAR", 'PROJCS["')],
)
def test_crs_names(crs, expected):
    if crs == "CEDAR":
        crs = "+proj=laea +lat_0=50 +lon_0=-100 +R=6378137 +units=m"
    grid = TileGrid(crs=crs, ul=(0, 0), res=(30, 30), size=(10, 10), limits=((0, 1), (0, 1)))
    assert crs_name(grid[0, 0].crs).startswith(expected)


def test_a_neighbour_is_not_touched():
    one, other = tile_ring(GRID[3, 10]), tile_ring(GRID[3, 11])
    shape = shapely.geometry.shape
    assert not shape(one).intersects(shape(other))
    assert shape(one).intersects(shape(GRID[3, 10].geojson()["geometry"]))


# What it makes of scenes: an own small world, pixel by pixel.

SMALL = TileGrid(
    crs="EPSG:32632", ul=(500000, 5200000), res=(10, 10), size=(4, 3), limits=((0, 1), (0, 1))
)


def _scene_image(name, bands, *, footprint=None):
    """A scene whose bands are arrays of (3, 4); nan is masked."""

    def reader(array):
        return lambda grid: (np.nan_to_num(array), ~np.isnan(array))

    return Image(
        bands=tuple((band, reader(np.asarray(array, float))) for band, array in bands.items()),
        properties={
            "system:index": name,
            "system:time_start": 1583409600000,
            "CLOUD_COVER_LAND": 10,
        },
        footprint=footprint or shapely.box(0, 0, 20, 60),
    )


def _evaluate(task, images):
    import ee

    spec = ImageSpec.of(task)
    image = finish(build_image(spec), spec, masked=False)
    expression = ee.serializer.encode(image, for_cloud_api=True)
    archive = Archive(collections={spec.collection: images})
    made = Interpreter(archive).evaluate(expression)
    grid = Grid(crs=SMALL.crs, transform=Affine.identity(), width=4, height=3)
    pixels = [reader(grid) for _, reader in made.bands]
    assert all(mask.all() for _, mask in pixels)
    return np.stack([values for values, _ in pixels])


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_first_scene_wins_by_band_and_pixel(client, collections, data):
    espa = collections["ESPA/LANDSAT_SR"]
    value = st.sampled_from([float("nan"), -9999.0, 255.0, 0.0, 1.0, 2.0, 16000.0])
    names = ["A", "B", "C"][: data.draw(st.integers(1, 3))]
    arrays = {
        name: {
            band: np.array(data.draw(st.lists(value, min_size=12, max_size=12))).reshape(3, 4)
            for band in espa.bands
        }
        for name in names
    }
    stored = data.draw(st.permutations(names))
    images = [_scene_image(name, arrays[name]) for name in stored]
    task = _task(espa, {date(2020, 3, 5): names}, grid=SMALL, index=(0, 0))
    found = _evaluate(task, images)
    for position, band in enumerate(espa.bands.values()):
        expected = np.full((3, 4), espa.nodata, float)
        for name in reversed(names):
            array = arrays[name][band.name]
            valid = ~np.isnan(array)
            if band.nodata is not None:
                valid &= array != band.nodata
            expected = np.where(valid, array, expected)
        np.testing.assert_array_equal(found[position], expected)
    assert found.dtype == np.int16


def test_float_scaled_collections_become_integers_again(client, collections):
    hls = collections["NASA/HLS/HLSL30/v002"]
    numbers = np.array([[1, 2, 3, 4], [2900, 3001, 9999, -9999], [-5, 0, 15000, 7]])
    bands = {
        band.earthengine: (numbers - band.earthengine_offset) / band.earthengine_scale
        for band in hls.bands.values()
        if not band.qa
    }
    bands["Fmask"] = np.array([[0, 64, 255, 3]] * 3)
    task = _task(hls, {date(2020, 3, 5): ["A"]}, grid=SMALL, index=(0, 0))
    found = _evaluate(task, [_scene_image("A", bands)])
    for position, band in enumerate(hls.bands.values()):
        expected = np.array([[0, 64, -9999, 3]] * 3) if band.qa else numbers
        np.testing.assert_array_equal(found[position], expected)


def test_a_band_that_a_scene_may_lack_is_nodata(client, collections):
    optional = {name: c for name, c in collections.items() if name.startswith("LANDSAT/LC08/C02")}
    base = optional[L8]
    bands = {
        name: band.model_copy(update={"optional": name == "thermal"})
        for name, band in base.bands.items()
    }
    collection = base.model_copy(update={"bands": bands})
    full = {b.earthengine: np.full((3, 4), 7.0) for b in bands.values()}
    without = {k: v for k, v in full.items() if k != bands["thermal"].earthengine}
    task = _task(
        collection,
        {date(2020, 3, 5): ["A"], date(2020, 3, 6): ["B"]},
        grid=SMALL,
        index=(0, 0),
    )
    found = _evaluate(task, [_scene_image("A", full), _scene_image("B", without)])
    place = list(bands).index("thermal")
    assert (found[place] == 7).all()
    assert (found[len(bands) + place] == collection.nodata).all()
    assert (found[len(bands)] == 7).all()


def test_nothing_is_clipped(client, collections):
    espa = collections["ESPA/LANDSAT_SR"]
    bands = {band: np.full((3, 4), 40000.0) for band in espa.bands}
    task = _task(espa, {date(2020, 3, 5): ["A"]}, grid=SMALL, index=(0, 0))
    # The cast is left to the collection's dtype: the simulator refuses what does not fit.
    with pytest.raises(EvaluationError, match="does not fit into int16"):
        _evaluate(task, [_scene_image("A", bands)])
