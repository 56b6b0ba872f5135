"""Write one shard of a pre-ARD image: many threads, one band of one acquisition each at a time."""

from __future__ import annotations

import logging
import math
import re
import secrets
import threading
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from orchard.errors import InputError, SceneError
from orchard.memory import keep_freed_memory
from orchard.tiff.files import is_remote

from .geo import geo_tags, lattice_of
from .mapping import map_window, positions
from .mosaic import Ahead, Canvas, Layer, LayerError
from .raster import READ_ERRORS, open_raster
from .request import Creation, ShardCancelledError, Window
from .resample import Target, shrinkage
from .values import UnfitError
from .writer import Layout, TiffWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from pathlib import Path

    from .geo import Lattice
    from .mapping import Mapping
    from .raster import Raster
    from .request import ImageRequest, Scene

__all__ = ["write_shard"]

logger = logging.getLogger(__name__)

# A window of more pixels is worked on in bands of rows, to bound memory.
AREA_PIXELS = 32 << 20
# What is remembered; the least recently used goes first.
OPEN_FILES, MAPPINGS = 1024, 4
# With remote sources: units whose first bytes are on their way, and who fetches them.
AHEAD_UNITS, SCOUTS = 8, 4


def write_shard(
    request: ImageRequest,
    window: Window,
    path: Path,
    *,
    threads: int = 1,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Write one shard of a pre-ARD image as a tiled, band-interleaved GeoTIFF.

    Memory is bounded by a few bands of the window, whatever the number of acquisitions.

    Parameters
    ----------
    request : ImageRequest
        The image.
    window : Window
        The shard's pixels in the tile.
    path : Path
        Where to write; there is nothing at it before the file is complete.
    threads : int
        How many bands are worked on at once.
    cancelled : callable, optional
        Asked before each band of each acquisition; True stops the work.

    Raises
    ------
    SceneError
        Anything wrong with a source; it names the scene and the band.
    InputError
        A window that reaches outside the tile.
    ShardCancelledError
        ``cancelled`` said so.
    """
    width, height = request.tile.size
    if window.col_off + window.width > width or window.row_off + window.height > height:
        raise InputError(f"{window} reaches outside the tile of {width} x {height} pixels")
    keep_freed_memory()
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with TiffWriter(part, _layout(request, window)) as writer:
            files = _Once(open_raster, OPEN_FILES)
            for area in _areas(window, Creation.of(request.creation)):
                _Area(request, window, area, writer, files, threads).run(cancelled)
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _layout(request: ImageRequest, window: Window) -> Layout:
    target = _target(request, window)
    return Layout(
        height=window.height,
        width=window.width,
        descriptions=request.descriptions(),
        dtype=np.dtype(request.dtype),
        nodata=request.nodata,
        geo=geo_tags(target.crs, target.transform),
        creation=Creation.of(request.creation),
    )


def _target(request: ImageRequest, window: Window) -> Target:
    corner = Affine.translation(window.col_off, window.row_off)
    return Target(
        crs=request.tile.crs.to_wkt(),
        transform=request.tile.transform @ corner,
        height=window.height,
        width=window.width,
    )


def _areas(window: Window, creation: Creation) -> Iterator[Window]:
    """The window in bands of whole rows of blocks; overviews need it in one."""
    size = creation.blocksize
    rows = max(AREA_PIXELS // window.width // size, 1) * size
    step = window.height if creation.cog else rows
    for row in range(0, window.height, step):
        yield Window(
            row_off=window.row_off + row,
            col_off=window.col_off,
            height=min(step, window.height - row),
            width=window.width,
        )


class _Once:
    """Values that are made once by key, by whoever asks first, while the others wait."""

    def __init__(self, make: Callable[[Any], Any], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def __call__(self, key: Any) -> Any:
        with self._lock:
            future = self._made.get(key)
            mine = future is None
            if future is None:
                future = self._made[key] = Future()
            self._made.move_to_end(key)
            if len(self._made) > self._limit:
                self._made.popitem(last=False)
        if mine:
            try:
                future.set_result(self._make(key))
            except BaseException as exc:
                future.set_exception(exc)
                raise
        return future.result()


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One band of one acquisition."""

    number: int
    band: str
    scenes: tuple[Scene, ...]


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A unit whose files are open and, where they are remote, whose first bytes are here."""

    unit: _Unit
    layers: list[Layer]
    ahead: Ahead | None


class _Area:
    """The work on one part of the shard."""

    def __init__(
        self,
        request: ImageRequest,
        window: Window,
        area: Window,
        writer: TiffWriter,
        files: Callable[[str], Raster],
        threads: int,
    ) -> None:
        self._request = request
        self._area = area
        self._target = _target(request, area)
        self._row = area.row_off - window.row_off
        self._writer = writer
        self._files = files
        self._threads = threads
        self._mappings = _Once(self._map, MAPPINGS)
        self._rotated: set[str] = set()
        self._local = threading.local()
        sources = [s for a in request.acquisitions for x in a.scenes for s in x.bands.values()]
        self._remote = any(s is not None and is_remote(s.href) for s in sources)

    def run(self, cancelled: Callable[[], bool] | None) -> None:
        """Paint and write every band of every acquisition."""
        acquisitions, bands = self._request.acquisitions, self._request.bands
        units = (
            _Unit(number=i * len(bands) + j, band=band, scenes=acquisition.scenes)
            for i, acquisition in enumerate(acquisitions)
            for j, band in enumerate(bands)
        )
        # Who waits for the network does not compute.
        workers = self._threads * 2 if self._remote else self._threads
        with ExitStack() as stack:
            scouts = None
            if self._remote:
                scouts = stack.enter_context(ThreadPoolExecutor(SCOUTS))
            queue = _Queue(units, self._prepare, scouts, cancelled)
            crew = stack.enter_context(ThreadPoolExecutor(workers))
            futures = [crew.submit(self._work, queue) for _ in range(workers)]
        for future in futures:
            future.result()

    def _work(self, queue: _Queue) -> None:
        try:
            while (ready := queue.take()) is not None:
                self._paint(ready)
        except BaseException:
            queue.stop()
            raise

    def _prepare(self, unit: _Unit) -> _Ready:
        layers = [layer for scene in unit.scenes if (layer := self._layer(scene, unit.band))]
        ahead = None
        if self._remote and layers and self._method(unit) == "nearest":
            pieces = layers[0].mapping.pieces
            with _naming(unit.band):
                ahead = Ahead(layers[0], pieces[0])
        return _Ready(unit=unit, layers=layers, ahead=ahead)

    def _layer(self, scene: Scene, band: str) -> Layer | None:
        source = scene.bands.get(band)
        if source is None:
            if band in self._request.optional:
                return None
            raise SceneError(f"scene {scene.id} has no band {band}", scene=scene.id)
        try:
            raster = self._files(source.href)
            if source.band > raster.bands:
                raise ValueError(f"the file has {raster.bands} bands, not {source.band}")
            lattice, place = lattice_of(raster.grid)
            mapping = self._mappings(lattice)
        except READ_ERRORS as exc:
            raise _scene_error(scene.id, band, source.href, exc) from exc
        self._tell_rotated(scene.id, raster.grid.transform)
        return Layer(scene=scene.id, source=source, raster=raster, place=place, mapping=mapping)

    def _tell_rotated(self, scene: str, transform: Affine) -> None:
        """Say once that a scene is not stored north up; it is mapped exactly like any other."""
        if (transform.b or transform.d) and scene not in self._rotated:
            self._rotated.add(scene)
            angle = math.degrees(math.atan2(transform.d, transform.a))
            logger.info("scene %s is stored rotated by %.6g degrees", scene, angle)

    def _map(self, lattice: Lattice) -> Mapping:
        target = self._target
        exact = positions(self._request.tile.crs, target.transform, lattice)
        width, height = self._request.tile.size
        centre = (width / 2 - self._area.col_off, height / 2 - self._area.row_off)
        return map_window(
            exact,
            lattice,
            target.height,
            target.width,
            shrink=shrinkage(exact, *centre),
            threads=self._threads,
        )

    def _method(self, unit: _Unit) -> str:
        return self._request.resampling.get(unit.band, "nearest")

    def _paint(self, ready: _Ready) -> None:
        if not hasattr(self._local, "canvas"):
            dtype = np.dtype(self._request.dtype)
            self._local.canvas = Canvas(self._target, dtype, self._request.nodata)
        unit = ready.unit
        with _naming(unit.band):
            values = self._local.canvas.paint(ready.layers, self._method(unit), ready.ahead)
        self._writer.write(unit.number, values, row=self._row)


class _Queue:
    """Units to work on, in order, prepared ahead where there are scouts."""

    def __init__(
        self,
        units: Iterator[_Unit],
        prepare: Callable[[_Unit], _Ready],
        scouts: ThreadPoolExecutor | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._units = units
        self._prepare = prepare
        self._scouts = scouts
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._ahead: deque[Future[_Ready]] = deque()
        self._stopped = False

    def stop(self) -> None:
        """Give out nothing more."""
        self._stopped = True

    def take(self) -> _Ready | None:
        """The next unit; None when there is none."""
        if self._cancelled is not None and self._cancelled():
            raise ShardCancelledError("cancelled while a shard was written")
        with self._lock:
            if self._stopped:
                return None
            unit = future = None
            if self._scouts is None:
                unit = next(self._units, None)
            else:
                while len(self._ahead) < AHEAD_UNITS and (more := next(self._units, None)):
                    self._ahead.append(self._scouts.submit(self._prepare, more))
                future = self._ahead.popleft() if self._ahead else None
        if future is not None:
            return future.result()
        return None if unit is None else self._prepare(unit)


class _naming:  # noqa: N801 - reads as the context it is
    """Turns the failure of a layer into that of its scene, by name."""

    def __init__(self, band: str) -> None:
        self._band = band

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        if isinstance(value, LayerError):
            layer, cause = value.layer, value.__cause__
            raise _scene_error(layer.scene, self._band, layer.source.href, cause) from value


def _scene_error(scene: str, band: str, href: str, cause: BaseException | None) -> SceneError:
    what = "does not fit" if isinstance(cause, UnfitError) else "cannot be read"
    message = f"band {band} of scene {scene} {what} ({href}): {cause}"
    # What follows a question mark in a URL may be a signature.
    message = re.sub(r"(://[^\s?]*)\?[^\s)]*", r"\1", message)
    # Text tells the rest (of GDAL, of other processes): see `failures.classify`.
    passing = isinstance(cause, ConnectionError | TimeoutError)
    return SceneError(message, scene=scene, transient=passing)
