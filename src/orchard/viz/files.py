"""Which of the files given are to be looked at (pure)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from orchard.errors import InputError

if TYPE_CHECKING:
    from orchard.viz import Paths

__all__ = ["QUICKLOOK_FORMATS", "flat_paths", "names_of", "of_format"]

QUICKLOOK_FORMATS = (".jpg", ".jpeg", ".png", ".webp", ".gif")


def flat_paths(paths: Paths) -> list[Path]:
    """Return the files as a list of paths, each once, in the order given."""
    if isinstance(paths, (str, os.PathLike)):
        return [Path(paths)]
    if isinstance(paths, Mapping):
        paths = chain.from_iterable(paths.values())
    if not isinstance(paths, Iterable):
        raise InputError(f"not a file or a list of files: {paths!r}")
    return list(dict.fromkeys(Path(path) for path in paths))


def of_format(paths: Iterable[Path], formats: Iterable[str]) -> list[Path]:
    """Return the files with one of these suffixes, in upper or lower case.

    Raises
    ------
    InputError
        There is none.
    """
    paths = list(paths)
    wanted = tuple(suffix.lower() for suffix in formats)
    found = [path for path in paths if path.suffix.lower() in wanted]
    if not found:
        names = ", ".join(path.name for path in paths[:5]) or "no file at all"
        raise InputError(f"no file of format {', '.join(wanted)} is among these: {names}")
    return found


def names_of(paths: Iterable[Path]) -> list[str]:
    """Return names to tell files apart by: without suffix, with the folder where it is needed."""
    paths = list(paths)
    stems = [path.stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{path.parent.name}/{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]
