"""Pixels of a pre-ARD image: its shards, checked against its metadata, read as one array.

The GeoTIFFs may have any interleave, compression and shard layout. What we do not decode ourselves,
and what our decoders refuse, is GDAL's: it judges whether a file is broken.
"""

from __future__ import annotations

import itertools
import math
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.errors
import rasterio.windows

from orchard.errors import ShardError
from orchard.preard import ImageMetadata, ImageTile, Window, parse_shard_name
from orchard.tiff import Unsupported

from .blocks import BlockFile, let_go

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["BlockShape", "ImageReader", "Shard", "open_image"]

# What our reader says of files that are not for it, or broken; sizes that mean nothing do not fit
# into memory, nor into a number of the system's.
_REFUSED = (Unsupported, OSError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One file of an image, the window of the tile that it holds, and of which dates."""

    path: Path
    window: Window
    dates: range


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockShape:
    """How an image is stored: what has to be decoded together.

    ``pixel`` is True where the bands of a pixel lie together, so that a block holds all bands.
    """

    height: int
    width: int
    pixel: bool


class ImageReader:
    """Reads windows of a pre-ARD image; safe to use from many threads, and to send to a process.

    Parameters
    ----------
    shards : sequence of Shard
        They do not overlap.
    dtype : str
    bands : int
        Of one date.
    fill : number
        What pixels that no shard holds are.
    block : BlockShape
    """

    def __init__(
        self, shards: Sequence[Shard], *, dtype: str, bands: int, fill: float, block: BlockShape
    ) -> None:
        self.shards = tuple(shards)
        self.dtype = dtype
        self.bands = bands
        self.fill = fill
        self.block = block
        self._prepare()

    def _prepare(self) -> None:
        self._local = threading.local()
        self._opened: list[Any] = []
        self._lock = threading.Lock()
        self._files: dict[Path, BlockFile | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        own = ("_local", "_opened", "_lock", "_files")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def read(
        self,
        dates: Sequence[int],
        bands: Sequence[int],
        window: Window,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Read bands of some dates of a window of the tile.

        Parameters
        ----------
        dates, bands : sequence of int
            Counted from 0, in the order of the image.
        window : Window
            In pixels of the tile.
        out : array, optional
            C-contiguous, of the shape and dtype below, to read into.

        Returns
        -------
        array
            ``(len(dates), len(bands), height, width)``.

        Raises
        ------
        ShardError
            Names the file that cannot be decoded.
        """
        shape = (len(dates), len(bands), window.height, window.width)
        array: NDArray[Any] = np.empty(shape, self.dtype) if out is None else out
        parts = [(s, w) for s in self.shards if (w := _overlap(s.window, window)) is not None]
        found = sum(w.height * w.width * sum(d in s.dates for d in dates) for s, w in parts)
        if found < window.height * window.width * len(dates):
            array[...] = self.fill
        for shard, part in parts:
            # Most images have all dates in each file; a file of some has them in time.
            for first, last in _runs([date in shard.dates for date in dates]):
                # In the file the band is fastest, then the date.
                indexes = [
                    (date - shard.dates.start) * self.bands + band
                    for date in dates[first:last]
                    for band in bands
                ]
                flat = array[first:last].reshape(-1, window.height, window.width)
                row, col = part.row_off - window.row_off, part.col_off - window.col_off
                into = flat[:, row : row + part.height, col : col + part.width]
                inside = Window(
                    part.row_off - shard.window.row_off,
                    part.col_off - shard.window.col_off,
                    part.height,
                    part.width,
                )
                if not self._read_blocks(shard.path, indexes, inside, into):
                    self._read_by_gdal(shard.path, indexes, inside, into)
        return array

    def _read_blocks(
        self, path: Path, indexes: list[int], window: Window, out: NDArray[Any]
    ) -> bool:
        """Read bands, counted from 0, of a window of a file; False: that is for GDAL to do."""
        file = self._block_file(path)
        if file is None:
            return False
        try:
            file.read(indexes, window, out)
        except _REFUSED:
            return False
        return True

    def _block_file(self, path: Path) -> BlockFile | None:
        with self._lock:
            if path not in self._files:
                try:
                    self._files[path] = BlockFile(path)
                except _REFUSED:
                    self._files[path] = None
            return self._files[path]

    def _read_by_gdal(
        self, path: Path, indexes: list[int], window: Window, out: NDArray[Any]
    ) -> None:
        inside = rasterio.windows.Window(
            window.col_off, window.row_off, window.width, window.height
        )
        with translated(path):
            numbers = [index + 1 for index in indexes]  # GDAL counts from 1
            out[...] = self._open(path).read(numbers, window=inside)

    def _open(self, path: Path) -> Any:
        # A GDAL dataset belongs to one thread; opening one for each read would cost more than
        # the read of a small block.
        handles: dict[str, Any] = self._local.__dict__
        name = str(path)
        if name not in handles:
            handles[name] = rasterio.open(path)
            self._opened.append(handles[name])
        return handles[name]

    def close(self) -> None:
        """Close the files of every thread; no thread may be reading."""
        let_go()
        self._files.clear()
        while self._opened:
            self._opened.pop().close()
        self._local = threading.local()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Name the file in what GDAL raises."""
    try:
        yield
    except rasterio.errors.RasterioError as exc:
        cause = exc.__cause__ or exc
        raise ShardError(
            f"{path}: cannot be read, it is truncated or no GeoTIFF ({cause}): fetch it again"
        ) from exc


def _runs(wanted: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Give the runs of what is wanted: first, one after the last."""
    for value, run in itertools.groupby(enumerate(wanted), key=lambda pair: pair[1]):
        if value:
            places = [place for place, _ in run]
            yield places[0], places[-1] + 1


def _overlap(a: Window, b: Window) -> Window | None:
    row, col = max(a.row_off, b.row_off), max(a.col_off, b.col_off)
    height = min(a.row_off + a.height, b.row_off + b.height) - row
    width = min(a.col_off + a.width, b.col_off + b.width) - col
    return Window(row, col, height, width) if height > 0 and width > 0 else None


def open_image(metadata: ImageMetadata, files: Mapping[str, Path]) -> ImageReader:
    """Check the files of an image against its metadata.

    Parameters
    ----------
    metadata : ImageMetadata
    files : mapping of str to Path
        The image's own files, by name.

    Raises
    ------
    ShardError
        Names the file that is missing, truncated, or does not belong to the image.
    """
    _check_manifest(metadata, files)
    if not files:
        raise _missing(metadata, list(metadata.expected_files))
    found = [_check_file(metadata, name, path) for name, path in sorted(files.items())]
    dtypes = {header.dtype for header in found}
    if len(dtypes) > 1:
        raise ShardError(f"{metadata.document}: its shards differ in dtype: {sorted(dtypes)}")
    shards = [header.shard for header in found]
    for dates in metadata.date_groups:
        _check_cover(metadata, [shard for shard in shards if shard.dates == dates])
    return ImageReader(
        shards,
        dtype=found[0].dtype,
        bands=len(metadata.bands),
        fill=0 if metadata.nodata is None else metadata.nodata,
        # The largest shard tells most: those at the edge may be a single row.
        block=max(found, key=lambda h: h.shard.window.height * h.shard.window.width).block,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    shard: Shard
    dtype: str
    block: BlockShape


def _check_manifest(metadata: ImageMetadata, files: Mapping[str, Path]) -> None:
    missing = [record.name for record in metadata.manifest if record.name not in files]
    if missing:
        raise _missing(metadata, missing)
    for record in metadata.manifest:
        size = files[record.name].stat().st_size
        if record.size is not None and size != record.size:
            raise ShardError(
                f"{files[record.name]}: has {size} bytes, not the {record.size} that the task "
                "made: fetch it again"
            )


def _missing(metadata: ImageMetadata, names: Sequence[str]) -> ShardError:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ShardError(
        f"{metadata.document}: missing {', '.join(names[:5])}{more}: download the task again"
    )


def _check_file(metadata: ImageMetadata, name: str, path: Path) -> _Header:
    offset, dates = parse_shard_name(name).offset or (0, 0), metadata.dates_of(name)
    with translated(path), rasterio.open(path) as dataset:
        problem = _mismatch(metadata, dataset, offset, len(dates))
        if problem:
            raise ShardError(f"{path}: does not belong to {metadata.document}: {problem}")
        height, width = dataset.block_shapes[0]
        return _Header(
            shard=Shard(
                path=path, window=Window(*offset, dataset.height, dataset.width), dates=dates
            ),
            dtype=dataset.dtypes[0],
            block=BlockShape(
                height=height,
                width=width,
                pixel=dataset.count > 1
                and dataset.interleaving == rasterio.enums.Interleaving.pixel,
            ),
        )


def _mismatch(
    metadata: ImageMetadata, dataset: Any, offset: tuple[int, int], dates: int
) -> str | None:
    """Say what of a file is not as the metadata has it."""
    tile = metadata.tile
    row, col = offset
    count = len(metadata.bands) * dates
    if dataset.count != count:
        return (
            f"it has {dataset.count} bands, not {count} "
            f"({len(metadata.bands)} bands x {dates} dates)"
        )
    if metadata.dtype is not None and set(dataset.dtypes) != {metadata.dtype}:
        return f"its dtype is {dataset.dtypes[0]}, not {metadata.dtype}"
    if row + dataset.height > tile.height or col + dataset.width > tile.width:
        return f"{dataset.width} x {dataset.height} pixels at {offset} reach outside the tile"
    left, x, skew_x, top, skew_y, y = dataset.transform.to_gdal()
    here = (tile.bounds[0] + col * tile.res[0], tile.bounds[3] - row * tile.res[1])
    steps = (abs(x - tile.res[0]), abs(y + tile.res[1]), abs(skew_x), abs(skew_y))
    # A thousandth of a pixel over the whole tile is far above rounding.
    if max(steps) * max(tile.size) > 1e-3 * min(tile.res) or not (
        abs(left - here[0]) < 1e-2 * tile.res[0] and abs(top - here[1]) < 1e-2 * tile.res[1]
    ):
        return f"its transform {dataset.transform.to_gdal()} is not that of the tile at {offset}"
    nodata = dataset.nodata
    if nodata is not None and metadata.nodata is not None and not _same(nodata, metadata.nodata):
        return f"its nodata is {nodata}, not {metadata.nodata}"
    if dataset.crs and not _same_place(dataset.crs.to_wkt(), tile):
        return "its CRS is not that of the tile"
    return None


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _same_place(wkt: str, tile: ImageTile) -> bool:
    """Whether a CRS puts the tile where its own CRS does.

    The texts of one CRS differ from writer to writer; what it does to the corners does not.
    """
    import pyproj
    from pyproj.exceptions import ProjError

    if wkt == tile.crs:
        return True
    left, bottom, right, top = tile.bounds
    try:
        transformer = pyproj.Transformer.from_crs(wkt, tile.crs, always_xy=True)
        x, y = transformer.transform([left, right, left], [bottom, top, top])
    except ProjError:
        return False
    off = np.abs(np.array([x, y]) - [[left, right, left], [bottom, top, top]])
    return bool((off < 1e-2 * np.array(tile.res)[:, None]).all())


def _check_cover(metadata: ImageMetadata, shards: Sequence[Shard]) -> None:
    """Every pixel of the tile must be in exactly one shard (of those of the same dates)."""
    width, height = metadata.tile.size
    rows = sorted({0, height, *(r for s in shards for r in _ends(s.window)[0])})
    cols = sorted({0, width, *(c for s in shards for c in _ends(s.window)[1])})
    seen = np.zeros((len(rows) - 1, len(cols) - 1), int)
    for shard in shards:
        (top, bottom), (left, right) = _ends(shard.window)
        cells = (
            slice(rows.index(top), rows.index(bottom)),
            slice(cols.index(left), cols.index(right)),
        )
        if seen[cells].any():
            raise ShardError(f"{shard.path}: overlaps another shard of {metadata.document}")
        seen[cells] += 1
    if seen.all() or metadata.may_be_sparse:
        return
    have = {shard.path.name for shard in shards}
    names = [name for name in metadata.expected_files if name not in have]
    if shards and (not names or len(names) == len(metadata.expected_files)):
        row, col = (int(i[0]) for i in np.nonzero(seen == 0))
        names = [f"the shard at row {rows[row]}, column {cols[col]}"]
    raise _missing(metadata, names)


def _ends(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        (window.row_off, window.row_off + window.height),
        (window.col_off, window.col_off + window.width),
    )
