"""How fast pre-ARD becomes cubes: Orchard, the xarray way, and the limit, in alternating rounds.

The limit is what cannot be left out: decode every block once, then shuffle and deflate every chunk
once, two threads each, nothing written, with Orchard's own decoders or, as `gdal`, with GDAL's. The
xarray way is: open chunked, restack bands and dates, ``to_netcdf`` with zlib. Each way runs in a
process of its own; imports are not counted.

    python benchmarks/convert.py                  # 2048 px, 8 bands x 12 dates, interleaved LZW
    python benchmarks/convert.py --size 1024 --rounds 5
    python benchmarks/convert.py --growth         # 12, 48 and 192 dates: time and memory
    python benchmarks/convert.py --real           # on the scenes of ../shared/data
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = Path(__file__).parents[2] / "shared/data"
FIRST, DAY = 1654165824000, 86_400_000
NAME = "BENCH"
WORKERS = 2


# Data ---------------------------------------------------------------------------------------------


def document(shape: tuple[int, int, int, int], nodata: int, dtype: str) -> dict[str, Any]:
    """Return the image metadata of ``(dates, bands, height, width)``."""
    dates, bands, height, width = shape
    names = [f"band{number}" for number in range(bands)]
    times = [FIRST + i * 5 * DAY for i in range(dates)]
    return {
        "program": {"name": "orchard", "version": "0"},
        "order": {
            "collection": "BENCH/MARK",
            "date_start": "2022-06-01T00:00:00",
            "date_end": "2026-06-01T00:00:00",
        },
        "tile": {
            "index": [0, 0],
            "crs": "EPSG:32632",
            "bounds": [600000.0, 5000000.0 - 30 * height, 600000.0 + 30 * width, 5000000.0],
            "res": [30, 30],
            "size": [width, height],
        },
        "store": {"service": "folder", "export_image_kwds": {}},
        "task": {"name": NAME, "prefix": "", "status": {"state": "COMPLETED"}},
        "image": {
            "bands": names,
            "nodata": nodata,
            "dtype": dtype,
            "dates": [str(np.datetime64(t, "ms").astype("M8[D]")) for t in times],
            "images": [[{"id": f"scene{t}", "system:time_start": t}] for t in times],
        },
        "collection": {
            "id": "BENCH/MARK",
            "bands": {name: {"scale": 0.0001} for name in names},
            "clear": None,
            "flags": {},
        },
    }


def field(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a smooth random field."""
    coarse = rng.normal(size=(size // 64 + 3,) * 2)
    place = np.linspace(0, size / 64, size)
    low, part = place.astype(int), place % 1
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def synthetic(
    folder: Path, size: int, dates: int, bands: int = 8, interleave: str = "pixel"
) -> None:
    """Write a pre-ARD image: smooth ground, smooth change, sensor noise; int16."""
    rng = np.random.default_rng(42)
    ground = field(rng, size)
    data = np.empty((dates, bands, size, size), "int16")
    for date in range(dates):
        change = 60 * field(rng, size)
        for band in range(bands):
            noise = rng.standard_normal((size, size), "float32") * 25
            data[date, band] = 1500 + 200 * band + 300 * ground + change + noise
    write(folder, data, -9999, interleave)


def write(folder: Path, data: np.ndarray, nodata: int, interleave: str) -> None:
    import rasterio

    doc = document(data.shape, nodata, str(data.dtype))
    folder.mkdir(parents=True)
    flat = data.reshape(-1, *data.shape[2:])
    with rasterio.open(
        folder / f"{NAME}.tif",
        "w",
        driver="GTiff",
        count=len(flat),
        height=flat.shape[1],
        width=flat.shape[2],
        dtype=flat.dtype,
        nodata=nodata,
        crs="EPSG:32632",
        transform=rasterio.Affine(30, 0, 600000, 0, -30, 5000000),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="lzw",
        interleave=interleave,
        bigtiff="yes",
        num_threads=WORKERS,
    ) as dataset:
        dataset.write(flat)
    (folder / f"{NAME}.json").write_text(json.dumps(doc))


def real(folder: Path) -> None:
    """Write the 12 dates of s2-bolzano as one pre-ARD image."""
    import rasterio

    scenes = sorted(path for path in (SHARED / "s2-bolzano").iterdir() if path.is_dir())
    names = ("B02", "B03", "B04", "B08", "SCL")
    stack = []
    for scene in scenes:
        for name in names:
            with rasterio.open(scene / f"{name}.tif") as dataset:
                stack.append(dataset.read(1).astype("uint16"))
    data = np.stack(stack).reshape(len(scenes), len(names), *stack[0].shape)
    write(folder, data, 0, "pixel")


# Ways ---------------------------------------------------------------------------------------------


def orchard(kind: str) -> Callable[[Path, Path], Callable[[], Path]]:
    def prepare(folder: Path, dest: Path) -> Callable[[], Path]:
        import h5netcdf
        import pyproj
        import zarr

        from orchard.ard import convert

        _ = h5netcdf, pyproj, zarr  # which are imported on use
        return lambda: convert(folder, dest, kind, workers=WORKERS)[0]

    return prepare


def xarray_way(*, concat: bool) -> Callable[[Path, Path], Callable[[], Path]]:
    """Open chunked, restack, to_netcdf.

    The fast way to restack is known to few: a strided selection for each band. Most would cut the
    stack into dates and concatenate them along time.
    """

    def prepare(folder: Path, dest: Path) -> Callable[[], Path]:
        import dask
        import rioxarray
        import xarray as xr

        image = json.loads((folder / f"{NAME}.json").read_text())["image"]
        bands, dates = image["bands"], np.array(image["dates"], "M8[ns]")
        count = len(bands)

        def restack(stack: xr.DataArray) -> xr.Dataset:
            if concat:
                parts = [
                    stack.isel(band=slice(first, first + count)).assign_coords(band=bands)
                    for first in range(0, count * len(dates), count)
                ]
                time = xr.DataArray(dates, dims="time", name="time")
                return xr.concat(parts, dim=time).to_dataset("band")
            strided = {
                name: stack.isel(band=slice(number, None, count))
                for number, name in enumerate(bands)
            }
            return xr.Dataset(
                {
                    name: band.rename(band="time").assign_coords(time=dates)
                    for name, band in strided.items()
                }
            )

        def work() -> Path:
            stack = rioxarray.open_rasterio(
                folder / f"{NAME}.tif", chunks={"band": -1, "x": 256, "y": 256}
            )
            cube = restack(stack)
            for variable in cube.values():
                variable.attrs.clear()
            sides = [min(12, len(dates)), min(250, cube.sizes["y"]), min(250, cube.sizes["x"])]
            one = {"zlib": True, "chunksizes": sides, "_FillValue": image["nodata"]}
            encoding = dict.fromkeys(bands, one)
            dest.mkdir(parents=True)
            with dask.config.set(scheduler="threads", num_workers=WORKERS):
                cube.to_netcdf(dest / "cube.nc", engine="netcdf4", encoding=encoding)
            return dest / "cube.nc"

        return work

    return prepare


def limit(*, gdal: bool) -> Callable[[Path, Path], Callable[[], Path]]:
    """Decode every block and deflate every chunk, by Orchard's decoders or by GDAL's."""

    def prepare(folder: Path, dest: Path) -> Callable[[], Path]:
        import rasterio
        from isal import isal_zlib

        from orchard.ard.blocks import BlockFile
        from orchard.ard.codec import shuffle
        from orchard.preard import Window

        del dest
        path = folder / f"{NAME}.tif"
        image = json.loads((folder / f"{NAME}.json").read_text())["image"]
        bands = len(image["bands"])
        with rasterio.open(path) as dataset:
            windows = [window for _, window in dataset.block_windows(1)]
            # Where decoded blocks go; touched, so that no page is missing when it counts.
            blocks = [
                np.zeros((dataset.count, w.height, w.width), dataset.dtypes[0]) for w in windows
            ]
        local, file = threading.local(), BlockFile(path)

        def decode(number: int) -> None:
            window, block = windows[number], blocks[number]
            if not gdal:
                place = Window(window.row_off, window.col_off, window.height, window.width)
                file.read(range(len(block)), place, block)
                return
            if not hasattr(local, "dataset"):
                local.dataset = rasterio.open(path)
            local.dataset.read(window=window, out=block)

        def compress(number: int) -> None:
            block = blocks[number]
            cube = block.reshape(-1, bands, *block.shape[1:])
            for band in range(bands):
                for start in range(0, len(cube), 50):
                    isal_zlib.compress(shuffle(cube[start : start + 50, band]), 1)

        def work() -> Path:
            with rasterio.Env(GDAL_CACHEMAX=2**27), ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(decode, range(len(windows))))
                list(pool.map(compress, range(len(windows))))
            return folder

        return work

    return prepare


WAYS: dict[str, Callable[[Path, Path], Callable[[], Path]]] = {
    "limit": limit(gdal=False),
    "gdal": limit(gdal=True),
    "netcdf": orchard("netcdf"),
    "zarr": orchard("zarr"),
    "cog": orchard("cog"),
    "xarray": xarray_way(concat=False),
    "concat": xarray_way(concat=True),
}


def peak() -> float:
    """Return the most memory that this process has had, in MB.

    Linux's VmHWM: `ru_maxrss` is inherited from the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def child(way: str, folder: Path, dest: Path) -> None:
    """Run one way once and print what it took."""
    work = WAYS[way](folder, dest)
    start, before = peak(), resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    made = work()
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    files = [made] if made.is_file() else [p for p in made.rglob("*") if p.is_file()]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": cpu,
                "peak": peak(),
                "start": start,
                "size": sum(p.stat().st_size for p in files) / 1e6,
            }
        )
    )


def run(way: str, folder: Path, place: Path) -> dict[str, float]:
    dest = place / "out"
    shutil.rmtree(dest, ignore_errors=True)
    command = [sys.executable, __file__, "--child", way, str(folder), str(dest)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shutil.rmtree(dest, ignore_errors=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def compare(ways: list[str], folder: Path, place: Path, rounds: int) -> None:
    """Run all ways in turn, round by round, and print medians and ratios within a round."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            found[way].append(run(way, folder, place))
            print(f"  round {number + 1} {way:7} {found[way][-1]['seconds']:6.2f} s", flush=True)
    base = found["limit"]
    print(f"source {sum(p.stat().st_size for p in folder.iterdir()) / 1e6:.0f} MB")
    print(
        "way      median s   cpu s   x limit (each round)        file MB   peak MB (of that start)"
    )
    for way, results in found.items():
        ratios = [r["seconds"] / b["seconds"] for r, b in zip(results, base, strict=True)]
        middle = {key: statistics.median(r[key] for r in results) for key in results[0]}
        text = " ".join(f"{ratio:.2f}" for ratio in ratios)
        size = "-" if way in ("limit", "gdal") else f"{middle['size']:.0f}"
        print(
            f"{way:7} {middle['seconds']:9.2f} {middle['cpu']:7.1f}   "
            f"{statistics.median(ratios):5.2f} ({text})".ljust(57)
            + f"{size:>7} {middle['peak']:9.0f} ({middle['start']:.0f})"
        )
    for peer in {"xarray", "concat"} & found.keys():
        for way in {"netcdf", "zarr"} & found.keys():
            pairs = zip(found[peer], found[way], strict=True)
            ratios = [x["seconds"] / o["seconds"] for x, o in pairs]
            text = " ".join(f"{ratio:.1f}" for ratio in ratios)
            print(f"{way}: {statistics.median(ratios):.1f} x as fast as {peer} ({text})")


def growth(place: Path, size: int, interleave: str) -> None:
    """Print time and memory for more and more dates."""
    print(
        f"{interleave}-interleaved, {size} px, 8 bands; a block column is all dates of 256 x 256 px"
    )
    print("dates   way       s   s / date   file MB   peak MB - start   block column MB")
    for dates in (12, 48, 192):
        folder = place / f"{interleave}{dates}"
        synthetic(folder, size, dates, interleave=interleave)
        column = 256 * 256 * 8 * dates * 2 / 1e6
        for way in ("netcdf", "zarr"):
            r = run(way, folder, place)
            print(
                f"{dates:5} {way:>7} {r['seconds']:6.2f} {r['seconds'] / dates:9.3f} "
                f"{r['size']:9.0f} {r['peak'] - r['start']:14.0f} {column:16.0f}",
                flush=True,
            )
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--dates", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["limit", "gdal", "netcdf", "zarr", "xarray"])
    parser.add_argument("--interleave", default="pixel", choices=["pixel", "band"])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, folder, dest = options.child
        child(way, Path(folder), Path(dest))
        return
    with tempfile.TemporaryDirectory(prefix="orchard-bench-") as name:
        place = Path(name)
        if options.growth:
            growth(place, min(options.size, 768), options.interleave)
            return
        folder = place / "in"
        if options.real:
            real(folder)
        else:
            synthetic(folder, options.size, options.dates, interleave=options.interleave)
        compare(options.ways, folder, place, options.rounds)


if __name__ == "__main__":
    main()
