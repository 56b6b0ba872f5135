"""Cubes of Cloud Optimized GeoTIFFs: one file per band and date, with a STAC Item per date.

Workers see all dates of a few pixels, a GeoTIFF needs all pixels of one date: in between the pixels
are spooled to disk, so that memory holds one date of one band for each worker.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .disk import flush
from .units import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from orchard.preard import Window

    from .coords import Coordinate
    from .plan import CubePlan, Variable
from .places import write_json
from .stac import step_item

__all__ = ["STEPS", "CogWriter"]

_SPOOL = ".spool"
#: The list of the steps' names, in order.
STEPS = "steps.json"
_WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class _Spool:
    """One file per variable: a slot for each step and unit."""

    path: Path
    size: tuple[int, int]
    unit: tuple[int, int]
    variables: Mapping[str, Variable]

    def _slot(self, name: str, step: int, window: Window) -> int:
        across, down = -(-self.size[0] // self.unit[1]), -(-self.size[1] // self.unit[0])
        number = window.row_off // self.unit[0] * across + window.col_off // self.unit[1]
        length = self.unit[0] * self.unit[1] * np.dtype(self.variables[name].dtype).itemsize
        return int((step * across * down + number) * length)

    def encode(
        self, name: str, span: tuple[int, int], window: Window, data: NDArray[Any]
    ) -> tuple[()]:
        """Put the steps of a window into their slots."""
        descriptor = os.open(self.path / name, os.O_WRONLY)
        try:
            for step, plane in zip(range(*span), data, strict=True):
                _write_all(descriptor, plane.tobytes(), self._slot(name, step, window))
        finally:
            os.close(descriptor)
        return ()

    def plane(self, name: str, step: int) -> NDArray[Any]:
        """Return one date of a variable, ``(height, width)``."""
        width, height = self.size
        dtype = np.dtype(self.variables[name].dtype)
        plane = np.empty((height, width), dtype)
        with (self.path / name).open("rb", buffering=0) as file:
            for w in units(self.size, self.unit):
                data = os.pread(
                    file.fileno(), w.height * w.width * dtype.itemsize, self._slot(name, step, w)
                )
                block = np.frombuffer(data, dtype).reshape(w.height, w.width)
                plane[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width] = block
        return plane


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


class CogWriter:
    """Writes one cube into one folder.

    Parameters
    ----------
    path : Path
        Of the folder; it must not exist.
    plan : CubePlan
    """

    suffix = ".cog"
    grow_units = True

    def __init__(self, path: Path, plan: CubePlan) -> None:
        self.path = path
        self.plan = plan
        self.encoder = _Spool(
            path=path / _SPOOL,
            size=plan.tile.size,
            unit=plan.unit,
            variables=plan.variables,
        )

    def create(
        self,
        coordinates: Mapping[str, Coordinate],
        attributes: Mapping[str, Mapping[str, Any]],
        title: Mapping[str, Any],
    ) -> None:
        """Make the folder and the spool; coordinates are in the STAC Items."""
        del title
        self._attributes = attributes
        self.encoder.path.mkdir(parents=True)
        steps = [step_name(self.plan, step) for step in range(len(self.plan.steps))]
        (self.path / STEPS).write_text(json.dumps(steps), "utf-8")
        record = str(coordinates["provenance"].values[()])
        (self.path / "provenance.json").write_text(record, "utf-8")
        for name in self.plan.variables:
            (self.encoder.path / name).touch()

    def accept(self, payload: tuple[()]) -> None:
        """Nothing is left to do: the workers have spooled the pixels."""

    def finish(self, measured: Mapping[str, NDArray[Any]]) -> None:
        """Write the GeoTIFFs from the spool, flush them to disk, remove the spool."""
        del measured
        for name in self.plan.variables:
            with ThreadPoolExecutor(_WORKERS) as pool:
                list(pool.map(lambda s, n=name: self._write(n, s), range(len(self.plan.steps))))
            (self.encoder.path / name).unlink()
        self.encoder.path.rmdir()

    def _write(self, name: str, step: int) -> None:
        import rasterio

        variable, tile, encoding = (
            self.plan.variables[name],
            self.plan.tile,
            self.plan.options.encoding,
        )
        plane = self.encoder.plane(name, step)
        if variable.kind != "band":
            plane = plane.view(np.uint8)
        smooth = variable.kind == "band" and not self._is_quality(name)
        creation: dict[str, Any] = {"compress": "deflate" if encoding.compress else "none"}
        if encoding.compress:
            creation |= {"predictor": "yes", "level": min(encoding.level or 6, 9)}
        path = self.path / self.file_name(name, step)
        with rasterio.open(
            path,
            "w",
            driver="COG",
            width=tile.width,
            height=tile.height,
            count=1,
            dtype=plane.dtype,
            nodata=variable.fill,
            crs=rasterio.crs.CRS.from_wkt(tile.crs.to_wkt()),
            transform=tile.transform,
            overview_resampling="average" if smooth else "nearest",
            **creation,
        ) as dataset:
            dataset.write(plane, 1)
            dataset.set_band_description(1, name)
            known = self._attributes[name]
            dataset.scales = (known.get("scale_factor", 1.0),)
            dataset.offsets = (known.get("add_offset", 0.0),)
            dataset.update_tags(
                TIFFTAG_DATETIME=self.plan.steps[step].time.strftime("%Y:%m:%d %H:%M:%S")
            )
        flush(path)

    def _is_quality(self, name: str) -> bool:
        return any(band.qa for band in self.plan.bands if band.name == name)

    def file_name(self, name: str, step: int) -> str:
        """Name the file of a band and date."""
        return f"{step_name(self.plan, step)}_{name}.tif"

    def write_items(self, final: Path, coordinates: Mapping[str, Coordinate], root: Path) -> None:
        """Write the STAC Item of each date; `final` is where the folder will be."""
        for step in range(len(self.plan.steps)):
            name = f"{step_name(self.plan, step)}.json"
            files = {
                band: (final / file, self.path / file)
                for band in self.plan.variables
                for file in [self.file_name(band, step)]
            }
            item = step_item(
                self.plan,
                step,
                item_path=final / name,
                files=files,
                coordinates=coordinates,
                root=root,
            )
            write_json(self.path / name, item)

    def close(self) -> None:
        """Nothing is held open."""

    def assets(self, final: Path) -> Iterable[tuple[str, Path]]:
        """Give the name and the final path of each file."""
        for step in range(len(self.plan.steps)):
            for name in self.plan.variables:
                file = self.file_name(name, step)
                yield file.removesuffix(".tif"), final / file


def step_name(plan: CubePlan, step: int) -> str:
    """Name a date of a cube: the solar day, and the collection where there are several."""
    one = plan.steps[step]
    several = len({s.collection for s in plan.steps}) > 1
    return f"{one.day}_{one.collection.replace('/', '_')}" if several else str(one.day)
