"""The command `orchard` of the shell blocks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from doc_shell import Shell


@pytest.fixture(scope="session")
def shell(tmp_path_factory):
    """Answers for the command `orchard`; see `doc_shell`."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    yield shell
    shell.close()
