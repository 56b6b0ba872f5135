"""Composites against numpy's own, formulas against Python's arithmetic and against attackers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from orchard.composite import (
    INDICES,
    best_pixel,
    check_formula,
    evaluate,
    formula_bands,
    median,
    rank_acquisitions,
)
from orchard.errors import InputError

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))


@given(st.data(), SHAPES, st.sampled_from(["uint16", "int16", "uint8", "float32"]))
def test_the_median_is_that_of_the_usable_pixels(data, shape, dtype):
    elements = {"min_value": -1e6, "max_value": 1e6} if dtype == "float32" else None
    values = data.draw(npst.arrays(dtype, shape, elements=elements))
    usable = data.draw(npst.arrays(bool, shape))
    got = median(values, usable, 7)
    assert got.dtype == values.dtype
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmedian of nothing
        want = np.nanmedian(np.where(usable, values.astype(float), np.nan), axis=0)
    if dtype != "float32":
        want = np.floor(want + 0.5)
    want = np.where(usable.any(axis=0), want, 7)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-30)


def test_the_median_of_the_largest_numbers_does_not_overflow():
    values = np.array([[[-32768]], [[32767]]], dtype="int16")
    assert median(values, np.ones(values.shape, bool), 0).item() == 0
    values = np.array([[[65535]], [[65534]]], dtype="uint16")
    assert median(values, np.ones(values.shape, bool), 0).item() == 65535


def test_the_clearest_comes_first_then_the_nearest_to_the_middle():
    assert rank_acquisitions([0.2, 0.9, 0.9, 0.9], [-3, 8, -1, 2]) == [2, 3, 1, 0]


@given(st.data(), SHAPES)
def test_the_best_pixel_is_usable_and_nothing_before_it_is(data, shape):
    usable = data.draw(npst.arrays(bool, shape))
    ranked = data.draw(st.permutations(range(shape[0])))
    chosen = best_pixel(usable, ranked)
    for y, x in np.ndindex(*shape[1:]):
        there = [number for number in ranked if usable[number, y, x]]
        assert chosen[y, x] == (there[0] if there else -1)


@pytest.mark.parametrize(
    ("name", "want"),
    [("NDVI", 0.6), ("NBR", 0.4 / 1.2), ("EVI", 2.5 * 0.6 / (0.8 + 1.2 - 0.75 + 1))],
)
def test_indices_are_those_of_their_sources(name, want):
    bands = {"nir": 0.8, "red": 0.2, "blue": 0.1, "swir2": 0.4}
    arrays = {band: np.array([[value]]) for band, value in bands.items()}
    np.testing.assert_allclose(evaluate(INDICES[name], arrays), [[want]], rtol=1e-6)


NUMBERS = st.floats(-50, 50).map(lambda v: f"({round(v, 3)})") | st.sampled_from(["red", "nir"])
FORMULAS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda f: f"(-{f})"),
        inner.map(lambda f: f"abs({f})"),
        st.tuples(inner, inner).map(lambda t: f"minimum({t[0]}, {t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"where({t[0]} > 0, {t[1]}, {t[2]})"),
    ),
    max_leaves=8,
)


@given(FORMULAS, st.floats(-9, 9), st.floats(-9, 9))
def test_formulas_mean_what_they_mean(formula, red, nir):
    formula = f"{formula} + 0 * red"
    names = {"red": np.float64(red), "nir": np.float64(nir)}
    functions = {"abs": np.abs, "minimum": np.minimum, "where": np.where}
    with np.errstate(all="ignore"):
        try:
            want = eval(
                formula, {"__builtins__": {}}, {**names, **functions}
            )  # what is compared with
        except ZeroDivisionError:
            return  # of two plain numbers: Python refuses, numpy gives infinity
        want = np.float32(want)
    got = evaluate(formula, {name: np.array([value]) for name, value in names.items()})
    if np.isfinite(want):
        np.testing.assert_allclose(got, [want], rtol=1e-5, atol=1e-30)
    else:
        assert np.isnan(got).all()


def test_no_data_and_infinity_become_nan():
    red = np.array([np.nan, 0.0, 1.0])
    nir = np.array([1.0, 1.0, 1.0])
    np.testing.assert_array_equal(
        evaluate("nir / red", {"red": red, "nir": nir}), [np.nan, np.nan, 1]
    )
    # Also where the formula would hide it.
    np.testing.assert_array_equal(
        evaluate("where(red > 5, 1, 2)", {"red": red}), np.array([np.nan, 2, 2], "float32")
    )


HOSTILE = [
    "__import__('os').system('true')",
    "red.tofile('/tmp/orchard-was-here')",
    "red.__class__",
    "red.T",
    "red[0]",
    "(lambda: red)()",
    "[red for _ in (1,)]",
    "{red: 1}",
    "f'{red}'",
    "'a' * 9",
    "red if nir else red",
    "red and nir",
    "red @ nir",
    "red // nir",
    "red % nir",
    "red << 9",
    "~red",
    "not red",
    "eval('red')",
    "open('x') + red",
    "abs(red, nir)",
    "abs(x=red)",
    "where(red)",
    "abs(*red)",
    "abs(abs)(red)",
    "red := nir",
    "red; nir",
    "red\nnir",
    "import os",
    "__builtins__ + red",
    "_red + red",
    "red + True",
    "red + None",
    "red + 1j",
    "red + ...",
    "1e300 * red",
    "9 ** 9 ** 9",
    "1 < red < 2",
    "(red, nir)",
    "await red",
    "red.real",
    "",
    "(" * 300 + "red" + ")" * 300,
    "-" * 400 + "red",
    "red" + "+red" * 120,
    "x" * 501,
    "red \x00",
]


@pytest.mark.parametrize("formula", HOSTILE)
def test_what_is_not_arithmetic_is_refused(formula):
    with pytest.raises(InputError):
        evaluate(formula, {"red": np.ones(2), "nir": np.ones(2)})


@given(st.text(max_size=60))
def test_any_text_is_a_formula_or_refused(text):
    try:
        tree = check_formula(text)
    except InputError:
        return
    bands = {name: np.ones(2) for name in formula_bands(tree)}
    assert evaluate(text, bands).shape == (2,)


def test_powers_overflow_instead_of_filling_the_memory():
    assert np.isnan(evaluate("red ** 9 ** 9 ** 9", {"red": np.array([2.0])})).all()


def test_a_missing_band_is_named():
    with pytest.raises(InputError, match="no band 'swir2': the bands are red, nir"):
        evaluate(INDICES["NBR"], {"red": np.ones(1), "nir": np.ones(1)})
