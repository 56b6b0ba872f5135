"""What a cube was made from: documents and files with their checksums."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

from orchard.errors import ShardError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchard.preard import ImageMetadata


__all__ = ["SourceFile", "SourceImage", "check_files", "provenance", "read_provenance"]

_PIECE = 32 << 20
_PART = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of an image.

    ``checksum`` is ``crc32:HEX``, or ``md5:HEX`` where its maker has recorded that alone.
    """

    name: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """An image: its task, the SHA-256 of its document without the task's status, and its files."""

    task: str
    document: str
    files: tuple[SourceFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def provenance(metadata: ImageMetadata, files: Mapping[str, Path], *, workers: int) -> SourceImage:
    """Take the checksums of an image's files, where its maker has not recorded them."""
    checksums = {
        record.name: f"crc32:{record.crc32}" if record.crc32 else f"md5:{record.md5}"
        for record in metadata.manifest
        if (record.crc32 or record.md5) and record.name in files
    }
    unknown = {name: path for name, path in files.items() if name not in checksums}
    checksums |= {name: f"crc32:{crc:08x}" for name, crc in _crc32(unknown, workers).items()}
    found = tuple(
        SourceFile(name=name, size=files[name].stat().st_size, checksum=checksums[name])
        for name in sorted(files)
    )
    return SourceImage(task=metadata.name, document=_digest(metadata), files=found)


def check_files(metadata: ImageMetadata, files: Mapping[str, Path], *, workers: int) -> None:
    """Compare files with the CRC-32 that their maker has recorded.

    Raises
    ------
    ShardError
        Names the file that is another.
    """
    recorded = {r.name: r.crc32 for r in metadata.manifest if r.crc32 and r.name in files}
    found = _crc32({name: files[name] for name in recorded}, workers)
    for name, crc in recorded.items():
        if found[name] != int(crc, 16):
            raise ShardError(
                f"{files[name]}: its bytes are not those that the task made (CRC-32 "
                f"{found[name]:08x}, not {crc}): fetch it again"
            )


def _crc32(files: Mapping[str, Path], workers: int) -> dict[str, int]:
    """Take the CRC-32 of files, several pieces at a time."""
    # ISA-L's is as fast as memory; a cryptographic digest would cost a tenth of the conversion.
    pieces = [
        (name, start, min(_PIECE, size - start))
        for name, path in files.items()
        for size in [path.stat().st_size]
        for start in range(0, size, _PIECE)
    ]
    found = dict.fromkeys(files, 0)
    with ThreadPoolExecutor(workers) as pool:
        crcs = pool.map(lambda piece: _crc32_of(files[piece[0]], *piece[1:]), pieces)
        for (name, _, size), crc in zip(pieces, crcs, strict=True):
            found[name] = isal_zlib.crc32_combine(found[name], crc, size)
    return found


def _crc32_of(path: Path, start: int, size: int) -> int:
    crc, buffer = 0, bytearray(min(_PART, size))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while size > 0 and (count := file.readinto(memoryview(buffer)[: min(_PART, size)])):
            crc = isal_zlib.crc32(memoryview(buffer)[:count], crc)
            size -= count
    return crc


def _digest(metadata: ImageMetadata) -> str:
    # The status changes while a task lives; what it makes does not.
    raw = dict(metadata.raw)
    raw["task"] = {k: v for k, v in raw["task"].items() if k != "status"}
    return hashlib.sha256(json.dumps(raw, sort_keys=True, default=str).encode()).hexdigest()


def read_provenance(documents: Sequence[Mapping[str, Any]]) -> tuple[SourceImage, ...]:
    """Read what `SourceImage.to_dict` wrote."""
    return tuple(
        SourceImage(
            task=str(d["task"]),
            document=str(d["document"]),
            files=tuple(SourceFile(**file) for file in d["files"]),
        )
        for d in documents
    )
