"""Sun, clouds and their shadows over a ground, and the QA band that tells of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .ground import Ground, fractal, noise, smoothstep

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

__all__ = [
    "QA_FILL",
    "Sky",
    "Sun",
    "Weather",
    "make_sky",
    "qa_pixel",
    "seen_through",
    "sun_position",
]

# QA_PIXEL of Landsat Collection 2 (USGS, Landsat 8-9 Level 2 data format control book):
# flags in bits 0-7, then four confidences of two bits each: 1 low, 2 medium, 3 high.
QA_FILL = 1
_DILATED, _CIRRUS, _CLOUD, _SHADOW, _CLEAR, _WATER = (1 << bit for bit in (1, 2, 3, 4, 6, 7))
_CLOUD_CONFIDENCE, _SHADOW_CONFIDENCE, _SNOW_CONFIDENCE, _CIRRUS_CONFIDENCE = 8, 10, 12, 14
_LOW, _MEDIUM, _HIGH = 1, 2, 3

# Per band: reflectance of a bright cloud, light that is left in its shadow, share of the haze.
_CLOUD_WHITE = (0.80, 0.80, 0.80, 0.84, 0.62, 0.48)
_DIFFUSE = (0.52, 0.46, 0.42, 0.36, 0.31, 0.29)
_SCATTER = (1.0, 0.6, 0.4, 0.2, 0.05, 0.0)

# A pixel is called cloud, shadow or cirrus from this opacity on.
_OPAQUE = 0.30
_DILATION = 3  # pixels


@dataclass(frozen=True, kw_only=True)
class Sun:
    """Where the sun stands: degrees clockwise from north, and above the horizon."""

    azimuth: float
    elevation: float


@dataclass(frozen=True, kw_only=True)
class Weather:
    """The clouds of one date.

    Parameters
    ----------
    cover : float
        Share of the ground under cloud, 0 to 1.
    scale : float
        Size of the clouds in metres.
    base : float
        Height of the clouds in metres: with the sun it says where the shadows fall.
    cirrus : float
        Opacity of a veil of thin cirrus, 0 for none.
    haze : float
        What haze adds to the reflectance in the blue.
    """

    cover: float
    scale: float
    base: float
    cirrus: float = 0.0
    haze: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sky:
    """What stands between ground and sensor; every array is ``(y, x)`` float32 from 0 to 1.

    Parameters
    ----------
    cloud : array
        Opacity of the clouds.
    shadow : array
        Opacity of what stands between the ground and the sun.
    cirrus : array
        Opacity of the cirrus veil.
    bright : array
        Brightness of the clouds: their tops are lit, their far sides are not.
    haze : float
        What haze adds to the reflectance in the blue.
    """

    cloud: NDArray[np.float32]
    shadow: NDArray[np.float32]
    cirrus: NDArray[np.float32]
    bright: NDArray[np.float32]
    haze: float


def sun_position(time: datetime, lon: float, lat: float) -> Sun:
    """Return the sun's place in the sky, good to about 0.3 degrees.

    The low-precision formulas of the Astronomical Almanac.

    Parameters
    ----------
    time : datetime
        With a time zone.
    lon, lat : float
        Degrees.
    """
    days = (time.timestamp() - 946_728_000.0) / 86_400  # since J2000.0, 2000-01-01 12:00
    anomaly = math.radians(357.528 + 0.9856003 * days)
    longitude = math.radians(
        280.460 + 0.9856474 * days + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly)
    )
    obliquity = math.radians(23.439 - 4e-7 * days)
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    sidereal = math.radians(280.46062 + 360.98564737 * days + lon)
    hour = sidereal - ascension
    phi = math.radians(lat)
    elevation = math.asin(
        math.sin(phi) * math.sin(declination)
        + math.cos(phi) * math.cos(declination) * math.cos(hour)
    )
    azimuth = math.atan2(
        -math.cos(declination) * math.sin(hour),
        math.sin(declination) * math.cos(phi)
        - math.cos(declination) * math.sin(phi) * math.cos(hour),
    )
    return Sun(azimuth=math.degrees(azimuth) % 360, elevation=math.degrees(elevation))


def make_sky(ground: Ground, weather: Weather, sun: Sun, *, seed: int) -> Sky:
    """Return the clouds over a ground, the shadows they cast on it and the cirrus above them.

    Parameters
    ----------
    ground : Ground
        Where.
    weather : Weather
        Of the date.
    sun : Sun
        Shadows fall away from it: clouds are as high as ``weather.base`` says.
    seed : int
        Another seed, other clouds.
    """
    # The sky is made over a ground wide enough to hold what casts the shadows, too.
    reach = weather.base / math.tan(math.radians(max(sun.elevation, 10.0)))
    east = round(math.sin(math.radians(sun.azimuth)) * reach / ground.res)
    south = round(-math.cos(math.radians(sun.azimuth)) * reach / ground.res)
    pad = max(abs(east), abs(south))
    wide = Ground(
        left=ground.left - pad * ground.res,
        top=ground.top + pad * ground.res,
        width=ground.width + 2 * pad,
        height=ground.height + 2 * pad,
        res=ground.res,
    )
    thickness = _clouds(wide, weather, seed)
    opacity = 1 - np.exp(np.float32(-5.0) * thickness)

    def over(field: NDArray[np.float32], right: int, down: int) -> NDArray[np.float32]:
        rows = slice(pad + down, pad + down + ground.height)
        cols = slice(pad + right, pad + right + ground.width)
        return field[rows, cols]

    # A cloud is lit where it is thicker than the cloud a few pixels nearer to the sun.
    here = over(thickness, 0, 0)
    lit = here - over(thickness, round(east * 0.12), round(south * 0.12))
    bright = np.clip(0.74 + 0.22 * lit + 0.10 * here, 0.45, 1.0).astype(np.float32)

    cirrus = np.zeros((ground.height, ground.width), np.float32)
    if weather.cirrus > 0:
        veil = fractal(ground, 9000.0, seed=seed + 31, octaves=5, gain=0.55)
        cirrus = np.float32(weather.cirrus) * smoothstep(veil, -0.4, 1.6)
    return Sky(
        cloud=over(opacity, 0, 0),
        shadow=over(opacity, east, south),
        cirrus=cirrus,
        bright=bright,
        haze=weather.haze,
    )


def seen_through(surface: NDArray[np.float32], sky: Sky) -> NDArray[np.float32]:
    """Return what a sensor sees of a surface through a sky.

    Parameters
    ----------
    surface : array, shape (band, y, x)
        Reflectance of the ground: blue, green, red, near infrared, two short-wave infrared.
    sky : Sky
        What is between.

    Returns
    -------
    array of float32, shape (band, y, x)
        Reflectance, as surface reflectance products have it over clouds too.
    """
    out = np.empty_like(surface)
    for band, (white, diffuse, blue) in enumerate(
        zip(_CLOUD_WHITE, _DIFFUSE, _SCATTER, strict=True)
    ):
        light = 1 - np.float32(1 - diffuse) * sky.shadow
        seen = surface[band] * light + np.float32(sky.haze * blue)
        seen += sky.cirrus * (np.float32(0.6 * white) - seen)
        seen += sky.cloud * (np.float32(white) * sky.bright - seen)
        out[band] = seen
    return out


def _clouds(ground: Ground, weather: Weather, seed: int) -> NDArray[np.float32]:
    """Return the clouds' thickness: a fractal above the threshold that gives the cover."""
    if weather.cover <= 0:
        return np.zeros((ground.height, ground.width), np.float32)
    field = fractal(ground, weather.scale, seed=seed, octaves=7, gain=0.58)
    field += np.float32(0.6) * noise(ground, weather.scale * 4.5, seed=seed + 7)
    # Billows: the ridges of a second field give the cauliflower look of convection.
    field -= np.float32(0.45) * np.abs(
        fractal(ground, weather.scale / 3, seed=seed + 13, octaves=4)
    )
    edge = np.quantile(field[::4, ::4], 1 - min(weather.cover, 0.999))
    thickness: NDArray[np.float32] = np.maximum(field - np.float32(edge) + np.float32(0.07), 0)
    return thickness


def dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the mask grown by `radius` pixels, in a square."""
    grown = mask.copy()
    for axis in (0, 1):
        source = grown.copy()
        for shift in range(1, radius + 1):
            ahead = [slice(None)] * 2
            behind = [slice(None)] * 2
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            grown[tuple(ahead)] |= source[tuple(behind)]
            grown[tuple(behind)] |= source[tuple(ahead)]
    return grown


def qa_pixel(sky: Sky, water: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Return the QA_PIXEL band (Landsat Collection 2) of what a sky shows and hides.

    Parameters
    ----------
    sky : Sky
        Clouds, shadows, cirrus.
    water : array of bool, shape (y, x)
        True over water.

    Returns
    -------
    array of uint16, shape (y, x)
        No fill: footprints are the scenes' matter.
    """
    cloud = sky.cloud > _OPAQUE
    near = dilated(cloud, _DILATION) & ~cloud
    shadow = dilated(sky.shadow > _OPAQUE, 1) & ~cloud
    cirrus = sky.cirrus > 0.5 * _OPAQUE
    qa = np.full(cloud.shape, _LOW << _SNOW_CONFIDENCE, np.uint16)
    for mask, flag in ((cloud, _CLOUD), (near, _DILATED), (shadow, _SHADOW), (cirrus, _CIRRUS)):
        qa[mask] |= np.uint16(flag)
    qa[~cloud & ~near] |= np.uint16(_CLEAR)
    qa[water & ~cloud] |= np.uint16(_WATER)
    thin = (sky.cloud > 0.4 * _OPAQUE) & ~cloud
    level = np.where(cloud, _HIGH, np.where(thin, _MEDIUM, _LOW)).astype(np.uint16)
    qa |= level << np.uint16(_CLOUD_CONFIDENCE)
    for mask, position in ((shadow, _SHADOW_CONFIDENCE), (cirrus, _CIRRUS_CONFIDENCE)):
        qa |= np.where(mask, _HIGH, _LOW).astype(np.uint16) << np.uint16(position)
    return qa
