"""The report of an order: one HTML page that needs no network."""

from __future__ import annotations

from .known import AcquisitionFacts, CubeFacts, Known, Picture
from .model import build_model

__all__ = ["AcquisitionFacts", "CubeFacts", "Known", "Picture", "build_model"]
