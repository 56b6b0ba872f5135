"""The bundle of the pages: it is that of the sources, and whoever cannot build it is told so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"


@pytest.fixture
def copy(tmp_path):
    """The sources of the pages alone, in a project that has no bundle."""
    shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("node_modules"))
    return tmp_path / "web" / "build.py"


def build(script, *arguments, path=None):
    return subprocess.run(
        [sys.executable, script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path or os.environ["PATH"]},
    )


def test_the_pages_are_those_of_the_sources():
    if shutil.which("npm") is None:
        pytest.skip("no npm: the pages are not built here")
    code = "import runpy, sys; sys.exit(not runpy.run_path(sys.argv[1])['is_current']())"
    found = subprocess.run([sys.executable, "-c", code, WEB / "build.py"], check=False)
    assert found.returncode == 0, "the pages have changed: run make install"


def test_without_npm_it_is_said_what_to_do(copy, tmp_path):
    nothing = tmp_path / "bin"
    nothing.mkdir()
    for arguments, code in ((), 1), (("--if-npm",), 0):
        done = build(copy, *arguments, path=str(nothing))
        assert done.returncode == code
        assert "install Node.js 20 or later and run: python web/build.py" in done.stderr
    assert not (tmp_path / "src").exists()


def test_a_bundle_of_these_sources_needs_no_npm(copy, tmp_path):
    static = tmp_path / "src" / "orchard" / "report" / "static"
    static.mkdir(parents=True)
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['digest']())"
    said = subprocess.run([sys.executable, "-c", code, copy], capture_output=True, check=True)
    (static / "built.txt").write_bytes(said.stdout)
    nothing = tmp_path / "bin"
    nothing.mkdir()
    assert build(copy, path=str(nothing)).returncode == 0
    page = copy.parent / "src" / "report" / "main.tsx"
    page.write_text(page.read_text() + "// changed\n")
    assert build(copy, path=str(nothing)).returncode == 1
