"""What quicklooks are made of: cubes (NetCDF, Zarr, datasets) and pre-ARD images."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import CollectionError, DataError, MetadataError, NotFoundError, ShardError

from .blocks import Part, Rect, tiling

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    import xarray as xr
    from numpy.typing import NDArray

    from orchard.collections import Collection
    from orchard.preard import ImageMetadata

    from .blocks import Stack

__all__ = ["open_stack"]

# Windows are at least this many pixels a side: smaller chunks are read several at a time.
_WINDOW = 256


@contextmanager
def open_stack(source: str | Path | xr.Dataset, bands: Sequence[str]) -> Iterator[Stack]:
    """Open a cube or a pre-ARD image; closed when the context ends.

    Parameters
    ----------
    source : path or xarray.Dataset
        A NetCDF file, a Zarr folder, a folder of GeoTIFFs (``.cog``), a GeoTIFF of a pre-ARD image
        or its metadata (JSON), or an open cube, which stays open.
    bands : sequence of str
        Which bands.

    Raises
    ------
    NotFoundError
        If there is nothing of that name.
    CollectionError
        If a band is not there.
    DataError
        If it is not what it should be.
    """
    with ExitStack() as stack:
        if not isinstance(source, str | Path):
            yield CubeStack(source, bands, name="quicklook")
            return
        path = Path(source)
        if not path.exists():
            raise NotFoundError(f"there is no {path} to make quicklooks of", key=str(path))
        if path.suffix in {".tif", ".json"}:
            yield stack.enter_context(_open_preard(path, bands))
        elif path.suffix == ".cog":
            from orchard.ard import open_ard

            cube = stack.enter_context(open_ard(path))
            yield CubeStack(cube, bands, name=path.stem)
        else:
            yield stack.enter_context(_open_cube(path, bands))


@contextmanager
def _open_cube(path: Path, bands: Sequence[str]) -> Iterator[CubeStack]:
    import xarray as xr

    from orchard.ard.ncread import open_netcdf
    from orchard.ard.open import item_of

    try:
        if path.is_dir():
            # Consolidated metadata is not part of Zarr v3; a folder is listed as fast.
            dataset = xr.open_dataset(path, engine="zarr", consolidated=False, mask_and_scale=False)
        elif item_of(path).exists():  # our own, whose layout is known: ten times as fast
            dataset = open_netcdf(path, scaled=False, lazy=False)
        else:
            dataset = xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as a cube: {error}") from error
    with dataset:
        yield CubeStack(dataset, bands, name=path.stem)


class CubeStack:
    """A cube: variables ``(time, y, x)``, one per band, maybe with a boolean ``clear``."""

    def __init__(self, cube: xr.Dataset, bands: Sequence[str], *, name: str) -> None:
        _check_bands(bands, [str(variable) for variable in cube.data_vars], name)
        for band in bands:
            if cube[band].dims != ("time", "y", "x"):
                raise DataError(
                    f"{name}: {band} has dimensions {cube[band].dims}, not ('time', 'y', 'x')"
                )
        self.name = name
        self.days: list[date] = [
            time.date() for time in cube["time"].values.astype("datetime64[ms]").tolist()
        ]
        self.size = (cube.sizes["x"], cube.sizes["y"])
        self._bands = [cube[band] for band in bands]
        self._clear = cube["clear"] if "clear" in cube.data_vars else None

    def windows(self) -> Iterator[Rect]:
        """Windows of whole chunks."""
        width, height = self.size
        encoding = self._bands[0].encoding
        preferred = tuple(encoding.get("preferred_chunks", {}).values())
        chunks = encoding.get("chunksizes") or encoding.get("chunks") or preferred
        chunks = chunks or (1, _WINDOW, _WINDOW)
        _, rows, cols = chunks
        return tiling(0, 0, height, width, (_at_least(rows), _at_least(cols)))

    def read(self, window: Rect, numbers: Sequence[int]) -> Part:
        """Read some acquisitions in a window."""
        where = {
            "time": list(numbers),
            "y": slice(window.top, window.bottom),
            "x": slice(window.left, window.right),
        }
        values, seen = [], None
        for band in self._bands:
            raw = band.isel(where).to_numpy()
            has_data = _has_data(raw, band.attrs.get("_FillValue"))
            seen = has_data if seen is None else seen & has_data
            values.append(_scaled(raw, *_cf_scale(band.attrs)))
        # Without decoding, a boolean of NetCDF is a number; 1 is clear.
        clear = None if self._clear is None else self._clear.isel(where).to_numpy() == 1
        return Part(np.stack(values, axis=1), np.asarray(seen), clear)


def _cf_scale(attributes: Mapping[str, Any]) -> tuple[float, float]:
    return (
        float(attributes.get("scale_factor", 1.0)),
        float(attributes.get("add_offset", 0.0)),
    )


@contextmanager
def _open_preard(path: Path, bands: Sequence[str]) -> Iterator[PreardStack]:
    import rasterio

    from orchard.preard import ImageMetadata, metadata_name, parse_shard_name

    document = path
    if path.suffix == ".tif":
        document = path.with_name(metadata_name(parse_shard_name(path.name).name))
        if not document.exists():
            raise NotFoundError(
                f"{path} needs its image metadata, {document.name}, beside it", key=str(document)
            )
    metadata = ImageMetadata.from_file(document)
    _check_bands(bands, metadata.bands, metadata.name)
    with ExitStack() as files:
        shards = []
        for name, window in metadata.expected_files.items():
            file = document.with_name(name)
            if metadata.may_be_sparse and not file.exists():
                continue
            with _whole(file, metadata):
                shard = files.enter_context(rasterio.open(file))
            dates = metadata.dates_of(name)
            expected = (len(metadata.bands) * len(dates), window.height, window.width)
            if (shard.count, shard.height, shard.width) != expected:
                raise ShardError(
                    f"shard {name} has {shard.count} bands of {shard.height} x {shard.width} "
                    f"pixels, not {expected[0]} of {expected[1]} x {expected[2]}"
                )
            shards.append((shard, window.row_off, window.col_off, dates))
        if metadata.acquisitions and not shards:
            raise ShardError(f"no file of {metadata.name} is there: download it again")
        yield PreardStack(metadata, shards, bands)


class PreardStack:
    """A pre-ARD image: its shards, all bands of all acquisitions in each, band fastest."""

    def __init__(
        self,
        metadata: ImageMetadata,
        shards: Sequence[tuple[Any, int, int, range]],
        bands: Sequence[str],
    ) -> None:
        self.name = metadata.name
        self.days: list[date] = [acquisition.day for acquisition in metadata.acquisitions]
        self.size = metadata.tile.size
        self._metadata = metadata
        self._nodata = metadata.nodata
        self._shards = shards
        self._count = len(metadata.bands)
        collection = _described(metadata)
        clear = collection.clear if collection else None
        self._collection = collection if clear and clear.band in metadata.bands else None
        wanted = [*bands, *([clear.band] if clear and self._collection else [])]
        self._indices = [metadata.bands.index(band) + 1 for band in wanted]
        about = [collection.bands[band] if collection else None for band in bands]
        self._scales = [(one.scale, one.offset) if one else (1.0, 0.0) for one in about]

    def windows(self) -> Iterator[Rect]:
        """Windows of whole blocks, shard by shard."""
        # The files of all dates are cut alike.
        for (top, left), shard in {(one[1], one[2]): one[0] for one in self._shards}.items():
            rows, cols = shard.block_shapes[0]
            step = (_at_least(rows), _at_least(cols))
            yield from tiling(top, left, top + shard.height, left + shard.width, step)

    def read(self, window: Rect, numbers: Sequence[int]) -> Part:
        """Read some acquisitions in a window, which lies in one shard."""
        here = [
            one
            for one in self._shards
            if one[1] <= window.top < one[1] + one[0].height
            and one[2] <= window.left < one[2] + one[0].width
        ]
        files = [next((one for one in here if number in one[3]), None) for number in numbers]
        runs = groupby(zip(numbers, files, strict=True), key=lambda pair: id(pair[1]))
        together = [list(run) for _, run in runs]
        raw = np.concatenate(
            [self._read_file(run[0][1], window, [number for number, _ in run]) for run in together]
        )
        colours = raw[:, : len(self._scales)]
        nodata = here[0][0].nodata if self._nodata is None else self._nodata
        seen = _has_data(colours, nodata)
        values = [_scaled(colours[:, number], *scale) for number, scale in enumerate(self._scales)]
        clear = self._collection.clear_mask(raw[:, -1]) if self._collection else None
        return Part(np.stack(values, axis=1), np.asarray(seen.all(axis=1)), clear)

    def _read_file(
        self, file: tuple[Any, int, int, range] | None, window: Rect, numbers: Sequence[int]
    ) -> NDArray[Any]:
        """Read some acquisitions of one file: ``(date, band, y, x)``; None: it was left out."""
        from rasterio.windows import Window

        height, width = window.bottom - window.top, window.right - window.left
        if file is None:
            shape = (len(numbers), len(self._indices), height, width)
            return np.full(shape, self._nodata or 0, self._shards[0][0].dtypes[0])
        shard, top, left, dates = file
        indices = [
            (number - dates.start) * self._count + index
            for number in numbers
            for index in self._indices
        ]
        with _whole(Path(shard.name), self._metadata):
            raw: NDArray[Any] = shard.read(
                indices, window=Window(window.left - left, window.top - top, width, height)
            )
        return raw.reshape(len(numbers), len(self._indices), height, width)


@contextmanager
def _whole(path: Path, metadata: ImageMetadata) -> Iterator[None]:
    """Say why a file of an image cannot be read: where it was cut short, by its size."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        made = next((file.size for file in metadata.manifest if file.name == path.name), None)
        size = path.stat().st_size if path.exists() else None
        if size is not None and made is not None and size != made:
            raise ShardError(
                f"{path}: has {size} bytes, not the {made} that the task made: fetch it again"
            ) from error
        # GDAL's own words are the cause of what rasterio says.
        raise ShardError(
            f"{path}: cannot be read ({error.__cause__ or error}): fetch it again"
        ) from error


def _described(metadata: ImageMetadata) -> Collection | None:
    """Return the collection as the image's metadata have it; None in documents without it."""
    if metadata.collection is None:
        return None
    from orchard.collections import Collection

    try:
        return Collection.from_description(
            metadata.collection, dtype=metadata.dtype, nodata=metadata.nodata
        )
    except CollectionError as error:
        raise MetadataError(f"{metadata.document}: collection: {error}") from error


def _check_bands(bands: Sequence[str], known: Sequence[str], name: str) -> None:
    missing = [band for band in bands if band not in known]
    if not missing:
        return
    from orchard.ard.plan import CLEAR, FLAG
    from orchard.registry import close

    near = close(missing[0], dict.fromkeys(known))
    # Masks can be drawn, too, but two dozen of them would hide the bands.
    shown = ", ".join(sorted(band for band in known if band != CLEAR and not band.startswith(FLAG)))
    raise CollectionError(
        f"{name} has no band {', '.join(missing)}"
        + (f"{near} The bands are {shown}" if near else f": it has {shown}")
        + "; say with 'bands' which one, or which three, to draw"
    )


def _has_data(raw: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    there = np.isfinite(raw) if raw.dtype.kind == "f" else np.ones(raw.shape, np.bool_)
    if nodata is not None and not math.isnan(nodata):
        there &= raw != nodata
    return there


def _scaled(raw: NDArray[Any], scale: float, offset: float) -> NDArray[np.float32]:
    return raw.astype(np.float32) * np.float32(scale) + np.float32(offset)


def _at_least(side: int) -> int:
    """Return the chunk's side, or the smallest multiple of it that is a window."""
    return int(side) * math.ceil(_WINDOW / int(side))
