"""Build hook: a wheel carries the bundled pages and what is written in C, whoever makes it."""

from __future__ import annotations

import runpy
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuiltParts(BuildHookInterface):  # type: ignore[type-arg]
    """Bundles the pages and compiles before they are packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what has changed; `version` is "standard" or "editable"."""
        self._build_pages(editable=version == "editable")
        if self.target_name == "wheel":
            self._compile(build_data)

    def _build_pages(self, *, editable: bool) -> None:
        pages = self._script("web")
        if pages["is_current"]():
            return
        if pages["has_npm"]():
            pages["build"]()
        elif not editable:  # for one's own checkout, `make install` says it
            raise RuntimeError(pages["NO_NPM"])

    def _compile(self, build_data: dict[str, Any]) -> None:
        native = self._script("native")
        command = native["compiler"]()
        if command is None:  # the wheel is slower, and runs everywhere
            sys.stderr.write(f"{native['NO_COMPILER']}\n")
            return
        native["build"](command)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"  # no more of Python than ctypes
        build_data["pure_python"] = False
        library = native["LIBRARY"].relative_to(self.root).as_posix()
        build_data["artifacts"].append(f"/{library}")

    def _script(self, folder: str) -> dict[str, Any]:
        return runpy.run_path(str(Path(self.root) / folder / "build.py"))
