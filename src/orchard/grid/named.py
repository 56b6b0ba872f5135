"""Named grids: those of grids.yaml, the UTM families, and those of a user's file.

The UTM families are made when asked for. Of zone 33 north, say (60 zones, N and S):

``UTM_33N``
    10 m pixels; every tile is one 100 km square of the military grid, so that pixels of Sentinel-2
    need no resampling. Tiles do not overlap, other than the granules of Sentinel-2.
``UTM_33N_30M``
    30 m pixels whose edges are those of Landsat scenes (centres on multiples of 30 m), tiles of
    150 km.
    Landsat counts northings south of the equator from the equator, downwards from 0, other than the
    S systems: ten million metres are not a multiple of 30, and the S grids are shifted for it.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchard.errors import GridError

from .checks import keys
from .tilegrid import TileGrid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

_UTM = re.compile(r"UTM_(0[1-9]|[1-5]\d|60)([NS])(_30M)?")
_KEYS = ("ul", "crs", "res", "size")


def load_grids(path: str | PathLike[str] | None = None) -> dict[str, TileGrid]:
    """The named grids.

    Parameters
    ----------
    path : path, optional
        A YAML file of your own: a mapping of name to ``{crs, ul, res, size, limits}``. By default
        the grids that come with Orchard; besides these, `get_grid` knows the UTM families
        (``UTM_33N``, ``UTM_33N_30M``).

    Returns
    -------
    dict of str to TileGrid

    Raises
    ------
    GridError
        If the file cannot be read, or a grid in it is wrong: names both.
    """
    if path is None:
        return dict(_packaged())
    grids = {}
    for name, document in _read(Path(path)).items():
        try:
            document = keys("tile grid", document, _KEYS, ("limits", "name"))
            grids[name] = TileGrid(**{"name": name, **document})
        except GridError as exc:
            raise GridError(f"{path}: {name}: {exc}") from exc
    return grids


@cache
def _packaged() -> dict[str, TileGrid]:
    documents = _read(Path(__file__).with_name("grids.yaml"))
    return {
        name: TileGrid.with_later_crs(**{"limits": None, "name": name, **document})
        for name, document in documents.items()
    }


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _loader())  # noqa: S506  it is safe
    except OSError as exc:
        raise GridError(f"{path} cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise GridError(f"{path} is not YAML: {exc}") from exc
    if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
        raise GridError(f"{path} is not a mapping of names to tile grids")
    return document


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is: ten times faster


def get_grid(
    spec: str | Mapping[str, Any] | TileGrid, grids: Mapping[str, TileGrid] | None = None
) -> TileGrid:
    """The grid that is meant by a name or a definition.

    Parameters
    ----------
    spec : str, dict or TileGrid
        The name of a grid (``"LANDSAT_ARD_CU"``, ``"UTM_33N"``), or
        ``{name, crs, ul, res, size, limits}``, of which name and limits may be left out.
    grids : mapping of str to TileGrid, optional
        Where to look for the name, instead of in `load_grids`.

    Raises
    ------
    GridError
        If there is no such grid (names the nearest), or the definition is wrong.
    """
    if not isinstance(spec, str):
        return spec if isinstance(spec, TileGrid) else _defined(spec)
    known = load_grids() if grids is None else grids
    if spec in known:
        return known[spec]
    utm = _UTM.fullmatch(spec)
    if utm:
        return _utm(spec, int(utm[1]), south=utm[2] == "S", landsat=bool(utm[3]))
    examples = [f"UTM_{zone:02d}{half}" for zone in range(1, 61) for half in "NS"]
    names = [*known, *examples, *(f"{name}_30M" for name in examples)]
    near = difflib.get_close_matches(spec.upper(), names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
    raise GridError(f"there is no tile grid {spec!r}: {hint}")


def _defined(spec: Any) -> TileGrid:
    return TileGrid.from_dict(spec)


@cache
def _utm(name: str, zone: int, *, south: bool, landsat: bool) -> TileGrid:
    # UTM reaches from 80 S to 84 N, and 32V and the zones of Svalbard stay within these columns.
    crs = f"EPSG:{32700 + zone if south else 32600 + zone}"
    if landsat:
        # 15 m off a multiple of 30 m, in the south of the equator's northing of 10,000,000 m.
        return TileGrid(
            ul=(124_995, 10_000_015 if south else 9_449_985),
            crs=crs,
            res=(30, 30),
            size=(5000, 5000),
            limits=((0, 59 if south else 62), (0, 4)),
            name=name,
        )
    return TileGrid(
        ul=(100_000, 10_000_000 if south else 9_400_000),
        crs=crs,
        res=(10, 10),
        size=(10_000, 10_000),
        limits=((0, 88 if south else 93), (0, 7)),
        name=name,
    )
