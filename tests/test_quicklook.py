"""Quicklooks: what a pixel of a picture says about the pixels of a cube or a pre-ARD image."""

import json
import subprocess
import sys
from datetime import date
from itertools import product

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchard import errors
from orchard.preard import expected_files, image_metadata
from orchard.quicklook import blocks as blocks_module
from orchard.quicklook import make, pictures, quicklook
from orchard.quicklook.blocks import Part, block_means, tiling

DAYS = ("2023-04-14", "2023-04-30", "2023-07-03")
RGB = ("red", "green", "blue")
SCALE, OFFSET = 0.0001, -0.1
HEIGHT, WIDTH = 70, 90


def numbers(seed=0):
    """DN of three dates (band, time, y, x), 2000 to 3999; a hole in one, a cloud in another."""
    rng = np.random.default_rng(seed)
    values = rng.integers(2000, 4000, (3, len(DAYS), HEIGHT, WIDTH)).astype(np.uint16)
    values[:, 1, :20, :30] = 0
    values[:, 2, 30:, :] = 9000
    clear = (values[0] > 0) & (values[0] < 9000)
    return values, clear


def cube(values, clear=None, days=DAYS):
    attributes = {"_FillValue": np.uint16(0), "scale_factor": SCALE, "add_offset": OFFSET}
    dataset = xr.Dataset(
        {
            band: (("time", "y", "x"), array, attributes)
            for band, array in zip(RGB, values, strict=True)
        },
        {"time": np.array(days, "datetime64[ns]") + np.timedelta64(17, "h")},
    )
    if clear is not None:
        dataset["clear"] = (("time", "y", "x"), clear)
    return dataset


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def netcdf(tmp_path):
    dataset = cube(*numbers())
    for band in RGB:
        del dataset[band].attrs["_FillValue"]
        dataset[band].encoding.update(_FillValue=0, chunksizes=(3, 32, 40), zlib=True)
    path = tmp_path / "LC08_h003v004.nc"
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def preard(tmp_path):
    """A pre-ARD image in four shards, of the same numbers; QA bit 0 is cloud."""
    values, clear = numbers()
    bands = ("blue", "green", "red", "qa")
    name = "LC08-2023"
    described = {
        "id": "TEST",
        "bands": {band: {"scale": SCALE, "offset": OFFSET} for band in RGB} | {"qa": {"qa": True}},
        "clear": {"band": "qa", "bits": {"cloud": 0}},
        "flags": {"cloud": {"bits": 0}},
    }
    document = image_metadata(
        program={"name": "orchard"},
        order={"collection": "TEST", "date_start": "2023-04-01", "date_end": "2023-08-01"},
        tile={
            "index": [0, 0],
            "crs": "EPSG:32615",
            "bounds": [0, 0, WIDTH * 30, HEIGHT * 30],
            "res": [30, 30],
            "size": [WIDTH, HEIGHT],
        },
        store={"service": "FolderStore", "export_image_kwds": {"fileDimensions": [64, 48]}},
        task={"name": name, "prefix": "P", "status": {"state": "COMPLETED"}},
        image={
            "bands": list(bands),
            "dtype": "uint16",
            "nodata": 0,
            "dates": list(DAYS),
            "images": [[{"id": day, "system:time_start": 1681491600000}] for day in DAYS],
        },
        collection=described,
    )
    stack = dict(zip(RGB, values, strict=True))
    stack["qa"] = np.where(values[0] == 0, 0, np.where(clear, 2, 1)).astype(np.uint16)
    layers = np.stack([stack[band][time] for time in range(len(DAYS)) for band in bands])
    folder = tmp_path / "download"
    folder.mkdir()
    for file, window in expected_files(name, (WIDTH, HEIGHT), (64, 48)).items():
        rows = slice(window.row_off, window.row_off + window.height)
        cols = slice(window.col_off, window.col_off + window.width)
        with rasterio.open(
            folder / file,
            "w",
            driver="GTiff",
            count=len(layers),
            dtype="uint16",
            height=window.height,
            width=window.width,
            crs="EPSG:32615",
            transform=rasterio.Affine(30, 0, cols.start * 30, 0, -30, -rows.start * 30),
        ) as dataset:
            dataset.write(layers[:, rows, cols])
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document.to_dict()))
    return path


# Block means -------------------------------------------------------------------------------------


class Numbers:
    """A stack in memory, in windows of a given size."""

    name = "numbers"
    days = (date(2023, 1, 1),) * 2

    def __init__(self, values, seen, clear, step):
        self.values, self.seen, self.clear, self.step = values, seen, clear, step
        self.size = (values.shape[-1], values.shape[-2])

    def windows(self):
        return tiling(0, 0, self.size[1], self.size[0], self.step)

    def read(self, window, numbers):
        at = (
            list(numbers),
            ...,
            slice(window.top, window.bottom),
            slice(window.left, window.right),
        )
        return Part(self.values[at], self.seen[at], None if self.clear is None else self.clear[at])


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    step=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    factor=st.integers(1, 9),
    known=st.booleans(),
    seed=st.integers(0, 99),
)
def test_blocks_are_means_of_what_was_seen(shape, step, factor, known, seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 1, (2, 3, *shape)).astype(np.float32)
    seen = rng.uniform(size=(2, *shape)) < 0.6
    values[~np.broadcast_to(seen[:, None], values.shape)] = np.nan  # must never be touched
    clear = rng.uniform(size=(2, *shape)) < 0.5 if known else None
    got = block_means(Numbers(values, seen, clear, step), [1, 0], factor)
    rows, cols = (range(0, side, factor) for side in shape)
    assert got.values.shape == (2, 3, len(rows), len(cols))
    if known:
        np.testing.assert_allclose(got.usable, clear[::-1].mean(axis=(1, 2)))
    else:
        assert got.usable is None
    for number, (i, top), (j, left) in product((0, 1), enumerate(rows), enumerate(cols)):
        at = (slice(top, top + factor), slice(left, left + factor))
        there = seen[1 - number][at]
        assert got.seen[number, i, j] == pytest.approx(there.mean())
        inside = values[1 - number][(slice(None), *at)][:, there]
        expected = inside.mean(axis=1) if there.any() else np.zeros(3)
        np.testing.assert_allclose(got.values[number, :, i, j], expected, rtol=1e-4)
        if clear is None:
            assert got.clear is None
        elif there.any():
            share = clear[1 - number][at][there].mean()
            assert got.clear[number, i, j] == pytest.approx(share, abs=1e-6)


@given(
    st.tuples(*[st.integers(0, 40)] * 2),
    st.tuples(*[st.integers(1, 40)] * 2),
    st.tuples(*[st.integers(1, 45)] * 2),
)
def test_windows_cover_a_rectangle_once(corner, sides, step):
    times = np.zeros((100, 100), int)
    top, left = corner
    for window in tiling(top, left, top + sides[0], left + sides[1], step):
        times[window.top : window.bottom, window.left : window.right] += 1
    expected = np.zeros_like(times)
    expected[top : top + sides[0], left : left + sides[1]] = 1
    np.testing.assert_array_equal(times, expected)


# Pictures ----------------------------------------------------------------------------------------


def test_one_picture_a_date_named_after_cube_and_day(netcdf, tmp_path):
    steps = []
    paths = quicklook(
        netcdf,
        tmp_path / "a" / "b",
        callback=lambda item, n_steps: steps.append((item, n_steps)),
    )
    assert [path.name for path in paths] == [f"LC08_h003v004_{day}.png" for day in DAYS]
    assert sorted(p.name for p in (tmp_path / "a/b").iterdir()) == [p.name for p in paths]
    assert [item for item, n_steps in steps if n_steps] == [path.name for path in paths]
    assert {item for item, n_steps in steps if not n_steps} == {"LC08_h003v004"}
    assert sum(n_steps for _, n_steps in steps) == pytest.approx(1)
    with Image.open(paths[0]) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (WIDTH, HEIGHT))


def test_limits_in_the_units_of_the_bands(tmp_path):
    values, _ = numbers()
    low, high = 0.1, 0.3  # DN 2000 and 4000
    paths = quicklook(cube(values), tmp_path, stretch=(low, high), name="x")
    shown = np.rint(np.clip((values.astype(float) - 2000) / 2000, 0, 1) * 255)
    for time, path in enumerate(paths):
        got = pixels(path)
        seen = values[0, time] > 0
        np.testing.assert_array_equal(got[..., 3], np.where(seen, 255, 0))
        for band in range(3):
            np.testing.assert_allclose(got[..., band][seen], shown[band, time][seen], atol=1)


def test_netcdf_zarr_dataset_and_preard_give_the_same_pictures(netcdf, preard, tmp_path):
    zarr = tmp_path / "cube.zarr"
    with xr.open_dataset(netcdf, engine="h5netcdf") as dataset:
        decoded = dataset.load()
        decoded.to_zarr(zarr, zarr_format=3, consolidated=False)
    shard = preard.with_name("LC08-2023-0000000048-0000000064.tif")
    sources = {"nc": netcdf, "zarr": zarr, "ds": decoded, "json": preard, "tif": shard}
    shown = {
        key: [pixels(path) for path in quicklook(source, tmp_path, size=40, name=key)]
        for key, source in sources.items()
    }
    assert shown["nc"][0].shape == (31, 40, 4)
    for key in ("zarr", "ds", "json", "tif"):
        for one, other in zip(shown["nc"], shown[key], strict=True):
            # A mean in float32 depends on the windows it was summed in: one grey level.
            np.testing.assert_allclose(one.astype(int), other.astype(int), atol=1)


def test_blocks_seen_in_part_are_transparent_in_part(tmp_path):
    values, _ = numbers()
    paths = quicklook(cube(values), tmp_path, size=30, name="x")  # 3 x 3 pixels
    alpha = pixels(paths[1])[..., 3]
    assert alpha.shape == (24, 30)
    assert (alpha[:6, :10] == 0).all()
    assert (alpha[6, :10] == 85).all()  # rows 18 and 19 of 18-20 are not there
    assert (alpha[7:] == 255).all()


def test_edges_do_not_darken(tmp_path):
    values = np.full((3, 1, 50, 50), 3000, np.uint16)
    values[:, :, :, :23] = 0
    (path,) = quicklook(cube(values, days=DAYS[:1]), tmp_path, size=40, stretch=(0.1, 0.3))
    got = pixels(path)
    assert got.shape == (40, 40, 4)
    edge = (got[..., 3] > 0) & (got[..., 3] < 255)
    assert edge.any()
    # Half way from black to white, but for the rounding of eight bits.
    np.testing.assert_allclose(got[got[..., 3] > 0][:, :3].astype(int), 127, atol=2)


def test_stretch_is_joint_over_the_dates(tmp_path):
    values = np.full((3, 2, 20, 20), 1000, np.uint16)
    values[:, 0] = np.linspace(1000, 3000, 400).reshape(20, 20)
    values[:, 1] = np.linspace(2000, 5000, 400).reshape(20, 20)
    values[:, :, 7, 7] = 2500
    first, second = (pixels(p) for p in quicklook(cube(values, days=DAYS[:2]), tmp_path))
    np.testing.assert_array_equal(first[7, 7], second[7, 7])
    assert first[..., 0].max() < second[..., 0].max() == 255
    assert first[..., 0].min() == 0
    # A date on its own is stretched on its own, …
    alone = pixels(quicklook(cube(values, days=DAYS[:2]), tmp_path, date=DAYS[0])[0])
    assert alone[..., 0].max() == 255
    # … and several cubes together.
    parts = [cube(values[:, [i]], days=[DAYS[i]]) for i in range(2)]
    together = [pixels(path) for path in quicklook(parts, tmp_path, name="parts")]
    np.testing.assert_array_equal(together, [first, second])


def test_clouds_do_not_darken_the_land(tmp_path):
    values, clear = numbers()
    values[:, 2, 30:, :] = 60000
    knows = pixels(quicklook(cube(values, clear), tmp_path, name="knows")[0])
    blind = pixels(quicklook(cube(values), tmp_path, name="blind")[0])
    assert np.median(knows[..., 0]) > 100 > np.median(blind[..., 0])
    cloud = pixels(tmp_path / f"knows_{DAYS[2]}.png")
    assert (cloud[30:, :, :3] == 255).all()
    # Where no pixel is clear, all that was seen is used.
    never = pixels(quicklook(cube(values, clear & False), tmp_path, name="never")[0])
    np.testing.assert_array_equal(never, blind)


def test_grey_levels_as_they_are(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    dataset = xr.Dataset(
        {"grey": (("time", "y", "x"), levels)}, {"time": np.array(DAYS[:1], "datetime64[ns]")}
    )
    (path,) = quicklook(dataset, tmp_path, bands=("grey",), stretch=None)
    assert path.name == f"quicklook_{DAYS[0]}.png"
    np.testing.assert_array_equal(pixels(path)[..., 0], levels[0])


def test_nothing_seen_and_one_value_only(tmp_path):
    values = np.zeros((3, 2, 8, 8), np.uint16)
    values[:, 1] = 3000
    empty, flat = quicklook(cube(values, days=DAYS[:2]), tmp_path)
    assert (pixels(empty)[..., 3] == 0).all()
    assert (pixels(flat)[..., 3] == 255).all()
    (nothing,) = quicklook(cube(values[:, :1], days=DAYS[:1]), tmp_path, name="nothing")
    assert (pixels(nothing)[..., 3] == 0).all()


def test_batches_change_nothing(netcdf, tmp_path, monkeypatch):
    whole = [pixels(path) for path in quicklook(netcdf, tmp_path / "whole")]
    monkeypatch.setattr(make, "_BUDGET", 1)
    calls = []
    means = blocks_module.block_means
    monkeypatch.setattr(
        make, "block_means", lambda *args, **kw: calls.append(args[1]) or means(*args, **kw)
    )
    one_by_one = [pixels(path) for path in quicklook(netcdf, tmp_path / "one")]
    assert calls == [[0], [1], [2]] * 2
    np.testing.assert_array_equal(whole, one_by_one)


# Dates, names, sheet -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("2023-04-30", ["2023-04-30"]),
        (date(2023, 7, 3), ["2023-07-03"]),
        (["2023-07-03", date(2023, 4, 14)], ["2023-04-14", "2023-07-03"]),
    ],
)
def test_chosen_dates(netcdf, tmp_path, wanted, expected):
    paths = quicklook(netcdf, tmp_path, date=wanted)
    assert [path.stem[-10:] for path in paths] == expected


def test_two_acquisitions_of_a_date_and_any_order(tmp_path):
    values, _ = numbers()
    days = ["2023-05-02", "2023-05-01", "2023-05-02"]
    paths = quicklook(cube(values, days=days), tmp_path, name="x", stretch=(0.1, 0.3))
    assert [p.name for p in paths] == [
        "x_2023-05-01.png",
        "x_2023-05-02.png",
        "x_2023-05-02_2.png",
    ]
    assert (pixels(paths[0])[:20, :30, 3] == 0).all()  # the second in the cube has the hole


def test_contact_sheet(netcdf, preard, tmp_path, monkeypatch):
    kept = []
    draw = pictures.contact_sheet
    monkeypatch.setattr(
        make,
        "contact_sheet",
        lambda cells, title: kept.append((cells, title)) or draw(cells, title=title),
    )
    quicklook(netcdf, tmp_path, sheet=tmp_path / "sheets" / "all.png")
    ((cells, title),) = kept
    assert title == "LC08_h003v004   red green blue"
    assert [cell.label for cell in cells] == [
        "2023-04-14   100% clear",
        "2023-04-30   90% clear",  # what is not there is not clear
        "2023-07-03   43% clear",
    ]
    with Image.open(tmp_path / "sheets/all.png") as sheet:
        assert (sheet.format, sheet.mode) == ("PNG", "RGB")
        assert sheet.width > WIDTH
        assert sheet.height > HEIGHT + 20
        assert len(sheet.getcolors(10**6)) > 100
    # What is masked was not clear, and what nobody knows is not told.
    values, clear = numbers()
    for known, labels in ((clear, [cell.label for cell in cells]), (None, list(DAYS))):
        kept.clear()
        masked = cube(np.where(clear, values, 0), known)
        quicklook(masked, tmp_path, name="masked", sheet=tmp_path / "masked.png")
        assert [cell.label for cell in kept[0][0]] == labels
    kept.clear()
    # Of two tiles, the names are told too, as far as there is room.
    quicklook([netcdf, preard], tmp_path, sheet=tmp_path / "both.png")
    ((cells, title),) = kept
    assert title == "red green blue"
    assert len(cells) == 6
    assert cells[0].label == "LC08_h003v004\n2023-04-14   100% clear"
    assert cells[-1].label.startswith("LC08-2023\n2023-07-03")


def test_long_labels_keep_their_ends():
    from PIL.ImageFont import load_default

    font = load_default(14)
    assert pictures._fitting("short", font, 300) == "short"
    cut = pictures._fitting("LANDSAT_LC08_C02_T1_L2_h003v004_2023-04-01", font, 120)
    assert font.getlength(cut) <= 120
    assert cut.startswith("…")
    assert cut.endswith("2023-04-01")


def test_an_image_without_acquisitions_has_no_pictures(preard, tmp_path):
    document = json.loads(preard.read_text())
    document["image"].update(dates=[], images=[])
    preard.write_text(json.dumps(document))
    assert quicklook(preard, tmp_path / "none", sheet=tmp_path / "sheet.png") == []
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "sheet.png").exists()


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"bands": ("red", "green")}, errors.InputError, "1 or 3 bands"),
        ({"size": 0}, errors.InputError, "size 0"),
        ({"stretch": (0.3, 0.1)}, errors.InputError, r"stretch is .* not \(0.3, 0.1\)"),
        ({"stretch": "minmax"}, errors.InputError, "not 'minmax'"),
        ({"date": "2023-05-05"}, errors.InputError, "the dates are: 2023-04-14, 2023-04-30"),
        ({"date": "May"}, errors.InputError, "YYYY-MM-DD"),
        (
            {"bands": ("nir",)},
            errors.CollectionError,
            "no band nir: it has blue, green, red; say",
        ),
        (
            {"bands": ("reed", "green", "blue")},
            errors.CollectionError,
            r"no band reed: did you mean red or green\? The bands are blue, green, red; say",
        ),
    ],
)
def test_bad_requests_write_nothing(netcdf, tmp_path, options, error, match):
    with pytest.raises(error, match=match):
        quicklook(netcdf, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_bad_sources_are_named(netcdf, tmp_path):
    with pytest.raises(errors.NotFoundError, match=r"absent\.nc"):
        quicklook(tmp_path / "absent.nc", tmp_path)
    broken = tmp_path / "broken.nc"
    broken.write_bytes(netcdf.read_bytes()[:2000])
    with pytest.raises(errors.DataError, match=r"broken\.nc cannot be read"):
        quicklook(broken, tmp_path)
    (tmp_path / "folder.zarr").mkdir()
    with pytest.raises(errors.OrchardError, match="folder"):
        quicklook(tmp_path / "folder.zarr", tmp_path)
    with pytest.raises(errors.DataError, match=r"\('y', 'x'\), not"):
        quicklook(xr.Dataset({"a": (("y", "x"), np.zeros((2, 2)))}), tmp_path, bands=("a",))


def test_bad_shards_are_named(preard, tmp_path):
    shard = preard.with_name("LC08-2023-0000000048-0000000000.tif")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(errors.ShardError, match=rf"{shard.name}: .* \(\w+.*\): fetch") as caught:
        quicklook(preard, tmp_path)
    assert "previous exception" not in str(caught.value)
    document = json.loads(preard.read_text())
    files = [{"name": path.name, "size": len(whole)} for path in preard.parent.glob("*.tif")]
    document["task"]["status"]["files"] = files
    preard.write_text(json.dumps(document))
    sizes = f"has {len(whole) // 2} bytes, not the {len(whole)} that the task made"
    with pytest.raises(errors.ShardError, match=sizes):
        quicklook(preard, tmp_path)
    shape = {"count": 1, "height": 22, "width": 64}
    place = {"crs": "EPSG:32615", "transform": rasterio.Affine(30, 0, 0, 0, -30, 0)}
    with rasterio.open(shard, "w", driver="GTiff", dtype="uint16", **shape, **place) as dataset:
        dataset.write(np.ones((1, 22, 64), np.uint16))
    with pytest.raises(errors.ShardError, match="has 1 bands of 22 x 64 pixels, not 12 of 22 x 64"):
        quicklook(preard, tmp_path)
    shard.unlink()
    with pytest.raises(errors.ShardError, match=shard.name):
        quicklook(preard, tmp_path)
    preard.unlink()
    with pytest.raises(errors.NotFoundError, match=r"LC08-2023\.json"):
        quicklook(preard.with_name("LC08-2023-0000000000-0000000000.tif"), tmp_path)


def test_shards_that_were_left_out_as_empty_are_transparent(preard, tmp_path):
    """Earth Engine leaves them out when asked to; also one of an image that is cut by dates."""
    whole = [pixels(path) for path in quicklook(preard, tmp_path / "whole", bands=RGB)]
    document = json.loads(preard.read_text())
    document["store"]["export_image_kwds"] = {"skipEmptyTiles": True}
    document["image"]["dates_per_file"] = 1
    preard.write_text(json.dumps(document))
    layers = np.zeros((12, HEIGHT, WIDTH), np.uint16)
    for shard in preard.parent.glob("*.tif"):
        row, col = (int(part) for part in shard.stem.split("-")[-2:])
        with rasterio.open(shard) as file:
            layers[:, row : row + file.height, col : col + file.width] = file.read()
        shard.unlink()
    place = {"crs": "EPSG:32615", "transform": rasterio.Affine(30, 0, 0, 0, -30, 0)}
    shape = {"count": 4, "height": HEIGHT, "width": WIDTH, "dtype": "uint16"}
    for day in (0, 2):
        path = preard.with_name(f"LC08-2023-T{day:010d}.tif")
        with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
            file.write(layers[4 * day : 4 * day + 4])
    drawn = [pixels(path) for path in quicklook(preard, tmp_path / "part", bands=RGB)]
    assert (drawn[1][..., 3] == 0).all()
    for day in (0, 2):
        np.testing.assert_array_equal(drawn[day][..., 3], whole[day][..., 3])
    for path in preard.parent.glob("*.tif"):
        path.unlink()
    with pytest.raises(errors.ShardError, match="no file of LC08-2023 is there"):
        quicklook(preard, tmp_path / "none", bands=RGB)


def test_writing_is_whole_or_not_at_all(netcdf, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StoreError, match="cannot write the picture"):
        quicklook(netcdf, tmp_path / "file")

    def half(image, path, **options):
        path.write_bytes(b"half")
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(errors.AccessError, match="not allowed"):
        quicklook(netcdf, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_importing_is_light():
    script = (
        "import sys, orchard.quicklook, orchard.demo.archive;"
        "heavy = {'xarray', 'pandas', 'rasterio', 'PIL', 'zarr', 'h5py', 'pyproj', 'pydantic'};"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
