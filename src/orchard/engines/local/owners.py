"""Who holds a lease: a runner's name, from which others of its machine can tell that it is dead."""

from __future__ import annotations

import os
import socket
import uuid
from functools import cache
from pathlib import Path

__all__ = ["is_dead", "new_owner"]


def new_owner() -> str:
    """Name a runner of this process: ``host|processes|pid|start|random``.

    ``processes`` tells containers of one host apart, ``start`` one process from a later one of the
    same number; both are empty where the system does not tell them.
    """
    pid = os.getpid()
    return "|".join([_host(), _namespace(), str(pid), _start(pid) or "", uuid.uuid4().hex[:8]])


def is_dead(owner: str) -> bool:
    """Whether the process of a runner is known to be gone; False also when that cannot be told."""
    try:
        host, namespace, pid, start, _ = owner.split("|")
    except ValueError:
        return False
    if (host, namespace) != (_host(), _namespace()):
        return False
    if start:
        return _start(int(pid)) != start
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@cache
def _host() -> str:
    return socket.gethostname().replace("|", "-")


@cache
def _namespace() -> str:
    """Tell apart the numberings of processes that a Linux machine may have."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot[:8]}-{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """Return when a process started (clock ticks since boot); None: it is gone, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold anything; the fields after it are numbered from 3.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]
