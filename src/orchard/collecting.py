"""Garbage: the collector is held off while a hundred thousand objects come to stay."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["not_collecting"]


@contextmanager
def not_collecting() -> Iterator[None]:
    """Hold off the collector of reference cycles.

    It looks through all objects again and again while many are made that all stay, which takes
    longer than making them. What is not part of a cycle is freed as ever.
    """
    if not gc.isenabled():  # held off already, maybe by another thread
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
