"""How fast pre-ARD is made: Orchard, odc-stac and a GeoTIFF writer, and the limit of the machine.

    python benchmarks/preard.py                     # the main comparison, 2 workers and 1
    python benchmarks/preard.py --growth            # cost by dates, bands and tile size
    python benchmarks/preard.py --real ../shared/data/s2-bolzano

Scenes are made on the spot (fixed seed) and kept in --scenes: Landsat-like, two overlapping rows of
4000 x 4000 px, 8 bands of uint16, COGs with DEFLATE and predictor, in a UTM zone; the tile is on
the Albers grid of CONUS. Every run is a process of its own, warmed up by its imports alone; the
ways take turns, and medians and ratios of one invocation are printed.

The limit is what nobody can go below: every source block that contributes is read and decoded once
(which they are is taken from the run of Orchard, and so are the blocks it writes), the blocks of
the image are encoded and written once, in as many threads, and nothing else is done. `limit-gdal`
does the same through GDAL: windows of the contributing blocks are read by rasterio, and it writes
the image.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2", "thermal", "qa")
SIZE, ROWS, MADE_DATES = 4000, 2, 2
ZONE, ALBERS = "EPSG:32618", "EPSG:5070"
BLOCK, CODEC, LEVEL = 512, "zstd", 1
WAYS = ("orchard", "odc-threads", "odc-dask", "limit", "limit-gdal")


@dataclass
class TileOf:
    """A tile, as `write_shard` wants it."""

    crs: Any
    transform: Affine
    size: tuple[int, int]


# --- scenes ---------------------------------------------------------------------------------------


def make_scenes(folder: Path) -> None:
    """Two dates of two rows; further dates are links to them."""
    from rasterio.shutil import copy

    rng = np.random.default_rng(20261120)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype("float32")
    # Fields, valleys and noise that DEFLATE halves or so, and a tilted footprint as Landsat's.
    ground = 9000 + 1800 * np.sin(x / 310) * np.cos(y / 270) + 300 * np.sin(x / 11) * np.sin(y / 13)
    outside = (x + 0.2 * y < 300) | (x + 0.2 * y > SIZE + 500)
    outside |= (y - 0.2 * x > SIZE - 260) | (y - 0.2 * x < -540)
    for number in range(MADE_DATES * ROWS):
        row = number % ROWS
        transform = Affine(30, 0, 500_000, 0, -30, 4_700_000 - row * SIZE // 2 * 30)
        for k, band in enumerate(BANDS):
            path = folder / f"made{number // ROWS}_row{row}_{band}.tif"
            if path.exists():
                continue
            values = ground * (0.5 + 0.1 * k) + rng.standard_normal((SIZE, SIZE), "float32") * 40
            values = values.astype("uint16")
            if band == "qa":
                values = np.where(values % 7 > 4, 21824, 22280).astype("uint16")
                values = np.repeat(np.repeat(values[::8, ::8], 8, 0), 8, 1)
            values[outside] = 0
            profile = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": 1}
            profile |= {"dtype": "uint16", "crs": ZONE, "transform": transform, "nodata": 0}
            part = path.with_suffix(".part")
            with rasterio.MemoryFile() as memory:
                with memory.open(**profile) as plain:
                    plain.write(values, 1)
                options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "OVERVIEWS": "NONE"}
                copy(memory.name, part, driver="COG", NUM_THREADS="2", **options)
            part.rename(path)


def made_case(folder: Path, dates: int, bands: int, size: int) -> dict[str, Any]:
    """Scenes by date, and the tile, as data."""
    centre = rasterio.warp.transform(ZONE, ALBERS, [560_000], [4_619_000])
    left, top = (round(v[0] / 30) * 30 for v in centre)
    scenes = [
        {
            "id": f"made-{k:03d}-{row}",
            "day": str(date(2021, 1, 1) + timedelta(days=3 * k)),
            "bands": {
                b: str(folder / f"made{k % MADE_DATES}_row{row}_{b}.tif") for b in BANDS[:bands]
            },
        }
        for k in range(dates)
        for row in range(ROWS)
    ]
    transform = [30, 0, left - size * 15, 0, -30, top + size * 15]
    return {"crs": ALBERS, "transform": transform, "size": size, "scenes": scenes, "nodata": 0}


def real_case(folder: Path) -> dict[str, Any]:
    """The Bolzano scenes onto 20 m pixels of EPSG:3035, one tile over their extent."""
    names = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "scl": "SCL"}
    found = sorted(p for p in folder.resolve().iterdir() if p.is_dir())
    with rasterio.open(found[0] / "B02.tif") as file:
        bounds = rasterio.warp.transform_bounds(file.crs, "EPSG:3035", *file.bounds)
    scenes = [
        {
            "id": p.name,
            "day": f"{p.name[-8:-4]}-{p.name[-4:-2]}-{p.name[-2:]}",
            "bands": {b: str(p / f"{n}.tif") for b, n in names.items()},
        }
        for p in found
    ]
    transform = [20, 0, bounds[0] // 20 * 20, 0, -20, bounds[3] // 20 * 20 + 20]
    return {"crs": "EPSG:3035", "transform": transform, "size": 512, "scenes": scenes, "nodata": 0}


# --- the ways -------------------------------------------------------------------------------------


def by_day(case: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = {}
    for scene in case["scenes"]:
        days.setdefault(scene["day"], []).append(scene)
    return days


def orchard_request(case: dict[str, Any]) -> Any:
    import pyproj

    from orchard.engines.local.pixels import Acquisition, ImageRequest, Scene, Source

    tile = TileOf(pyproj.CRS(case["crs"]), Affine(*case["transform"]), (case["size"],) * 2)
    acquisitions = tuple(
        Acquisition(
            day=date.fromisoformat(day),
            scenes=tuple(
                Scene(
                    id=s["id"],
                    time=datetime.fromisoformat(day).replace(tzinfo=UTC),
                    bands={b: Source(href=h) for b, h in s["bands"].items()},
                )
                for s in scenes
            ),
        )
        for day, scenes in by_day(case).items()
    )
    return ImageRequest(
        tile=tile,
        bands=tuple(case["scenes"][0]["bands"]),
        acquisitions=acquisitions,
        dtype="uint16",
        nodata=case["nodata"],
        creation={"blocksize": BLOCK, "codec": CODEC, "level": LEVEL},
    )


def run_orchard(case: dict[str, Any], out: Path, workers: int) -> Any:
    from orchard.engines.local.pixels import Window, write_shard

    request = orchard_request(case)
    yield
    write_shard(request, Window.whole(request.tile), out, threads=workers)


def stac_items(case: dict[str, Any]) -> list[Any]:
    import pystac

    items = []
    for scene in case["scenes"]:
        first = next(iter(scene["bands"].values()))
        with rasterio.open(first) as file:
            box = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
            code, shape, transform = file.crs.to_epsg(), file.shape, list(file.transform)
        ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]]
        item = pystac.Item(
            id=scene["id"],
            geometry={"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            bbox=list(box),
            datetime=datetime.fromisoformat(scene["day"]).replace(hour=15, tzinfo=UTC),
            properties={},
        )
        item.ext.add("proj")
        item.ext.proj.apply(epsg=code)
        for band, href in scene["bands"].items():
            asset = pystac.Asset(href=href, media_type=pystac.MediaType.COG, roles=["data"])
            item.add_asset(band, asset)
            asset.ext.proj.apply(shape=list(shape), transform=transform)
        items.append(item)
    return items


def run_odc(case: dict[str, Any], out: Path, workers: int, *, dask: bool) -> Any:
    import dask as _dask
    import odc.stac
    from odc.geo.geobox import GeoBox

    items = stac_items(case)
    box = GeoBox((case["size"],) * 2, Affine(*case["transform"]), case["crs"])
    bands = list(case["scenes"][0]["bands"])
    config = {"*": {"assets": {"*": {"data_type": "uint16", "nodata": case["nodata"]}}}}
    how: dict[str, Any] = {"chunks": {"time": 1}} if dask else {"pool": workers}
    yield
    with _dask.config.set(scheduler="threads", num_workers=workers):
        data = odc.stac.load(
            items, bands=bands, geobox=box, groupby="solar_day", resampling="nearest",
            stac_cfg=config, **how,
        )  # fmt: skip
        data = data.compute() if dask else data
    with rasterio.open(out, "w", **profile_of(case, data.sizes["time"], workers)) as file:
        number = 0
        for k in range(data.sizes["time"]):
            for band in bands:
                number += 1
                file.write(data[band].values[k], number)


def profile_of(case: dict[str, Any], dates: int, workers: int) -> dict[str, Any]:
    return {
        "driver": "GTiff", "width": case["size"], "height": case["size"], "dtype": "uint16",
        "count": dates * len(case["scenes"][0]["bands"]), "crs": case["crs"],
        "transform": Affine(*case["transform"]), "nodata": case["nodata"], "tiled": True,
        "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "band", "compress": CODEC,
        "ZSTD_LEVEL": LEVEL, "predictor": 2, "BIGTIFF": "IF_SAFER", "NUM_THREADS": workers,
    }  # fmt: skip


def contributing(case: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Source blocks that a run of Orchard decodes, and the blocks that it writes."""
    from unittest import mock

    from orchard.engines.local.pixels import Window, raster, write_shard, writer

    read: list[Any] = []
    written: list[Any] = []
    decode, encode = raster.TiffRaster.decode, writer.encode

    def note_decode(self: Any, block: Any, data: Any, band: int) -> Any:
        read.append((self, block, data, band))
        return decode(self, block, data, band)

    def note_encode(values: Any, *rest: Any) -> Any:
        written.append((values.copy(), *rest))
        return encode(values, *rest)

    request = orchard_request(case)
    with (
        mock.patch.object(raster.TiffRaster, "decode", note_decode),
        mock.patch.object(writer, "encode", note_encode),
        tempfile.TemporaryDirectory() as folder,
    ):
        write_shard(request, Window.whole(request.tile), Path(folder, "x.tif"))
    return read, written


def run_limit(case: dict[str, Any], out: Path, workers: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    from orchard.tiff import codecs

    read, written = contributing(case)
    # Blocks come file by file, and are read so.
    visits: list[tuple[Any, int, list[Any]]] = []
    for file, block, _, band in read:
        if not visits or visits[-1][0] is not file:
            visits.append((file, band, []))
        visits[-1][2].append(block)
    del read

    def decode(visit: Any) -> None:
        file, band, blocks = visit
        for block, data in zip(blocks, file.fetch(blocks, band), strict=True):
            file.decode(block, data, band)

    yield
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(decode, visits):
            pass
        with out.open("wb") as file:
            for data in pool.map(lambda w: codecs.encode(*w), written):
                file.write(data)


def run_limit_gdal(case: dict[str, Any], out: Path, workers: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    from rasterio.windows import Window

    read, written = contributing(case)
    # Blocks come file by file: one window for each visit of a file.
    visits: list[tuple[str, list[tuple[int, int]]]] = []
    last = None
    for file, (row, col), _, _ in read:
        if file is not last:
            visits.append((str(file._file._path), []))  # noqa: SLF001
            last = file
        visits[-1][1].append((row * 512, col * 512))
    values = np.zeros((case["size"],) * 2, "uint16")
    del written
    dates = len(by_day(case))

    def scan(item: Any) -> None:
        name, corners = item
        top, left = (min(c[i] for c in corners) for i in (0, 1))
        bottom, right = (max(c[i] for c in corners) + 512 for i in (0, 1))
        with rasterio.open(name) as file:
            box = Window(left, top, min(right, file.width) - left, min(bottom, file.height) - top)
            file.read(1, window=box)

    with rasterio.open(visits[0][0]) as file:
        real = file.read(1)[: case["size"], : case["size"]]
        values[: real.shape[0], : real.shape[1]] = real
    yield
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(scan, visits))
    with rasterio.open(out, "w", **profile_of(case, dates, workers)) as file:
        for number in range(file.count):
            file.write(values, number + 1)


RUN = {
    "orchard": run_orchard,
    "odc-threads": lambda *a: run_odc(*a, dask=False),
    "odc-dask": lambda *a: run_odc(*a, dask=True),
    "limit": run_limit,
    "limit-gdal": run_limit_gdal,
}


# --- measuring ------------------------------------------------------------------------------------


def child(way: str, case: dict[str, Any], workers: int) -> None:
    """One run; what is before the yield of a way (imports, lists) is not measured."""
    os.environ["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.tif")
        for _ in range(case.get("runs", 1)):
            steps = RUN[way](case, out, workers)
            next(steps)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in steps:
                pass
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        size = out.stat().st_size
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "size": size / 1e6}))


def measure(way: str, case: dict[str, Any], workers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", way, "--workers", str(workers)]
    done = subprocess.run(
        command, input=json.dumps(case), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(case: dict[str, Any], ways: list[str], workers: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds in which the ways take turns."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            runs[way].append(measure(way, case, workers))
    return {
        way: {key: median(r[key] for r in found) for key in found[0]} for way, found in runs.items()
    }


def show(title: str, found: dict[str, Any]) -> None:
    print(f"\n{title}")
    print(f"{'way':12} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'file MB':>8}")
    for way, row in found.items():
        print(
            f"{way:12} {row['wall']:8.2f} {row['cpu']:8.2f} {row['peak']:8.0f} {row['size']:8.1f}"
        )
    mine = found["orchard"]
    for way in found:
        if way.startswith("limit"):
            wall, cpu = (mine[key] / found[way][key] for key in ("wall", "cpu"))
            print(f"orchard / {way}: {wall:.2f} (CPU {cpu:.2f})")
    peers = [found[way] for way in found if way.startswith("odc")]
    if peers:
        wall, cpu = (min(p[key] for p in peers) / mine[key] for key in ("wall", "cpu"))
        print(f"best of odc / orchard: {wall:.2f} (CPU {cpu:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--scenes", type=Path, default=Path(tempfile.gettempdir(), "orchard-scenes")
    )
    parser.add_argument("--real", type=Path)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--runs", type=int, default=1, help="images made by each process; the last one counts"
    )
    parser.add_argument("--dates", type=int, default=6)
    parser.add_argument("--bands", type=int, default=8)
    parser.add_argument("--size", type=int, default=2500)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--child", choices=WAYS)
    args = parser.parse_args()
    if args.child:
        child(args.child, json.load(sys.stdin), args.workers)
        return
    if args.real:
        case = real_case(args.real) | {"runs": args.runs}
        for workers in (args.workers,) if args.workers else (2, 1):
            show(f"real scenes, {workers} workers", compare(case, args.ways, workers, args.rounds))
        return
    args.scenes.mkdir(exist_ok=True, parents=True)
    make_scenes(args.scenes)
    if args.growth:
        growth(args)
        return
    case = made_case(args.scenes, args.dates, args.bands, args.size) | {"runs": args.runs}
    for workers in (args.workers,) if args.workers else (2, 1):
        title = f"{args.dates} dates, {args.bands} bands, {args.size} px, {workers} workers"
        show(title, compare(case, args.ways, workers, args.rounds))


def growth(args: argparse.Namespace) -> None:
    """Orchard alone: one dimension grows at a time."""
    print(f"{'dates':>6} {'bands':>6} {'size':>6} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}")
    for dates, bands, size in (
        (6, 8, 1000), (6, 8, 2500), (6, 2, 2500), (6, 4, 2500),
        (24, 8, 1000), (96, 8, 1000), (24, 2, 2500), (96, 2, 2500),
    ):  # fmt: skip
        case = made_case(args.scenes, dates, bands, size)
        row = compare(case, ["orchard"], args.workers or 2, 1)["orchard"]
        print(
            f"{dates:6} {bands:6} {size:6} {row['wall']:8.2f} {row['cpu']:8.2f} {row['peak']:8.0f}"
        )


if __name__ == "__main__":
    main()
