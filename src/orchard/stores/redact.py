"""Keep secrets out of what others say: error texts of services and their libraries."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Redactor", "secret_values"]

_SECRET_NAME = re.compile(
    r"key|secret|token|sas|password|signature|credential|connection", re.IGNORECASE
)
_SECRET_ENVIRONMENT = re.compile(r"^(AWS|AZURE|GOOGLE)_", re.IGNORECASE)
_SHORTEST = 6  # replacing "key" everywhere would hide the error, not the secret
_LONGEST = 400


class Redactor:
    """Shorten and clean a text so that it can be shown.

    Parameters
    ----------
    secrets : iterable of str
        Values that must never appear.
    """

    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the first paragraph without secrets, URL queries, passwords and XML."""
        text = text.split("\n\nDebug source", 1)[0]
        text = re.sub(r"<\?xml.*", _code_and_message, text, flags=re.DOTALL)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
        text = re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", text)
        text = " ".join(text.split())
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _code_and_message(match: re.Match[str]) -> str:
    """What a service's XML error says; the rest of it may quote the request's signature."""
    tags = ("Code", "Message")
    found = [re.search(rf"<{tag}>(.*?)</{tag}>", match[0], re.DOTALL) for tag in tags]
    return ": ".join(part[1] for part in found if part)


def secret_values(options: Mapping[str, Any]) -> frozenset[str]:
    """All values that are secret by their name, of options and of the services' environment."""
    environment = {k: v for k, v in os.environ.items() if _SECRET_ENVIRONMENT.match(k)}
    return frozenset([*_values(options), *_values(environment)])


def _values(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _values(value)
        elif isinstance(value, str) and len(value) >= _SHORTEST and _SECRET_NAME.search(name):
            yield value
