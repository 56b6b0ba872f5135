"""Every code block of the documentation runs, or is checked where it says that it cannot."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from doc_blocks import blocks_of, matches
from doc_runner import Runner
from doc_worlds import WORLDS, close_session, lay_demo

PROJECT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(PROJECT))
    for path in [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    # Notes are for those who work on Orchard; cli.md is made of the help and tested with it.
    if "design" not in path.parts and path.name not in ("cli.md", "changes.md")
)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch, request, shell):
    text = (PROJECT / page).read_text(encoding="utf-8")
    blocks = blocks_of(text)
    if not blocks:
        return
    shows_pages = any("orchard report" in block.text for block in blocks)
    if shows_pages and not (PROJECT / "src/orchard/report/static/report.js").exists():
        pytest.skip("the pages are not built here: python web/build.py, with Node.js")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    world = WORLDS.get(page, WORLDS["*"])
    with world(tmp_path, request, monkeypatch) as (folder, names, environment):
        runner = Runner(page, folder, names, environment, shell.folder)
        try:
            for block in blocks:
                runner.run(block)
        finally:
            runner.close()
            close_session()
    assert runner.done == len(re.findall(r"^ *```\w", text, re.MULTILINE))


def test_the_tutorial_runs_where_the_readme_has_run(tmp_path, request, monkeypatch):
    """They order the same images in Python: who leaves them in the store is in the other's way."""
    monkeypatch.chdir(tmp_path)
    runner = Runner("README.md", lay_demo(tmp_path, request))
    for page in ("README.md", "docs/tutorial.md"):
        for block in blocks_of((PROJECT / page).read_text(encoding="utf-8")):
            if block.language == "python" and "tracker.submit" in block.text:
                runner.run(block)
    assert runner.done == 2


def test_what_cannot_run_here_is_little_and_says_why():
    unrun = {
        page: [
            block
            for block in blocks_of((PROJECT / page).read_text(encoding="utf-8"))
            if not block.runs
        ]
        for page in PAGES
    }
    assert all(
        "*Checked, not run" not in line or re.match(r"\*Checked, not run: \S.*\.\*$", line)
        for page in PAGES
        for line in (PROJECT / page).read_text(encoding="utf-8").splitlines()
    )
    # Services that nobody can have on loopback; a new page is not to hide among them.
    assert {page: len(blocks) for page, blocks in unrun.items() if blocks} == UNRUN


UNRUN = {
    "docs/howto/catalogue.md": 1,
    "docs/howto/dask.md": 1,
    "docs/howto/earthengine.md": 1,
    "docs/howto/gdrive.md": 1,
    "docs/tutorial.md": 1,
}


def test_every_page_is_in_the_navigation():
    def pages_of(part):
        if isinstance(part, str):
            return [part]
        inner = part.values() if isinstance(part, dict) else part
        return [page for one in inner for page in pages_of(one)]

    found = pages_of(yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"])
    pages = {str(p.relative_to(PROJECT / "docs")) for p in (PROJECT / "docs").rglob("*.md")}
    assert sorted(found) == sorted(pages)


@pytest.mark.parametrize(
    "page", sorted((PROJECT / "docs" / "design").glob("*.md")), ids=lambda page: page.stem
)
def test_blocks_of_notes_are_code(page, tmp_path):
    runner = Runner(page.name, tmp_path)
    for block in blocks_of(page.read_text(encoding="utf-8")):
        runner.run(replace(block, runs=False))


def test_what_guarantees_name_is_there():
    page = (PROJECT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 30
    for path, name in named:
        assert (PROJECT / path).exists(), path
        assert not name or f"def {name}(" in (PROJECT / path).read_text(), f"{path}::{name}"


def test_every_key_of_the_configuration_is_described():
    from orchard.config.core import _MODELS
    from orchard.config.parts import EnginePart
    from orchard.engines.earthengine import EarthEngine
    from orchard.engines.local import LocalEngine

    page = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    keys = {key for model in _MODELS.values() for key in model.model_fields}
    keys |= set(EnginePart.model_fields) | set(LocalEngine.__init__.__annotations__)
    keys |= set(EarthEngine.__init__.__kwdefaults__) - {"limits", "sleep"}
    for key in keys - {"return"}:
        assert re.search(rf"[`.]{key}`", page), f"configuration.md says nothing of {key}"


def test_all_that_a_cube_carries_is_described(tmp_path, request):
    import orchard
    from orchard.config import load_config

    demo = lay_demo(tmp_path, request)
    tracker = load_config(demo / "orchard.yaml").get_tracker()
    order = ("LANDSAT/LC08/C02/T1_L2", (94, 241), "2023-07-01", "2023-07-10")
    name, _ = tracker.submit(*order)
    tracker.download(tracker.wait(name), tmp_path / "images")
    (path,) = orchard.convert(tmp_path / "images", dest=tmp_path / "cubes")
    page = (PROJECT / "docs" / "formats.md").read_text(encoding="utf-8")
    with orchard.open_ard(path) as cube:
        bands = {"blue", "green", "red", "nir", "swir1", "swir2", "qa_pixel"}
        names = {str(n) for n in cube.variables if not str(n).startswith("flag_")} - bands
        attributes = set(cube.attrs) | {key for band in bands for key in cube[band].attrs}
    for name in names | attributes:
        assert f"`{name}`" in page, f"formats.md says nothing of {name}"


def test_blocks_are_found_with_what_they_print():
    page = "Text\n\n```python\nprint(1)\n```\n```text\n1\n```\n\nMore\n\n```text\ndrawing\n```\n"
    first, output, drawing = blocks_of(page)
    assert first.output == "1\n"
    assert (output.is_output, drawing.is_output) == (True, False)
    assert [block.line for block in (first, output, drawing)] == [3, 6, 12]
    with pytest.raises(ValueError, match="nobody checks blocks of 'cobol'"):
        blocks_of("```cobol\nSTOP RUN.\n```\n")
    (unrun,) = blocks_of("*Checked, not run: no network.*\n\n```sh\ncurl x\n```\n")
    assert not unrun.runs


def test_output_is_compared():
    assert matches("a …  c\n", "a b\nc")
    assert not matches("a c", "a b c")
    assert not matches("a", "a b")


def test_a_block_that_fails_fails_its_page(tmp_path):
    runner = Runner("page.md", tmp_path)
    for page in (
        "```python\nprint(2)\n```\n```text\n1\n```\n",
        "```sh\nfalse\n```\n",
        "```yaml\ntracker: {nonsense: 1}\n```\n",
        "```json\n{\n```\n",
        "*Checked, not run: x.*\n\n```python\n1 +\n```\n",
        "*Checked, not run: x.*\n\n```sh\nif\n```\n",
    ):
        with pytest.raises(Exception, match=r".") as caught:
            runner.run(blocks_of(page)[0])
        assert caught.type is not KeyboardInterrupt
    assert runner.done == 0


def test_shell_blocks_share_their_folder_and_variables(tmp_path):
    runner = Runner("page.md", tmp_path)
    (tmp_path / "below").mkdir()
    page = (
        "```sh\ncd below\nexport NAME=x\n```\n\nThen\n\n"
        "```sh\necho $NAME; basename $PWD\n```\n```text\nx below\n```\n"
    )
    for block in blocks_of(page):
        runner.run(block)
    assert runner.done == 3
