"""Our LZW decoder against a plain one, and against what it must never do."""

from __future__ import annotations

import ctypes

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.tiff import lzw, native

pytestmark = pytest.mark.skipif(
    not lzw.is_compiled(), reason="no C compiler: our LZW decoder is not built here"
)

CLEAR, END, FIRST, CODES = 256, 257, 258, 4096
GUARD = b"\xa5" * 64


class Width:
    """How many bits the next code has: the same rule for who writes and for who reads."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.next, self.width, self.begun = FIRST, 9, False

    def after(self, code):
        if code == CLEAR:
            self.clear()
            return
        if self.begun:
            self.next += 1
            if self.next + 1 >= 1 << self.width and self.width < 12:
                self.width += 1
        self.begun = True


def written(codes):
    """Codes as bytes."""
    state, number, bits = Width(), 0, 0
    for code in codes:
        number, bits = number << state.width | code, bits + state.width
        state.after(code)
    return (number << (-bits % 8)).to_bytes((bits + 7) // 8, "big")


def plainly(codes, size):
    """What codes stand for, `size` bytes at most; None where they stand for nothing."""
    strings, out, last = {}, bytearray(), None
    for code in codes:
        if code == END or len(out) >= size:
            break
        if code == CLEAR:
            strings, last = {}, None
            continue
        known = {code: bytes([code])} if code < CLEAR else strings
        if last is None:
            if code > CLEAR:
                return None
            string = known[code]
        else:
            number = FIRST + len(strings)
            if (code not in known and code != number) or number == CODES:
                return None
            string = known.get(code, last + last[:1])
            strings[number] = last + string[:1]
        out += string
        last = string
    return bytes(out[:size])


@st.composite
def streams(draw):
    """Codes that a table of their own grows by; sometimes one that is nonsense."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    # Of literals alone, of the newest strings (that grow long), of any.
    taste = draw(st.sampled_from(["literals", "newest", "any", "runs"]))
    length = draw(st.sampled_from([3, 50, 700, 6000]))
    nonsense = draw(st.sampled_from([0, 0, 0, 1e-3]))
    codes, state = [CLEAR], Width()
    while len(codes) < length:
        roll = rng.random()
        known = state.next + 1 if state.begun else FIRST  # the code that is being made, too
        if state.next >= CODES - 2 or roll < 2e-4:
            code = CLEAR
        elif roll < nonsense:
            code = int(rng.integers(0, 1 << state.width))
        elif known == FIRST or taste == "literals" or (taste == "any" and roll < 0.5):
            code = int(rng.integers(0, 256))
        elif taste == "runs":
            code = known - 1
        elif taste == "newest":
            code = int(max(FIRST, known - rng.integers(1, 4))) if roll < 0.95 else 65
        else:
            code = int(rng.integers(FIRST, known))
        codes.append(code)
        state.after(code)
        if code == END:
            break
    return [*codes, *([END] if draw(st.booleans()) else [])]


def decode(data, size):
    """Decode beside a guard: nothing behind the output may change."""
    out = np.frombuffer(bytearray(bytes(size) + GUARD), np.uint8)
    count = native.lzw_decode()(data, len(data), out.ctypes.data, size)
    assert out[size:].tobytes() == GUARD
    assert count <= size
    return None if count < 0 else out[:count].tobytes()


@settings(max_examples=150, deadline=None)
@given(streams(), st.sampled_from([0, 1, 300, 5000, 1 << 20]), st.integers(0, 7))
def test_codes_stand_for_what_they_do(codes, size, more):
    assert decode(written(codes), size + more) == plainly(codes, size + more)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 40, 256]), st.integers(0, 70_000))
def test_what_others_encode_comes_back(seed, values, size):
    rng = np.random.default_rng(seed)
    runs = rng.integers(1, 9 if values > 2 else 900, size)
    data = np.repeat(rng.integers(0, values, size, dtype=np.uint8), runs)[:size].tobytes()
    raw = imagecodecs.lzw_encode(data)
    assert bytes(lzw.decode(raw, size)) == data


@settings(max_examples=100, deadline=None)
@given(streams(), st.integers(0, 2**32 - 1))
def test_broken_bytes_do_no_harm(codes, seed):
    rng = np.random.default_rng(seed)
    raw = bytearray(written(codes))
    for place in rng.integers(0, len(raw), rng.integers(1, 9)):
        raw[place] ^= 1 << rng.integers(0, 8)
    cut = bytes(raw[: rng.integers(0, len(raw) + 1)])
    decode(cut, int(rng.integers(0, 5000)))


def test_a_stream_that_ends_early_gives_its_beginning():
    data = np.random.default_rng(1).integers(0, 50, 9000, dtype=np.uint8).tobytes()
    raw = imagecodecs.lzw_encode(data)
    part = bytes(lzw.decode(raw[: len(raw) // 2], len(data)))
    assert 0 < len(part) < len(data)
    assert data.startswith(part)


REFUSED = {
    "a table's code without a table": written([300]),
    "a code after the next": written([CLEAR, 66, 259]),
    "nonsense, the lowest bit first": b"\x00\x01\xff\xff\xff",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_what_is_no_lzw_is_refused(raw):
    with pytest.raises(ValueError, match="not LZW"):
        lzw.decode(raw, 100_000)


RARE = {
    # CLEAR, A, B, C, END
    "the lowest bit first": (b"\x00\x83\x08\x19\x12\x10", b"ABC"),
    "a full table": (written([CLEAR, *[65] * 3900, 4094, END]), b"A" * 3902),
}


@pytest.mark.parametrize("how", RARE)
def test_what_few_files_have_is_for_a_library(how):
    raw, truth = RARE[how]
    assert decode(raw, len(truth)) is None
    assert bytes(lzw.decode(raw, len(truth))) == truth


def test_a_library_of_older_sources_is_as_none():
    assert native._function("orchard_of_tomorrow", (), None) is None


def test_without_a_compiler_a_library_decodes(monkeypatch):
    def missing(path):
        raise OSError(path)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    native.lzw_decode.cache_clear()
    try:
        assert not lzw.is_compiled()
        assert bytes(lzw.decode(imagecodecs.lzw_encode(b"abcabc" * 99), 594)) == b"abcabc" * 99
    finally:
        native.lzw_decode.cache_clear()
