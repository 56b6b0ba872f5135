"""Runs the blocks of a page one after the other, in a folder of its own, as a reader would."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from doc_blocks import Block, matches

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Runner"]


@dataclass
class Runner:
    """The state that the blocks of one page share: names of Python, the folder, variables.

    Parameters
    ----------
    page : str
        For messages.
    folder : Path
        Where the page begins; ``cd`` of a shell block holds for the blocks that follow.
    names : dict
        What Python knows already.
    environment : mapping
        Further variables of the environment.
    commands : Path, optional
        Folder of programs that go before all others.
    """

    page: str
    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    commands: Path | None = None
    done: int = 0

    def __post_init__(self) -> None:
        self.names.setdefault("__name__", "__main__")
        self._groups: list[int] = []
        path = [self.commands, Path(sys.executable).parent, os.environ["PATH"]]
        self._shell = {
            **os.environ,
            "PATH": os.pathsep.join(str(part) for part in path if part),
            "COLUMNS": "200",
            "PYTHONWARNINGS": "ignore",
            **self.environment,
        }

    def run(self, block: Block) -> None:
        """Run a block, or check it where it cannot be run."""
        try:
            kind = block.language if block.runs else f"{block.language}_unrun"
            printed = getattr(self, f"_{kind}")(block)
        except Exception as error:
            error.add_note(f"{self.page}, line {block.line}:\n{block.text}")
            raise
        if block.output is not None and block.runs:
            assert matches(block.output, printed), (
                f"{self.page}, line {block.line} prints\n{printed}\nand not\n{block.output}"
            )
        self.done += 1

    def _python(self, block: Block) -> str:
        # Lines of the page, so that a traceback points into it.
        code = compile("\n" * block.line + block.text, self.page, "exec", dont_inherit=True)
        printed = io.StringIO()
        os.chdir(self.folder)
        with contextlib.redirect_stdout(printed):
            exec(code, self.names)
        if block.title:
            (self.folder / block.title).write_text(block.text)
        return printed.getvalue()

    def _python_unrun(self, block: Block) -> str:
        compile(block.text, self.page, "exec", dont_inherit=True)
        return ""

    def _sh(self, block: Block) -> str:
        after = self.folder / ".after"
        script = f"set -euo pipefail -o allexport\n{block.text}\npwd > {after}; env -0 >> {after}"
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=self.folder, env=self._shell, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._groups.append(process.pid)
        printed, _ = process.communicate(timeout=240)
        assert process.returncode == 0, f"exit code {process.returncode}\n{printed}"
        folder, _, variables = after.read_text().partition("\n")
        after.unlink()
        self.folder = Path(folder)
        self._shell = dict(line.split("=", 1) for line in variables.split("\0") if "=" in line)
        return printed

    def close(self) -> None:
        """End what shell blocks have left running in the background."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)

    def _sh_unrun(self, block: Block) -> str:
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
        return ""

    def _yaml(self, block: Block) -> str:
        """A block with a title is that file; one without must be a part of a configuration."""
        from orchard.config import load_config

        path = self.folder / (block.title or ".part.yaml")
        said = yaml.safe_load(block.text)
        if not block.title:
            said = {"tile_grid": "LANDSAT_ARD_CU", "store": "preard/", **said}
        path.write_text(block.text if block.title else yaml.safe_dump(said, sort_keys=False))
        catalog = (said.get("engine") or {}).get("catalog", "https:")
        if "store" in said:
            # A page that shows a configuration need not have the catalogue.
            if ":" not in catalog and not (self.folder / catalog).exists():
                (self.folder / catalog).write_text('{"type": "Catalog", "links": []}')
            load_config(path).check()
        if not block.title:
            path.unlink()
        return ""

    _yaml_unrun = _yaml

    def _json(self, block: Block) -> str:
        json.loads(block.text)
        if block.title:
            (self.folder / block.title).write_text(block.text)
        return ""

    _json_unrun = _json

    def _text(self, block: Block) -> str:
        return ""  # what a block above it prints, or a drawing

    _text_unrun = _text
