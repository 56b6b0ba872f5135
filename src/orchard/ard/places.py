"""Where cubes go: destination templates, temporary places, and the step that makes a cube visible.

A cube is written under a temporary name beside its final one, flushed to disk and renamed; its STAC
Item is written last and is the commit mark. Killed at any moment, a cube is either whole or not
under its name, and the next run clears away what is left.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import string
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchard.errors import AccessError, StoreError, TemplateError

from .disk import flush

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from orchard.preard import ImageMetadata

__all__ = ["Place", "fill_destination", "root_of", "write_json", "writing"]

_TEMPORARY = ".orchard-tmp-"
_OLD = ".orchard-old-"


class _Stamp:
    """A time in a template: ``{date_start}`` is a date, ``{date_start:%Y}`` what one asks for."""

    def __init__(self, time: datetime) -> None:
        self._time = time

    def __format__(self, spec: str) -> str:
        return self._time.strftime(spec or "%Y-%m-%d")


class _NamedOnly(string.Formatter):
    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        del args
        if isinstance(key, int) or key not in kwargs:
            raise KeyError(key)
        return kwargs[key]

    def get_field(self, field_name: str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        if "._" in field_name or "[" in field_name:
            raise KeyError(field_name)
        return super().get_field(field_name, args, kwargs)


def fill_destination(template: str, metadata: ImageMetadata) -> Path:
    """Fill in the folder that an image's cube goes to.

    Parameters
    ----------
    template : str
        ``~`` and ``$VARIABLES`` are expanded; keys are ``collection`` (its ``/`` become ``_``),
        ``tile`` (with ``.horizontal``, ``.vertical``, …), ``date_start``, ``date_end``, ``name``
        and ``prefix``.

    Raises
    ------
    TemplateError
        For an unknown key or an environment variable that is not set.
    """
    keys = {
        "collection": metadata.collection_id.replace("/", "_"),
        "tile": metadata.tile,
        "date_start": _Stamp(metadata.period[0]),
        "date_end": _Stamp(metadata.period[1]),
        "name": metadata.name,
        "prefix": metadata.prefix,
    }
    try:
        return Path(_NamedOnly().vformat(_expanded(template), (), keys))
    except KeyError as exc:
        raise TemplateError(
            f"destination {template!r} has the unknown key {exc.args[0]!r}: known are "
            f"{', '.join(keys)}"
        ) from None
    except (ValueError, AttributeError, TypeError, IndexError) as exc:
        raise TemplateError(f"destination {template!r} cannot be filled in: {exc}") from None


def _expanded(template: str) -> str:
    expanded = os.path.expandvars(Path(template).expanduser())
    unset = re.search(r"\$\{?(\w+)", expanded)
    if unset:
        raise TemplateError(
            f"destination {template!r}: the environment variable {unset[1]} is not set"
        )
    return expanded


def root_of(template: str) -> Path:
    """Return the folder that is common to all destinations of a template."""
    fixed = _expanded(template).split("{", 1)
    return Path(fixed[0]) if len(fixed) == 1 else Path(fixed[0] + "x").parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one cube and its STAC Item go."""

    folder: Path
    name: str
    suffix: str

    @property
    def cube(self) -> Path:
        """The file, or the folder, of the cube."""
        return self.folder / f"{self.name}{self.suffix}"

    @property
    def item(self) -> Path:
        """The STAC Item, the mark of a whole cube."""
        return self.folder / f"{self.name}.stac.json"

    @property
    def _old(self) -> Path:
        return self.folder / f"{_OLD}{self.name}{self.suffix}"

    def prepare(self) -> None:
        """Make the folder; put right and clear away what a killed run has left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._old.exists():
            if self.cube.exists():
                _remove(self._old)
            else:
                self._old.rename(self.cube)
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            if path.name.startswith((_start(self.cube), _start(self.item))) and _abandoned(path):
                _remove(path)

    def temporary(self) -> Path:
        """Return a new temporary name beside the final one."""
        return _temporary(self.cube)

    def commit(self, temporary: Path, item: Mapping[str, Any]) -> None:
        """Move a finished cube to its name, then write its item."""
        # Without the mark first: the item of an earlier cube must not vouch for this one.
        self.item.unlink(missing_ok=True)
        if self.cube.is_dir():
            _remove(self._old)
            self.cube.rename(self._old)
        temporary.replace(self.cube)
        flush(self.folder)
        write_json(self.item, item)
        _remove(self._old)


def _start(path: Path) -> str:
    return f"{_TEMPORARY}{path.name}~"


def _temporary(path: Path) -> Path:
    """Return a new temporary name beside a path; it tells which process writes there."""
    who = f"{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex[:8]}"
    return path.with_name(_start(path) + who)


def _abandoned(path: Path) -> bool:
    """Whether the process that a temporary name tells of is no more."""
    *_, host, pid, _ = path.name.split("~")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    if int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file in one atomic step."""
    temporary = _temporary(path)
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(document, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


@contextmanager
def writing(place: Place) -> Iterator[Path]:
    """Give a temporary path to write a cube to; what is left there in the end is removed.

    Raises
    ------
    StoreError
        When the disk is full or cannot be written: names the cube.
    """
    temporary = None
    try:
        place.prepare()
        temporary = place.temporary()
        yield temporary
    except (OSError, RuntimeError) as exc:
        # HDF5 raises RuntimeError for what the system could not write.
        raise _translated(place, exc) from exc
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                _remove(temporary)


def _translated(place: Place, exc: Exception) -> StoreError:
    number = getattr(exc, "errno", None)
    text = str(exc)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(f"{place.folder} cannot be written: {text}", key=str(place.cube))
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in text
    why = "the disk is full: make room and convert again" if full else text
    return StoreError(f"{place.cube} could not be written: {why}", key=str(place.cube))
