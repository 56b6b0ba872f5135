"""ARD cubes: pre-ARD images become NetCDF-4, Zarr or GeoTIFF cubes that carry all one needs."""

from __future__ import annotations

from .convert import convert
from .info import info
from .open import open_ard

__all__ = ["convert", "info", "open_ard"]
