"""A configuration as it can be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["without_secrets"]

_SECRET = re.compile(
    r"key|secret|token|sas|password|signature|credential|connection|authorization", re.IGNORECASE
)
_HIDDEN = "***"


def without_secrets(value: Any, name: str = "") -> Any:
    """Hide what is secret by its name, and the users, passwords and queries of URLs.

    The names of files with secrets are shown, as ``token_file``.
    """
    if value is not None and _SECRET.search(name) and not name.endswith("_file"):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {key: without_secrets(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(part, name) for part in value]
    if isinstance(value, str) and "://" in value:
        value = re.sub(r"(\w://)[^/\s@]+@", rf"\1{_HIDDEN}@", value)
        return re.sub(r"(\w://[^\s?]*)\?\S*", rf"\1?{_HIDDEN}", value)
    return value
