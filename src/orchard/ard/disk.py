"""Bytes that have to be on the disk before a cube is said to be there."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["begin_flush", "flush", "flush_tree"]

_FLUSHES = 8


def begin_flush(file: int, start: int = 0, size: int = 0) -> None:
    """Have the system write what was just written to a file, while the work goes on.

    Parameters
    ----------
    file : int
        Its descriptor.
    start, size : int
        Bytes; a size of 0 is all to the end.
    """
    if hasattr(os, "posix_fadvise"):
        # What Linux does of "not needed" pages that are not written yet is to start writing them.
        os.posix_fadvise(file, start, size, os.POSIX_FADV_DONTNEED)


def flush(path: Path | str) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> None:
    """Flush all files and folders below a folder, several at a time: each waits for the disk."""
    whole = [
        os.path.join(place, name)  # noqa: PTH118 - "."
        for place, _, files in os.walk(path)
        for name in [*files, "."]
    ]
    with ThreadPoolExecutor(_FLUSHES) as pool:
        list(pool.map(flush, whole))
