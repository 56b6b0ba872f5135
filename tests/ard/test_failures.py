"""What goes wrong is named, and leaves nothing that looks whole and is not."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import numpy as np
import preard_files as pre
import pytest
import rasterio

from orchard.ard import convert, open_ard
from orchard.checksums import crc32_of
from orchard.errors import BulkError, InputError, MetadataError, ShardError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ["netcdf", "zarr", "cog"]
NAME = "LC08-2022"


@pytest.fixture
def folder(tmp_path):
    """A folder with two images: a good one, and one of four shards for the test to break."""
    place = tmp_path / "in"
    for name, shards in (("good", None), (NAME, [12, 8])):
        doc = pre.document(name, shards=shards)
        pre.write(place, doc, pre.pixels(doc))
    return place


def failure(folder: Path, **keywords) -> Exception:
    """Convert; the good image is done, nothing of the other is left; return its error."""
    dest = folder.parent / "ard"
    with pytest.raises(BulkError) as caught:
        convert(folder, dest, **keywords)
    assert sorted(path.name for path in dest.iterdir()) == [
        "ard-collection.json",
        "good.nc",
        "good.stac.json",
    ]
    open_ard(dest / "good.nc")
    (error,) = caught.value.exceptions
    assert caught.value.names[0] in str(caught.value)
    return error


SHARD = f"{NAME}-0000000008-0000000012.tif"


def test_a_missing_shard_is_named(folder):
    (folder / SHARD).unlink()
    error = failure(folder)
    assert isinstance(error, ShardError)
    assert f"missing {SHARD}" in str(error)


def test_all_shards_missing_are_named(folder):
    for path in folder.glob(f"{NAME}-*.tif"):
        path.unlink()
    assert "missing LC08-2022-0000000000-0000000000.tif" in str(failure(folder))


def test_a_missing_shard_of_an_unforeseen_layout_is_placed(folder):
    """Earth Engine may cut smaller shards than it was asked for."""
    doc = json.loads((folder / f"{NAME}.json").read_text())
    doc["store"]["export_image_kwds"] = {}
    (folder / f"{NAME}.json").write_text(json.dumps(doc))
    (folder / SHARD).unlink()
    assert "the shard at row 8, column 12" in str(failure(folder))


def test_shards_that_were_left_out_as_empty_are_nodata(folder):
    path = folder / f"{NAME}.json"
    doc = json.loads(path.read_text())
    doc["store"]["export_image_kwds"]["skipEmptyTiles"] = True
    path.write_text(json.dumps(doc))
    (folder / SHARD).unlink()
    (cube,) = convert(path, folder.parent / "ard")
    assert (open_ard(cube).red[:, 8:, 12:] == 0).all()
    assert (open_ard(cube).red[:, :8, :] != 0).any()


@pytest.mark.parametrize("keep", [0, 4, 100, -40])
def test_a_truncated_shard_is_named(folder, keep):
    path = folder / SHARD
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    error = failure(folder)
    assert isinstance(error, ShardError)
    assert SHARD in str(error)


def test_a_shard_of_another_size_than_the_task_made_is_named(folder):
    path = folder / f"{NAME}.json"
    doc = json.loads(path.read_text())
    files = [{"name": p.name, "size": p.stat().st_size} for p in folder.glob(f"{NAME}-*.tif")]
    doc["task"]["status"]["files"] = files
    path.write_text(json.dumps(doc))
    with (folder / SHARD).open("ab") as file:
        file.write(b"!")
    assert f"{SHARD}: has " in str(failure(folder))


def test_a_byte_that_has_changed_is_named(folder):
    path = folder / f"{NAME}.json"
    doc = json.loads(path.read_text())
    names = [p.name for p in folder.glob(f"{NAME}-*.tif")]
    doc["task"]["status"]["files"] = [
        {"name": name, "size": None, "crc32": crc32_of(folder / name), "md5": "0" * 32}
        for name in names
    ]
    path.write_text(json.dumps(doc))
    whole = (folder / SHARD).read_bytes()
    middle = len(whole) // 2
    (folder / SHARD).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert f"{SHARD}: its bytes are not those that the task made" in str(failure(folder))
    (folder / SHARD).write_bytes(whole)
    cube = next(c for c in convert(folder, folder.parent / "ard") if NAME in c.name)
    sources = json.loads(cube.with_suffix(".stac.json").read_text())["properties"][
        "orchard:sources"
    ]
    checksums = {file["name"]: file["checksum"] for file in sources[0]["files"]}
    assert checksums == {name: f"crc32:{crc32_of(folder / name)}" for name in names}


def shard(folder: Path, **changes) -> None:
    """Write the last shard anew, changed."""
    path = folder / SHARD
    with rasterio.open(path) as dataset:
        profile, data = dataset.profile, dataset.read()
    data = changes.pop("data", data)
    profile.update({"count": data.shape[0], "dtype": data.dtype, **changes})
    profile.update(height=data.shape[1], width=data.shape[2])
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((4, 7, 8), "uint16")}, "it has 4 bands, not 6"),
        ({"data": np.zeros((6, 7, 8), "int32")}, "its dtype is int32, not uint16"),
        ({"data": np.zeros((6, 7, 9), "uint16")}, "reach outside the tile"),
        ({"nodata": 7}, "its nodata is 7"),
        ({"crs": "EPSG:32633"}, "its CRS is not that of the tile"),
        ({"transform": rasterio.Affine(30, 0, 600000, 0, -30, 5100000)}, "its transform"),
        ({"transform": rasterio.Affine(10, 0, 600360, 0, -10, 5099760)}, "its transform"),
    ],
)
def test_a_foreign_shard_is_named(folder, changes, message):
    shard(folder, **changes)
    error = failure(folder)
    assert isinstance(error, ShardError)
    assert SHARD in str(error)
    assert message in str(error)


def test_a_smaller_shard_leaves_a_hole_that_is_named(folder):
    shard(folder, data=np.zeros((6, 7, 7), "uint16"))
    assert "missing" in str(failure(folder))


def test_shards_that_overlap_are_named(folder):
    doc = json.loads((folder / f"{NAME}.json").read_text())
    whole = pre.pixels(doc)
    doc["store"]["export_image_kwds"] = {}
    pre.write(folder, doc, whole)
    assert "overlaps another shard" in str(failure(folder))


def test_metadata_that_does_not_match_is_named(folder):
    path = folder / f"{NAME}.json"
    doc = json.loads(path.read_text())
    doc["image"]["bands"] = ["red", "qa"]
    path.write_text(json.dumps(doc))
    assert "6 bands, not 4 (2 bands x 2 dates)" in str(failure(folder))


def test_metadata_that_cannot_be_read_is_named(folder):
    (folder / f"{NAME}.json").write_text("{")
    with pytest.raises(BulkError) as caught:
        convert(folder, folder.parent / "ard")
    assert f"{NAME}.json: is not JSON" in str(caught.value)
    assert (folder.parent / "ard/good.nc").exists()


def test_an_image_without_metadata_is_named(folder):
    (folder / f"{NAME}.json").unlink()
    error = failure(folder)
    assert isinstance(error, MetadataError)
    assert f"there is no image metadata {NAME}.json" in str(error)


def test_sources_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        convert(tmp_path / "nothing")
    says = f"^{re.escape(str(tmp_path))}: holds no image metadata"
    for source in (tmp_path, [tmp_path], iter([tmp_path])):
        with pytest.raises(InputError, match=says):
            convert(source)
    (tmp_path / "a.tif").touch()
    with pytest.raises(InputError, match="is not image metadata"):
        convert(tmp_path / "a.tif")


def test_another_file_of_the_cubes_name_is_not_overwritten(folder):
    dest = folder.parent / "ard"
    dest.mkdir()
    (dest / f"{NAME}.nc").write_bytes(b"somebody's")
    with pytest.raises(BulkError) as caught:
        convert(folder, dest)
    assert "remove it or overwrite it" in str(caught.value)
    assert (dest / f"{NAME}.nc").read_bytes() == b"somebody's"
    convert(folder, dest, overwrite=True)
    open_ard(dest / f"{NAME}.nc")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    """The limit on the size of a file stands for the disk; random pixels do not compress."""
    doc = pre.document(size=(400, 300), bands=("red", "nir"), dates=4)
    pre.write(tmp_path / "in", doc, pre.pixels(doc))
    script = """
        import resource, signal, sys
        from orchard.ard import convert
        from orchard.errors import BulkError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for kind in sys.argv[2:]:
            try:
                convert(sys.argv[1], sys.argv[1] + "/../" + kind, kind)
            except BulkError as error:
                print(type(error.exceptions[0]).__name__, error.exceptions[0], file=sys.stderr)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "in"), *KINDS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    said = done.stderr.splitlines()
    assert len(said) == len(KINDS)
    for kind, line in zip(KINDS, said, strict=True):
        assert line.startswith("StoreError")
        assert doc["task"]["name"] in line
        assert list((tmp_path / kind).iterdir()) == []
        (cube,) = convert(tmp_path / "in", tmp_path / kind, kind)
        wanted = pre.read_gdal(tmp_path / "in", doc)[:, 0]
        np.testing.assert_array_equal(open_ard(cube).red, wanted)


def test_a_folder_that_cannot_be_written_is_named(folder):
    blocked = folder.parent / "ard"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(BulkError) as caught:
        convert(folder, blocked)
    assert isinstance(caught.value.exceptions[0], StoreError)
    assert str(blocked) in str(caught.value)


def test_an_interrupt_leaves_nothing(folder):
    def callback(**_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder, folder.parent / "ard", callback=callback)
    assert list((folder.parent / "ard").iterdir()) == []


# Killing ------------------------------------------------------------------------------------------

KILLS = int(os.environ.get("ORCHARD_KILLS", "6"))

#: Forks a process for each conversion it is asked for, so that only the first pays for the imports.
SERVER = """
import os, sys, zarr
from orchard.ard import convert

print(0, flush=True)
for line in iter(sys.stdin.readline, ""):
    child = os.fork()
    if child == 0:
        source, dest, kind = line.split()
        convert(source, dest, kind, join=True, encoding={"chunks": {"x": 32, "y": 32}})
        os._exit(0)
    print(child, flush=True)
    # Not before it is asked for: until then the number of the process is not given to another.
    sys.stdin.readline()
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def server():
    """Ask it for a conversion and it gives the process; ask for the status and it gives that."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(*words: object) -> int:
        stdin.write(" ".join(map(str, words)) + "\n")
        stdin.flush()
        return int(stdout.readline())

    assert int(stdout.readline()) == 0
    yield ask
    stdin.close()
    stdout.close()
    process.wait(30)


def test_killed_at_any_moment_it_ends_right_when_run_again(tmp_path, server):
    """SIGKILL at random moments; in between nothing looks whole and is not.

    ``ORCHARD_KILLS`` says how often. Each round adds a task to a cube whose older images are gone.
    """
    rng = random.Random(0)
    pixels: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    spans = dict.fromkeys(KINDS, 0.0)
    killed = committed = 0
    for number in range(KILLS + len(KINDS)):
        kind = KINDS[number % len(KINDS)]
        # A new cube every now and then: long series take long, and show nothing more.
        if number % 18 < len(KINDS):
            pixels[kind] = []
        dest, source = tmp_path / f"{kind}-{number // 18}", tmp_path / f"in-{number}"
        write_task(source, number, pixels[kind])
        child, began = server(source, dest, kind), time.monotonic()
        if number < len(KINDS):
            # How long a whole run takes is found out by one of each.
            assert server("status") == 0
            spans[kind] = time.monotonic() - began
        else:
            time.sleep(rng.uniform(0, spans[kind]))
            os.kill(child, signal.SIGKILL)
            hit = server("status") != 0
            killed += hit
            spans[kind] *= 1 if hit else 0.8  # the first run may have been a slow one
            committed += check_whole(dest, kind, pixels[kind])
        (cube,) = convert(source, dest, kind, join=True, encoding={"chunks": {"x": 32, "y": 32}})
        data, found = np.concatenate(pixels[kind]), open_ard(cube)
        np.testing.assert_array_equal(found.red, data[:, 0])
        np.testing.assert_array_equal(found.qa, data[:, 1])
        assert not [p.name for p in dest.iterdir() if p.name.startswith(".")]
        shutil.rmtree(source)
    print(f"{killed} of {KILLS} killed, {committed} of them after the commit")
    assert killed >= KILLS / 3


def write_task(source: Path, number: int, pixels: list[np.ndarray]) -> None:
    """Write the next two days, and add their pixels."""
    doc = pre.document(
        f"task{number}",
        size=(160, 110),
        first=pre.FIRST + len(pixels) * 2 * pre.DAY,
        dates=2,
        step=pre.DAY,
        bands=("red", "qa"),
    )
    pixels.append(pre.pixels(doc, number))
    pre.write(source, doc, pixels[-1])


def check_whole(dest: Path, kind: str, tasks: list[np.ndarray]) -> bool:
    """Check that what has an item is as before the last task or after it; return whether after."""
    suffix = {"netcdf": ".nc", "zarr": ".zarr", "cog": ".cog"}[kind]
    items = list(dest.glob("*.stac.json"))
    for item in items:
        found = open_ard(item.with_name(item.name.removesuffix(".stac.json") + suffix))
        count = found.sizes["time"] // 2
        assert count in (len(tasks) - 1, len(tasks))
        np.testing.assert_array_equal(found.red, np.concatenate(tasks[:count])[:, 0])
        return count == len(tasks)
    return False
