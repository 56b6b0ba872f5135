"""The results of blocks on disk: a folder a block, made under another name and moved into place.

``FOLDER/JOB/BLOCK/`` holds ``manifest.json`` (written last: the mark of a whole result),
``data.json``, ``files/`` and ``quicklooks/``. The manifest says which files an archive of the
result holds, with their lengths and checksums.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson

from orchard.checksums import crc32_of
from orchard.errors import DataError

from .archives import Archive, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["BlockResult", "Results", "empty_archive", "feature_collection"]

_MANIFEST, _DATA, _FILES, _QUICKLOOKS = "manifest.json", "data.json", "files", "quicklooks"
_TEMPORARY = ".orchard-tmp-"
_ROOT = "output"  # of the archive, as the contract has it


@dataclass(frozen=True, kw_only=True)
class BlockResult:
    """The result of one block, whole.

    Parameters
    ----------
    folder : Path
    version : str
        Of the task's result that it was made of.
    """

    folder: Path
    version: str

    @property
    def data_json(self) -> Path:
        """Its FeatureCollection."""
        return self.folder / _DATA

    @property
    def files(self) -> Path:
        """The folder of its files."""
        return self.folder / _FILES

    def quicklooks(self) -> list[str]:
        """Return the ids of its quicklooks, sorted."""
        return sorted(path.stem for path in (self.folder / _QUICKLOOKS).glob("*.png"))

    def quicklook(self, name: str) -> Path | None:
        """Return a quicklook's file by its id, with or without suffix; None: there is none."""
        wanted = name.removesuffix(".png")
        # Looked up among those that are there: a name never becomes a path.
        if wanted not in self.quicklooks():
            return None
        return self.folder / _QUICKLOOKS / f"{wanted}.png"

    def archive(self) -> Archive:
        """Return the archive of its files and its data.json.

        Raises
        ------
        DataError
            When a file is not there any more, or is another one: the order was cleaned or made anew
            meanwhile.
        """
        manifest = self.folder / _MANIFEST
        archive = _archive(self.folder, manifest.stat().st_mtime_ns)
        for entry in archive.entries:
            if entry.path is not None and not is_as_recorded(entry, entry.path):
                raise DataError(
                    f"{entry.name} is not what it was when the result was made: the order was "
                    "cleaned, or made anew"
                )
        return archive


def is_as_recorded(entry: Entry, file: Path | int) -> bool:
    """Whether a file (or an open one) is the one that a manifest tells of."""
    try:
        found = os.stat(file)  # noqa: PTH116 - of a path or of a descriptor
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (entry.size, entry.modified_ns)


@lru_cache(256)
def _archive(folder: Path, modified_ns: int) -> Archive:
    del modified_ns  # a part of the cache's key
    manifest = orjson.loads((folder / _MANIFEST).read_bytes())
    return Archive(
        [
            Entry(
                name=f"{_ROOT}/{file['name']}",
                size=file["size"],
                crc32=int(file["crc32"], 16),
                modified_ns=file["modified_ns"],
                path=folder / file["path"],
            )
            for file in manifest["files"]
        ]
    )


def empty_archive() -> Archive:
    """Return the archive of a job for which no image was found: an empty data.json."""
    data = orjson.dumps(feature_collection(()))
    return Archive([Entry(name=f"{_ROOT}/{_DATA}", size=len(data), crc32=crc32(data), data=data)])


def feature_collection(features: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return features as GeoJSON (longitude, latitude; EPSG:4326)."""
    return {"type": "FeatureCollection", "features": list(features)}


class Results:
    """All results of a platform.

    Parameters
    ----------
    folder : Path
        Made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, job: str, block: str, version: str) -> BlockResult | None:
        """Return a block's result when it is there, whole and of this version."""
        folder = self.folder / job / block
        try:
            manifest = orjson.loads((folder / _MANIFEST).read_bytes())
        except OSError:
            return None
        if manifest["version"] != version:
            return None
        return BlockResult(folder=folder, version=version)

    def begin(self, job: str, block: str) -> Path:
        """Return a new folder to make a result in, with ``files`` and ``quicklooks``."""
        parent = self.folder / job
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{_TEMPORARY}{block}-*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = parent / f"{_TEMPORARY}{block}-{uuid.uuid4().hex[:8]}"
        for name in (_FILES, _QUICKLOOKS):
            (folder / name).mkdir(parents=True)
        return folder

    def commit(
        self,
        folder: Path,
        job: str,
        block: str,
        version: str,
        features: Iterable[Mapping[str, Any]],
    ) -> BlockResult:
        """Write a result's data.json and manifest, and move it into its place."""
        data = folder / _DATA
        data.write_bytes(orjson.dumps(feature_collection(features)))
        files = [data, *_walk(folder / _FILES)]
        manifest = {
            "version": version,
            "files": [_described(path, folder) for path in files],
        }
        (folder / _MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        place = self.folder / job / block
        if place.exists():
            old = place.with_name(f"{_TEMPORARY}{block}-old")
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
            folder.rename(place)
            shutil.rmtree(old, ignore_errors=True)
        else:
            folder.rename(place)
        return BlockResult(folder=place, version=version)

    def discard(self, folder: Path) -> None:
        """Remove what was begun and not committed."""
        shutil.rmtree(folder, ignore_errors=True)

    def jobs(self) -> list[str]:
        """Return the jobs that have results."""
        if not self.folder.is_dir():
            return []
        return [path.name for path in self.folder.iterdir() if path.is_dir()]

    def remove(self, job: str) -> None:
        """Delete all results of a job."""
        shutil.rmtree(self.folder / job, ignore_errors=True)


def _walk(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted."""
    return sorted(
        folder.__class__(place, name) for place, _, names in os.walk(folder) for name in names
    )


def _described(path: Path, folder: Path) -> dict[str, Any]:
    """Tell of a file (through a link, of what it leads to) what its archive needs."""
    found = path.stat()
    where = path.relative_to(folder)
    name = where.relative_to(_FILES) if where.parts[0] == _FILES else where
    return {
        "name": name.as_posix(),
        "path": where.as_posix(),
        "size": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "crc32": crc32_of(path),
    }
