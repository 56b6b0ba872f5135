"""From numbers to pictures: the stretch, the PNG file, the contact sheet."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orchard.errors import AccessError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from .blocks import Blocks

__all__ = [
    "HOLE",
    "Cell",
    "Limits",
    "contact_sheet",
    "percentile_limits",
    "picture",
    "save_png",
    "thumbnail",
]

_PERCENTILES = (1.0, 99.5)
# Land is dark, and a few bright roofs and bare fields set the upper end: open up the darks.
_GAMMA = 1 / 1.4


class Limits(NamedTuple):
    """Physical values that become black and white, and the exponent between them."""

    low: float
    high: float
    gamma: float = 1.0


class Cell(NamedTuple):
    """One picture of a contact sheet and the line under it."""

    picture: Image
    label: str


def percentile_limits(samples: NDArray[np.float32]) -> Limits:
    """Return limits from samples of all dates and bands, at least one.

    One pair for all bands: stretched each on its own, they would lose their colours.
    """
    low, high = np.percentile(samples, _PERCENTILES)
    return Limits(float(low), float(high), _GAMMA)


def picture(blocks: Blocks, number: int, limits: Limits, *, size: int) -> Image:
    """Return one date as an image of at most `size` pixels a side: RGBA, or grey with alpha.

    What was not seen is transparent; blocks that were seen in part are so in part.
    """
    from PIL import Image as Pillow

    span = (limits.high - limits.low) or 1.0
    shown = np.clip((blocks.values[number] - limits.low) / span, 0, 1) ** limits.gamma
    layers = np.concatenate([shown, blocks.seen[number][None]])
    pixels = np.rint(layers * 255).astype(np.uint8).transpose(1, 2, 0)
    image = Pillow.fromarray(np.ascontiguousarray(pixels))
    # Pillow weights colours by alpha: what was not seen does not darken the edge.
    image.thumbnail((size, size), Pillow.Resampling.HAMMING, reducing_gap=None)
    return image


def save_png(image: Image, path: Path) -> None:
    """Write a PNG under its name only when it is whole.

    Raises
    ------
    AccessError
        If that is not allowed.
    StoreError
        If it fails otherwise.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A third of the time of Pillow's default, and no larger.
            image.save(partial, format="PNG", compress_level=4)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except PermissionError as error:
        raise AccessError(f"cannot write the picture {path}: not allowed", key=str(path)) from error
    except OSError as error:
        raise StoreError(f"cannot write the picture {path}: {error}", key=str(path)) from error


_SHEET_CELL = 300
_MARGIN, _LABEL = 12, 18
_PAPER, _INK = (250, 250, 248), (40, 44, 48)
HOLE = (225, 226, 224)
"""What is behind pictures: where there is no data, and clouds are white."""


def thumbnail(image: Image) -> Image:
    """Return the picture as it is on a contact sheet."""
    small = image.copy()
    small.thumbnail((_SHEET_CELL, _SHEET_CELL))
    return small


def contact_sheet(cells: Sequence[Cell], *, title: str) -> Image:
    """Return all pictures on one page, row by row, each with its label under it.

    Parameters
    ----------
    cells : sequence of Cell
        At least one; a label may have several lines.
    title : str
        Line at the top.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw
    from PIL.ImageFont import load_default

    lines = max(cell.label.count("\n") + 1 for cell in cells)
    width = max(cell.picture.width for cell in cells)
    height = max(cell.picture.height for cell in cells)
    step_x, step_y = width + _MARGIN, height + lines * _LABEL + _MARGIN
    # A page is a bit wider than high.
    columns = min(len(cells), math.ceil(math.sqrt(1.6 * len(cells) * step_y / step_x)))
    rows = math.ceil(len(cells) / columns)
    head = 2 * _MARGIN + _LABEL
    sheet = Pillow.new("RGB", (columns * step_x + _MARGIN, head + rows * step_y), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=load_default(17))
    font = load_default(14)
    for number, cell in enumerate(cells):
        x = _MARGIN + number % columns * step_x
        y = head + number // columns * step_y
        shown = cell.picture.convert("RGBA")
        draw.rectangle((x, y, x + shown.width - 1, y + shown.height - 1), fill=HOLE)
        sheet.paste(shown, (x, y), shown)
        label = "\n".join(_fitting(line, font, width) for line in cell.label.split("\n"))
        draw.text((x, y + height + 4), label, fill=_INK, font=font)
    return sheet


def _fitting(line: str, font: FreeTypeFont | ImageFont, width: int) -> str:
    """Return as much of the end of a line as fits: names differ at their ends."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"…{line}") > width:
        line = line[1:]
    return f"…{line}"
