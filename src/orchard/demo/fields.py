"""Farmland as the Public Land Survey laid it out: sections, fields, roads, farmsteads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .ground import hashed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .ground import Ground

__all__ = ["CROPS", "Farmland", "make_farmland"]

# In the order of `Farmland.crop`; shares of the farmed land, roughly those of eastern Iowa.
CROPS = ("corn", "soy", "hay", "pasture", "oats")
_SHARES = (0.47, 0.37, 0.07, 0.07, 0.02)

_MILE = 1609.344
_HALF = _MILE / 2


@dataclass(frozen=True, kw_only=True)
class Farmland:
    """Who grows what; every array is ``(y, x)``.

    Parameters
    ----------
    crop : array of uint8
        Index into `CROPS`.
    delay : array of float32
        Days by which the field is later than others.
    tilled : array of float32
        0 for a field under last year's residue, 1 for bare soil.
    vigour : array of float32
        How dense the field's canopy becomes, about 0.85 to 1.
    road : array of float32
        Share of the pixel that is road.
    edge : array of float32
        Share of the pixel that is grass between fields.
    farmstead : array of float32
        Closeness to a farmstead, 1 in its middle.
    """

    crop: NDArray[np.uint8]
    delay: NDArray[np.float32]
    tilled: NDArray[np.float32]
    vigour: NDArray[np.float32]
    road: NDArray[np.float32]
    edge: NDArray[np.float32]
    farmstead: NDArray[np.float32]


def make_farmland(ground: Ground, *, convergence: float, seed: int) -> Farmland:
    """Lay the section grid over a ground and give every field its crop.

    Parameters
    ----------
    ground : Ground
        Where.
    convergence : float
        Angle from grid north to true north in degrees: sections follow the meridians.
    seed : int
        Another seed, other fields.
    """
    angle = np.deg2rad(convergence)
    sin, cos = np.float64(np.sin(angle)), np.float64(np.cos(angle))
    # About the ground's coordinates in the rotated frame; float64, as they are millions of metres.
    u = ground.x[None, :] * cos - ground.y[:, None] * sin
    v = ground.x[None, :] * sin + ground.y[:, None] * cos
    col, row = np.floor(u / _HALF).astype(np.int64), np.floor(v / _HALF).astype(np.int64)
    in_u, in_v = (u - col * _HALF).astype(np.float32), (v - row * _HALF).astype(np.float32)

    part, border = _split(col, row, in_u, in_v, seed)

    def of_field(what: int) -> NDArray[np.float32]:
        return hashed(col, row, part, seed=seed + what)

    crop = np.searchsorted(np.cumsum(_SHARES)[:-1], of_field(1), side="right").astype(np.uint8)
    # Section lines are every second quarter line; a gravel road takes about half a pixel.
    to_road = np.minimum(
        _to_line(in_u, col % 2 == 0, col % 2 == 1), _to_line(in_v, row % 2 == 0, row % 2 == 1)
    )
    return Farmland(
        crop=crop,
        delay=(of_field(2) + of_field(3) - 1) * np.float32(9),
        tilled=np.clip(of_field(4) * 1.7 - 0.35, 0, 1).astype(np.float32),
        vigour=(0.86 + 0.14 * of_field(5)).astype(np.float32),
        road=(0.55 * np.clip(1 - to_road / 26, 0, 1)).astype(np.float32),
        edge=(0.35 * np.clip(1 - border / 24, 0, 1)).astype(np.float32),
        farmstead=_farmsteads(u, v, seed + 6),
    )


def _split(
    col: NDArray[np.int64],
    row: NDArray[np.int64],
    in_u: NDArray[np.float32],
    in_v: NDArray[np.float32],
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which part of its quarter section a pixel is in, and metres to the part's border."""
    kind = hashed(col, row, seed=seed)
    # 30 % of the quarters are whole, 26 % halved each way, the others in four or in strips.
    halves_u = (kind >= 0.30) & (kind < 0.56) | (kind >= 0.82)
    halves_v = kind >= 0.56
    cut = np.float32(_HALF) * np.where(kind >= 0.90, np.float32(0.33), np.float32(0.5))
    east, north = halves_u & (in_u > cut), halves_v & (in_v > cut)
    far = np.float32(1e6)
    border = np.minimum(
        np.where(halves_u, np.abs(in_u - cut), far), np.where(halves_v, np.abs(in_v - cut), far)
    )
    for inside in (in_u, in_v):
        border = np.minimum(border, np.minimum(inside, np.float32(_HALF) - inside))
    return east.astype(np.int64) + 2 * north.astype(np.int64), border


def _to_line(
    inside: NDArray[np.float32], at_start: NDArray[np.bool_], at_end: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return metres to the section line at the start or the end of a quarter."""
    far = np.float32(1e6)
    distance: NDArray[np.float32] = np.where(
        at_start, inside, np.where(at_end, np.float32(_HALF) - inside, far)
    )
    return distance


def _farmsteads(u: NDArray[np.float64], v: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """Return the closeness to a farmstead: one or none beside each section's roads."""
    col, row = np.floor(u / _MILE).astype(np.int64), np.floor(v / _MILE).astype(np.int64)
    there = hashed(col, row, seed=seed) < 0.8
    along = (0.12 + 0.76 * hashed(col, row, seed=seed + 1)) * np.float32(_MILE)
    off = np.float32(95) + 45 * hashed(col, row, seed=seed + 2)
    swap = hashed(col, row, seed=seed + 3) < 0.5
    at_u, at_v = np.where(swap, along, off), np.where(swap, off, along)
    near = np.hypot((u - col * _MILE) - at_u, (v - row * _MILE) - at_v)
    closeness: NDArray[np.float32] = (np.clip(1.25 - near / 85, 0, 1) * there).astype(np.float32)
    return closeness
