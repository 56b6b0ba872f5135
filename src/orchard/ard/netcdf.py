"""NetCDF-4 cubes: chunks encoded by the workers, put into the file by HDF5's direct chunk write."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import DataError

from .codec import Deflate, is_fill, padded
from .disk import begin_flush, flush

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from orchard.preard import Window

    from .coords import Coordinate
    from .plan import CubePlan

__all__ = ["NetcdfWriter"]

# Written before the disk is told to begin.
_FLUSH_BYTES = 32 << 20

Payload = tuple[str, list[tuple[tuple[int, int, int], bytes]]]


@dataclass(frozen=True, kw_only=True)
class _ChunkEncoder:
    """Cuts windows into chunks and encodes each."""

    shape: tuple[int, int, int]
    fills: Mapping[str, float | None]
    deflate: Deflate | None

    def encode(
        self, name: str, span: tuple[int, int], window: Window, data: NDArray[Any]
    ) -> Payload:
        """Return the variable's name and its chunks: offset in the variable, stored bytes."""
        _, height, width = self.shape
        fill = self.fills[name]
        chunks = []
        for row in range(0, window.height, height):
            for col in range(0, window.width, width):
                part = data[:, row : row + height, col : col + width]
                # Nothing is stored for a chunk of fill: readers fill in what is not there.
                if is_fill(part, 0 if fill is None else fill):
                    continue
                whole = padded(part, self.shape, 0 if fill is None else fill)
                offset = (span[0], window.row_off + row, window.col_off + col)
                encoded = self.deflate.encode(whole) if self.deflate else whole.tobytes()
                chunks.append((offset, encoded))
        return name, chunks


class NetcdfWriter:
    """Writes one cube into one file.

    Parameters
    ----------
    path : Path
        Of the file; it must not exist.
    plan : CubePlan
    """

    suffix = ".nc"
    grow_units = False

    def __init__(self, path: Path, plan: CubePlan) -> None:
        self.path = path
        self.plan = plan
        self._file: Any = None
        self._waiting = self._flushed = 0
        self._chunks: dict[str, int] = dict.fromkeys(plan.variables, 0)
        encoding = plan.options.encoding
        self._deflate = Deflate(level=encoding.level and min(encoding.level, 9))
        self._compress = encoding.compress

    @property
    def encoder(self) -> _ChunkEncoder:
        """What the workers need."""
        chunks = self.plan.chunks
        return _ChunkEncoder(
            shape=(chunks.time, chunks.y, chunks.x),
            fills={name: v.fill for name, v in self.plan.variables.items()},
            deflate=self._deflate if self._compress else None,
        )

    def create(
        self,
        coordinates: Mapping[str, Coordinate],
        attributes: Mapping[str, Mapping[str, Any]],
        title: Mapping[str, Any],
    ) -> None:
        """Make the file with its dimensions, coordinates and empty variables.

        Parameters
        ----------
        coordinates : mapping of str to Coordinate
        attributes : mapping of str to mapping
            Of each variable.
        title : mapping
            Attributes of the file.
        """
        import h5netcdf
        import h5py

        with h5netcdf.File(self.path, "w") as file:
            file.dimensions = dict(zip(("time", "y", "x"), self.plan.shape, strict=True))
            file.attrs.update(title)
            for name, coordinate in coordinates.items():
                _put_coordinate(file, name, coordinate)
            for name in self.plan.variables:
                self._create_variable(file, name, attributes[name])
        self._file = h5py.File(self.path, "r+")

    def _create_variable(self, file: Any, name: str, attributes: Mapping[str, Any]) -> None:
        variable, chunks = self.plan.variables[name], self.plan.chunks
        filters: dict[str, Any] = {}
        if self._compress:
            size = np.dtype(variable.dtype).itemsize
            filters = {"compression": "gzip", "compression_opts": self._deflate.level or 1}
            # The same filters as in Deflate.encode: readers go by what is said here.
            filters["shuffle"] = size > 1
        made = file.create_variable(
            name,
            ("time", "y", "x"),
            np.dtype(variable.dtype),
            chunks=(chunks.time, chunks.y, chunks.x),
            fillvalue=variable.fill,
            **filters,
        )
        made.attrs.update(attributes)

    def accept(self, payload: Payload) -> None:
        """Put the chunks of a window where they belong."""
        name, chunks = payload
        dataset = self._file[name].id
        for offset, data in chunks:
            dataset.write_direct_chunk(offset, data)
        self._chunks[name] += len(chunks)
        self._waiting += sum(len(data) for _, data in chunks)
        if self._waiting >= _FLUSH_BYTES:
            self._begin_flush()

    def _begin_flush(self) -> None:
        # HDF5 puts new chunks at the end of the file.
        descriptor = self._file.id.get_vfd_handle()
        size = os.fstat(descriptor).st_size
        begin_flush(descriptor, self._flushed, size - self._flushed)
        self._flushed, self._waiting = size, 0

    def finish(self, measured: Mapping[str, NDArray[Any]]) -> None:
        """Write what was measured, check that every chunk is there, and flush to disk."""
        for name, values in measured.items():
            self._file[name][...] = values
        self._file.flush()
        for name, count in self._chunks.items():
            stored = self._file[name].id.get_num_chunks()
            if stored != count:
                raise DataError(f"{self.path}: {name} has {stored} chunks instead of {count}")
        self.close()
        flush(self.path)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def assets(self, final: Path) -> Iterable[tuple[str, Path]]:
        """Give the name and the final path of each file."""
        yield "data", final


def _put_coordinate(file: Any, name: str, coordinate: Coordinate) -> None:
    import h5py

    values = coordinate.values
    if values.dtype.kind == "O":
        made = file.create_variable(name, coordinate.dims, h5py.string_dtype())
        made[...] = values
    else:
        made = file.create_variable(name, coordinate.dims, values.dtype, data=values)
    made.attrs.update(coordinate.attributes)
