"""What is written in C: built where there is a compiler, and left out where there is none."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
BUILD = runpy.run_path(str(NATIVE / "build.py"))


@pytest.fixture
def script(tmp_path):
    """The sources alone, in a project where nothing is built."""
    shutil.copytree(NATIVE, tmp_path / "native")
    (tmp_path / "src/orchard/tiff").mkdir(parents=True)
    return tmp_path / "native" / "build.py"


def build(script, **environment):
    return subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.skipif(BUILD["compiler"]() is None, reason="no C compiler")
def test_it_is_built_once_without_a_warning(script, tmp_path):
    library = tmp_path / "src/orchard/tiff/_native.so"
    done = build(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in library.parent.iterdir()] == [library.name]
    before = library.stat().st_mtime_ns
    assert build(script).returncode == 0
    assert library.stat().st_mtime_ns == before
    os.utime(tmp_path / "native/lzw.c")
    assert build(script).returncode == 0
    assert library.stat().st_mtime_ns > before


@pytest.mark.skipif(BUILD["compiler"]() is None, reason="no C compiler")
def test_what_does_not_compile_leaves_nothing(script, tmp_path):
    (tmp_path / "native/lzw.c").write_text("int;; this is no C")
    assert build(script).returncode != 0
    assert not list((tmp_path / "src/orchard/tiff").iterdir())


@pytest.mark.skipif(BUILD["compiler"]() is None, reason="no C compiler")
def test_it_is_built_again_by_a_newer_script(script, tmp_path):
    library = tmp_path / "src/orchard/tiff/_native.so"
    assert build(script).returncode == 0
    os.utime(library, (0, 0))
    os.utime(tmp_path / "native/lzw.c", (0, 0))
    os.utime(tmp_path / "native/interleave.c", (0, 0))
    assert build(script).returncode == 0
    assert library.stat().st_mtime > 0


@pytest.mark.parametrize("broken", [False, True])
def test_without_a_compiler_it_is_said_what_to_do(script, tmp_path, broken):
    folder = tmp_path / "bin"
    folder.mkdir()
    if broken:  # as one without the headers of the C library
        for name in ("cc", "gcc", "clang"):
            (folder / name).write_text("#!/bin/sh\nexit 1\n")
            (folder / name).chmod(0o755)
    done = build(script, PATH=str(folder), CC="")
    assert done.returncode == 0
    assert "install gcc or clang and run: python native/build.py" in done.stderr
    assert not list((tmp_path / "src/orchard/tiff").iterdir())


@pytest.mark.skipif(BUILD["compiler"]() is None, reason="no C compiler")
def test_the_library_is_that_of_the_sources():
    assert BUILD["is_current"](), "the sources have changed: run make install"
