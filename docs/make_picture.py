"""Make docs/images/demo.png, the picture of the README, from the demo's own cubes.

python docs/make_picture.py [DEMO]     DEMO: what 'orchard demo' has left; else it is made anew
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from orchard.ard import open_ard
from orchard.demo.run import run_demo
from orchard.quicklook import quicklook

PICTURE = Path(__file__).parent / "images" / "demo.png"
DATES = ("2023-04-30", "2023-07-03", "2023-09-05")
COLOURS = 128


def make_picture(demo: Path, picture: Path) -> None:
    """Draw three dates side by side, in few enough colours to be kept in a repository."""
    with tempfile.TemporaryDirectory() as folder, open_ard(demo / "cubes") as cubes:
        sheet = Path(folder, "sheet.png")
        quicklook(cubes, folder, name="orchard demo", date=DATES, sheet=sheet)
        with Image.open(sheet) as drawn:
            drawn.convert("RGB").quantize(COLOURS).save(picture, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        make_picture(Path(sys.argv[1]) if sys.argv[1:] else run_demo(place), PICTURE)
