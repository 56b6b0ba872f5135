"""Build hook: a wheel carries the bundled pages, whoever makes it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagesHook(BuildHookInterface):  # type: ignore[type-arg]
    """Bundles the pages before they are packed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages if their sources have changed."""
        del build_data
        pages = runpy.run_path(str(Path(self.root) / "web" / "build.py"))
        if pages["is_current"]():
            return
        if pages["has_npm"]():
            pages["build"]()
        elif version != "editable":  # for one's own checkout, `make install` says it
            raise RuntimeError(pages["NO_NPM"])
