"""Write a tiled, band-interleaved GeoTIFF block by block, from many threads, in any order.

The directories stand at the head of the file and are filled in last: until then the file does not
open. With overviews the file is a cloud-optimized GeoTIFF (OGC 21-026): their blocks come before
those of the full image, for which a second file is kept until the end.
"""

from __future__ import annotations

import os
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from xml.sax.saxutils import escape

import numpy as np

from orchard.tiff import directory
from orchard.tiff.codecs import NUMBERS, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from .request import Creation

    Array = np.ndarray[Any, np.dtype[Any]]
    Tag = tuple[int, int, bytes]  # (type, count, values)

__all__ = ["Layout", "TiffWriter", "plain_tiff"]

SHORT, LONG, LONG8, ASCII = 3, 4, 16, 2
KINDS = {"u": 1, "i": 2, "f": 3}
# A file of at least half its greatest possible size might, compressed badly, not fit: GDAL's
# BIGTIFF=IF_SAFER.
CLASSIC_LIMIT = 2**31
COPY_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a GeoTIFF holds.

    Parameters
    ----------
    height, width : int
        In pixels.
    descriptions : sequence of str
        One per band.
    dtype : dtype
        In native byte order.
    nodata : float
        Of all bands.
    geo : mapping of int to (type, count, bytes)
        GeoTIFF's tags.
    creation : Creation
        Blocks, codec, overviews.
    """

    height: int
    width: int
    descriptions: Sequence[str]
    dtype: np.dtype[Any]
    nodata: float
    geo: Mapping[int, Tag]
    creation: Creation

    @property
    def big(self) -> bool:
        """Whether it must be a BigTIFF."""
        pixels = sum(h * w for h, w in self.levels()) * len(self.descriptions)
        return pixels * self.dtype.itemsize >= CLASSIC_LIMIT

    @property
    def predictor(self) -> int:
        """TIFF's number of the predictor."""
        if not self.creation.predictor or self.creation.codec == "none":
            return 1
        return 3 if self.dtype.kind == "f" else 2

    def levels(self) -> list[tuple[int, int]]:
        """(height, width) of the image and its overviews, each half of the one before."""
        sizes = [(self.height, self.width)]
        while self.creation.cog and max(sizes[-1]) > self.creation.blocksize:
            height, width = sizes[-1]
            sizes.append((-(-height // 2), -(-width // 2)))
        return sizes

    def blocks(self, level: int) -> tuple[int, int]:
        """(rows, columns) of blocks."""
        height, width = self.levels()[level]
        size = self.creation.blocksize
        return -(-height // size), -(-width // size)


class TiffWriter:
    """A GeoTIFF in the making; a context manager, whose end completes the file.

    Parameters
    ----------
    path : Path
        Created; the caller removes it when anything fails.
    layout : Layout
        What it holds.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        self._files = [_File(path)]
        if layout.creation.cog:
            self._files.append(_File(path.with_name(path.name + ".full")))
        counts = [layout.blocks(k) for k in range(len(layout.levels()))]
        bands = len(layout.descriptions)
        self._offsets = [np.zeros((bands, *count), np.uint64) for count in counts]
        self._sizes = [np.zeros((bands, *count), np.uint32) for count in counts]
        self._files[0].end = len(self._head())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for file in self._files:
                file.close()
            if len(self._files) > 1:
                self._files[1].path.unlink(missing_ok=True)

    def write(self, band: int, values: Array, row: int = 0, col: int = 0) -> None:
        """Encode and write whole blocks of one band; safe to call from many threads.

        Parameters
        ----------
        band : int
            From 0.
        values : ndarray
            (y, x) pixels in the image's dtype.
        row, col : int
            Where they lie in the image: multiples of the size of a block (with overviews: values
            are the whole image).
        """
        size = self._layout.creation.blocksize
        self._level(0, band, values, row // size, col // size)
        for level in range(1, len(self._offsets)):
            # The upper left pixel of four: a value that was there, whatever the band means.
            values = values[::2, ::2]
            self._level(level, band, values, 0, 0)

    def _level(self, level: int, band: int, values: Array, row: int, col: int) -> None:
        size = self._layout.creation.blocksize
        height, width = values.shape
        for y in range(0, height, size):
            for x in range(0, width, size):
                block = values[y : y + size, x : x + size]
                if block.shape != (size, size):
                    full = np.full((size, size), self._layout.nodata, values.dtype)
                    full[: block.shape[0], : block.shape[1]] = block
                    block = full
                self._block(level, (band, row + y // size, col + x // size), block)

    def _block(self, level: int, place: tuple[int, int, int], values: Array) -> None:
        creation = self._layout.creation
        data = encode(values, creation.codec, creation.level, self._layout.predictor)
        file = self._files[-1] if level == 0 else self._files[0]
        self._offsets[level][place] = file.append(data)
        self._sizes[level][place] = len(data)

    def _finish(self) -> None:
        main = self._files[0]
        if len(self._files) > 1:
            self._offsets[0] += np.uint64(main.end)
            main.take(self._files[1])
        if not self._layout.big and main.end > 2**32:
            raise OSError("the file outgrew what its header can say")
        main.write(self._head(), 0)

    def _head(self) -> bytes:
        """Header and directories; their size does not depend on what was written."""
        big = self._layout.big
        out = (
            struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
            if big
            else struct.pack("<2sHI", b"II", 42, 8)
        )
        last = len(self._offsets) - 1
        for level in range(last + 1):
            out += _directory(self._tags(level), start=len(out), big=big, last=level == last)
        return out

    def _tags(self, level: int) -> dict[int, Tag]:
        layout = self._layout
        height, width = layout.levels()[level]
        bands = len(layout.descriptions)
        kind = KINDS[layout.dtype.kind]
        offset, code = (LONG8, "<u8") if layout.big else (LONG, "<u4")
        tags: dict[int, Tag] = {
            directory.WIDTH: _tag(LONG, [width]),
            directory.HEIGHT: _tag(LONG, [height]),
            directory.BITS: _tag(SHORT, [8 * layout.dtype.itemsize] * bands),
            directory.COMPRESSION: _tag(SHORT, [NUMBERS[layout.creation.codec]]),
            directory.PHOTOMETRIC: _tag(SHORT, [1]),
            directory.SAMPLES: _tag(SHORT, [bands]),
            directory.PLANAR: _tag(SHORT, [2]),
            directory.PREDICTOR: _tag(SHORT, [layout.predictor]),
            directory.TILE_WIDTH: _tag(SHORT, [layout.creation.blocksize]),
            directory.TILE_HEIGHT: _tag(SHORT, [layout.creation.blocksize]),
            directory.TILE_OFFSETS: (
                offset,
                self._offsets[level].size,
                self._offsets[level].astype(code).tobytes(),
            ),
            directory.TILE_BYTES: (
                LONG,
                self._sizes[level].size,
                self._sizes[level].astype("<u4").tobytes(),
            ),
            directory.SAMPLE_FORMAT: _tag(SHORT, [kind] * bands),
            directory.GDAL_NODATA: _ascii(_number(layout.nodata)),
        }
        if bands > 1:
            tags[directory.EXTRA_SAMPLES] = _tag(SHORT, [0] * (bands - 1))
        if level:
            tags[directory.SUBFILE_TYPE] = _tag(LONG, [directory.REDUCED])
        else:
            tags |= layout.geo
            tags[directory.GDAL_METADATA] = _ascii(_metadata(layout.descriptions))
        return tags


def _tag(kind: int, values: Sequence[int]) -> Tag:
    return kind, len(values), np.array(values, {SHORT: "<u2", LONG: "<u4"}[kind]).tobytes()


def _ascii(text: str) -> Tag:
    data = text.encode() + b"\0"
    return ASCII, len(data), data


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _metadata(descriptions: Sequence[str]) -> str:
    items = "".join(
        f'<Item name="DESCRIPTION" sample="{i}" role="description">{escape(text)}</Item>\n'
        for i, text in enumerate(descriptions)
    )
    return f"<GDALMetadata>\n{items}</GDALMetadata>"


def _directory(tags: Mapping[int, Tag], *, start: int, big: bool, last: bool) -> bytes:
    """One directory, followed by those of its values that do not fit in it."""
    word, count = ("Q", "Q") if big else ("I", "H")
    inline = 8 if big else 4
    size = struct.calcsize(f"<{count}") + len(tags) * (4 + 2 * inline) + inline
    entries, extra = b"", b""
    for tag in sorted(tags):
        kind, number, data = tags[tag]
        if len(data) <= inline:
            field = data.ljust(inline, b"\0")
        else:
            field = struct.pack("<" + word, start + size + len(extra))
            extra += data + b"\0" * (-len(data) % 8)
        entries += struct.pack(f"<HH{word}", tag, kind, number) + field
    extra += b"\0" * (-(start + size + len(extra)) % 8)
    after = 0 if last else start + size + len(extra)
    return struct.pack("<" + count, len(tags)) + entries + struct.pack("<" + word, after) + extra


class _File:
    """A file that many threads append to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        self._lock = threading.Lock()
        self._fd = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666
        )

    def append(self, data: bytes) -> int:
        """Write at the end; give back where that was."""
        with self._lock:
            place, self.end = self.end, self.end + len(data)
        self.write(data, place)
        return place

    def write(self, data: bytes, place: int) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, place)
            view, place = view[done:], place + done

    def take(self, other: _File) -> None:
        """Append all of another file."""
        for place in range(0, other.end, COPY_BYTES):
            self.append(os.pread(other._fd, min(COPY_BYTES, other.end - place), place))

    def close(self) -> None:
        os.close(self._fd)


def plain_tiff(values: Array, geo: Mapping[int, Tag], nodata: float | None) -> bytes:
    """One band as an uncompressed GeoTIFF in memory: how pixels are handed to GDAL.

    Parameters
    ----------
    values : ndarray
        (y, x), in native byte order.
    geo, nodata
        As of `Layout`.
    """
    height, width = values.shape
    size = values.nbytes
    tags: dict[int, Tag] = {
        directory.WIDTH: _tag(LONG, [width]),
        directory.HEIGHT: _tag(LONG, [height]),
        directory.BITS: _tag(SHORT, [8 * values.itemsize]),
        directory.COMPRESSION: _tag(SHORT, [1]),
        directory.PHOTOMETRIC: _tag(SHORT, [1]),
        directory.STRIP_OFFSETS: (LONG8, 1, struct.pack("<Q", 0)),
        directory.SAMPLES: _tag(SHORT, [1]),
        directory.ROWS_PER_STRIP: _tag(LONG, [height]),
        directory.STRIP_BYTES: (LONG8, 1, struct.pack("<Q", size)),
        directory.SAMPLE_FORMAT: _tag(SHORT, [KINDS[values.dtype.kind]]),
        **geo,
    }
    if nodata is not None:
        tags[directory.GDAL_NODATA] = _ascii(_number(nodata))
    start = 16 + len(_directory(tags, start=16, big=True, last=True))
    tags[directory.STRIP_OFFSETS] = (LONG8, 1, struct.pack("<Q", start))
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
    return head + _directory(tags, start=16, big=True, last=True) + values.tobytes()
