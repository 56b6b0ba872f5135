"""The colours of states: told apart by people with any colour vision, in both themes."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from orchard.report.model import CODES
from orchard.summary import _LOOK

CSS = Path(__file__).parents[2] / "web" / "src" / "parts" / "theme.css"
# Machado, Oliveira and Fernandes 2009, table 1, severity 1: linear RGB as others see it.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# sRGB to XYZ, by the white of D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def palette(theme: str) -> dict[str, str]:
    light, dark = CSS.read_text().split(':root[data-theme="dark"]')
    found = re.findall(r"--state-([\w-]+): (#[0-9a-f]{6});", light)
    if theme == "dark":
        found += re.findall(r"--state-([\w-]+): (#[0-9a-f]{6});", dark)
    return dict(found)


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    relative = XYZ @ np.clip(rgb, 0, 1) / WHITE
    x, y, z = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_states_are_told_apart(theme, vision):
    colours = palette(theme)
    seen = {code: lab(np.array(VISION[vision]) @ linear(colours[code])) for code in CODES.values()}
    # Differences above 10 are seen at a glance; in cells there are letters and shapes besides.
    differences = {
        (a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(seen, 2)
    }
    assert min(differences.values()) > 14, min(differences, key=differences.get)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_letters_can_be_read_on_them(theme):
    colours = palette(theme)
    for code in CODES.values():
        over, under = (XYZ[1] @ linear(colours[name]) for name in (code, f"{code}-ink"))
        high, low = max(over, under), min(over, under)
        assert (high + 0.05) / (low + 0.05) >= 4.5, code


def test_notebooks_have_the_colours_of_the_pages():
    colours = palette("light")
    for state, (fill, _, letter) in _LOOK.items():
        assert CODES[state] == letter
        assert colours[letter] == fill
