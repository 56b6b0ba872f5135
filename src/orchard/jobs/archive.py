"""Result archives (.tgz, .tar, .zip): unpacked into a new folder, whole or not at all.

An archive comes from somebody else, so that nothing in it is trusted: no absolute path, no ``..``,
no drive letter, no link, no device, no name twice, and limits on how many files, how many bytes and
how much more than the archive itself. All members are checked before the first is written.
"""

from __future__ import annotations

import gzip
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, TypeAlias, cast

from isal import igzip, isal_zlib

from orchard.jobs.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Limits", "archive_suffix", "member_path", "unpack"]

# Nothing longer is read at once; also the longest header, and the longest padding after the end.
_CHUNK = 1 << 20
# Backslashes (a separator elsewhere), control characters, names that are not Unicode.
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold.

    Parameters
    ----------
    members : int
        Files and folders.
    size : int
        Bytes of all files together.
    ratio : float
        Bytes of all files together per byte of the archive, looked at above `ratio_from` only: an
        empty raster compresses a thousandfold and is no attack.
    ratio_from : int
        See `ratio`.
    """

    members: int = 50_000
    size: int = 512 << 30
    ratio: float = 200.0
    ratio_from: int = 1 << 30


@dataclass(frozen=True, kw_only=True)
class _Member:
    """One entry of an archive, whatever its format."""

    name: str
    size: int
    folder: bool
    trouble: str | None  # why it must not be unpacked, as far as its format tells


def archive_suffix(path: Path) -> str:
    """Return ``.tgz``, ``.tar`` or ``.zip`` by the content of a file.

    Raises
    ------
    ArchiveError
        It is something else.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x1f\x8b"):
        return ".tgz"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ".zip"
    if head[257:262] == b"ustar":
        return ".tar"
    raise ArchiveError(
        f"{path.name} is not a .tgz or .zip archive: it begins with {head[:16]!r}"
        if head
        else f"{path.name} is empty, not an archive"
    )


def member_path(name: str) -> PurePosixPath:
    """Return the path of a member below the folder it is unpacked to.

    Raises
    ------
    ArchiveError
        It would lead out of that folder, here or on another system, or cannot be a file's name.
    """
    parts = name.split("/")
    bad = (
        name.startswith("/")
        or ".." in parts
        or name[1:2] == ":"  # a drive
        or _UNSAFE.search(name)
        or len(name) > 1000
        or any(len(part.encode(errors="replace")) > 255 for part in parts)
    )
    if bad:
        raise ArchiveError(f"refusing the archive: the path of member {name[:200]!r} is not safe")
    return PurePosixPath(*(part for part in parts if part not in ("", ".")))


def unpack(archive: Path, folder: Path, *, limits: Limits | None = None) -> list[PurePosixPath]:
    """Unpack an archive into a folder that does not exist yet.

    Parameters
    ----------
    archive : Path
        A .tgz, .tar or .zip file; its content decides, not its name.
    folder : Path
        Is created; is removed again if anything is wrong.
    limits : Limits, optional
        What the archive may hold.

    Returns
    -------
    list of PurePosixPath
        The files, relative to `folder`, in the order of the archive; without the ``output/`` that
        a platform's archives keep them in.

    Raises
    ------
    ArchiveError
        Names the member and what is wrong with it.
    """
    suffix = archive_suffix(archive)
    reader = _zip_members if suffix == ".zip" else _tar_members
    limits = limits or Limits()
    folder.mkdir(parents=True)
    try:
        with _translated(archive.name), archive.open("rb") as raw:
            # The whole archive is looked through before its first file is written.
            guard = _Guard(limits, archive, folder)
            for member, _ in reader(raw, suffix):
                guard.admit(member)
            raw.seek(0)
            return list(_write(reader(raw, suffix), _Guard(limits, archive, folder), folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


_Entry: TypeAlias = "tuple[_Member, Callable[[], IO[bytes]]]"


class _Guard:
    """Sees every member before it is unpacked and says where it may go."""

    def __init__(self, limits: Limits, archive: Path, folder: Path) -> None:
        self._limits = limits
        self._archive_size = archive.stat().st_size
        self._room = shutil.disk_usage(folder).free
        self._members = 0
        self._size = 0
        self._files: set[PurePosixPath] = set()

    def admit(self, member: _Member) -> PurePosixPath | None:
        """Return the path of a file, or None for a folder, which files bring themselves."""
        self._count(member)
        if member.trouble:
            raise ArchiveError(f"refusing the archive: {member.name[:200]!r} is {member.trouble}")
        path = member_path(member.name)
        if member.folder:
            return None
        if path.parts[:1] == ("output",) and len(path.parts) > 1:
            path = path.relative_to("output")
        if path in self._files or not path.parts:
            raise ArchiveError(f"refusing the archive: {member.name[:200]!r} is in it twice")
        self._files.add(path)
        return path

    def _count(self, member: _Member) -> None:
        self._members += 1
        self._size += member.size
        limits = self._limits
        bomb = self._size > limits.ratio_from and self._size > limits.ratio * self._archive_size
        for wrong, what in (
            (self._members > limits.members, f"more than {limits.members} members"),
            (member.size < 0, f"a size of {member.size} bytes for {member.name[:200]!r}"),
            (self._size > limits.size, f"more than {limits.size} bytes"),
            (bomb, f"more than {limits.ratio:.0f} times its own size"),
            (self._size > self._room, f"more than the {self._room} bytes free on the disk"),
        ):
            if wrong:
                raise ArchiveError(f"refusing the archive: it holds {what}")


def _write(entries: Iterable[_Entry], guard: _Guard, folder: Path) -> Iterator[PurePosixPath]:
    for member, content_of in entries:
        path = guard.admit(member)
        if path is None:
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with content_of() as content, target.open("xb") as file:
            while chunk := content.read(min(_CHUNK, member.size + 1 - written)):
                written += len(chunk)
                if written > member.size:
                    break
                file.write(chunk)
        if written != member.size:
            raise ArchiveError(f"the archive is broken: {member.name[:200]!r} has another size")
        yield path


def _tar_members(raw: IO[bytes], suffix: str) -> Iterator[_Entry]:
    gz = suffix == ".tgz"
    stream = igzip.IGzipFile(fileobj=raw, mode="rb") if gz else raw  # type: ignore[no-untyped-call]
    modest = _Modest(cast("IO[bytes]", stream))
    with tarfile.open(fileobj=cast("IO[bytes]", modest), mode="r:") as tar:
        while (info := tar.next()) is not None:
            trouble = (
                None
                if info.isreg() or info.isdir()
                else _TAR_KINDS.get(info.type, "a special file")
            )
            if info.sparse is not None:
                trouble = "a sparse file"
            yield (
                _Member(name=info.name, size=info.size, folder=info.isdir(), trouble=trouble),
                partial(_content, tar, info),
            )
    # tarfile takes a broken header for the end; the end is a block of zeros. The gzip stream ends
    # with a check sum, which is looked at only when it has been read to its end.
    if not modest.last or any(modest.last) or any(stream.read(_CHUNK)) or stream.read(1):
        raise ArchiveError("the archive is broken or cut short: it has no end")


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    if content is None:
        raise ArchiveError(f"the archive is broken: {info.name[:200]!r} has no content")
    return content


_TAR_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}


def _zip_members(raw: IO[bytes], _suffix: str) -> Iterator[_Entry]:
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            member = _Member(
                # zipfile cuts a name at a NUL; the original is what the archive says
                name=info.orig_filename,
                size=info.file_size,
                folder=info.is_dir(),
                trouble=_zip_trouble(info),
            )
            yield member, partial(archive.open, info)


def _zip_trouble(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compressed with method {info.compress_type}, which is not read here"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a symbolic link"
    return None if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "a special file"


class _Modest:
    """A file that refuses to read much at once: tarfile reads a header of any length whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.last = b""  # what was read last

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise ArchiveError(f"refusing the archive: it has a header of {size} bytes")
        self.last = self._file.read(size)
        return self.last


_BROKEN: tuple[type[Exception], ...] = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    cast("type[Exception]", isal_zlib.error),  # the stubs call it an instance
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as exc:
        raise ArchiveError(f"{name} is broken or cut short: {exc}") from exc
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
        raise ArchiveError(
            f"refusing the archive: {exc.filename!r} is a file and a folder"
        ) from exc
