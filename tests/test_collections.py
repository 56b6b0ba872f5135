"""The registry: what is in it, what a configuration changes, and what real items say to it."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from orchard.collections import Collection, SourceRule, get_collection, load_collections
from orchard.errors import CollectionError, FilterError

DATA = Path(__file__).parents[2] / "shared" / "data"
TEST_COLLECTIONS = yaml.safe_load((Path(__file__).parent / "collections.yaml").read_text())
ALL = load_collections(TEST_COLLECTIONS)
LANDSAT = [f"LANDSAT/{sensor}/C02/T1_L2" for sensor in ("LT04", "LT05", "LE07", "LC08", "LC09")]
RETIRED = [f"LANDSAT/{sensor}/C01/T1_SR" for sensor in ("LT04", "LT05", "LE07", "LC08")]
OTHERS = ["COPERNICUS/S2_SR_HARMONIZED", "NASA/HLS/HLSL30/v002", "NASA/HLS/HLSS30/v002"]
USGS = "https://landsatlook.usgs.gov/stac-server"
ELEMENT84 = "https://earth-search.aws.element84.com/v1"
PC = "https://planetarycomputer.microsoft.com/api/stac/v1"


def items(pattern):
    found = sorted(DATA.glob(pattern))
    if not found:
        pytest.skip(f"no items at {DATA / pattern}")
    return [json.loads(path.read_text()) for path in found]


def item(pattern):
    (found,) = items(pattern)
    return found


# What is in the registry -------------------------------------------------------------------------


def test_the_registry_has_what_was_asked_for():
    assert set(load_collections()) == {*LANDSAT, *RETIRED, *OTHERS}


@pytest.mark.parametrize("name", [*LANDSAT, *RETIRED, *OTHERS, *TEST_COLLECTIONS])
def test_every_collection_is_whole(name):
    collection = ALL[name]
    assert collection.id == name
    assert collection.title
    assert collection.metadata
    assert [band.name for band in collection.bands.values()] == list(collection.bands)
    qa = [band.name for band in collection.bands.values() if band.qa]
    assert [collection.qa_band] == qa
    assert not collection.clear_mask([[collection.nodata]]).any()
    if name not in TEST_COLLECTIONS:
        engine = [band.earthengine for band in collection.bands.values()]
        assert all(engine)
        assert len(set(engine)) == len(engine)
        assert all(band.nodata is not None for band in collection.bands.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LANDSAT/LT04/C02/T1_L2", "SR_B1 SR_B2 SR_B3 SR_B4 SR_B5 SR_B7 ST_B6 QA_PIXEL"),
        ("LANDSAT/LE07/C02/T1_L2", "SR_B1 SR_B2 SR_B3 SR_B4 SR_B5 SR_B7 ST_B6 QA_PIXEL"),
        ("LANDSAT/LC09/C02/T1_L2", "SR_B2 SR_B3 SR_B4 SR_B5 SR_B6 SR_B7 ST_B10 QA_PIXEL"),
        ("LANDSAT/LE07/C01/T1_SR", "B1 B2 B3 B4 B5 B7 B6 pixel_qa"),
        ("LANDSAT/LC08/C01/T1_SR", "B2 B3 B4 B5 B6 B7 B10 pixel_qa"),
        ("COPERNICUS/S2_SR_HARMONIZED", "B2 B3 B4 B5 B6 B7 B8 B8A B11 B12 SCL"),
        ("NASA/HLS/HLSL30/v002", "B2 B3 B4 B5 B6 B7 B10 Fmask"),
        ("NASA/HLS/HLSS30/v002", "B2 B3 B4 B8A B11 B12 Fmask"),
    ],
)
def test_bands_at_earth_engine(name, expected):
    assert [band.earthengine for band in ALL[name].bands.values()] == expected.split()


def test_cedars_collections_have_cedars_bands_and_metadata():
    document = item("cedar/example_metadata_image.json")
    collection = get_collection(document["order"]["collection"])
    assert list(collection.bands) == document["image"]["bands"]
    assert collection.nodata == document["image"]["nodata"]
    (scene,) = document["image"]["images"][0]
    assert set(collection.metadata) == {key for key in scene if not key.startswith("system:")}
    stac = collection.stac_metadata(scene)
    assert stac["platform"] == "landsat-7"
    assert stac["eo:cloud_cover"] == 35.0
    assert stac["view:sun_azimuth"] == 143.177383
    assert stac["view:sun_elevation"] == pytest.approx(90 - 48.971226)
    assert stac["system:time_start"] == 1168872767610.0


def test_physical_values_of_landsat():
    bands = ALL["LANDSAT/LC08/C02/T1_L2"].bands
    assert bands["red"].scale * 7273 + bands["red"].offset == pytest.approx(0.0000075)
    assert bands["thermal"].scale * 44177 + bands["thermal"].offset == pytest.approx(
        299.9979, abs=1e-4
    )


def test_earth_engine_makes_integers_of_hls_again():
    bands = ALL["NASA/HLS/HLSL30/v002"].bands
    for name in ("blue", "thermal"):
        assert bands[name].earthengine_scale * bands[name].scale == pytest.approx(1)
    assert bands["fmask"].earthengine_scale == 1


# Real items --------------------------------------------------------------------------------------

# Items of the USGS's STAC server as it has been since 2021: their assets have common names.
ITEMS_2021 = {
    "LANDSAT/LT04/C02/T1_L2": "usgs_landsat_c2/LT04_L2SP_002026_19830110_*_SR_stac.json",
    "LANDSAT/LE07/C02/T1_L2": "odc_stac/LE07_L2SP_044033_20210329_20210424_02_T1_SR.json",
    "LANDSAT/LC08/C02/T1_L2": "odc_stac/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json",
}


@pytest.mark.parametrize("name", ITEMS_2021)
def test_items_of_the_usgs_have_the_assets_and_properties(name):
    surface = items(f"stac-items/{ITEMS_2021[name]}")[0]
    collection = ALL[name]
    source = collection.stac_for(USGS)
    assert source.collection == surface["collection"]
    rules = collection.source_rules(surface["properties"], source)
    assert {rule.asset for rule in rules.values() if not rule.companion} <= set(surface["assets"])
    assert [band for band, rule in rules.items() if rule.companion] == ["thermal"]
    scene = collection.scene_metadata(
        surface["id"], datetime(2020, 1, 1, tzinfo=UTC), surface["properties"], source
    )
    wanted = {"CLOUD_COVER", "CLOUD_COVER_LAND", "SPACECRAFT_ID", "SUN_ELEVATION", "WRS_PATH"}
    assert wanted <= set(scene)
    belongs = [c for c in LANDSAT if ALL[c].stac_for(USGS).matches(surface["properties"])]
    assert belongs == [name]


def test_only_tier_one_belongs():
    tier_two = item(
        "stac-items/usgs_landsat_c2/LT05_L2SP_010067_19860424_20200918_02_T2_SR_stac.json"
    )
    assert not any(ALL[c].stac_for(USGS).matches(tier_two["properties"]) for c in LANDSAT)


def test_the_companion_of_a_usgs_item_has_the_temperature():
    temperature, surface = sorted(
        items("stac-items/usgs_landsat_c2/LT04_*.json"), key=lambda i: i["id"], reverse=True
    )
    collection = ALL["LANDSAT/LT04/C02/T1_L2"]
    source = collection.stac_for(USGS)
    rule = collection.source_rules(surface["properties"], source)["thermal"]
    assert rule == SourceRule(
        asset="lwir", companion=temperature["collection"], nodata=0, optional=True
    )
    assert source.companions[rule.companion].item_id(surface["id"]) == temperature["id"]
    assert rule.asset in temperature["assets"]


def test_scene_metadata_has_earth_engines_names_and_values():
    surface = item("stac-items/odc_stac/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json")
    collection = ALL["LANDSAT/LC08/C02/T1_L2"]
    time = datetime.fromisoformat(surface["properties"]["datetime"])
    scene = collection.scene_metadata(
        surface["id"], time, surface["properties"], collection.stac_for(USGS)
    )
    assert list(scene)[:2] == ["id", "system:time_start"]
    assert scene == {
        "id": "LC08_L2SP_028030_20200114_20200824_02_T1_SR",
        "system:time_start": 1579021546733,
        "CLOUD_COVER": 8.18,
        "CLOUD_COVER_LAND": 8.18,
        "COLLECTION_CATEGORY": "T1",
        "COLLECTION_NUMBER": 2,
        "LANDSAT_SCENE_ID": "LC80280302020014LGN00",
        "PROCESSING_LEVEL": "L2SP",
        "SPACECRAFT_ID": "LANDSAT_8",
        "SUN_AZIMUTH": 158.45194309,
        "SUN_ELEVATION": 22.57988462,
        "WRS_PATH": 28,
        "WRS_ROW": 30,
    }
    assert json.loads(json.dumps(scene)) == scene
    naive = collection.scene_metadata("x", time.replace(tzinfo=None), {})
    assert naive == {"id": "x", "system:time_start": 1579021546733}


def test_sentinel_2_at_the_planetary_computer():
    old = item("stac-items/odc_stac/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json")
    s2 = ALL["COPERNICUS/S2_SR_HARMONIZED"]
    source = s2.stac_for(PC)
    assert source.collection == old["collection"]
    rules = s2.source_rules(old["properties"], PC)
    assert {rule.asset for rule in rules.values()} <= set(old["assets"])
    assert {rule.subtract for rule in rules.values()} == {0}
    scene = s2.scene_metadata(
        old["id"], datetime(2019, 6, 29, tzinfo=UTC), old["properties"], source
    )
    assert scene["MGRS_TILE"] == "06VVN"
    assert scene["MEAN_SOLAR_ZENITH_ANGLE"] == pytest.approx(37.91288)
    assert scene["SENSING_ORBIT_DIRECTION"] == "DESCENDING"
    assert scene["SPACECRAFT_NAME"] == "Sentinel-2B"


def test_sentinel_2_of_stactools_is_shifted_where_its_own_offset_says_so():
    s2 = ALL["COPERNICUS/S2_SR_HARMONIZED"]
    shifted = 0
    for found in items("stac-items/stactools_sentinel2/*.json"):
        rules = s2.source_rules(found["properties"])
        assert {rule.asset for rule in rules.values()} <= set(found["assets"])
        # One item was made up to test band-dependent offsets; S2_SR_HARMONIZED knows one only.
        offset = found["assets"]["red"]["raster:bands"][0]["offset"]
        if offset in (0, -0.1):
            assert rules["red"].subtract == -offset * 10000, found["id"]
            shifted += offset != 0
        assert rules["scl"].subtract == 0
    assert shifted > 5


def test_element_84_says_itself_whether_the_shift_was_taken_off():
    s2 = ALL["COPERNICUS/S2_SR_HARMONIZED"]
    new = {"s2:processing_baseline": "05.11"}

    def subtract(properties):
        return s2.source_rules(properties, ELEMENT84)["blue"].subtract

    assert subtract(new) == 1000
    assert subtract({**new, "earthsearch:boa_offset_applied": False}) == 1000
    assert subtract({**new, "earthsearch:boa_offset_applied": True}) == 0
    assert subtract({"s2:processing_baseline": "03.01"}) == 0
    assert subtract({}) == 0


# The two scene sets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder", "count"),
    [("BOLZANO/S2_L2A", "s2-bolzano", 12), ("ESPA/LANDSAT_SR", "landsat-espa", 5)],
)
def test_a_configuration_brings_any_stac_collection(name, folder, count):
    collection = ALL[name]
    source = collection.stac_for(str(DATA / "catalog.json"))
    found = items(f"{folder}/*/*.json")
    assert len(found) == count
    for scene in found:
        assert source.collection == scene["collection"]
        assert source.matches(scene["properties"])
        rules = collection.source_rules(scene["properties"], source)
        assert list(rules) == list(collection.bands)
        assert {rule.asset for rule in rules.values()} == set(scene["assets"])
        metadata = collection.scene_metadata(
            scene["id"],
            datetime.fromisoformat(scene["properties"]["datetime"]),
            scene["properties"],
            source,
        )
        assert list(metadata) == ["id", "system:time_start", *collection.metadata]
    assert source.collection == item(f"{folder}/collection.json")["id"]


def test_source_nodata_is_only_what_the_data_says():
    espa = ALL["ESPA/LANDSAT_SR"].source_rules({})
    assert espa["blue"] == SourceRule(asset="blue")
    assert espa["cfmask"].nodata == 255
    assert ALL["LANDSAT/LC08/C02/T1_L2"].source_rules({}, "usgs")["qa_pixel"].nodata == 1


# Catalogues --------------------------------------------------------------------------------------


def test_a_catalogue_is_recognised_by_its_address():
    landsat = ALL["LANDSAT/LC09/C02/T1_L2"]
    assert landsat.stac_for(USGS).where["platform"] == ("LANDSAT_9",)
    assert landsat.stac_for(PC) == landsat.stac_for("planetary-computer")
    assert landsat.stac_for(ELEMENT84).where["platform"] == ("landsat-9",)
    assert landsat.stac_for("/data/catalog.json") == landsat.stac_for()
    assert landsat.stac_for().where["platform"] == ("landsat-9", "LANDSAT_9")
    assert ALL["NASA/HLS/HLSS30/v002"].stac_for(PC).collection == "hls2-s30"


def test_a_collection_without_a_catalogue_says_so():
    with pytest.raises(CollectionError, match="LANDSAT/LE07/C01/T1_SR is not known to be in https"):
        get_collection("LANDSAT/LE07/C01/T1_SR").stac_for(PC)


# Configuration -----------------------------------------------------------------------------------


def test_an_override_is_merged_deeply():
    name = "COPERNICUS/S2_SR_HARMONIZED"
    changed = load_collections(
        {
            name: {
                "bands": {
                    "blue": {"description": "blue!"},
                    "swir2": None,
                    "coastal": {"asset": "c"},
                },
                "stac": {"element84": {"collection": "sentinel-2-c1-l2a", "shift": None}},
                "metadata": ["PRODUCT_ID"],
                "clear": {"band": "scl", "bits": {"vegetation": 1}},
                "flags": {"snow": {"values": [11, 12]}, "water": None},
            }
        }
    )[name]
    original = load_collections()[name]
    assert changed.bands["blue"].description == "blue!"
    assert changed.bands["blue"].scale == 0.0001
    assert list(changed.bands) == [b for b in original.bands if b != "swir2"] + ["coastal"]
    source = changed.stac_for(ELEMENT84)
    assert (source.collection, source.shift) == ("sentinel-2-c1-l2a", None)
    assert source.match == original.stac_for(ELEMENT84).match
    assert changed.metadata == ("PRODUCT_ID",)
    assert changed.clear.values is None
    assert changed.flags["snow"].values == (11, 12)
    assert "water" not in changed.flags
    assert "water" in original.flags


def test_a_single_stac_entry_is_the_generic_one():
    name = "LANDSAT/LC08/C02/T1_L2"
    changed = load_collections({name: {"stac": {"collection": "mine", "where": None}}})[name]
    assert changed.stac_for("/data/mine.json").collection == "mine"
    assert not changed.stac_for("/data/mine.json").where
    assert changed.stac_for(USGS).collection == "landsat-c2l2-sr"


def test_a_new_collection_can_be_like_another():
    mine = load_collections(
        {
            "MY/LANDSAT": {"like": "MY/BASE", "title": "mine"},
            "MY/BASE": {"like": "LANDSAT/LC08/C02/T1_L2", "bands": {"thermal": None}},
        }
    )["MY/LANDSAT"]
    assert (mine.id, mine.title) == ("MY/LANDSAT", "mine")
    assert "thermal" not in mine.bands
    assert not mine.stac["usgs"].assets
    assert mine.clear == ALL["LANDSAT/LC08/C02/T1_L2"].clear


MINIMAL = {"dtype": "uint8", "nodata": 0, "bands": {"a": {}, "q": {"qa": True}}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"nodata": 256}, "nodata: 256 is not a number of uint8"),
        ({"nodata": math.nan}, "nodata: nan is not a number of uint8"),
        ({"nodata": math.inf, "dtype": "float32"}, "nodata: must be a finite number, or .nan"),
        ({"nodata": 0.5}, "nodata"),
        ({"dtype": "complex64"}, "dtype"),
        ({"bands": {}}, "at least one"),
        ({"bands": {"a": {"scal": 1}}}, r"bands\.a\.scal: unknown key: did you mean scale"),
        ({"no_data": 0}, r"no_data: unknown key: did you mean nodata"),
        ({"bands": {"a": {"earthengine": {"scale": 3}}}}, "earthengine"),
        ({"bands": {"a": "blue"}}, r"bands\.a"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"clear": {"band": "z", "values": [1]}}, "clear.band: there is no band 'z'"),
        ({"clear": {"band": "q"}}, "either `values` or `bits`"),
        ({"clear": {"band": "q", "bits": {"cloud": 0}}}, "'cloud' is neither a flag nor bits"),
        ({"clear": {"band": "q", "bits": {"3": 2}}}, "'3'"),
        ({"flags": {"f": {"bits": "x"}}}, "flags.f"),
        ({"flags": {"f": {"bits": "3-1", "values": 1}}}, "upwards"),
        ({"flags": {"f": {"bits": "6-7", "values": 4}}}, "do not fit"),
        ({"flags": {"f": {"bits": "6-7"}}}, "needs `values`"),
        ({"flags": {"f": {"bits": 1, "band": "z"}}}, "flags.f.band: there is no band 'z'"),
        (
            {"flags": {"f": {"bits": 1}}, "bands": {"a": {}}},
            "flags.f: needs `band`",
        ),
        (
            {"flags": {"f": {"bits": 1}}, "clear": {"band": "q", "bits": {"f": 2}}},
            "'f' is a flag: give 0 or 1",
        ),
        ({"stac": {"collection": "x", "assets": {"z": "y"}}}, "there is no band 'z'"),
        (
            {"stac": {"collection": "x", "assets": {"a": {"asset": "y", "companion": "w"}}}},
            "'w' is not among companions",
        ),
        ({"stac": {"usgs": {"match": ["x"]}}}, r"stac\.usgs\.collection: is missing"),
        ({"like": "LANDSAT/LC08/C02/T1_L3"}, "did you mean LANDSAT/LC08/C02/T1_L2"),
        ({"like": "MY/ONE"}, "goes round: MY/ONE"),
    ],
)
def test_a_wrong_configuration_names_the_collection_and_the_key(override, message):
    with pytest.raises(CollectionError, match=message) as caught:
        load_collections({"MY/ONE": {**MINIMAL, **override}})
    assert "'MY/ONE'" in str(caught.value)


def test_a_wrong_shift_filter_is_a_filter_error_or_names_the_collection():
    stac = {"collection": "x", "shift": {"subtract": 1, "when": [{"function": "near"}]}}
    with pytest.raises((CollectionError, FilterError), match="near"):
        load_collections({"MY/ONE": {**MINIMAL, "stac": stac}})


def test_a_new_collection_must_be_complete():
    with pytest.raises(CollectionError, match=r"dtype: is missing.*did you mean LANDSAT/LC08/C02"):
        load_collections({"LANDSAT/LC8/C02/T1_L2": {"title": "typo"}})


@pytest.mark.parametrize("overrides", [[], ["x"], {"MY/ONE": 3}, {3: MINIMAL}])
def test_the_configuration_is_a_mapping_of_mappings(overrides):
    if overrides:
        with pytest.raises(CollectionError, match="must be"):
            load_collections(overrides)
    else:
        assert load_collections(overrides) == load_collections()


def test_an_unknown_collection_is_answered_with_what_looks_like_it():
    assert get_collection("BOLZANO/S2_L2A", ALL).id == "BOLZANO/S2_L2A"
    with pytest.raises(CollectionError, match="did you mean COPERNICUS/S2_SR_HARMONIZED"):
        get_collection("COPERNICUS/S2_SR_HARMONISED")
    with pytest.raises(CollectionError, match=r"'nothing like it': 'orchard collections'"):
        get_collection("nothing like it", ALL)


def test_a_name_of_catalogues_is_answered_with_what_is_made_of_it():
    with pytest.raises(CollectionError, match=r"sentinel-2-l2a.*COPERNICUS/S2_SR_HARMONIZED"):
        get_collection("sentinel-2-l2a")
    with pytest.raises(CollectionError, match=" or ".join(sorted(LANDSAT))):
        get_collection("landsat-c2-l2")


def test_collections_are_immutable_and_the_registry_is_not_shared():
    first = load_collections()
    first.clear()
    assert load_collections()
    with pytest.raises(ValidationError):
        ALL["BOLZANO/S2_L2A"].dtype = "uint8"


# Descriptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_description_is_json_and_enough_to_decode(name):
    collection = ALL[name]
    description = json.loads(json.dumps(collection.describe(), allow_nan=False))
    assert description == collection.describe()
    assert set(description["bands"]["blue"]) == {"scale", "offset", "qa", "units", "description"}
    again = Collection.from_description({**description, "from the future": 1})
    assert again.describe() == description
    qa = list(range(256))
    assert (again.clear_mask(qa) == collection.clear_mask(qa)).all()
    mine, theirs = again.decode_flags(qa), collection.decode_flags(qa)
    assert list(mine) == list(theirs)
    assert all((mine[flag] == theirs[flag]).all() for flag in mine)


def test_the_image_may_say_dtype_and_nodata():
    description = ALL["ESPA/LANDSAT_SR"].describe()
    del description["dtype"], description["nodata"]
    again = Collection.from_description(description, dtype="int16", nodata=-1)
    assert (again.dtype, again.nodata) == ("int16", -1)
    with pytest.raises(CollectionError, match=r"'ESPA/LANDSAT_SR': dtype: is missing"):
        Collection.from_description(description)
