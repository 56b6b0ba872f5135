"""What a cube was made from: documents and files with their checksums."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchard.checksums import crc32_of_all
from orchard.errors import ShardError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchard.preard import ImageMetadata


__all__ = ["SourceFile", "SourceImage", "check_files", "provenance", "read_provenance"]


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
    unknown = [path for name, path in files.items() if name not in checksums]
    crcs = crc32_of_all(unknown, workers=workers)
    checksums |= {name: f"crc32:{crcs[path]}" for name, path in files.items() if path in crcs}
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
    found = crc32_of_all([files[name] for name in recorded], workers=workers)
    for name, crc in recorded.items():
        path = files[name]
        if found[path] != crc:
            raise ShardError(
                f"{path}: its bytes are not those that the task made (CRC-32 {found[path]}, not "
                f"{crc}): fetch it again"
            )


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
