"""Quality bands against small tables worked out by hand from the documents that define them."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from orchard.collections import Flag, load_collections
from orchard.errors import CollectionError

ALL = load_collections(yaml.safe_load((Path(__file__).parent / "collections.yaml").read_text()))


def check(name, table):
    """Table: number -> (clear, the flags that are set)."""
    collection = ALL[name]
    qa = np.array(list(table), dtype=collection.dtype)
    clear = collection.clear_mask(qa)
    flags = collection.decode_flags(qa)
    assert clear.dtype == bool
    for index, (number, (usable, named)) in enumerate(table.items()):
        found = {flag for flag, mask in flags.items() if mask[index]}
        assert (number, clear[index], found) == (number, usable, set(named.split()))


# Values of LSDS-1619, table 6-3: QA_PIXEL of Landsat 8-9 and what it means.
def test_qa_pixel_of_landsat_8():
    low = "cloud_confidence_low cloud_shadow_confidence_low snow_confidence_low"
    rest = "cloud_shadow_confidence_low snow_confidence_low cirrus_confidence_low"
    shadow = "cloud_shadow cloud_shadow_confidence_high cloud_confidence_low"
    shadow += " snow_confidence_low cirrus_confidence_low"
    snow = "snow snow_confidence_high cloud_confidence_low"
    snow += " cloud_shadow_confidence_low cirrus_confidence_low"
    check(
        "LANDSAT/LC08/C02/T1_L2",
        {
            0: (False, ""),  # the image's nodata
            1: (False, "fill"),  # the source's, where it was not replaced
            21824: (True, f"clear {low} cirrus_confidence_low"),  # clear land
            21952: (True, f"clear water {low} cirrus_confidence_low"),
            22080: (True, f"clear cloud_confidence_medium {rest}"),
            22280: (False, f"cloud cloud_confidence_high {rest}"),
            23888: (False, f"clear {shadow}"),
            30048: (True, f"clear {snow}"),
            54596: (False, f"cirrus clear {low} cirrus_confidence_high"),
            21762: (False, f"dilated_cloud {low} cirrus_confidence_low"),
        },
    )


# LSDS-1618: no cirrus bits in TM and ETM+.
def test_qa_pixel_of_landsat_5():
    low = "cloud_confidence_low cloud_shadow_confidence_low snow_confidence_low"
    shadow = "cloud_shadow cloud_shadow_confidence_high"
    check(
        "LANDSAT/LT05/C02/T1_L2",
        {
            5440: (True, f"clear {low}"),
            5504: (True, f"water {low}"),
            5896: (
                False,
                "cloud cloud_confidence_high cloud_shadow_confidence_low snow_confidence_low",
            ),
            7440: (False, f"{shadow} cloud_confidence_low snow_confidence_low"),
        },
    )


# LSDS-1370, table 6: pixel_qa of Landsat 4-7.
def test_pixel_qa_of_landsat_7_collection_1():
    check(
        "LANDSAT/LE07/C01/T1_SR",
        {
            -9999: (False, ""),
            1: (False, "fill"),
            66: (True, "clear cloud_confidence_low"),
            68: (True, "water cloud_confidence_low"),
            72: (False, "cloud_shadow cloud_confidence_low"),
            80: (True, "snow cloud_confidence_low"),
            130: (True, "clear cloud_confidence_medium"),
            224: (False, "cloud cloud_confidence_high"),
        },
    )


# LSDS-1368, table 7: pixel_qa of Landsat 8.
def test_pixel_qa_of_landsat_8_collection_1():
    check(
        "LANDSAT/LC08/C01/T1_SR",
        {
            322: (True, "clear cloud_confidence_low cirrus_confidence_low"),
            386: (True, "clear cloud_confidence_medium cirrus_confidence_low"),
            834: (False, "clear cloud_confidence_low cirrus_confidence_high"),
            1346: (
                True,
                "clear cloud_confidence_low cirrus_confidence_low terrain_occlusion",
            ),
        },
    )


# S2-PDGS-MPC-ATBD-L2A, scene classification.
def test_scene_classification():
    check(
        "COPERNICUS/S2_SR_HARMONIZED",
        {
            0: (False, ""),
            1: (False, "saturated"),
            2: (True, "dark"),
            3: (False, "cloud_shadow"),
            4: (True, "vegetation"),
            5: (True, "not_vegetated"),
            6: (True, "water"),
            7: (True, "unclassified"),
            8: (False, "cloud cloud_confidence_medium"),
            9: (False, "cloud cloud_confidence_high"),
            10: (False, "cirrus"),
            11: (True, "snow"),
        },
    )
    clear = ALL["BOLZANO/S2_L2A"].clear_mask(np.arange(12, dtype="uint16"))
    assert np.flatnonzero(clear).tolist() == [2, 4, 5, 6, 7, 11]


# HLS Product User Guide 2.0, table 9.
@pytest.mark.parametrize("name", ["NASA/HLS/HLSL30/v002", "NASA/HLS/HLSS30/v002"])
def test_fmask(name):
    check(
        name,
        {
            -9999: (False, ""),
            0: (True, ""),
            64: (True, "aerosol_low"),
            194: (False, "cloud aerosol_high"),
            132: (False, "adjacent aerosol_moderate"),
            72: (False, "cloud_shadow aerosol_low"),
            80: (True, "snow aerosol_low"),
            160: (True, "water aerosol_moderate"),
        },
    )


def test_cfmask():
    check(
        "ESPA/LANDSAT_SR",
        {
            -9999: (False, ""),
            0: (True, "clear_land"),
            1: (True, "water"),
            2: (False, "cloud_shadow"),
            3: (False, "snow"),
            4: (False, "cloud"),
        },
    )


def test_shape_nodata_and_type():
    bolzano = ALL["BOLZANO/S2_L2A"]
    cube = np.full((2, 3, 4), 4, dtype="uint16")
    cube[0, 0, 0] = 9
    mask = bolzano.clear_mask(cube)
    assert mask.shape == cube.shape
    assert mask.sum() == cube.size - 1
    assert not bolzano.clear_mask(cube, nodata=4).any()
    with pytest.raises(CollectionError, match=r"'scl' must hold whole numbers .*0\.000"):
        bolzano.clear_mask(cube * 0.0001)
    with pytest.raises(CollectionError, match=r"'scl' must be integers as stored, not bool"):
        bolzano.clear_mask(cube == 4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "<i4", ">i2", ">u2"])
def test_many_numbers_are_decoded_as_few_are(dtype):
    collection = ALL["NASA/HLS/HLSL30/v002"]
    rng = np.random.default_rng(7)
    many = rng.integers(0, 256, (2, 300, 200)).astype(dtype)
    if np.dtype(dtype).kind == "i":
        many[0] = -9999
    few = [row[:50] for image in many for row in image[:3]]
    clear = collection.clear_mask(many)
    flags = collection.decode_flags(many)
    parts = [clear[i, j, :50] for i in range(2) for j in range(3)]
    assert all((collection.clear_mask(a) == b).all() for a, b in zip(few, parts, strict=True))
    for name, mask in flags.items():
        parts = [mask[i, j, :50] for i in range(2) for j in range(3)]
        for a, b in zip(few, parts, strict=True):
            assert (collection.decode_flags(a)[name] == b).all()
    assert clear[1].any()


def test_a_collection_without_a_rule_has_no_mask():
    plain = load_collections({"MY/ONE": {"dtype": "uint8", "nodata": 0, "bands": {"a": {}}}})
    with pytest.raises(CollectionError, match="MY/ONE does not say when a pixel is clear"):
        plain["MY/ONE"].clear_mask(np.zeros(1, dtype="uint8"))
    assert plain["MY/ONE"].decode_flags(np.zeros(1, dtype="uint8")) == {}


def test_bits_without_names_and_high_bits_of_signed_numbers():
    mine = load_collections(
        {
            "MY/ONE": {
                "dtype": "int16",
                "nodata": -9999,
                "bands": {"q": {"qa": True}, "r": {"qa": True}},
                "clear": {"band": "q", "bits": {0: 0, "14-15": [0, 1]}},
                "flags": {
                    "top": {"bits": 15},
                    "beyond": {"bits": 20},
                    "other": {"bits": 2, "band": "r"},
                },
            }
        }
    )["MY/ONE"]
    # -32768 is bit 15 alone (14-15 = 2), 16384 is bit 14 alone (14-15 = 1).
    qa = np.array([0, 1, -32768, 16384, -9999], dtype="int16")
    assert mine.clear_mask(qa).tolist() == [True, False, False, True, False]
    flags = mine.decode_flags(qa)
    assert flags["top"].tolist() == [False, False, True, False, False]
    assert not flags["beyond"].any()
    assert list(flags) == ["top", "beyond"]
    assert mine.decode_flags(np.array([4], "int16"), band="r")["other"].all()


def test_masks_and_codes_of_cf_flags():
    assert (Flag(bits=3).mask, Flag(bits=3).codes) == (8, (8,))
    assert (Flag(bits="8-9", values=3).mask, Flag(bits="8-9", values=3).codes) == (768, (768,))
    assert (Flag(values=[8, 9]).mask, Flag(values=[8, 9]).codes) == (None, (8, 9))


def test_quality_numbers_of_an_image_of_floats():
    mine = load_collections(
        {
            "MY/ONE": {
                "dtype": "float32",
                "nodata": -9999,
                "bands": {"v": {}, "q": {"qa": True}},
                "clear": {"band": "q", "bits": {0: 0, "14-15": [0, 1]}},
                "flags": {"top": {"bits": 23}, "five": {"values": 5}},
            }
        }
    )["MY/ONE"]
    qa = np.array([0, 1, 5, 2**15, 2**14, 2**23, -9999, np.nan], dtype="float32")
    assert mine.clear_mask(qa).tolist() == [True, False, False, False, True, True, False, False]
    flags = mine.decode_flags(qa)
    assert np.flatnonzero(flags["top"]).tolist() == [5]
    assert np.flatnonzero(flags["five"]).tolist() == [2]
    assert mine.clear_mask(qa[:2].astype(">f8"), np.nan).tolist() == [True, False]
    assert mine.clear_mask(qa[:0]).shape == (0,)
    for wrong in (0.5, 2.0**33, np.inf):
        with pytest.raises(CollectionError, match=f"'q' must hold whole numbers.*{wrong}"):
            mine.clear_mask(np.array([0, wrong]))
