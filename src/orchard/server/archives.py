"""Result archives that are never made: zip archives worked out from the files they hold.

The files are stored as they are (they are compressed already), and their lengths and checksums are
known beforehand. So every byte of the archive has its place before the first is sent: the length is
announced, any range can be given, a broken download goes on where it ended, and neither memory nor
disk is used for it. Format: PKWARE's APPNOTE 6.3.10, with Zip64 where it is needed.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Archive", "Entry", "Piece"]

_UTF8 = 1 << 11
_REGULAR_FILE = 0o100644 << 16
_MADE_BY_UNIX = 3 << 8
_MAX32, _MAX16 = 0xFFFFFFFF, 0xFFFF
_PLAIN, _ZIP64 = 20, 45  # versions needed to extract


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of an archive.

    Parameters
    ----------
    name : str
        Its path in the archive.
    size : int
        Bytes.
    crc32 : int
    path : Path, optional
        The file; without it, `data` is its content.
    data : bytes
    modified_ns : int
        The file's time of modification (ns since the epoch): another one is another file.
    """

    name: str
    size: int
    crc32: int
    path: Path | None = None
    data: bytes = b""
    modified_ns: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of an archive's bytes: `data`, or `length` bytes of an entry's file from `offset`."""

    length: int
    data: bytes = b""
    entry: Entry | None = None
    offset: int = 0


class Archive:
    """A zip archive of files, as it would be.

    Parameters
    ----------
    entries : sequence of Entry

    Attributes
    ----------
    size : int
        Bytes of the whole archive.
    etag : str
        A strong validator: the same for the same bytes.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._pieces = tuple(_pieces(self.entries))
        self._ends = tuple(accumulate(piece.length for piece in self._pieces))
        self.size = self._ends[-1]
        digest = hashlib.blake2b(digest_size=16)
        for piece in self._pieces:
            digest.update(piece.data)  # headers hold every name, length, time and checksum
        self.etag = f'"{digest.hexdigest()}"'

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Give what the bytes from `start` to `stop` (excluded) consist of."""
        number = bisect_right(self._ends, start)
        while start < stop:
            piece = self._pieces[number]
            skip = start - (self._ends[number] - piece.length)
            length = min(piece.length - skip, stop - start)
            data = piece.data[skip : skip + length] if piece.entry is None else b""
            yield Piece(length, data, piece.entry, piece.offset + skip)
            start, number = start + length, number + 1


def _pieces(entries: Sequence[Entry]) -> Iterator[Piece]:
    directory, offset = [], 0
    for entry in entries:
        header = _local_header(entry)
        yield Piece(len(header), header)
        directory.append(_directory_header(entry, offset))
        offset += len(header) + entry.size
        if entry.path is not None and entry.size:
            yield Piece(entry.size, entry=entry)
        elif entry.data:
            yield Piece(len(entry.data), entry.data)
    end = b"".join(directory)
    end += _end(len(entries), size=len(end), offset=offset)
    yield Piece(len(end), end)


def _local_header(entry: Entry) -> bytes:
    name, large = entry.name.encode(), entry.size >= _MAX32
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.size) if large else b""
    size = _MAX32 if large else entry.size
    return (
        struct.pack(
            "<4sHHHHHIIIHH",
            b"PK\x03\x04",
            _ZIP64 if large else _PLAIN,
            _UTF8,
            0,
            *_dos_time(entry.modified_ns),
            entry.crc32,
            size,
            size,
            len(name),
            len(extra),
        )
        + name
        + extra
    )


def _directory_header(entry: Entry, offset: int) -> bytes:
    name = entry.name.encode()
    wide = [entry.size, entry.size] if entry.size >= _MAX32 else []
    wide += [offset] if offset >= _MAX32 else []
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    size, version = min(entry.size, _MAX32), _ZIP64 if wide else _PLAIN
    return (
        struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            b"PK\x01\x02",
            _MADE_BY_UNIX | version,
            version,
            _UTF8,
            0,
            *_dos_time(entry.modified_ns),
            entry.crc32,
            size,
            size,
            len(name),
            len(extra),
            0,
            0,
            0,
            _REGULAR_FILE,
            min(offset, _MAX32),
        )
        + name
        + extra
    )


def _end(count: int, *, size: int, offset: int) -> bytes:
    wide = b""
    if count >= _MAX16 or size >= _MAX32 or offset >= _MAX32:
        made = _MADE_BY_UNIX | _ZIP64
        wide = struct.pack(
            "<4sQHHIIQQQQ", b"PK\x06\x06", 44, made, _ZIP64, 0, 0, count, count, size, offset
        ) + struct.pack("<4sIQI", b"PK\x06\x07", 0, offset + size, 1)
    few = min(count, _MAX16)
    return wide + struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, few, few, min(size, _MAX32), min(offset, _MAX32), 0
    )


def _dos_time(modified_ns: int) -> tuple[int, int]:
    """Return time and date as MS-DOS has them: two-second steps, from 1980; here in UTC."""
    moment = datetime.fromtimestamp(modified_ns // 10**9, UTC)
    if not 1980 <= moment.year <= 2107:
        return 0, 33
    time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    return time, (moment.year - 1980) << 9 | moment.month << 5 | moment.day
