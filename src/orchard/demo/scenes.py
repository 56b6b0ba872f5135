"""Which scenes the demo's archive has: where and when each was taken, and in what weather."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from .ground import Ground
from .sky import Sun, Weather, sun_position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CRS", "Pass", "SceneFrame", "bounding_ground", "plan_passes"]

# Eastern Iowa, where row 30 of path 26 meets row 31; the corn belt's squares in UTM zone 15.
CRS = "EPSG:32615"
CENTRE = (590_010.0, 4_702_020.0)
_PATH, _ROWS = 26, (30, 31)
# Clockwise tilt of the ground track at this latitude, and the share that two rows have in common.
_HEADING = math.radians(13.2)
_OVERLAP = 0.15
_RES = 30.0

_FIRST = datetime(2023, 4, 14, 16, 53, 18, tzinfo=UTC)
_CYCLE = timedelta(days=16)
_ROW_STEP = timedelta(seconds=23.9)
# Two cycles are missing after the third: June has no scene, so a monthly order has an EMPTY task.
_BEFORE_GAP, _GAP = 3, 2

# The weather repeats after eight dates: clear days, fair-weather cumulus, fronts, a veil of cirrus.
_WEATHERS = (
    Weather(cover=0.22, scale=1700, base=1300, haze=0.006),
    Weather(cover=0.02, scale=1200, base=1500, haze=0.002),
    Weather(cover=0.58, scale=3600, base=1900, haze=0.010),
    Weather(cover=0.10, scale=1000, base=1400, haze=0.008),
    Weather(cover=0.36, scale=2200, base=1600, haze=0.012),
    Weather(cover=0.93, scale=5200, base=2000, haze=0.012),
    Weather(cover=0.0, scale=1500, base=1500, cirrus=0.20, haze=0.004),
    Weather(cover=0.05, scale=900, base=1600, haze=0.003),
)


@dataclass(frozen=True, kw_only=True)
class SceneFrame:
    """One scene before it has pixels.

    Parameters
    ----------
    id, scene_id : str
        The product's name and the shorter scene identifier, made as the USGS makes them.
    time : datetime
        Of the scene's centre, UTC.
    path, row : int
        Of the Worldwide Reference System 2.
    ground : Ground
        The image's raster.
    corners : tuple of (x, y)
        The footprint: what was seen, a tilted square inside the image; counter-clockwise.
    sun : Sun
        At the scene's centre.
    """

    id: str
    scene_id: str
    time: datetime
    path: int
    row: int
    ground: Ground
    corners: tuple[tuple[float, float], ...]
    sun: Sun

    def seen(self) -> NDArray[np.bool_]:
        """Return a mask ``(y, x)`` of the image, True where the pixel's centre was seen."""
        inside = np.ones((self.ground.height, self.ground.width), np.bool_)
        x, y = self.ground.x[None, :], self.ground.y[:, None]
        ends = (*self.corners[1:], self.corners[0])
        for (x0, y0), (x1, y1) in zip(self.corners, ends, strict=True):
            inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
        return inside


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one overpass takes: the scenes of one day, under one sky.

    Parameters
    ----------
    number : int
        Counts the passes from 0.
    scenes : tuple of SceneFrame
        North to south.
    weather : Weather
        Of the day.
    wetness : float
        Of the soil, 0 to 1.
    """

    number: int
    scenes: tuple[SceneFrame, ...]
    weather: Weather
    wetness: float


def plan_passes(*, seed: int, dates: int, size: int) -> list[Pass]:
    """Return the overpasses of the archive, earliest first.

    Parameters
    ----------
    seed : int
        Where exactly each image lies, and how wet the ground is.
    dates : int
        How many; 16 days apart, but for June 2023, which has none.
    size : int
        Width and height of every image in pixels.
    """
    rng = np.random.default_rng([seed, 1])
    return [_plan_pass(number, size=size, rng=rng) for number in range(dates)]


def bounding_ground(passes: Sequence[Pass]) -> Ground:
    """Return the raster that holds all images."""
    grounds = [scene.ground for one in passes for scene in one.scenes]
    left = min(ground.left for ground in grounds)
    top = max(ground.top for ground in grounds)
    right = max(ground.left + ground.width * ground.res for ground in grounds)
    bottom = min(ground.top - ground.height * ground.res for ground in grounds)
    return Ground(
        left=left,
        top=top,
        width=round((right - left) / _RES),
        height=round((top - bottom) / _RES),
    )


def _plan_pass(number: int, *, size: int, rng: np.random.Generator) -> Pass:
    cycle = number if number < _BEFORE_GAP else number + _GAP
    start = _FIRST + cycle * _CYCLE + timedelta(seconds=float(rng.uniform(-6, 6)))
    side = _side(size)
    # An orbit is kept to within a few kilometres: footprints shift from pass to pass.
    across, along = rng.uniform(-0.012, 0.012, 2) * side
    scenes = []
    for step, row in enumerate(_ROWS):
        down = (step - 0.5) * (1 - _OVERLAP) * side + along
        centre = _on_track(across, down)
        scenes.append(_frame(row, start + step * _ROW_STEP, centre, size=size))
    return Pass(
        number=number,
        scenes=tuple(scenes),
        weather=_WEATHERS[number % len(_WEATHERS)],
        wetness=float(rng.uniform(0, 1)),
    )


def _side(size: int) -> float:
    """Return the side of the footprint in metres: the tilted square that an image can hold."""
    return 0.97 * size * _RES / (math.cos(_HEADING) + math.sin(_HEADING))


def _on_track(across: float, down: float) -> tuple[float, float]:
    """Return the point so many metres right of the track and down it from the centre."""
    sin, cos = math.sin(_HEADING), math.cos(_HEADING)
    return (CENTRE[0] + across * cos - down * sin, CENTRE[1] - across * sin - down * cos)


def _frame(row: int, time: datetime, centre: tuple[float, float], *, size: int) -> SceneFrame:
    from pyproj import Transformer

    # Collection 2 puts pixel centres on multiples of 30 m, so the edges lie 15 m off them.
    left, top = (
        math.floor((value + sign * size * _RES / 2) / _RES) * _RES + _RES / 2
        for value, sign in zip(centre, (-1, 1), strict=True)
    )
    half = _side(size) / 2
    offset = (centre[0] - CENTRE[0], centre[1] - CENTRE[1])
    corners = tuple(
        (x + offset[0], y + offset[1])
        for x, y in (
            _on_track(-half, -half),
            _on_track(-half, half),
            _on_track(half, half),
            _on_track(half, -half),
        )
    )
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*centre)
    processed = time + timedelta(days=6)
    return SceneFrame(
        id=f"LC08_L2SP_{_PATH:03d}{row:03d}_{time:%Y%m%d}_{processed:%Y%m%d}_02_T1",
        scene_id=f"LC8{_PATH:03d}{row:03d}{time:%Y%j}LGN00",
        time=time,
        path=_PATH,
        row=row,
        ground=Ground(left=left, top=top, width=size, height=size),
        corners=corners,
        sun=sun_position(time, lon, lat),
    )
