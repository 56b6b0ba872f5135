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

from orchard.errors import CollectionError

__all__ = ["GENERIC", "Merged", "by_catalog", "close", "package_data"]

GENERIC = "*"
"""Name of a collection's STAC entry for catalogues that no other entry recognises."""


@cache
def package_data() -> dict[str, Any]:
    """Return the entries of the registry's files, by collection id, as they are written."""
    # The C loader reads the registry in a fifth of the time; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data: dict[str, Any] = {}
    folder = resources.files(__name__)
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            content = yaml.load(file.read_bytes(), Loader=loader)  # noqa: S506  # a safe loader
            data.update(content)
    return data


class Merged:
    """Raw entries of the registry and the configuration, merged on demand."""

    def __init__(self, registry: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
        self.registry = registry
        self.overrides = overrides

    def entry(self, name: str, seen: Sequence[str] = ()) -> dict[str, Any]:
        """Return one entry: the registry's, what it is like, then the configuration's.

        ``seen`` are the collections that are like each other up to here.
        """
        if name in seen:
            way = " -> ".join([*seen, name])
            raise CollectionError(f"collection {name!r}: `like` goes round: {way}")
        seen = (*seen, name)
        merged: dict[str, Any] = {}
        for entries in (self.registry, self.overrides):
            if name in entries:
                merged = self._onto(merged, name, entries[name], seen)
        return merged

    def _onto(
        self, merged: Mapping[str, Any], name: str, entry: Any, seen: Sequence[str]
    ) -> dict[str, Any]:
        if not isinstance(entry, Mapping):
            raise CollectionError(f"collection {name!r} must be a mapping, not {entry!r}")
        own = {key: value for key, value in entry.items() if key != "like"}
        if "like" in entry:
            merged = self._other(name, entry["like"], seen)
        if isinstance(own.get("stac"), Mapping):
            own["stac"] = by_catalog(own["stac"])
        return _without_bands(_merge(merged, own), _nulls(own.get("bands")))

    def _other(self, name: str, other: Any, seen: Sequence[str]) -> dict[str, Any]:
        known = {**self.registry, **self.overrides}
        if other not in known:
            message = f"collection {name!r}: like: unknown collection {other!r}"
            raise CollectionError(message + close(str(other), known))
        return self.entry(other, seen)


def by_catalog(stac: Any) -> Any:
    """``{collection: …}`` -> ``{"*": {collection: …}}``; anything else stays."""
    if isinstance(stac, Mapping) and isinstance(stac.get("collection"), str):
        return {GENERIC: stac}
    return {} if stac is None else stac


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif key == "flags" and isinstance(value, Mapping):
            flags = {**merged.get(key, {}), **value}
            merged[key] = {name: flag for name, flag in flags.items() if flag is not None}
        elif key != "clear" and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _nulls(mapping: Any) -> set[str]:
    return {k for k, v in mapping.items() if v is None} if isinstance(mapping, Mapping) else set()


def _without_bands(entry: dict[str, Any], removed: set[str]) -> dict[str, Any]:
    """Forget the assets of bands that a configuration removes."""
    stac = entry.get("stac")
    if not removed or not isinstance(stac, Mapping):
        return entry
    return {**entry, "stac": {name: _without_assets(s, removed) for name, s in stac.items()}}


def _without_assets(source: Any, removed: set[str]) -> Any:
    if not isinstance(source, Mapping) or not isinstance(source.get("assets"), Mapping):
        return source
    return {**source, "assets": {k: v for k, v in source["assets"].items() if k not in removed}}


def close(name: str, known: Mapping[str, object]) -> str:
    """Return ``: did you mean …?`` with the names that look like this one, or nothing."""
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f": did you mean {' or '.join(matches)}?" if matches else ""
