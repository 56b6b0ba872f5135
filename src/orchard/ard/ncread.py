"""Opens a NetCDF cube as a lazy dataset, straight through HDF5.

xarray's own way asks HDF5 for every property of every variable several times over: 0.2 s a cube of
forty variables, a matter of patience for an order. What is read here is read once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import BackendArray, CachingFileManager
from xarray.core import indexing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["open_netcdf"]

# What HDF5 and the netCDF library note for themselves.
_HIDDEN = frozenset(
    {
        "CLASS",
        "DIMENSION_LIST",
        "NAME",
        "REFERENCE_LIST",
        "_NCProperties",
        "_Netcdf4Coordinates",
        "_Netcdf4Dimid",
        "_nc3_strict",
    }
)


def open_netcdf(cube: Path, *, scaled: bool, lazy: bool) -> xr.Dataset:
    """Open a NetCDF cube; see `open_ard`.

    Parameters
    ----------
    cube : Path
    scaled : bool
        Decode bands to physical numbers; quality bands stay as stored.
    lazy : bool
        Give dask arrays of the file's own chunks.

    Raises
    ------
    OSError, KeyError, ValueError
        When it is no such file.
    """
    manager = CachingFileManager(h5py.File, str(cube), mode="r")
    try:
        file = manager.acquire()
        stored = xr.Dataset(dict(_variables(manager, file)), attrs=_attributes(file))
        wanted = {str(name): _is_number(v.attrs) for name, v in stored.variables.items()}
        # xarray's signature says bool, its documentation and code a mapping as well.
        decoded = xr.decode_cf(stored, mask_and_scale=wanted if scaled else False)  # type: ignore[arg-type]
    except BaseException:
        manager.close()
        raise
    if lazy:
        pixels = {str(n): v.variable.chunk(_chunks(v)) for n, v in decoded.data_vars.items()}
        decoded = decoded.assign(pixels)
    decoded.set_close(manager.close)
    decoded.encoding["source"] = str(cube)
    return decoded


def _is_number(attributes: Mapping[str, Any]) -> bool:
    return "flag_meanings" not in attributes


def _variables(manager: CachingFileManager[Any], file: Any) -> Iterator[tuple[str, xr.Variable]]:
    for name, dataset in file.items():
        dims = _dims(file, dataset)
        text = h5py.check_string_dtype(dataset.dtype) is not None
        array = _Stored(manager, name, dataset.shape, np.dtype(object) if text else dataset.dtype)
        encoding = {}
        if dataset.chunks is not None:
            encoding["preferred_chunks"] = dict(zip(dims, dataset.chunks, strict=True))
        lazy = indexing.LazilyIndexedArray(array)
        yield name, xr.Variable(dims, lazy, _attributes(dataset), encoding)


def _dims(file: Any, dataset: Any) -> tuple[str, ...]:
    if dataset.ndim == 3:  # nothing but pixels has three
        return ("time", "y", "x")
    if not dataset.ndim:
        return ()
    references = dataset.attrs.get("DIMENSION_LIST")
    if references is None:  # a dimension's own variable
        return (dataset.name.lstrip("/"),)
    return tuple(file[found[0]].name.lstrip("/") for found in references)


def _attributes(of: Any) -> dict[str, Any]:
    found = {}
    for name in of.attrs:
        if name not in _HIDDEN:
            value = of.attrs[name]
            single = isinstance(value, np.ndarray) and value.shape == (1,)
            found[name] = value[0] if single else value
    return found


def _chunks(variable: xr.DataArray) -> dict[str, int]:
    return dict(variable.encoding.get("preferred_chunks", {}))


class _Stored(BackendArray):
    """A variable of a file that is read when its numbers are asked for."""

    def __init__(
        self,
        manager: CachingFileManager[Any],
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self.manager = manager
        self.name = name
        self.shape = shape
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        # HDF5 has a lock of its own, which h5py holds while it reads.
        dataset = self.manager.acquire()[self.name]
        return np.asarray((dataset.asstr() if self.dtype == object else dataset)[key])
