"""The registry's data: the YAML files beside this module, and how a configuration changes them.

Entries are plain mappings here; `orchard.collections` checks them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ..errors import CollectionError

__all__ = ["GENERIC", "Merged", "by_catalog", "close", "package_data"]

GENERIC = "*"
"""Name of a collection's STAC entry for catalogues that no other entry recognises."""


@cache
def package_data() -> dict[str, Any]:
    # The C loader reads the registry in a fifth of the time; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data: dict[str, Any] = {}
    folder = resources.files(__name__)
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            content = yaml.load(file.read_bytes(), Loader=loader)  # noqa: S506  # a safe loader
            # Entries starting with "." only hold what others share.
            data.update({k: v for k, v in content.items() if not k.startswith(".")})
    return data


class Merged:
    """Raw entries of the registry and the configuration, merged on demand."""

    def __init__(self, registry: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
        self.registry = registry
        self.overrides = overrides

    def entry(self, name: str, seen: Sequence[str] = ()) -> dict[str, Any]:
        if name in seen:
            raise CollectionError(f"collection {name!r}: `like` goes round: {' -> '.join(seen)}")
        seen = (*seen, name)
        merged: dict[str, Any] = {}
        if name in self.registry:
            merged = self._like(name, self.registry[name], seen)
        if name in self.overrides:
            own = self.overrides[name]
            if not isinstance(own, Mapping):
                raise CollectionError(f"collection {name!r} must be a mapping, not {own!r}")
            merged = merge(merged, self._like(name, own, seen))
        return merged

    def _like(self, name: str, entry: Mapping[str, Any], seen: Sequence[str]) -> dict[str, Any]:
        own = {key: value for key, value in entry.items() if key != "like"}
        if isinstance(own.get("stac"), Mapping):
            own["stac"] = by_catalog(own["stac"])
        if "like" not in entry:
            return own
        other = entry["like"]
        known = {**self.registry, **self.overrides}
        if other not in known:
            message = f"collection {name!r}: like: unknown collection {other!r}"
            raise CollectionError(message + close(str(other), known))
        return merge(self.entry(other, seen), own)


def by_catalog(stac: Any) -> Any:
    """``{collection: …}`` -> ``{"*": {collection: …}}``; anything else stays."""
    if isinstance(stac, Mapping) and isinstance(stac.get("collection"), str):
        return {GENERIC: stac}
    return {} if stac is None else stac


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif key == "flags" and isinstance(value, Mapping):
            flags = {**merged.get(key, {}), **value}
            merged[key] = {name: flag for name, flag in flags.items() if flag is not None}
        elif key != "clear" and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def close(name: str, known: Mapping[str, object]) -> str:
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f": did you mean {' or '.join(matches)}?" if matches else ""
