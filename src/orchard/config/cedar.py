"""Configuration files that were written for CEDAR 0.0.4."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

__all__ = ["from_cedar"]


def from_cedar(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read a configuration of CEDAR as one of Orchard, with a warning for what changed.

    There the kind of store stood in the tracker's part (``tracker.store: gcs | gdrive``) and the
    rest of it in ``gcs`` or ``gdrive``; the engine was always Earth Engine. Anything else is given
    back as it is.
    """
    tracker = data.get("tracker")
    if not (isinstance(tracker, Mapping) and tracker.get("store") in _STORES):
        return data
    new = dict(data)
    services = {kind: new.pop(kind, None) or {} for kind in _STORES}
    kind = tracker["store"]
    new["tracker"] = {key: value for key, value in tracker.items() if key != "store"}
    store, engine = _STORES[kind](services[kind])
    new.setdefault("store", store)
    new.setdefault("engine", engine)
    grid = new.get("tile_grid")
    if isinstance(grid, Mapping):
        new["tile_grid"] = _grid(grid)
    known = ", ".join(f"{key}: …" for key in engine if key != "name")
    warnings.warn(
        "this configuration was written for CEDAR: what tracker.store, gcs and gdrive said is now "
        f"'store: {{url: {store['url']}, options: …}}' and 'engine: {{name: earthengine"
        f"{', ' + known if known else ''}}}'",
        stacklevel=2,
    )
    return new


def _gcs(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    credentials = given.get("credentials_file")
    engine = {"project": given.get("project"), "credentials": credentials}
    return (
        {
            "url": f"gs://{given.get('bucket_name')}",
            "options": {"service_account": credentials} if credentials else {},
        },
        {"name": "earthengine", **{key: value for key, value in engine.items() if value}},
    )


def _gdrive(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    token = given.get("credentials_file")
    # CEDAR's folders lie in the root of the Drive.
    return (
        {"url": "gdrive://", "options": {"token_file": token} if token else {}},
        {"name": "earthengine"},
    )


_STORES = {"gcs": _gcs, "gdrive": _gdrive}


def _grid(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Translate ``grid_name`` and ``grid_filename``, and one number for two equal ones."""
    renamed = {"grid_name": "name", "grid_filename": "file"}
    new = {renamed.get(key, key): value for key, value in grid.items()}
    for key in ("res", "size"):
        if isinstance(new.get(key), list) and len(new[key]) == 1:
            new[key] = new[key] * 2
    return new
