"""Hostile and honest archives: refused by name, or unpacked; nothing outside, nothing left."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_archives import tgz, zipped

from orchard.jobs import ArchiveError
from orchard.jobs.archive import Limits, archive_suffix, member_path, unpack
from orchard.jobs.placing import LIST_NAME, place


def member(name: str, **attributes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def tar_of(*infos: tarfile.TarInfo, content: bytes = b"", **options: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", **options) as archive:
        archive.addfile(member("output/before.txt", size=3), io.BytesIO(b"abc"))
        for info in infos:
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    return buffer.getvalue()


def raw_tar(*headers: bytes, end: bytes = bytes(1024)) -> bytes:
    return gzip.compress(b"".join(headers) + end, 1)


def link_in_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("output/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def changed(content: bytes, position: int, new: bytes) -> bytes:
    return content[:position] + new + content[position + len(new) :]


def encrypted_zip() -> bytes:
    content = zipped({"output/a": b"x"})
    local, central = 6, content.index(b"PK\x01\x02") + 8
    return changed(changed(content, local, b"\x01\x00"), central, b"\x01\x00")


def renamed_zip(name: bytes) -> bytes:
    return zipped({"N" * len(name): b"x"}).replace(b"N" * len(name), name)


def overlong_header() -> bytes:
    header = member("pax", type=tarfile.XHDTYPE, size=2 << 30).tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(header + bytes(4 << 20), 1)


GOOD = tgz({"output/data.json": b"{}", "output/a/b.tif": b"abc"})

HOSTILE = {
    "parent": (tar_of(member("output/../../evil")), "evil' is not safe"),
    "parent only": (tar_of(member("..")), "is not safe"),
    "absolute": (tar_of(member("/tmp/evil")), "is not safe"),
    "backslash": (tar_of(member("output\\..\\..\\evil")), "is not safe"),
    "drive": (tar_of(member("C:/evil")), "is not safe"),
    "control": (tar_of(member("output/a\nb")), "is not safe"),
    "not unicode": (tar_of(member("output/\udcff")), "is not safe"),
    "long part": (tar_of(member("output/" + "x" * 300)), "is not safe"),
    "symbolic link": (
        tar_of(member("output/l", type=tarfile.SYMTYPE, linkname="/etc")),
        "'output/l' is a symbolic link",
    ),
    "hard link": (
        tar_of(member("output/l", type=tarfile.LNKTYPE, linkname="output/before.txt")),
        "is a hard link",
    ),
    "character device": (
        tar_of(member("output/d", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
        "is a character device",
    ),
    "block device": (tar_of(member("output/d", type=tarfile.BLKTYPE)), "is a block device"),
    "named pipe": (tar_of(member("output/d", type=tarfile.FIFOTYPE)), "is a named pipe"),
    "odd type": (tar_of(member("output/d", type=b"Z")), "is a special file"),
    "twice": (tar_of(member("output/before.txt")), "is in it twice"),
    "twice, without output": (tar_of(member("before.txt")), "is in it twice"),
    "file as folder": (tar_of(member("output/before.txt/x")), "a file and a folder"),
    "sparse": (tar_of(member("output/s", type=tarfile.GNUTYPE_SPARSE)), "."),
    "bomb by header": (
        raw_tar(member("output/z", size=300 << 30).tobuf(tarfile.GNU_FORMAT)),
        "more than 200 times its own size",
    ),
    "negative size": (
        raw_tar(member("output/z", size=-512).tobuf(tarfile.GNU_FORMAT)),
        ".",
    ),
    "overlong header": (overlong_header(), "a header of 2147483648 bytes"),
    "truncated": (GOOD[: len(GOOD) // 2], "broken or cut short"),
    "truncated by little": (GOOD[:-4], "broken or cut short"),
    "no end": (raw_tar(member("output/a").tobuf(), end=b""), "has no end"),
    "data after a broken header": (raw_tar(member("a").tobuf(), b"x" * 512), "."),
    "data after the end": (gzip.compress(gzip.decompress(GOOD) + b"x"), "has no end"),
    "wrong check sum": (changed(GOOD, len(GOOD) - 8, b"\0\0\0\0"), "broken"),
    "html": (b"<html>expired</html>", "is not a .tgz or .zip archive: it begins with b'<html>"),
    "empty": (b"", "is empty"),
    "gzip of something": (gzip.compress(b"hello" * 500), "broken or cut short"),
    "zip parent": (zipped({"../evil": b"x"}), "is not safe"),
    "zip absolute": (zipped({"/evil": b"x"}), "is not safe"),
    "zip backslash": (renamed_zip(b"..\\evil"), "is not safe"),
    "zip with NUL": (renamed_zip(b"a\0b"), "."),
    "zip link": (link_in_zip(), "is a symbolic link"),
    "zip encrypted": (encrypted_zip(), "is encrypted"),
    "zip truncated": (zipped({"output/a": b"x" * 1000})[:-30], "broken or cut short"),
    "zip with wrong content": (
        zipped({"output/a": bytes(range(256))}).replace(b"\x07\x08\t\n", b"\x07\x09\t\n"),
        "broken",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(tmp_path, case):
    content, message = HOSTILE[case]
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        unpack(archive, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert not (tmp_path.parent / "evil").exists()


def test_a_real_bomb_is_stopped_before_a_byte_is_written(tmp_path):
    content = tar_of(member("output/z", size=64 << 20), content=bytes(64 << 20))
    (tmp_path / "bomb.tgz").write_bytes(content)
    with pytest.raises(ArchiveError, match="more than 200 times its own size"):
        unpack(tmp_path / "bomb.tgz", tmp_path / "new", limits=Limits(ratio_from=32 << 20))
    (tmp_path / "bomb.zip").write_bytes(zipped({"z": bytes(64 << 20)}))
    with pytest.raises(ArchiveError, match="more than 200 times its own size"):
        unpack(tmp_path / "bomb.zip", tmp_path / "new", limits=Limits(ratio_from=32 << 20))
    with pytest.raises(ArchiveError, match="more than 1000 bytes"):
        unpack(tmp_path / "bomb.zip", tmp_path / "new", limits=Limits(size=1000))
    assert not (tmp_path / "new").exists()


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    content = zipped({"output/a": bytes(100_000)})
    content = content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10))
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ArchiveError):
        unpack(tmp_path / "a.zip", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_100_000_members_are_refused(tmp_path, kind):
    if kind == "tgz":
        one = bytearray(member("output/000000").tobuf(tarfile.USTAR_FORMAT))
        base = sum(one) - sum(one[148:156]) + 8 * 32 - sum(b"000000")
        headers = []
        for number in range(100_000):
            digits = b"%06d" % number
            one[7:13] = digits
            one[148:156] = b"%06o\0 " % (base + sum(digits))
            headers.append(bytes(one))
        content = raw_tar(*headers)
    else:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number in range(51_000):
                archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
        content = buffer.getvalue()
    (tmp_path / "many").write_bytes(content)
    with pytest.raises(ArchiveError, match="more than 50000 members"):
        unpack(tmp_path / "many", tmp_path / "new", limits=Limits())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("make", [tgz, zipped])
def test_files_come_without_their_output_folder(tmp_path, make):
    archive = tmp_path / "a"
    archive.write_bytes(make({"output/data.json": b"{}", "output/a/b.tif": b"abc", "c.txt": b""}))
    files = unpack(archive, tmp_path / "new")
    assert files == [PurePosixPath("data.json"), PurePosixPath("a/b.tif"), PurePosixPath("c.txt")]
    assert (tmp_path / "new/a/b.tif").read_bytes() == b"abc"


def test_a_plain_tar_and_an_empty_zip_are_read(tmp_path):
    (tmp_path / "a").write_bytes(gzip.decompress(GOOD))
    assert archive_suffix(tmp_path / "a") == ".tar"
    assert len(unpack(tmp_path / "a", tmp_path / "new")) == 2
    (tmp_path / "b").write_bytes(zipped({}))
    assert unpack(tmp_path / "b", tmp_path / "none") == []


def test_a_file_that_is_called_output_keeps_its_name(tmp_path):
    (tmp_path / "a").write_bytes(tgz({"output": b"x"}))
    assert unpack(tmp_path / "a", tmp_path / "new") == [PurePosixPath("output")]


@given(st.text(alphabet=st.sampled_from("ab./\\:\0 "), min_size=1, max_size=12))
def test_a_member_never_leaves_its_folder(name):
    try:
        path = member_path(name)
    except ArchiveError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert Path("/base").joinpath(path).resolve().is_relative_to("/base")


def put(folder: Path, files: dict[str, bytes]) -> list[PurePosixPath]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return [PurePosixPath(name) for name in files]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LIST_NAME
    }


def test_a_second_download_replaces_the_first_and_nothing_else(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine.txt").write_bytes(b"mine")
    first = {"data.json": b"1", "a/old.tif": b"o", "a/same.tif": b"s"}
    second = {"data.json": b"2", "a/same.tif": b"t", "b/new.tif": b"n"}
    place(tmp_path / "1", put(tmp_path / "1", first), target)
    assert tree(target) == {"mine.txt": b"mine", **first}
    place(tmp_path / "2", put(tmp_path / "2", second), target)
    assert tree(target) == {"mine.txt": b"mine", **second}
    place(tmp_path / "3", put(tmp_path / "3", {"data.json": b"3"}), target)
    assert tree(target) == {"mine.txt": b"mine", "data.json": b"3"}
    assert {path.name for path in target.iterdir()} == {"mine.txt", "data.json", LIST_NAME}


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_download_after_one_that_was_killed_clears_up(tmp_path, monkeypatch, stop_at):
    target = tmp_path / "target"
    place(tmp_path / "1", put(tmp_path / "1", {"data.json": b"1", "old": b"o"}), target)
    replace, moves = Path.replace, []

    def killed(self, other):
        if Path(other).name != LIST_NAME:
            moves.append(other)
            if len(moves) == stop_at:
                raise KeyboardInterrupt
        return replace(self, other)

    files = put(tmp_path / "2", {"data.json": b"2", "x": b"x", "y": b"y"})
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            place(tmp_path / "2", files, target)
    assert tree(target).get("data.json") == b"1"  # the commit mark came last
    place(tmp_path / "3", put(tmp_path / "3", {"data.json": b"3"}), target)
    assert tree(target) == {"data.json": b"3"}


def test_a_link_in_the_target_leads_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "a").symlink_to(outside)
    with pytest.raises(ArchiveError, match="through a link"):
        place(tmp_path / "1", put(tmp_path / "1", {"a/b": b"x"}), target)
    assert list(outside.iterdir()) == []


def test_a_forged_list_removes_nothing_outside(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "keep").write_bytes(b"k")
    (target / LIST_NAME).write_text('{"files": ["../keep", "/etc/hostname"]}')
    place(tmp_path / "1", put(tmp_path / "1", {"data.json": b"1"}), target)
    assert (tmp_path / "keep").read_bytes() == b"k"


def test_the_list_itself_and_a_folder_in_the_way_are_refused(tmp_path):
    target = tmp_path / "target"
    (target / "a").mkdir(parents=True)
    with pytest.raises(ArchiveError, match="Orchard's own file"):
        place(tmp_path / "1", put(tmp_path / "1", {LIST_NAME: b"x"}), target)
    with pytest.raises(ArchiveError, match="is a folder"):
        place(tmp_path / "2", put(tmp_path / "2", {"a": b"x"}), target)
