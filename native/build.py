"""Compile `native/*.c` into `src/orchard/tiff/_native.so`, unless that is newer than all here.

    python native/build.py

Needs a C compiler: the one that Python was built with, or that the environment's `CC` names.
Without one Orchard does the same work by libraries, more slowly.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

NATIVE = Path(__file__).resolve().parent
SOURCES = sorted(NATIVE.glob("*.c"))
LIBRARY = NATIVE.parent / "src" / "orchard" / "tiff" / "_native.so"
OPTIONS = ("-std=c99", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC")
NO_COMPILER = (
    "no C compiler: LZW is decoded by libraries, at half the speed; install gcc or clang and run: "
    "python native/build.py"
)


def compiler() -> list[str] | None:
    """Return the command of the C compiler, or None: there is none that works as gcc does."""
    if os.name != "posix" or sys.byteorder != "little":
        return None
    for name in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"):
        command = shlex.split(name or "")
        if command and shutil.which(command[0]) and _works(command):
            return command
    return None


def _works(command: list[str]) -> bool:
    """Whether a compiler makes libraries; some have not got the C library's headers."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("#include <stdint.h>\n#include <string.h>\n", encoding="ascii")
        made = [*command, *OPTIONS, "-o", f"{folder}/empty.so", str(source)]
        return subprocess.run(made, capture_output=True, check=False).returncode == 0


def is_current() -> bool:
    """Whether the library is newer than its sources and this script."""
    newest = max(source.stat().st_mtime for source in [*SOURCES, Path(__file__)])
    return LIBRARY.is_file() and LIBRARY.stat().st_mtime >= newest


def build(command: list[str]) -> None:
    """Compile; the library appears whole."""
    part = LIBRARY.with_suffix(f".{os.getpid()}.part")
    try:
        subprocess.run([*command, *OPTIONS, "-o", str(part), *map(str, SOURCES)], check=True)
        part.replace(LIBRARY)
    finally:
        part.unlink(missing_ok=True)


def main() -> int:
    """Build if need be; that there is no compiler is told, and no error."""
    if is_current():
        return 0
    command = compiler()
    if command is None:
        sys.stderr.write(f"{NO_COMPILER}\n")
        return 0
    build(command)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
