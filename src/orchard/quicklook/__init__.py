"""Quicklooks: one small PNG per date of a cube or of a pre-ARD image, stretched to compare."""

from __future__ import annotations

from .make import quicklook

__all__ = ["quicklook"]
