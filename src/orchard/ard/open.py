"""Opens cubes as lazy datasets: one, those of a tile in time, those of many tiles side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchard.errors import DataError, InputError, MissingDependencyError

from .cogread import open_cog
from .merge import agreed, combine_attributes, combine_steps, fill_coordinates, per_step, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr

__all__ = ["find_cubes", "item_of", "open_ard"]

_SUFFIXES = (".nc", ".zarr", ".cog")
_PACKING = ("_FillValue", "scale_factor", "add_offset")


def open_ard(
    path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, scaled: bool = False
) -> xr.Dataset:
    """Open one cube, several, or all of a folder as one dataset; pixels are read when needed.

    Parameters
    ----------
    path : path or iterable of paths
        Cubes (``.nc``, ``.zarr``, ``.cog``) or folders: all cubes in them.
    scaled : bool
        Give bands as physical numbers, NaN where there is no data, instead of the stored numbers
        with ``_FillValue``, ``scale_factor`` and ``add_offset``. Quality bands stay as stored.

    Returns
    -------
    xarray.Dataset
        ``(time, y, x)``; ``time`` is UTC and sorted. Cubes of one tile follow each other in time;
        cubes of several tiles of one grid are put side by side, a step for each solar day of a
        collection, nodata where a tile has none. What tells of acquisitions (``scenes``,
        ``cloud_cover``, …) is kept for each step, ``clear_fraction`` and ``valid_fraction`` of
        several tiles as shares of all their pixels. Title, source and history tell of all cubes;
        other attributes are kept where the cubes agree, and ``provenance``, which tells how one
        cube was made, is left out.

    Raises
    ------
    InputError
        When there is no cube, or cubes cannot be one dataset.
    DataError
        When a cube cannot be read, or its conversion was not finished.
    """
    cubes = find_cubes(path)
    if len(cubes) == 1:
        return _open(cubes[0], scaled=scaled, chunks=None)
    _need_dask()
    opened = [_open(cube, scaled=scaled, chunks={}) for cube in cubes]
    places: dict[tuple[Any, ...], list[xr.Dataset]] = {}
    for one in opened:
        key = (float(one.x[0]), float(one.y[0]), one.sizes["x"], one.sizes["y"])
        places.setdefault(key, []).append(one)
    tiles = [_in_time(group) for group in places.values()]
    whole = tiles[0] if len(tiles) == 1 else _side_by_side(tiles)
    whole.attrs = combine_attributes([one.attrs for one in opened])
    return whole


def _need_dask() -> None:
    try:
        import dask.array  # noqa: F401 - asked for before anything is opened
    except ImportError as exc:
        raise MissingDependencyError("dask", "dask") from exc


def find_cubes(path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the cubes that some paths name or hold, each of them whole."""
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    cubes: dict[Path, None] = {}
    for one in map(Path, paths):
        if not one.exists():
            raise InputError(f"{one}: there is no such cube or folder")
        if one.suffix in _SUFFIXES:
            cubes[one] = None
        elif one.is_dir():
            cubes.update(dict.fromkeys(_cubes_in(one)))
        else:
            raise InputError(
                f"{one} is not a cube: its name ends in none of {', '.join(_SUFFIXES)}"
            )
    if not cubes:
        raise InputError(f"{', '.join(map(str, paths))}: holds no cube")
    for cube in cubes:
        if not item_of(cube).exists():
            raise DataError(f"{cube}: its conversion was not finished: convert again")
    return list(cubes)


def _cubes_in(folder: Path) -> Iterable[Path]:
    for place, folders, files in os.walk(folder):
        names = [*folders, *files]
        yield from (
            Path(place, name)
            for name in sorted(names)
            if name.endswith(_SUFFIXES) and not name.startswith(".")
        )
        folders[:] = sorted(f for f in folders if not f.endswith(_SUFFIXES) and f[0] != ".")


def item_of(cube: Path) -> Path:
    """Return the path of a cube's STAC Item."""
    return cube.with_name(f"{cube.name.removesuffix(cube.suffix)}.stac.json")


def _open(cube: Path, *, scaled: bool, chunks: dict[str, int] | None) -> xr.Dataset:
    import xarray as xr

    if cube.suffix == ".cog":
        _need_dask()
        return open_cog(cube, scaled=scaled)
    try:
        if cube.suffix == ".nc":
            from .ncread import open_netcdf

            return open_netcdf(cube, scaled=scaled, lazy=chunks is not None)
        stored = xr.open_dataset(cube, engine="zarr", mask_and_scale=False, chunks=chunks)
        if not scaled:
            return stored
        wanted = {str(n): "flag_meanings" not in v.attrs for n, v in stored.variables.items()}
        stored.close()
        return xr.open_dataset(cube, engine="zarr", mask_and_scale=wanted, chunks=chunks)
    except (OSError, ValueError, KeyError) as exc:
        raise DataError(f"{cube}: cannot be opened ({exc}): convert again") from exc


def _in_time(cubes: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put cubes of one tile one after the other."""
    import numpy as np
    import xarray as xr

    if len(cubes) == 1:
        return cubes[0]
    _check_alike(cubes)
    plain = [cube.drop_vars("provenance", errors="ignore") for cube in cubes]
    joined = xr.concat(
        fill_coordinates(plain),
        "time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs=agreed,
    )
    joined = joined.isel(time=np.lexsort((joined.collection.values, joined.time.values)))
    seen = list(zip(joined.solar_day.values.tolist(), joined.collection.values, strict=True))
    if len(set(seen)) < len(seen):
        twice = next(day for day in seen if seen.count(day) > 1)
        raise InputError(
            f"{np.datetime64(twice[0], 'ns')} of {twice[1]} is in two of these cubes: convert them "
            "with join"
        )
    return joined


def _check_alike(cubes: Sequence[xr.Dataset]) -> None:
    first = cubes[0]
    for cube in cubes[1:]:
        if set(cube.data_vars) != set(first.data_vars):
            other = set(cube.data_vars) ^ set(first.data_vars)
            raise InputError(
                f"{first.attrs.get('title')} and {cube.attrs.get('title')} cannot be one dataset: "
                f"only one has {', '.join(sorted(map(str, other)))}"
            )
        if cube.spatial_ref.attrs.get("crs_wkt") != first.spatial_ref.attrs.get("crs_wkt"):
            raise InputError(
                f"{first.attrs.get('title')} and {cube.attrs.get('title')} cannot be one dataset: "
                "they differ in CRS"
            )
        differing = next(
            (
                f"{key} of {name}"
                for name in first.data_vars
                for key in _PACKING
                if not same(first[name].attrs.get(key), cube[name].attrs.get(key))
            ),
            None,
        )
        if differing:
            raise InputError(
                f"{first.attrs.get('title')} and {cube.attrs.get('title')} cannot be one dataset: "
                f"they differ in {differing}: open them with scaled=True"
            )


def _side_by_side(tiles: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put tiles side by side: a step for each (solar day, collection) of any of them."""
    import numpy as np
    import xarray as xr

    _check_alike(tiles)
    steps: dict[tuple[Any, str], Any] = {}
    for tile in tiles:
        rows = zip(tile.solar_day.values, tile.collection.values, tile.time.values, strict=True)
        for day, collection, time in rows:
            key = (day, str(collection))
            steps[key] = min(steps.get(key, time), time)
    order = sorted(steps, key=lambda key: (steps[key], key[1]))
    number = {key: i for i, key in enumerate(order)}
    placed, places = [], []
    for tile in tiles:
        keys = zip(tile.solar_day.values, tile.collection.values, strict=True)
        mine = [number[day, str(collection)] for day, collection in keys]
        places.append(mine)
        bare = tile.drop_vars([*per_step(tile), "time", "provenance"], errors="ignore")
        fills = {n: v.attrs.get("_FillValue", _empty(v)) for n, v in bare.data_vars.items()}
        placed.append(
            bare.assign_coords(time=mine).reindex(time=range(len(order)), fill_value=fills)
        )
    mosaic = xr.combine_by_coords(
        placed,
        join="outer",
        combine_attrs=agreed,
        coords="minimal",
        compat="override",
        data_vars="all",
        fill_value=fills,
    )
    assert isinstance(mosaic, xr.Dataset)
    mosaic = mosaic.sortby("y", ascending=False)
    mosaic["spatial_ref"].attrs = _georeference(tiles, mosaic)
    first = tiles[0]
    ids = np.array([collection for _, collection in order], dtype=object)
    return mosaic.assign_coords(
        time=("time", np.array([steps[key] for key in order]), first.time.attrs),
        solar_day=("time", np.array([day for day, _ in order]), first.solar_day.attrs),
        collection=("time", ids, first.collection.attrs),
        **combine_steps(tiles, places, len(order)),
    )


def _georeference(tiles: Sequence[xr.Dataset], mosaic: xr.Dataset) -> dict[str, Any]:
    """Return the grid mapping of all tiles: the origin is not that of any one of them."""
    import numpy as np

    known = agreed([tile.spatial_ref.attrs for tile in tiles])
    given = [str(tile.spatial_ref.attrs.get("GeoTransform", "")).split() for tile in tiles]
    gapless = all(
        np.allclose(np.diff(mosaic[axis]), np.diff(mosaic[axis])[0]) for axis in ("x", "y")
    )
    if gapless and all(len(numbers) == 6 for numbers in given):
        left = min(float(numbers[0]) for numbers in given)
        top = max(float(numbers[3]) for numbers in given)
        known["GeoTransform"] = " ".join([repr(left), *given[0][1:3], repr(top), *given[0][4:]])
    return known


def _empty(variable: xr.DataArray) -> Any:
    return variable.dtype.type(0) if variable.dtype.kind in "biu" else float("nan")
