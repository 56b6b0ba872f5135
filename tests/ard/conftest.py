"""Shared by the tests of cubes."""

from __future__ import annotations

import sys
from pathlib import Path

# The makers of test images are a plain module beside the tests.
sys.path.insert(0, str(Path(__file__).parent))
