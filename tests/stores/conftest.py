"""The servers that the tests of the stores share."""

from __future__ import annotations

from fixtures import *  # noqa: F403 - pytest finds fixtures by their names here
