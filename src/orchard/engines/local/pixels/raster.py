"""Files of scenes as grids of blocks: TIFF by our own reader, everything else through GDAL."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rasterio
from pyproj.exceptions import ProjError
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from orchard.tiff import directory
from orchard.tiff.codecs import decode
from orchard.tiff.files import is_remote, local_path, open_file

from .geo import Grid, checked_georeference, georeference, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchard.tiff.files import File

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["READ_ERRORS", "Block", "Raster", "open_raster"]

# What comes out of a file that cannot be read or is broken, from whichever library.
READ_ERRORS = (OSError, ValueError, ArithmeticError, LookupError, MemoryError, ProjError)

# Holds the directories of most cloud-optimized files.
HEAD_BYTES = 16 << 10
# Files that GDAL reads in strips are taken in taller ones.
STRIP_ROWS = 256

Block = tuple[int, int]


class Raster(Protocol):
    """One file.

    Attributes
    ----------
    grid : Grid
        Where its pixels are.
    bands : int
        How many it has.
    block : tuple of int
        (rows, columns) of pixels of a block.
    """

    grid: Grid
    bands: int
    block: tuple[int, int]

    def dtype(self, band: int) -> np.dtype[Any]:
        """Of a band, in native byte order."""

    def nodata(self, band: int) -> float | None:
        """What the file says is nodata in a band."""

    def fetch(self, blocks: Sequence[Block], band: int) -> list[Any]:
        """Bytes of blocks (row, column), to be handed to `decode` one by one.

        Raises
        ------
        OSError, ValueError
            They cannot be read.
        """

    def decode(self, block: Block, data: Any, band: int) -> tuple[Array, Array | None]:
        """Pixels of a block, cut to the file's size, and whether each is valid (None: all are).

        Raises
        ------
        OSError, ValueError
            A broken block.
        """


def open_raster(href: str) -> Raster:
    """Open a file by path or URL, and read its header.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or is not georeferenced.
    """
    if not _has_sidecar(href):
        try:
            return TiffRaster(href)
        except directory.Unsupported:
            pass
    return GdalRaster(href)


def _has_sidecar(href: str) -> bool:
    # GDAL keeps masks and whatever TIFF has no place for beside the file.
    if is_remote(href):
        return False
    path = local_path(href)
    return any(Path(path + end).exists() for end in (".msk", ".aux.xml"))


class _Head:
    """The beginning of a file, read once; what lies beyond is read when asked for."""

    def __init__(self, file: File) -> None:
        self._file = file
        (self._data,) = file.read([(0, HEAD_BYTES)])

    def read(self, offset: int, size: int) -> bytes:
        if offset + size <= len(self._data):
            return self._data[offset : offset + size]
        return self._file.read([(offset, size)])[0]


class TiffRaster:
    """A TIFF file, read block by block without GDAL."""

    def __init__(self, href: str) -> None:
        self._file = open_file(href)
        images = list(directory.directories(_Head(self._file).read))
        self._index = directory.block_index(images[0])
        crs, transform = georeference(tags_of(images[0]))
        height, width = self._index.height, self._index.width
        self.grid = Grid(crs=crs, transform=transform, height=height, width=width)
        self.bands = self._index.bands
        self.block = self._index.format.shape
        self._nodata = None
        if directory.GDAL_NODATA in images[0]:
            self._nodata = float(images[0].text(directory.GDAL_NODATA))
        self._mask = self._find_mask(images[1:])

    def _find_mask(self, images: Sequence[directory.Directory]) -> directory.BlockIndex | None:
        for image in images:
            kind = image.number(directory.SUBFILE_TYPE, 0)
            if kind & directory.MASK and not kind & directory.REDUCED:
                index = directory.block_index(image)
                if index.grid != self._index.grid or index.format.shape != self.block:
                    raise directory.Unsupported("a mask with blocks of its own")
                return index
        return None

    def dtype(self, band: int) -> np.dtype[Any]:
        """Of a band, in native byte order."""
        del band  # one dtype a file
        native: np.dtype[Any] = self._index.format.dtype.newbyteorder("=")
        return native

    def nodata(self, band: int) -> float | None:
        """What the file says is nodata in a band."""
        del band  # one nodata a file
        return self._nodata

    def fetch(self, blocks: Sequence[Block], band: int) -> list[tuple[bytes, bytes]]:
        """Bytes of blocks and of their masks."""
        spans = [self._index.span(*block, band) for block in blocks]
        if self._mask is not None:
            spans += [self._mask.span(*block, 1) for block in blocks]
        wanted = [span for span in spans if span[1]]
        parts = iter(self._file.read(wanted) if wanted else ())
        data = [self._whole(next(parts), size) if size else b"" for _, size in spans]
        masks = data[len(blocks) :] or [b""] * len(blocks)
        return list(zip(data[: len(blocks)], masks, strict=True))

    @staticmethod
    def _whole(data: bytes, size: int) -> bytes:
        if len(data) != size:
            raise ValueError("the file ends within a block")
        return data

    def decode(
        self, block: Block, data: tuple[bytes, bytes], band: int
    ) -> tuple[Array, Array | None]:
        """Pixels of a block, and whether each is valid."""
        rows = min(self.block[0], self.grid.height - block[0] * self.block[0])
        cols = min(self.block[1], self.grid.width - block[1] * self.block[1])
        pixels, mask = data
        form = self._index.format
        if pixels:
            sample = 0 if self._index.planar else band - 1
            values = decode(pixels, form)[:rows, :cols, sample]
        else:
            values = np.full((rows, cols), self._index.fill, form.dtype.newbyteorder("="))
        if values.shape != (rows, cols):
            raise ValueError("a broken block: it is too short")
        if self._mask is None:
            return values, None
        if not mask:
            return values, np.zeros((rows, cols), bool)
        return values, decode(mask, self._mask.format)[:rows, :cols, 0] != 0


class GdalRaster:
    """Any file that GDAL reads, one block at a time (its drivers are not all safe in threads)."""

    def __init__(self, href: str) -> None:
        self._lock = threading.Lock()
        # Neighbours of a remote file are not looked for: that would be a request each.
        options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"} if is_remote(href) else {}
        with _gdal_errors(), rasterio.Env(**options):
            self._file = rasterio.open(_gdal_name(href))
            crs, transform = checked_georeference(self._file)
        height, width = self._file.shape
        self.grid = Grid(crs=crs, transform=transform, height=height, width=width)
        self.bands = self._file.count
        rows, cols = self._file.block_shapes[0]
        self.block = (min(max(rows, STRIP_ROWS), height), cols)

    def dtype(self, band: int) -> np.dtype[Any]:
        """Of a band."""
        name: str = self._file.dtypes[band - 1]
        return np.dtype(name)

    def nodata(self, band: int) -> float | None:
        """What the file says is nodata in a band."""
        value = self._file.nodatavals[band - 1]
        return None if value is None else float(value)

    def fetch(self, blocks: Sequence[Block], band: int) -> list[None]:
        """Nothing: GDAL reads when it decodes."""
        del band
        return [None] * len(blocks)

    def decode(self, block: Block, data: None, band: int) -> tuple[Array, Array | None]:
        """Pixels of a block, and whether each is valid."""
        del data
        row, col = block[0] * self.block[0], block[1] * self.block[1]
        rows = min(self.block[0], self.grid.height - row)
        cols = min(self.block[1], self.grid.width - col)
        window = RasterWindow(col, row, cols, rows)
        with self._lock, _gdal_errors():
            values = self._file.read(band, window=window)
            if self._file.mask_flag_enums[band - 1] in ([MaskFlags.all_valid], [MaskFlags.nodata]):
                return values, None
            return values, self._file.read_masks(band, window=window) > 0


def _gdal_name(href: str) -> str:
    if href.startswith("s3://"):
        return "/vsis3/" + href.removeprefix("s3://")
    return "/vsicurl/" + href if is_remote(href) else local_path(href)


@contextmanager
def _gdal_errors() -> Iterator[None]:
    try:
        yield
    except RasterioError as exc:
        raise OSError(str(exc)) from exc
