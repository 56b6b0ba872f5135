"""A download takes its place in a folder: complete, or not at all, and instead of the one before.

The folder may hold other things (quicklooks, other jobtasks, the user's own), so that it cannot
just be replaced. A small list, ``.orchard-results.json``, says which files came with a download;
the next download removes those of them that it does not bring itself.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from uuid import uuid4

from orchard.jobs.archive import member_path
from orchard.jobs.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["LIST_NAME", "place", "staging", "write_atomically"]

LIST_NAME = ".orchard-results.json"


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Give a new folder inside `folder`, thus on the same disk; it is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=".orchard-part-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def place(source: Path, files: Sequence[PurePosixPath], folder: Path) -> list[Path]:
    """Move files from one folder to another on the same disk, instead of those placed before.

    Both lists of files are written down before the first file moves: whatever happens in between,
    the next download knows what to clear away. ``data.json`` comes last, as the commit mark.

    Parameters
    ----------
    source : Path
        Where the files are.
    files : sequence of PurePosixPath
        Relative to `source`.
    folder : Path
        Where they go, under the same relative paths.

    Returns
    -------
    list of Path
        The files in their place, in the order given.

    Raises
    ------
    ArchiveError
        A file would land outside `folder`, through a link that is in it, or where a folder is.
    """
    for file in files:
        _check_target(folder, file)
    before = _listed(folder)
    _write_list(folder, {*before, *files})
    _remove(folder, before - set(files))
    for file in sorted(files, key=lambda file: file.name == "data.json"):
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        (source / file).replace(target)
    _write_list(folder, set(files))
    return [folder / file for file in files]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".orchard-part-{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _check_target(folder: Path, file: PurePosixPath) -> None:
    target = folder / file
    if file.name == LIST_NAME:
        raise ArchiveError(f"refusing the archive: {LIST_NAME} is Orchard's own file")
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise ArchiveError(f"refusing the archive: {file} would leave {folder} through a link")
    if target.is_dir() and not target.is_symlink():
        raise ArchiveError(f"{target} is a folder, and a file of the download: move it away")


def _listed(folder: Path) -> set[PurePosixPath]:
    """Return the files of the download before; a list that is not ours counts as none."""
    try:
        names = json.loads((folder / LIST_NAME).read_bytes())["files"]
        return {member_path(name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArchiveError):
        return set()


def _write_list(folder: Path, files: set[PurePosixPath]) -> None:
    names = sorted(str(file) for file in files)
    write_atomically(folder / LIST_NAME, json.dumps({"files": names}, indent=1).encode())


def _remove(folder: Path, files: set[PurePosixPath]) -> None:
    """Remove files, and the folders that they leave empty."""
    for file in files:
        target = folder / file
        if target.is_dir() or not target.parent.resolve().is_relative_to(folder.resolve()):
            continue
        target.unlink(missing_ok=True)
        for parent in file.parents[:-1]:
            try:
                (folder / parent).rmdir()
            except OSError:
                break
