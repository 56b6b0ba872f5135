"""TIFF files, read just as far as pixels need it: directories, and where blocks are.

Written after TIFF 6.0, the BigTIFF design, Adobe's technical notes and OGC GeoTIFF 1.1.
What is not here (other codecs, odd bit depths, alpha bands) is left to GDAL: `Unsupported`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .codecs import CODECS, BlockFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["GEO_TAGS", "BlockIndex", "Directory", "Unsupported", "block_index", "directories"]

SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION = 254, 256, 257, 258, 259
PHOTOMETRIC, FILL_ORDER = 262, 266
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 273, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, GDAL_METADATA, GDAL_NODATA = 338, 339, 42112, 42113
PIXEL_SCALE, TIEPOINT, TRANSFORMATION, GEO_KEYS, GEO_DOUBLES, GEO_ASCII = (
    33550, 33922, 34264, 34735, 34736, 34737,
)  # fmt: skip
GEO_TAGS = (PIXEL_SCALE, TIEPOINT, TRANSFORMATION, GEO_KEYS, GEO_DOUBLES, GEO_ASCII)

TYPES = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f",
    12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
COUNTS = (3, 4, 16)
MASK, REDUCED = 4, 1
# Against headers that mean nothing.
MAX_DIRECTORIES, BLOCK_VALUES = 64, 1 << 30
KINDS = {1: "u", 2: "i", 3: "f"}
DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
# White or black is zero, RGB, palette, mask; of other colours GDAL makes RGB.
PLAIN_COLOURS = range(5)
# The codecs that libtiff undoes a predictor for; with others it passes over the tag.
PREDICTED = ("lzw", "deflate", "zstd")


class Unsupported(Exception):  # noqa: N818 - a verdict on a file, caught at once
    """A file that this reader leaves to GDAL."""


@dataclass(frozen=True)
class Directory:
    """One image file directory; values are read when asked for.

    Parameters
    ----------
    order : str
        ``<`` or ``>``.
    entries : mapping of int to (type, count, bytes)
        By tag. The bytes are those of the value, or those of its offset where it does not fit.
    read : callable
        ``read(offset, size)`` gives bytes of the file.
    """

    order: str
    entries: Mapping[int, tuple[int, int, bytes]]
    read: Callable[[int, int], bytes]

    def __contains__(self, tag: int) -> bool:
        return tag in self.entries

    def raw(self, tag: int) -> bytes:
        """Bytes of a tag's values."""
        kind, count, field = self._entry(tag)
        size = struct.calcsize("=" + TYPES[kind]) * count
        if size <= len(field):
            return field[:size]
        (offset,) = struct.unpack(self.order + ("Q" if len(field) == 8 else "I"), field)
        data = self.read(offset, size)
        if len(data) != size:
            raise ValueError(f"the file ends within its tag {tag}")
        return data

    def array(self, tag: int) -> np.ndarray[Any, np.dtype[Any]]:
        """Values of a tag of numbers."""
        code = TYPES[self._entry(tag)[0]]
        return np.frombuffer(self.raw(tag), self.order + code[0])

    def counts(self, tag: int) -> np.ndarray[Any, np.dtype[Any]]:
        """Values of a tag of whole numbers that are not negative; there is one at least."""
        kind, count, _ = self._entry(tag)
        if kind not in COUNTS or not count:
            raise Unsupported(f"a file with other numbers in its tag {tag}")
        return self.array(tag)

    def _entry(self, tag: int) -> tuple[int, int, bytes]:
        if tag not in self.entries:
            raise ValueError(f"the file lacks its tag {tag}")
        return self.entries[tag]

    def number(self, tag: int, default: int | None = None) -> int:
        """The first value of a tag."""
        if tag not in self.entries and default is not None:
            return default
        return int(self.counts(tag)[0])

    def text(self, tag: int) -> str:
        """A tag of characters."""
        return self.raw(tag).split(b"\0")[0].decode("latin-1").strip()


def directories(read: Callable[[int, int], bytes]) -> Iterator[Directory]:
    """The chain of image file directories, the image itself first.

    Raises
    ------
    Unsupported
        Not a TIFF file.
    ValueError
        A broken one.
    """
    head = read(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if not order or len(head) < 16:
        raise Unsupported("not a TIFF file")
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 42:
        (offset,) = struct.unpack(order + "I", head[4:8])
        count_format, entry, word = "H", "HHI4s", "I"
    elif version == 43:
        (offset,) = struct.unpack(order + "Q", head[8:16])
        count_format, entry, word = "Q", "HHQ8s", "Q"
    else:
        raise Unsupported("not a TIFF file")
    size = struct.calcsize("=" + entry)
    for _ in range(MAX_DIRECTORIES):
        if not offset:
            return
        start = struct.calcsize("=" + count_format)
        (count,) = _unpack(order + count_format, read(offset, start))
        body = read(offset + start, count * size + struct.calcsize(word))
        entries: dict[int, tuple[int, int, bytes]] = {}
        for i in range(count):
            tag, kind, number, field = _unpack(order + entry, body[i * size : (i + 1) * size])
            if kind in TYPES:
                entries.setdefault(tag, (kind, number, field))  # of two, libtiff takes the first
        yield Directory(order, entries, read)
        (offset,) = _unpack(order + word, body[count * size :])


def _unpack(code: str, data: bytes) -> tuple[Any, ...]:
    try:
        return struct.unpack(code, data)
    except struct.error as exc:
        raise ValueError("the file ends within its header") from exc


@dataclass(frozen=True, kw_only=True)
class BlockIndex:
    """Where the blocks (tiles or strips) of an image are, and how they are stored.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    bands : int
        Bands of the image.
    format : BlockFormat
        Of every block but the last strip, which may have fewer rows.
    planar : bool
        Whether each band has its own blocks.
    grid : tuple of int
        (rows, columns) of blocks.
    offsets, sizes : ndarray
        Bytes, by number of block. A size of 0 marks a block that was never written.
    fill : number
        What such a block holds.
    """

    height: int
    width: int
    bands: int
    format: BlockFormat
    planar: bool
    grid: tuple[int, int]
    offsets: np.ndarray[Any, np.dtype[Any]]
    sizes: np.ndarray[Any, np.dtype[Any]]
    fill: float

    def span(self, row: int, col: int, band: int) -> tuple[int, int]:
        """(offset, size) in bytes of a block; `band` counts from 1."""
        number = row * self.grid[1] + col
        if self.planar:
            number += (band - 1) * self.grid[0] * self.grid[1]
        return int(self.offsets[number]), int(self.sizes[number])


def block_index(image: Directory) -> BlockIndex:
    """Read where the blocks of an image are.

    Raises
    ------
    Unsupported
        Stored in a way that is left to GDAL.
    ValueError
        A broken file.
    """
    width, height = image.number(WIDTH), image.number(HEIGHT)
    bands, planar = image.number(SAMPLES, 1), image.number(PLANAR, 1) == 2 and SAMPLES in image
    planar = planar and bands > 1
    tiled = TILE_WIDTH in image
    if tiled and (STRIP_OFFSETS in image or STRIP_BYTES in image):
        raise Unsupported("a TIFF file of tiles and strips")
    if tiled:
        shape = (image.number(TILE_HEIGHT), image.number(TILE_WIDTH))
    else:
        shape = (min(image.number(ROWS_PER_STRIP, height), height), width)
    if not 0 < shape[0] * shape[1] * bands <= BLOCK_VALUES:
        raise ValueError(f"the file has blocks of {shape[0]} x {shape[1]} pixels")
    offsets = image.counts(TILE_OFFSETS if tiled else STRIP_OFFSETS)
    sizes = image.counts(TILE_BYTES if tiled else STRIP_BYTES)
    grid = (-(-height // shape[0]), -(-width // shape[1]))
    if not len(offsets) == len(sizes) == grid[0] * grid[1] * (bands if planar else 1):
        raise ValueError("the file's list of blocks does not fit its size")
    form = _format(image, shape, 1 if planar else bands)
    fill = _fill(image, form.dtype)
    if fill is None and not sizes.all():
        raise Unsupported("what was never written is a nodata that is none of the dtype's numbers")
    return BlockIndex(
        height=height,
        width=width,
        bands=bands,
        format=form,
        planar=planar,
        grid=grid,
        offsets=offsets,
        sizes=sizes,
        fill=0 if fill is None else fill,
    )


def _fill(image: Directory, dtype: np.dtype[Any]) -> float | None:
    """Return the file's nodata, or 0 where it has none; None where the dtype does not have it."""
    text = image.text(GDAL_NODATA) if GDAL_NODATA in image else "0"
    try:
        if dtype.kind == "f":
            number = float(text)
            fits = abs(number) <= float(np.finfo(dtype).max) or not np.isfinite(number)
            return number if fits else None
        whole = int(text)  # exact with 64 bits, too
    except ValueError:
        return None
    return whole if np.iinfo(dtype).min <= whole <= np.iinfo(dtype).max else None


def _format(image: Directory, shape: tuple[int, int], samples: int) -> BlockFormat:
    codec = CODECS.get(image.number(COMPRESSION, 1))
    bits = set(image.counts(BITS).tolist()) if BITS in image else {1}
    kinds = set(image.counts(SAMPLE_FORMAT).tolist()) if SAMPLE_FORMAT in image else {1}
    predictor = image.number(PREDICTOR, 1)
    if codec is None or len(bits) > 1 or len(kinds) > 1 or not _is_plain(image):
        raise Unsupported("a TIFF file of another kind")
    size, kind = bits.pop(), KINDS.get(kinds.pop())
    name = "bits" if size == 1 and kind == "u" else f"{kind}{size // 8}"
    if name not in ("bits", *DTYPES) or size % 8 * (size != 1):
        raise Unsupported("a TIFF file of another kind")
    if predictor != 1 and (codec not in PREDICTED or predictor not in _predictors(name)):
        raise Unsupported("a TIFF file of another kind")
    dtype = np.dtype("u1" if name == "bits" else image.order + name)
    return BlockFormat(
        shape=shape,
        samples=samples,
        dtype=dtype,
        codec=codec,
        predictor=predictor,
        packed=name == "bits",
    )


def _predictors(name: str) -> tuple[int, ...]:
    if name == "bits":
        return (1,)
    return (1, 2, 3) if name[0] == "f" else (1, 2)


def _is_plain(image: Directory) -> bool:
    """Whether samples are numbers as they are stored, and none of them is alpha."""
    alpha = EXTRA_SAMPLES in image and set(image.counts(EXTRA_SAMPLES).tolist()) & {1, 2}
    colours = image.number(PHOTOMETRIC, 1) in PLAIN_COLOURS
    return colours and not alpha and image.number(FILL_ORDER, 1) == 1
