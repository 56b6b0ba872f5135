"""The images to convert: their documents and files, in a folder of this machine or of a store."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchard.errors import InputError, MetadataError, NotFoundError, ShardError
from orchard.preard import ImageMetadata, parse_shard_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchard.stores import Store

__all__ = ["FoundImage", "find_images", "find_in_store"]

#: Folders that are cubes, not places of pre-ARD.
_CUBES = (".zarr", ".cog")
_FETCHES = 4


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """An image and its files; ``keys`` instead of ``files`` where they are in a remote store."""

    metadata: ImageMetadata
    files: Mapping[str, Path]
    store: Store | None = None
    keys: Mapping[str, str] | None = None

    @contextmanager
    def local(self, folder: Path) -> Iterator[Mapping[str, Path]]:
        """Give the files on this machine; fetched into a new `folder` for the while if need be."""
        if self.store is None or not self.keys:
            yield self.files
            return
        store = self.store
        folder.mkdir()
        try:
            paths = {name: folder / name for name in self.keys}
            with ThreadPoolExecutor(_FETCHES) as pool:
                list(pool.map(store.fetch, self.keys.values(), paths.values()))
            yield paths
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def find_images(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> tuple[list[FoundImage], dict[str, Exception]]:
    """Find images in a folder (and the folders in it), or by their documents.

    Returns
    -------
    images : list of FoundImage
        In order of their path.
    failures : dict of str to Exception
        By path: documents that cannot be read, and images without a document.

    Raises
    ------
    InputError
        When there is no such path, or nothing in it.
    """
    sources: Sequence[str | os.PathLike[str]] = (
        [source] if isinstance(source, str | os.PathLike) else list(source)
    )
    documents: dict[Path, None] = {}
    failures: dict[str, Exception] = {}
    for path in map(Path, sources):
        if path.is_dir():
            documents.update(dict.fromkeys(_documents_in(path, failures)))
        elif path.suffix == ".json" and path.is_file():
            documents[path] = None
        elif path.is_file():
            raise InputError(f"{path} is not image metadata: give the .json file or its folder")
        else:
            raise InputError(f"{path}: there is no such file or folder")
    listings = {folder: _shards(folder) for folder in {path.parent for path in documents}}
    images = []
    for path in documents:
        try:
            metadata = ImageMetadata.from_file(path)
        except MetadataError as exc:
            failures[str(path)] = exc
            continue
        files = listings[path.parent].get(metadata.name, {})
        images.append(FoundImage(metadata=metadata, files=files))
    if not images and not failures:
        where = ", ".join(map(str, sources))
        raise InputError(
            f"{where}: holds no image metadata (NAME.json beside NAME.tif): give the folder that "
            "'orchard download' made"
        )
    return images, failures


def _documents_in(folder: Path, failures: dict[str, Exception]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.endswith(_CUBES) and not f.startswith("."))
        documents = [Path(place) / f for f in sorted(files) if f.endswith(".json")]
        found = [path for path in documents if _is_document(path)]
        yield from found
        named = {path.stem for path in found}
        for name, shards in sorted(_shards(Path(place)).items()):
            # A document may have another file name than its task; it is looked into only then.
            if name not in named and name not in {_task_name(path) for path in found}:
                path = next(iter(shards.values()))
                failures[str(path)] = MetadataError(
                    f"{path}: there is no image metadata {name}.json beside it: download the task "
                    "again"
                )


def _task_name(path: Path) -> str | None:
    try:
        return ImageMetadata.from_file(path).name
    except MetadataError:
        return None


def _is_document(path: Path) -> bool:
    """Whether a JSON file is image metadata; what cannot be read may have been."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return True
    return looks_like_metadata(data)


def looks_like_metadata(data: Any) -> bool:
    """Whether a JSON value is image metadata, and not a tracking document or a STAC Item."""
    return isinstance(data, dict) and "image" in data and "task" in data


def _shards(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the GeoTIFFs of a folder by the image that they belong to."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.glob("*.tif")):
        found[parse_shard_name(path.name).name][path.name] = path
    return found


def find_in_store(store: Store, folder: str) -> tuple[list[FoundImage], dict[str, Exception]]:
    """Find images in a folder of a store; see `find_images`."""
    from orchard.stores import HasPath

    keys = sorted(info.key for info in store.list(folder))
    by_folder: dict[PurePosixPath, dict[str, dict[str, str]]] = defaultdict(dict)
    for key in keys:
        path = PurePosixPath(key)
        try:
            name = parse_shard_name(path.name).name
        except ShardError:
            continue
        by_folder[path.parent].setdefault(name, {})[path.name] = key
    images: list[FoundImage] = []
    failures: dict[str, Exception] = {}
    for key in keys:
        if not key.endswith(".json"):
            continue
        try:
            metadata = _read_from_store(store, key)
        except (MetadataError, NotFoundError) as exc:
            failures[key] = exc
            continue
        if metadata is None:
            continue
        files = by_folder[PurePosixPath(key).parent].pop(metadata.name, {})
        paths = {n: store.path(k) for n, k in files.items()} if isinstance(store, HasPath) else {}
        images.append(
            FoundImage(metadata=metadata, files=paths, store=None if paths else store, keys=files)
        )
    if not images and not failures:
        raise InputError(f"{store.url}: {folder or 'the store'} holds no image metadata")
    failures.update(_orphans(by_folder.values()))
    return images, failures


def _read_from_store(store: Store, key: str) -> ImageMetadata | None:
    data, _ = store.get(key)
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise MetadataError(f"{key}: is not JSON: {exc}") from exc
    return (
        ImageMetadata.from_dict(document, document=key) if looks_like_metadata(document) else None
    )


def _orphans(folders: Iterable[Mapping[str, Mapping[str, str]]]) -> dict[str, Exception]:
    failures: dict[str, Exception] = {}
    for images in folders:
        for name, files in images.items():
            key = next(iter(files.values()))
            failures[key] = MetadataError(
                f"{key}: there is no image metadata {name}.json beside it"
            )
    return failures
