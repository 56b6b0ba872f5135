"""Zarr v3 cubes: each worker encodes and writes whole shards, so that workers never meet.

Arrays and their metadata are made by zarr-python; shards are written here, as the specification of
the ``sharding_indexed`` codec has them (inner chunks, then an index of offsets and lengths with its
CRC-32C): no chunk passes through another process or through zarr-python's event loop.
"""

from __future__ import annotations

import base64
import os
import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import DataError

from .codec import is_fill, padded
from .disk import begin_flush, flush_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from orchard.preard import Window

    from .coords import Coordinate
    from .plan import CubePlan, Variable

__all__ = ["ZarrWriter", "crc32c"]

_ABSENT = 2**64 - 1
_LEVEL = 1
# Blosc's own choice of block suits the L1 cache; a larger one is twice as fast here, and smaller.
_BLOSC_BLOCK = 2**20

_PROJ = {
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/proj/blob/v1/README.md",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}
_SPATIAL = {
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
    "name": "spatial:",
    "description": "Spatial coordinate information",
}


@dataclass(frozen=True, kw_only=True)
class _ShardWriter:
    """Writes one shard per span and unit."""

    path: Path
    chunk: tuple[int, int, int]
    unit: tuple[int, int]
    variables: Mapping[str, Variable]
    level: int | None

    def encode(
        self, name: str, span: tuple[int, int], window: Window, data: NDArray[Any]
    ) -> tuple[str, int]:
        """Write the shard of a window; return the variable's name and the shards written."""
        variable = self.variables[name]
        fill = 0 if variable.fill is None else variable.fill
        parts: list[bytes] = []
        index: list[int] = []
        offset = 0
        for row in range(0, self.unit[0], self.chunk[1]):
            for col in range(0, self.unit[1], self.chunk[2]):
                part = data[:, row : row + self.chunk[1], col : col + self.chunk[2]]
                if not part.size or is_fill(part, fill):
                    index += [_ABSENT, _ABSENT]
                    continue
                parts.append(self._compress(padded(part, self.chunk, fill)))
                index += [offset, len(parts[-1])]
                offset += len(parts[-1])
        if not parts:
            return name, 0
        table = struct.pack(f"<{len(index)}Q", *index)
        place = self.path / name / "c" / str(span[0] // self.chunk[0])
        file = place / str(window.row_off // self.unit[0]) / str(window.col_off // self.unit[1])
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as shard:
            shard.writelines([*parts, table, struct.pack("<I", crc32c(table))])
            shard.flush()
            begin_flush(shard.fileno())
        return name, 1

    def _compress(self, chunk: NDArray[Any]) -> bytes:
        from numcodecs import blosc

        whole = np.ascontiguousarray(chunk)
        if self.level is None:
            return whole.tobytes()
        bits = blosc.BITSHUFFLE if _shuffled(whole.dtype) else blosc.NOSHUFFLE
        return bytes(blosc.compress(whole, b"zstd", self.level, bits, _BLOSC_BLOCK))


def _shuffled(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize > 1


class ZarrWriter:
    """Writes one cube into one folder.

    Parameters
    ----------
    path : Path
        Of the folder; it must not exist.
    plan : CubePlan
    """

    suffix = ".zarr"
    grow_units = True

    def __init__(self, path: Path, plan: CubePlan) -> None:
        self.path = path
        self.plan = plan
        self._shards = dict.fromkeys(plan.variables, 0)
        encoding = plan.options.encoding
        self._level = (encoding.level or _LEVEL) if encoding.compress else None

    @property
    def encoder(self) -> _ShardWriter:
        """What the workers need."""
        chunks = self.plan.chunks
        return _ShardWriter(
            path=self.path,
            chunk=(chunks.time, chunks.y, chunks.x),
            unit=self.plan.unit,
            variables=self.plan.variables,
            level=self._level and min(self._level, 9),
        )

    def create(
        self,
        coordinates: Mapping[str, Coordinate],
        attributes: Mapping[str, Mapping[str, Any]],
        title: Mapping[str, Any],
    ) -> None:
        """Make the group with its coordinates and empty arrays; see `NetcdfWriter.create`."""
        import zarr

        group = zarr.create_group(
            self.path, attributes={**_plain(title), **self._conventions()}, zarr_format=3
        )
        for name, coordinate in coordinates.items():
            _put_coordinate(group, name, coordinate)
        for name in self.plan.variables:
            self._create_array(group, name, attributes[name])

    def _create_array(self, group: Any, name: str, attributes: Mapping[str, Any]) -> None:
        from zarr.codecs import BloscCodec

        variable, chunks, unit = self.plan.variables[name], self.plan.chunks, self.plan.unit
        dtype = np.dtype(variable.dtype if variable.kind == "band" else bool)
        known = _plain(attributes)
        if variable.kind != "band":
            # A real boolean needs neither a hint nor values.
            known = {k: v for k, v in known.items() if k not in ("dtype", "flag_values")}
        elif variable.fill is not None:
            known["_FillValue"] = _encoded_fill(variable.fill, dtype)
        compressor = None
        if self._level is not None:
            compressor = BloscCodec(
                typesize=dtype.itemsize,
                cname="zstd",
                clevel=min(self._level, 9),
                shuffle="bitshuffle" if _shuffled(dtype) else "noshuffle",
                blocksize=_BLOSC_BLOCK,
            )
        group.create_array(
            name,
            shape=self.plan.shape,
            dtype=dtype,
            chunks=(chunks.time, chunks.y, chunks.x),
            shards=(chunks.time, *unit),
            fill_value=dtype.type(0 if variable.fill is None else variable.fill),
            compressors=compressor,
            dimension_names=("time", "y", "x"),
            attributes=known,
        )

    def _conventions(self) -> dict[str, Any]:
        """Return the attributes of GeoZarr's conventions for CRS and transform."""
        tile = self.plan.tile
        authority = tile.crs.to_authority()
        crs = {"proj:code": ":".join(authority)} if authority else {"proj:wkt2": tile.crs.to_wkt()}
        return {
            "zarr_conventions": [_PROJ, _SPATIAL],
            **crs,
            "spatial:dimensions": ["y", "x"],
            "spatial:transform_type": "affine",
            "spatial:transform": list(tile.transform)[:6],
            "spatial:bbox": list(tile.bounds),
            "spatial:shape": [tile.height, tile.width],
            "spatial:registration": "pixel",
        }

    def accept(self, payload: tuple[str, int]) -> None:
        """Count the shards that a worker has written."""
        name, shards = payload
        self._shards[name] += shards

    def finish(self, measured: Mapping[str, NDArray[Any]]) -> None:
        """Write what was measured, check that every shard is there, consolidate the metadata."""
        import zarr

        for name, values in measured.items():
            zarr.open_array(self.path / name, mode="r+")[:] = values
        for name, count in self._shards.items():
            stored = sum(len(files) for _, _, files in os.walk(self.path / name / "c"))
            if stored != count:
                raise DataError(
                    f"{self.path}: {name} has {stored} shards instead of {count}: do workers on "
                    "other machines have this very folder?"
                )
        with warnings.catch_warnings():
            # It is an agreed extension that every reader may ignore; zarr-python warns of it.
            warnings.filterwarnings("ignore", "Consolidated metadata")
            zarr.consolidate_metadata(self.path)
        flush_tree(self.path)

    def close(self) -> None:
        """Nothing is held open."""

    def assets(self, final: Path) -> Iterable[tuple[str, Path]]:
        """Give the name and the final path of the cube."""
        yield "data", final


def _put_coordinate(group: Any, name: str, coordinate: Coordinate) -> None:
    values = coordinate.values
    known = {k: v for k, v in _plain(coordinate.attributes).items() if k != "_FillValue"}
    text = values.dtype.kind == "O"
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=str if text else values.dtype,
        dimension_names=coordinate.dims,
        attributes=known,
        fill_value="" if text else np.nan if values.dtype.kind == "f" else 0,
    )
    array[...] = values


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as JSON has them."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in attributes.items()}


def _encoded_fill(fill: float, dtype: np.dtype[Any]) -> int | str:
    """Encode a fill value as xarray reads it from Zarr v3: floats as base64, for NaN's sake."""
    if dtype.kind == "f":
        return base64.standard_b64encode(struct.pack("<d", float(fill))).decode()
    return int(fill)


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, RFC 3720) of an index, a few hundred bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
