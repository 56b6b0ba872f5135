"""What Orchard asks of the C library's memory."""

from __future__ import annotations

from functools import cache

__all__ = ["keep_freed_memory"]


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next block.

    glibc gives large freed blocks back to the system, and takes them anew, page by page, until it
    has seen a larger one freed (mallopt(3), dynamic mmap threshold): that took a sixth of the time
    of making pre-ARD, and a tenth of making cubes.
    """
    import numpy as np

    np.empty(24 << 20, np.uint8)
