"""A piece of the corn belt: terrain, a river and a lake, woods, fields, a town, and their seasons.

Everything is a function of ground coordinates, so scenes that overlap show the same ground.
Reflectances are of the six reflective bands in `BANDS` order; their spectra are round figures in
the ranges that spectral libraries give for these surfaces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .fields import CROPS, make_farmland
from .ground import fractal, hashed, noise, smoothstep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .fields import Farmland
    from .ground import Ground
    from .sky import Sun

__all__ = ["BANDS", "Landscape", "Place", "make_landscape"]

BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")

_SPECTRA = {
    "soil": (0.044, 0.057, 0.070, 0.115, 0.195, 0.172),
    "residue": (0.080, 0.105, 0.132, 0.220, 0.315, 0.255),
    "straw": (0.074, 0.110, 0.136, 0.260, 0.300, 0.215),
    "corn": (0.022, 0.050, 0.026, 0.450, 0.200, 0.085),
    "soy": (0.027, 0.066, 0.032, 0.560, 0.235, 0.100),
    "hay": (0.030, 0.068, 0.036, 0.480, 0.220, 0.105),
    "pasture": (0.036, 0.072, 0.050, 0.360, 0.235, 0.130),
    "oats": (0.032, 0.070, 0.040, 0.430, 0.210, 0.100),
    "forest": (0.018, 0.036, 0.020, 0.380, 0.155, 0.062),
    "bark": (0.044, 0.058, 0.070, 0.165, 0.205, 0.135),
    "water": (0.030, 0.040, 0.026, 0.014, 0.006, 0.004),
    "silt": (0.046, 0.064, 0.058, 0.034, 0.012, 0.008),
    "asphalt": (0.072, 0.082, 0.090, 0.130, 0.150, 0.135),
    "roof": (0.180, 0.192, 0.200, 0.235, 0.245, 0.220),
    "gravel": (0.150, 0.180, 0.205, 0.250, 0.290, 0.270),
}
# Days of the year: half green, its ramp, half yellow, its ramp.
_SEASONS = {
    "corn": (171, 7.0, 259, 8.0),
    "soy": (184, 7.0, 251, 5.0),
    "hay": (108, 9.0, 300, 9.0),
    "pasture": (110, 9.0, 295, 12.0),
    "oats": (122, 7.0, 200, 4.0),
    "forest": (127, 5.0, 284, 7.0),
}
_DENSITY = {"corn": 0.97, "soy": 0.97, "hay": 0.9, "pasture": 0.78, "oats": 0.9, "forest": 1.0}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the landscape's landmarks are, in metres of the projection.

    Parameters
    ----------
    x, y : float
        A point on the river.
    convergence : float
        Degrees from grid north to true north.
    seed : int
        Another seed, another landscape.
    """

    x: float
    y: float
    convergence: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """The ground without weather.

    Parameters
    ----------
    base : array of float32, shape (band, y, x)
        Reflectance without any green.
    cover : array of float32, shape (band, y, x)
        Reflectance under a full green canopy.
    kind : array of uint8, shape (y, x)
        Index into the crops and "forest": which season the canopy follows.
    density : array of float32, shape (y, x)
        Share of the pixel that is green at the season's height.
    delay : array of float32, shape (y, x)
        Days by which the season is late.
    water : array of bool, shape (y, x)
        True where most of the pixel is water.
    slope_x, slope_y : array of float32, shape (y, x)
        Rise of the terrain to the east and to the north.
    """

    base: NDArray[np.float32]
    cover: NDArray[np.float32]
    kind: NDArray[np.uint8]
    density: NDArray[np.float32]
    delay: NDArray[np.float32]
    water: NDArray[np.bool_]
    slope_x: NDArray[np.float32]
    slope_y: NDArray[np.float32]

    def reflectance(
        self, day_of_year: int, *, sun: Sun, wetness: float = 0.0
    ) -> NDArray[np.float32]:
        """Return the surface reflectance of one day, shape ``(band, y, x)``.

        Parameters
        ----------
        day_of_year : int
            1 to 366.
        sun : Sun
            Slopes that face it are brighter.
        wetness : float
            Of the soil: 0 dry, 1 after rain.
        """
        green = np.zeros_like(self.density)
        straw = np.zeros_like(self.density)
        for index, name in enumerate(_KINDS):
            at = self.kind == index
            grown, ripe = _season(name, np.float32(day_of_year) - self.delay[at])
            green[at] = grown
            straw[at] = ripe * np.float32(0.85 if name != "forest" else 0.35)
        green *= self.density
        straw *= self.density * (1 - green)
        bare = 1 - green - straw
        bare *= np.float32(1 - 0.28 * wetness)
        light = self._light(sun)
        out = np.empty_like(self.base)
        for band in range(len(BANDS)):
            out[band] = self.base[band] * bare + self.cover[band] * green
            out[band] += np.float32(_SPECTRA["straw"][band]) * straw
            out[band] *= light
        return out

    def _light(self, sun: Sun) -> NDArray[np.float32]:
        """Return the light on a slope relative to that on the level, a bit exaggerated."""
        zenith = math.radians(90 - sun.elevation)
        azimuth = math.radians(sun.azimuth)
        tilt = -(self.slope_x * math.sin(azimuth) + self.slope_y * math.cos(azimuth))
        light: NDArray[np.float32] = np.clip(
            1 + np.float32(1.6 * math.tan(zenith)) * tilt, 0.55, 1.45
        ).astype(np.float32)
        return light


_KINDS = (*CROPS, "forest")
_FOREST = len(CROPS)
_PASTURE = CROPS.index("pasture")


def _season(name: str, day: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how green and how ripe (yellow) a canopy is on its own day of the year."""
    up, rise, down, fall = _SEASONS[name]
    risen = 1 / (1 + np.exp((up - day) / np.float32(rise)))
    fallen = 1 / (1 + np.exp((down - day) / np.float32(fall)))
    green = risen * (1 - fallen)
    if name == "hay":  # cut every five weeks, and green again two weeks later
        since = np.mod(day - 150, 35)
        green *= np.where(day < 150, 1, 0.35 + 0.65 * np.clip(since / 16, 0, 1))
    return green.astype(np.float32), (risen * fallen).astype(np.float32)


def make_landscape(ground: Ground, place: Place) -> Landscape:
    """Make the ground of a place.

    Parameters
    ----------
    ground : Ground
        Where; any ground gives the same values at the same coordinates.
    place : Place
        The landmarks.
    """
    seed = place.seed
    relief = fractal(ground, 5200.0, seed=seed + 1, octaves=6, gain=0.55)
    creeks = np.abs(fractal(ground, 4300.0, seed=seed + 2, octaves=4, gain=0.5))
    river = _river(ground, place)
    # The valley: a flat floor, bluffs at an uneven distance from the river, and side valleys.
    bluff = river + 330 * noise(ground, 1500.0, seed=seed + 3)
    height = 16 * relief + 52 * smoothstep(bluff, 480, 1250) + 24 * smoothstep(creeks, 0.0, 0.45)
    gradient: list[NDArray[np.float32]] = list(np.gradient(height, np.float32(ground.res)))
    drop_y, slope_x = gradient
    steep: NDArray[np.float32] = np.hypot(drop_y, slope_x)

    wet = _water(ground, place, river, creeks)
    wood = _woods(ground, seed, river, creeks, steep)
    town = _town(ground, place)
    land = make_farmland(ground, convergence=place.convergence, seed=seed + 50)
    paint = _Paint(land, soil=_soil(ground, seed, relief, creeks))
    paint.grass(smoothstep(creeks, 0.075, 0.02))
    paint.edges(land)
    paint.forest(wood, 0.92 + 0.07 * noise(ground, 110.0, seed=seed + 23))
    paint.highway(_highway(ground, place))
    paint.town(town, ground, seed)
    paint.water(wet, silt=smoothstep(river, 700, 80))
    return Landscape(
        base=paint.base,
        cover=paint.cover,
        kind=paint.kind,
        density=paint.density,
        delay=paint.delay,
        water=wet > 0.5,
        slope_x=slope_x,
        slope_y=-drop_y,
    )


def _river(ground: Ground, place: Place) -> NDArray[np.float32]:
    """Return metres to the middle of a river that meanders from north-west to south-east.

    The river is where a sloping plane, bent by noise, is zero; dividing by the gradient turns
    the plane's values into distances.
    """
    bend = 1500 * noise(ground, 6100.0, seed=place.seed + 11)
    bend += 620 * noise(ground, 2300.0, seed=place.seed + 12)
    bend += 150 * noise(ground, 800.0, seed=place.seed + 13)
    plane = 0.80 * (ground.x[None, :] - place.x) + 0.60 * (ground.y[:, None] - place.y)
    value = plane.astype(np.float32) + bend
    down, right = np.gradient(value, ground.res)
    distance: NDArray[np.float32] = np.abs(value) / np.maximum(np.hypot(down, right), 0.45)
    return distance


def _water(
    ground: Ground, place: Place, river: NDArray[np.float32], creeks: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the share of water: the river, sloughs beside it, and a lake with arms."""
    width = 75 + 22 * noise(ground, 1900.0, seed=place.seed + 14)
    channel = np.clip((width + 15 - river) / 30, 0, 1)
    bed = np.abs(noise(ground, 1250.0, seed=place.seed + 15))
    slough = smoothstep(bed, 0.06, 0.03) * smoothstep(river, 900, 500)
    slough *= smoothstep(river, 130, 260)  # beside the river, not across it
    away = np.hypot(ground.x[None, :] - place.x - 5200, ground.y[:, None] - place.y - 3400)
    ragged = fractal(ground, 1500.0, seed=place.seed + 16, octaves=4)
    fill = 1.1 - away.astype(np.float32) / 1500 + 0.35 * ragged
    fill += 0.9 * np.exp(-((creeks / np.float32(0.12)) ** 2))
    lake = smoothstep(fill, 0.62, 0.72)
    share: NDArray[np.float32] = np.maximum(np.maximum(channel, lake), 0.9 * slough)
    return share.astype(np.float32)


def _woods(
    ground: Ground,
    seed: int,
    river: NDArray[np.float32],
    creeks: NDArray[np.float32],
    steep: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the share of forest: bluffs, river banks, creeks, and lots here and there."""
    patch = fractal(ground, 1700.0, seed=seed + 21, octaves=5, gain=0.6)
    ragged = fractal(ground, 260.0, seed=seed + 22, octaves=3, gain=0.7)
    score = 5 * steep + 0.38 * patch + 0.13 * ragged
    score += 0.55 * smoothstep(river, 1100, 150) + 0.48 * smoothstep(creeks, 0.10, 0.02)
    return smoothstep(score, 0.72, 0.90)


def _town(ground: Ground, place: Place) -> NDArray[np.float32]:
    """Return how built-up a pixel is: a town on the river, thinning out raggedly."""
    dx = ground.x[None, :] - place.x + 1500
    dy = ground.y[:, None] - place.y + 1200
    away = np.hypot(dx, dy * 1.25).astype(np.float32)
    ragged = fractal(ground, 1300.0, seed=place.seed + 41, octaves=4, gain=0.6)
    return smoothstep(away + 420 * ragged, 2500, 500)


def _highway(ground: Ground, place: Place) -> NDArray[np.float32]:
    """Return the share of pixels that a highway through the town takes."""
    line = place.y - 1200 + 420 * np.sin((ground.x - place.x) / 3700)
    away = np.abs(ground.y[:, None] - line[None, :])
    share: NDArray[np.float32] = np.clip(1.4 - away / 32, 0, 0.85).astype(np.float32)
    return share


def _soil(
    ground: Ground, seed: int, relief: NDArray[np.float32], creeks: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the brightness of bare soil: eroded rises are light, moist swales dark."""
    mottle = fractal(ground, 420.0, seed=seed + 31, octaves=4, gain=0.6)
    light = 1.0 + 0.10 * relief + 0.13 * mottle + 0.30 * smoothstep(creeks, 0.05, 0.6)
    return np.asarray(np.clip(light, 0.55, 1.8), np.float32)


class _Paint:
    """The layers of a landscape, painted one over the other; shares are ``(y, x)``, 0 to 1."""

    def __init__(self, land: Farmland, *, soil: NDArray[np.float32]) -> None:
        shape = land.crop.shape
        bands = len(BANDS)
        self.kind = land.crop.copy()
        self.delay = land.delay
        patchy = np.clip(1.06 - 0.1 * np.abs(soil - 1.1), 0.8, 1)
        density = np.array([_DENSITY[crop] for crop in CROPS], np.float32)
        self.density = (density[land.crop] * land.vigour * patchy).astype(np.float32)
        self.base = np.empty((bands, *shape), np.float32)
        self.cover = np.empty((bands, *shape), np.float32)
        green = np.array([_SPECTRA[name] for name in _KINDS], np.float32)
        # Hay and pasture are never bare: what shows in winter is dead grass.
        residue = np.where(land.crop >= CROPS.index("hay"), 0.8, 0.75 * (1 - land.tilled))
        residue = residue.astype(np.float32)
        for band in range(bands):
            self.cover[band] = green[:, band][land.crop]
            bare = np.float32(_SPECTRA["soil"][band]) * soil
            self.base[band] = bare + residue * (np.float32(_SPECTRA["residue"][band]) - bare)

    def _lay(
        self, share: NDArray[np.float32], base: NDArray[np.float32] | str, green: str | None = None
    ) -> None:
        """Cover a share of each pixel with a surface that has `base`, and `green` above it."""
        for band in range(len(BANDS)):
            under = np.float32(_SPECTRA[base][band]) if isinstance(base, str) else base[band]
            self.base[band] += share * (under - self.base[band])
            if green is not None:
                self.cover[band] += share * (np.float32(_SPECTRA[green][band]) - self.cover[band])

    def grass(self, share: NDArray[np.float32]) -> None:
        """Grassed waterways along the creeks."""
        self._lay(share * np.float32(0.8), "residue", "pasture")
        self._become(share > 0.5, _PASTURE)

    def edges(self, land: Farmland) -> None:
        """Roads, fence rows and farmsteads."""
        self._lay(land.edge, "residue", "pasture")
        self._lay(land.road, "gravel")
        self.density *= 1 - land.road * np.float32(0.9)
        self._lay(land.farmstead * np.float32(0.7), "bark", "forest")
        self._become(land.farmstead > 0.3, _FOREST)
        yard = smoothstep(land.farmstead, 0.75, 1.0)
        self._lay(yard, "roof")
        self.density *= 1 - yard * np.float32(0.6)

    def forest(self, share: NDArray[np.float32], canopy: NDArray[np.float32]) -> None:
        """Woods, which hide the roads and keep their own season."""
        self._lay(share, "bark", "forest")
        self._become(share > 0.5, _FOREST)
        self.density += share * (canopy - self.density)
        self.delay = self.delay * (1 - share)

    def highway(self, share: NDArray[np.float32]) -> None:
        """Concrete and its verges."""
        self._lay(share, "roof")
        self.density *= 1 - share * np.float32(0.8)

    def town(self, share: NDArray[np.float32], ground: Ground, seed: int) -> None:
        """Blocks of roofs, asphalt, lawns and trees; denser towards the middle."""
        lot_x = np.floor(ground.x / 60).astype(np.int64)[None, :]
        lot_y = np.floor(ground.y / 60).astype(np.int64)[:, None]
        lot = hashed(lot_x, lot_y, seed=seed + 42)
        block_x = np.floor(ground.x / 210).astype(np.int64)[None, :]
        block_y = np.floor(ground.y / 270).astype(np.int64)[:, None]
        block = hashed(block_x, block_y, seed=seed + 43)
        built = smoothstep(share + 0.6 * (block - 0.5) + 0.25 * (lot - 0.5), 0.25, 0.85)
        built = np.where(share > 0.02, built, 0).astype(np.float32)
        roofs = (0.25 * lot + 0.65 * block**3) * (0.3 + 0.7 * share)
        surface = np.stack(
            [
                np.float32(asphalt) + roofs * np.float32(roof - asphalt)
                for asphalt, roof in zip(_SPECTRA["asphalt"], _SPECTRA["roof"], strict=True)
            ]
        )
        settled = smoothstep(share, 0.05, 0.3)
        self._lay(settled, "residue", "forest")
        self._become(settled > 0.5, _PASTURE)
        self._lay(built * (0.55 + 0.35 * share), surface)
        self.density += settled * (np.float32(0.75) - self.density)
        self.density *= 1 - built * (0.45 + 0.4 * share)

    def water(self, share: NDArray[np.float32], *, silt: NDArray[np.float32]) -> None:
        """Still water is dark, the river carries silt."""
        clear, muddy = (np.array(_SPECTRA[name], np.float32) for name in ("water", "silt"))
        surface = clear[:, None, None] + silt * (muddy - clear)[:, None, None]
        self._lay(share, surface)
        self.density *= 1 - share

    def _become(self, at: NDArray[np.bool_], kind: int) -> None:
        self.kind[at] = kind
