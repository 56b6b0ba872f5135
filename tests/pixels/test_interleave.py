"""Samples put band by band, whatever the shape and the strides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.tiff import interleave, native
from orchard.tiff.interleave import turn


def made(shape, dtype):
    return np.random.default_rng(sum(shape)).integers(0, 250, shape).astype(dtype)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 80), st.integers(1, 30)),
    st.sampled_from(["int16", "uint16", "uint8", "float32", "float64"]),
    st.data(),
)
def test_any_piece_of_any_block(shape, dtype, data):
    block = made(shape, dtype)
    bounds = [sorted([data.draw(st.integers(0, n - 1)), n]) for n in shape]
    piece = block[tuple(slice(*b) for b in bounds)]
    rows, columns, samples = piece.shape
    margin = data.draw(st.sampled_from([0, 3]))
    image = np.zeros((samples + margin, rows + margin, columns + margin), dtype)
    out = image[:samples, :rows, :columns]
    turn(piece, out)
    np.testing.assert_array_equal(out, np.moveaxis(piece, 2, 0))
    image[:samples, :rows, :columns] = 0
    assert not image.any()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:, ::2],
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[:, :, ::2],
        np.asfortranarray,
        lambda a: np.broadcast_to(a[:, :1], a.shape),
        lambda a: a.astype(">i2"),
        lambda a: np.frombuffer(b"x" + a.tobytes(), "i2", a.size, 1).reshape(a.shape),
    ],
)
def test_odd_strides(change):
    values = change(made((20, 70, 17), "int16"))
    out = np.zeros((values.shape[2], *values.shape[:2]), "int16")
    turn(values, out)
    np.testing.assert_array_equal(out, np.moveaxis(values, 2, 0))
    backwards = np.zeros_like(out)[::-1, :, ::-1]
    turn(values, backwards)
    np.testing.assert_array_equal(backwards, out)


@pytest.mark.parametrize("compiled", [True, False])
def test_nothing_is_written_where_it_does_not_belong(monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(native, "turn16", lambda: None)
    values = made((20, 70, 17), "int16")
    for shape in [(17, 19, 70), (17, 21, 70), (17, 20, 69), (16, 20, 70), (17, 1, 70)]:
        with pytest.raises(ValueError, match="do not fit"):
            turn(values, np.zeros(shape, "int16"))
    out = np.zeros((17, 20, 70), "int16")
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        turn(values, out)


def test_without_a_compiler_numpy_does_it(monkeypatch):
    monkeypatch.setattr(native, "turn16", lambda: None)
    monkeypatch.setattr(interleave, "_TURNED_BYTES", 100)
    values = made((9, 10, 11), "int16")
    out = np.zeros((11, 9, 10), "int16")
    turn(values, out)
    np.testing.assert_array_equal(out, np.moveaxis(values, 2, 0))
