"""Scratch space: a folder of this process, and the removal of what killed processes have left.

Each process has its folder in ``TMPDIR/orchard-scratch-USER`` and holds a lock on it, which the
system takes away when the process ends, however it ends. Whoever makes a folder removes those that
nobody holds.
"""

from __future__ import annotations

import atexit
import contextlib
import getpass
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

with contextlib.suppress(ImportError):  # not a POSIX system: nothing can be told to be left over
    import fcntl

__all__ = ["scratch_folder", "scratch_root"]

_LOCK = threading.Lock()
_MINE: dict[int, Path] = {}


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a new folder, and remove it with all that is in it."""
    with tempfile.TemporaryDirectory(dir=_own(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def scratch_root() -> Path:
    """Return where all processes of a user have their scratch folders."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir(), f"orchard-scratch-{user}")


def _own() -> Path:
    """Return the folder of this process; made on first use."""
    with _LOCK:
        pid = os.getpid()  # after a fork it is another process's
        if pid not in _MINE or not _MINE[pid].exists():
            root = scratch_root()
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(root)
            folder = Path(tempfile.mkdtemp(prefix=f"{pid}-", dir=root))
            _hold(folder)
            _MINE[pid] = folder
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return _MINE[pid]


def _hold(folder: Path) -> bool:
    """Lock a folder for as long as this process lives; False: another has it."""
    if "fcntl" not in globals():
        return False
    descriptor = os.open(folder, os.O_RDONLY)  # never closed: the lock goes with it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    return True


def _sweep(root: Path) -> None:
    """Remove the folders of processes that have died."""
    if "fcntl" not in globals():
        return
    for folder in root.iterdir():
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
