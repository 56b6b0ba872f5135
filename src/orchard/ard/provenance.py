"""What a cube was made from: documents and files with their checksums."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchard.preard import ImageMetadata


__all__ = ["SourceFile", "SourceImage", "provenance", "read_provenance"]

_PART = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of an image; ``checksum`` is ``md5:HEX``, as its maker says, or ``crc32:HEX``."""

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
    recorded = {record.name: record.md5 for record in metadata.manifest}

    def source(name: str) -> SourceFile:
        md5 = recorded.get(name)
        checksum = f"md5:{md5}" if md5 else f"crc32:{_crc32(files[name])}"
        return SourceFile(name=name, size=files[name].stat().st_size, checksum=checksum)

    with ThreadPoolExecutor(workers) as pool:
        found = tuple(pool.map(source, sorted(files)))
    return SourceImage(task=metadata.name, document=_digest(metadata), files=found)


def _crc32(path: Path) -> str:
    # ISA-L's is as fast as memory; a cryptographic digest would cost a tenth of the conversion.
    crc, buffer = 0, bytearray(_PART)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            crc = isal_zlib.crc32(memoryview(buffer)[:count], crc)
    return f"{crc:08x}"


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
