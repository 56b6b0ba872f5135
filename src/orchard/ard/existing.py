"""Cubes made earlier, read again: how they were made, and their pixels for longer cubes."""

from __future__ import annotations

import copy
import json
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import DataError
from orchard.preard import ImageMetadata, Scene, Window

from .codec import Deflate
from .provenance import SourceImage, read_provenance
from .reader import BlockShape, translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .plan import CubePlan

__all__ = ["RECORD", "CubeSource", "Record", "make_record", "open_cube", "read_record"]

#: The variable (or file) of a cube that tells how it was made.
RECORD = "provenance"


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a cube was made.

    Attributes
    ----------
    sources : tuple of SourceImage
    options : mapping
        See `Options.to_dict`.
    documents : tuple of ImageMetadata
        One per collection, with the steps of that collection as its acquisitions.
    steps : tuple of tuple of int
        For each document, the number in the cube of each of its acquisitions.
    tasks : tuple of tuple of str
        Of each step of the cube: the tasks whose images are in it.
    """

    sources: tuple[SourceImage, ...]
    options: Mapping[str, Any]
    documents: tuple[ImageMetadata, ...]
    steps: tuple[tuple[int, ...], ...]
    tasks: tuple[tuple[str, ...], ...]


def make_record(
    *,
    sources: Sequence[SourceImage],
    options: Mapping[str, Any],
    images: Sequence[ImageMetadata],
    tasks: Sequence[Sequence[str]],
    plan: CubePlan,
) -> str:
    """Return the text that a cube keeps of how it was made; see `Record`."""
    steps = plan.steps
    documents, numbers = [], []
    for name in dict.fromkeys(step.collection for step in steps):
        mine = [i for i, step in enumerate(steps) if step.collection == name]
        of_it = [image for image in images if image.collection_id == name]
        bands = {band for image in of_it for band in image.bands}
        document = copy.deepcopy(dict(of_it[0].raw))
        document["image"] |= {
            "bands": [band.name for band in plan.bands if band.name in bands],
            "dtype": plan.dtype,
            "dates": [str(steps[i].day) for i in mine],
            "images": [
                [_scene(scene, plan.options.metadata) for scene in steps[i].scenes] for i in mine
            ],
        }
        documents.append(document)
        numbers.append(mine)
    text = {
        "sources": [source.to_dict() for source in sources],
        "options": dict(options),
        "documents": documents,
        "steps": numbers,
        "tasks": [list(names) for names in tasks],
    }
    return json.dumps(text, separators=(",", ":"))


def _scene(scene: Scene, metadata: bool) -> dict[str, Any]:
    if metadata:
        return dict(scene.metadata)
    return {"id": scene.id, "system:time_start": scene.metadata["system:time_start"]}


def read_record(path: Path) -> Record | None:
    """Read how a cube was made; None where there is no cube, or not one of ours.

    Raises
    ------
    DataError
        When it is one but cannot be read.
    """
    try:
        text = _record_text(path)
    except (OSError, KeyError, ValueError) as exc:
        raise DataError(f"{path}: is not a whole cube ({exc}): remove it or overwrite it") from exc
    if text is None:
        return None
    found = json.loads(text)
    return Record(
        sources=read_provenance(found["sources"]),
        options=found["options"],
        documents=tuple(
            ImageMetadata.from_dict(d, document=f"{path}: {RECORD}") for d in found["documents"]
        ),
        steps=tuple(tuple(numbers) for numbers in found["steps"]),
        tasks=tuple(tuple(names) for names in found["tasks"]),
    )


def _record_text(path: Path) -> str | None:
    if path.suffix == ".cog":
        file = path / f"{RECORD}.json"
        return file.read_text("utf-8") if file.exists() else None
    if not path.exists():
        return None
    if path.suffix == ".zarr":
        import zarr

        return str(zarr.open_array(path / RECORD, mode="r")[()])
    import h5py

    with h5py.File(path, "r") as file:
        return str(file[RECORD].asstr()[()])


class CubeSource(ABC):
    """Pixels of some steps of a cube; see `PixelSource`. Safe to use from many threads.

    Parameters
    ----------
    path : Path
    steps : sequence of int
        The numbers in the cube of the dates that are read.
    bands : sequence of str
    dtype : str
    fill : number
    """

    block: BlockShape

    def __init__(
        self, path: Path, *, steps: Sequence[int], bands: Sequence[str], dtype: str, fill: float
    ) -> None:
        self.path = path
        self.steps = tuple(steps)
        self.bands = tuple(bands)
        self.dtype = dtype
        self.fill = fill
        self._local = threading.local()
        self.block = self._block()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def read(
        self,
        dates: Sequence[int],
        bands: Sequence[int],
        window: Window,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Return ``(len(dates), len(bands), height, width)``."""
        shape = (len(dates), len(bands), window.height, window.width)
        array: NDArray[Any] = np.empty(shape, self.dtype) if out is None else out
        steps = [self.steps[date] for date in dates]
        for i, band in enumerate(bands):
            self._read_band(self.bands[band], steps, window, array[:, i])
        return array

    @abstractmethod
    def _block(self) -> BlockShape:
        """Return how the cube is stored."""

    @abstractmethod
    def _read_band(self, name: str, steps: list[int], window: Window, out: NDArray[Any]) -> None:
        """Read some steps of a window of a variable into ``(steps, height, width)``."""

    def close(self) -> None:
        """Close all files."""
        self._local = threading.local()


class _NetcdfSource(CubeSource):
    """Takes chunks out of the file as they are, and decodes them beside other threads."""

    def _block(self) -> BlockShape:
        _, height, width = self._file()[self.bands[0]].chunks
        return BlockShape(height=height, width=width, pixel=False)

    def _file(self) -> Any:
        import h5py

        if not hasattr(self._local, "file"):
            self._local.file = h5py.File(self.path, "r")
        return self._local.file

    def _read_band(self, name: str, steps: list[int], window: Window, out: NDArray[Any]) -> None:
        dataset = self._file()[name]
        depth, height, width = dataset.chunks
        bottom, right = window.row_off + window.height, window.col_off + window.width
        for t in sorted({step // depth for step in steps}):
            places = [(i, step - t * depth) for i, step in enumerate(steps) if step // depth == t]
            for row in range(window.row_off // height * height, bottom, height):
                for col in range(window.col_off // width * width, right, width):
                    chunk = self._chunk(dataset, (t * depth, row, col))
                    rows = slice(max(row, window.row_off), min(row + height, bottom))
                    cols = slice(max(col, window.col_off), min(col + width, right))
                    target = (_moved(rows, window.row_off), _moved(cols, window.col_off))
                    part = chunk[:, _moved(rows, row), _moved(cols, col)]
                    for i, step in places:
                        out[i][target] = part[step]

    def _chunk(self, dataset: Any, offset: tuple[int, int, int]) -> NDArray[Any]:
        if dataset.id.get_chunk_info_by_coord(offset).byte_offset is None:
            return np.full(dataset.chunks, self.fill, self.dtype)
        _, data = dataset.id.read_direct_chunk(offset)
        if dataset.compression is None:
            return np.frombuffer(data, self.dtype).reshape(dataset.chunks)
        return Deflate.decode(data, self.dtype, dataset.chunks)

    def close(self) -> None:
        """Close the file of this thread; the others' go with their threads."""
        if hasattr(self._local, "file"):
            self._local.file.close()
        super().close()


def _moved(part: slice, origin: int) -> slice:
    return slice(part.start - origin, part.stop - origin)


class _ZarrSource(CubeSource):
    def _block(self) -> BlockShape:
        _, height, width = self._array(self.bands[0]).chunks
        return BlockShape(height=height, width=width, pixel=False)

    def _array(self, name: str) -> Any:
        import zarr

        return zarr.open_array(self.path / name, mode="r")

    def _read_band(self, name: str, steps: list[int], window: Window, out: NDArray[Any]) -> None:
        first, last = min(steps), max(steps) + 1
        part = self._array(name)[
            first:last,
            window.row_off : window.row_off + window.height,
            window.col_off : window.col_off + window.width,
        ]
        out[...] = part[np.array(steps) - first]


class _CogSource(CubeSource):
    """Reads the GeoTIFFs by the names that a list of the cube's steps gives."""

    def _block(self) -> BlockShape:
        import rasterio

        with rasterio.open(self._path(self.bands[0], 0)) as dataset:
            height, width = dataset.block_shapes[0]
        return BlockShape(height=height, width=width, pixel=False)

    def _path(self, name: str, step: int) -> Path:
        names = json.loads((self.path / "steps.json").read_bytes())
        return self.path / f"{names[step]}_{name}.tif"

    def _read_band(self, name: str, steps: list[int], window: Window, out: NDArray[Any]) -> None:
        import rasterio

        place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
        for i, step in enumerate(steps):
            path = self._path(name, step)
            with translated(path), rasterio.open(path) as dataset:
                out[i] = dataset.read(1, window=place)


_SOURCES: dict[str, type[CubeSource]] = {
    ".nc": _NetcdfSource,
    ".zarr": _ZarrSource,
    ".cog": _CogSource,
}


def open_cube(path: Path, record: Record, number: int, dates: Sequence[int]) -> CubeSource:
    """Open some dates of one of a cube's documents as a source of pixels."""
    document = record.documents[number]
    assert document.dtype is not None
    return _SOURCES[path.suffix](
        path,
        steps=[record.steps[number][date] for date in dates],
        bands=document.bands,
        dtype=document.dtype,
        fill=0 if document.nodata is None else document.nodata,
    )
