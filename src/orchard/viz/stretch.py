"""From values to shades: percentile stretch (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from orchard.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Limits", "Stretch", "percentiles", "shades"]

Limits: TypeAlias = "tuple[float, float]"
Stretch: TypeAlias = "tuple[float, float] | None"
"""Lower and upper percentile that become darkest and lightest; None: no stretch."""


def percentiles(values: NDArray[np.generic], alpha: NDArray[np.uint8], stretch: Stretch) -> Limits:
    """Return the values that become darkest and lightest.

    Parameters
    ----------
    values : array (y, x)
        One band.
    alpha : array (y, x)
        0 where there is no data.
    stretch : (lower, upper) or None
        Percentiles. Without, and for 8-bit values, which are shades already, it is the range that
        a shade can have: 0 to 255 for integers, 0 to 1 for floats.
    """
    if stretch is None or values.dtype == np.uint8:
        return (0.0, 1.0) if np.issubdtype(values.dtype, np.floating) else (0.0, 255.0)
    lower, upper = stretch
    if not 0 <= lower < upper <= 100:
        raise InputError(
            f"stretch={stretch!r}: two percentiles in ascending order, such as (2, 98)"
        )
    valid = values[alpha > 0]
    if valid.size == 0:
        return (0.0, 1.0)
    low, high = np.percentile(valid.astype("float64"), (lower, upper))
    return (float(low), float(high if high > low else low + 1))


def shades(values: NDArray[np.generic], limits: Sequence[Limits]) -> NDArray[np.uint8]:
    """Return values (band, y, x) as shades of 0 to 255, one pair of limits a band."""
    out = np.empty(values.shape, np.uint8)
    for band, (low, high), target in zip(values, limits, out, strict=True):
        if values.dtype == np.uint8 and (low, high) == (0.0, 255.0):
            target[...] = band
            continue
        scaled = (band.astype("float32") - low) * (255.0 / (high - low))
        target[...] = np.nan_to_num(scaled, nan=0.0).clip(0, 255).round()
    return out
