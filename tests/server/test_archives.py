"""Archives that are never made: as zip files for zipfile, and any part of them for a slice."""

from __future__ import annotations

import io
import zipfile
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchard.server.api.downloads import parse_range
from orchard.server.archives import Archive, Entry

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\\\0/"), min_size=1, max_size=12)
TIMES = st.integers(-(10**18), 5 * 10**18)


def content(archive: Archive, start: int, stop: int) -> bytes:
    """What is sent."""
    parts = []
    for piece in archive.pieces(start, stop):
        if piece.entry is None:
            assert len(piece.data) == piece.length
            parts.append(piece.data)
        else:
            with piece.entry.path.open("rb") as file:
                file.seek(piece.offset)
                parts.append(file.read(piece.length))
    return b"".join(parts)


def entry(name: str, data: bytes, modified: int, folder=None, number: int = 0) -> Entry:
    more = {"data": data}
    if folder is not None:
        path = folder / str(number)
        path.write_bytes(data)
        more = {"path": path}
    return Entry(name=name, size=len(data), crc32=crc32(data), modified_ns=modified, **more)


@given(
    files=st.dictionaries(NAMES, st.tuples(st.binary(max_size=60), TIMES), max_size=6),
    data=st.data(),
)
def test_an_archive_is_a_zip_file_and_any_part_of_it_is_that_part(files, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    on_disk = data.draw(st.booleans())
    archive = Archive(
        [
            entry(f"output/{name}", bytes_, time, folder if on_disk else None, number)
            for number, (name, (bytes_, time)) in enumerate(files.items())
        ]
    )
    whole = content(archive, 0, archive.size)
    assert len(whole) == archive.size
    with zipfile.ZipFile(io.BytesIO(whole)) as found:
        assert found.testzip() is None
        assert {i.filename: found.read(i) for i in found.infolist()} == {
            f"output/{name}": bytes_ for name, (bytes_, _) in files.items()
        }
    start = data.draw(st.integers(0, archive.size - 1))
    stop = data.draw(st.integers(start + 1, archive.size))
    assert content(archive, start, stop) == whole[start:stop]


def test_another_content_is_another_etag():
    first = Archive([entry("a", b"12", 0)])
    assert first.etag == Archive([entry("a", b"12", 0)]).etag
    others = [entry("a", b"13", 0), entry("b", b"12", 0), entry("a", b"12", 10**18)]
    assert len({first.etag, *(Archive([one]).etag for one in others)}) == 4


class Virtual(io.RawIOBase):
    """An archive as a file: only what is looked at is read."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.at = archive, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.archive.size)[whence]
        return self.at

    def readinto(self, buffer) -> int:
        stop = min(self.archive.size, self.at + len(buffer))
        data = content(self.archive, self.at, stop) if self.at < stop else b""
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def test_large_files_and_what_follows_them(tmp_path):
    size = 5 * 2**30 + 3
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)  # a hole: takes no room
    large = Entry(name="output/large", size=size, crc32=0, path=tmp_path / "large")
    archive = Archive([large, entry("output/after", b"here", 0), large])
    with zipfile.ZipFile(io.BufferedReader(Virtual(archive))) as found:
        assert [info.file_size for info in found.infolist()] == [size, 4, size]
        assert found.read("output/after") == b"here"
        with found.open(found.infolist()[2]) as file:
            assert file.read(10) == bytes(10)


def test_many_files():
    archive = Archive([entry(f"output/{n}", b"", 0) for n in range(70_000)])
    with zipfile.ZipFile(io.BytesIO(content(archive, 0, archive.size))) as found:
        assert len(found.infolist()) == 70_000


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("lines=1-2", None),
        ("bytes=" + "9" * 40 + "-", None),
    ],
)
def test_ranges(header, part):
    assert parse_range(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_ranges_beyond_the_end(header):
    with pytest.raises(ValueError, match="100 bytes"):
        parse_range(header, 100)
