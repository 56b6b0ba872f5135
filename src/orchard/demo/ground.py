"""Smooth random fields over the ground: a place has the same value in every picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Ground", "fractal", "hashed", "noise", "smoothstep"]

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
# The variance of a cubic B-spline's squared weights, averaged over a cell and over both axes,
# times that of uniform values in [-1, 1]: it brings `noise` to unit variance.
_NOISE_STD = 0.4794 * (1 / 3) ** 0.5


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A north-up raster of the ground.

    Parameters
    ----------
    left, top : float
        Upper-left corner, in metres of the projection.
    width, height : int
        Pixels.
    res : float
        Pixel size in metres.
    """

    left: float
    top: float
    width: int
    height: int
    res: float = 30.0

    @property
    def x(self) -> NDArray[np.float64]:
        """Pixel centres, shape ``(width,)``, west to east."""
        return np.float64(self.left) + (np.arange(self.width) + 0.5) * np.float64(self.res)

    @property
    def y(self) -> NDArray[np.float64]:
        """Pixel centres, shape ``(height,)``, north to south."""
        return np.float64(self.top) - (np.arange(self.height) + 0.5) * np.float64(self.res)


def smoothstep(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Return 0 up to `low`, 1 from `high` on, a smooth ramp between; either may be the larger."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    smooth: NDArray[np.float32] = t * t * (3 - 2 * t)
    return smooth


def hashed(*keys: NDArray[np.int64] | int, seed: int) -> NDArray[np.float32]:
    """Return one value in [0, 1) for each combination of integer keys (SplitMix64's finaliser).

    Parameters
    ----------
    *keys : array of int or int
        Broadcast against each other.
    seed : int
        Another seed, another set of values.
    """
    state = np.asarray(seed, np.int64).astype(np.uint64)
    for key in keys:
        with np.errstate(over="ignore"):
            state = (state ^ np.asarray(key, np.int64).astype(np.uint64)) + _MIX[0]
            state = (state ^ (state >> np.uint64(30))) * _MIX[1]
            state = (state ^ (state >> np.uint64(27))) * _MIX[2]
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


def _taps(
    coordinates: NDArray[np.float64], wavelength: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the first of four lattice points (n,) and the cubic B-spline's weights (4, n)."""
    u = coordinates / wavelength
    cell = np.floor(u)
    t = u - cell
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    return cell.astype(np.int64) - 1, (weights / 6).astype(np.float32)


def noise(ground: Ground, wavelength: float, *, seed: int) -> NDArray[np.float32]:
    """Return a smooth random field of zero mean and about unit variance.

    Random values on a lattice that is fixed to the ground, interpolated by cubic B-splines.

    Parameters
    ----------
    ground : Ground
        Where.
    wavelength : float
        Spacing of the lattice in metres.
    seed : int
        Another seed, another field.

    Returns
    -------
    array of float32, shape (height, width)
    """
    rows, row_weights = _taps(ground.y, wavelength)
    cols, col_weights = _taps(ground.x, wavelength)
    i = np.arange(rows.min(), rows.max() + 4)
    j = np.arange(cols.min(), cols.max() + 4)
    lattice = (hashed(i[:, None], j[None, :], seed=seed) * 2 - 1) / np.float32(_NOISE_STD)
    along_x = np.zeros((i.size, ground.width), np.float32)
    for tap in range(4):
        along_x += lattice[:, cols - j[0] + tap] * col_weights[tap]
    field = np.zeros((ground.height, ground.width), np.float32)
    for tap in range(4):
        field += along_x[rows - i[0] + tap] * row_weights[tap][:, None]
    return field


def fractal(
    ground: Ground, wavelength: float, *, seed: int, octaves: int, gain: float = 0.5
) -> NDArray[np.float32]:
    """Return a sum of `noise` at halving wavelengths, of about unit variance.

    Parameters
    ----------
    ground : Ground
        Where.
    wavelength : float
        Of the first octave, in metres.
    seed : int
        Another seed, another field.
    octaves : int
        How many.
    gain : float
        Amplitude of an octave relative to the one before.
    """
    total = np.zeros((ground.height, ground.width), np.float32)
    power = 0.0
    for octave in range(octaves):
        amplitude = gain**octave
        # An irrational ratio keeps the lattices of the octaves from lying on each other.
        step = wavelength / 1.9318517**octave
        total += np.float32(amplitude) * noise(ground, step, seed=seed * 1009 + octave)
        power += amplitude**2
    total /= np.float32(power**0.5)
    return total
