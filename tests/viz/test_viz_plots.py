"""Plots: what is drawn is what is in the files."""

from __future__ import annotations

import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import rasterio
from geopandas import GeoDataFrame
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rasterio.transform import from_origin
from shapely.geometry import box

from orchard import viz
from orchard.errors import DataError, InputError
from orchard.quicklook.pictures import HOLE
from orchard.viz.files import flat_paths, names_of
from orchard.viz.stretch import percentiles, shades


@pytest.fixture(autouse=True)
def _no_screen():
    mpl.use("agg")
    yield
    plt.close("all")


def write(path, values, *, nodata=None, crs="EPSG:32633", colormap=None, transform=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.atleast_3d(values) if values.ndim == 3 else values[None]
    profile = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": crs,
        "nodata": nodata,
        "transform": transform or from_origin(390_000, 5_820_000, 10, 10),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **profile, **options) as dst:
            dst.write(values)
            if colormap:
                dst.write_colormap(1, colormap)
    return path


def drawn(figure, number=0):
    return np.asarray(figure.axes[number].images[0].get_array())


def test_eight_bit_bands_are_shown_as_they_are(tmp_path):
    values = np.random.default_rng(1).integers(0, 255, (4, 30, 40), dtype="uint8")
    path = write(tmp_path / "a.tif", values)
    figure = viz.plot_results(path)
    assert np.array_equal(drawn(figure), np.moveaxis(values[:3], 0, -1))
    assert figure.axes[0].get_title() == "a"
    assert tuple(figure.get_size_inches()) == (14, 8)
    assert figure.axes[0].images[0].get_extent() == [390_000, 390_400, 5_819_700, 5_820_000]
    figure = viz.plot_results(str(path), bands=[4, 2, 1], titles="mine", figsize=(3, 3))
    assert np.array_equal(drawn(figure), np.moveaxis(values[[3, 1, 0]], 0, -1))
    assert figure.axes[0].get_title() == "mine"


def test_other_values_are_stretched_by_percentiles_unless_switched_off(tmp_path):
    values = np.arange(3 * 100 * 100, dtype="uint16").reshape(3, 100, 100)
    path = write(tmp_path / "a.tif", values)
    shown = drawn(viz.plot_results(path))
    for band in range(3):
        low, high = np.percentile(values[band], (2, 98))
        expected = ((values[band] - low) / (high - low) * 255).clip(0, 255)
        assert np.abs(shown[..., band] - expected).max() <= 0.51
    wide = drawn(viz.plot_results(path, stretch=(0, 100)))
    assert (wide[..., 0].min(), wide[..., 0].max()) == (0, 255)
    as_is = drawn(viz.plot_results(path, stretch=None))
    assert np.array_equal(as_is, np.moveaxis(values.clip(0, 255), 0, -1))
    with pytest.raises(InputError, match="two percentiles"):
        viz.plot_results(path, stretch=(98, 2))


def test_what_has_no_data_is_transparent(tmp_path):
    values = np.full((3, 20, 20), 7, "int16")
    values[1, :5] = -9999
    shown = drawn(viz.plot_results(write(tmp_path / "a.tif", values, nodata=-9999)))
    assert shown.shape == (20, 20, 4)
    assert (shown[:5, :, 3] == 0).all()
    assert (shown[5:, :, 3] == 255).all()


@pytest.mark.parametrize("bands", [3, 1])
@pytest.mark.parametrize("own", [False, True])
def test_behind_what_has_no_data_it_is_grey_and_the_picture_has_a_frame(tmp_path, bands, own):
    values = np.full((bands, 20, 20), 255, "uint8")  # a cloud
    values[:, :10] = 0
    path = write(tmp_path / "a.tif", values, nodata=0)
    ax = plt.subplots()[1] if own else None
    figure = viz.plot_results(path, figsize=(4, 4), cmap="gray", **({"ax": ax} if own else {}))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = np.asarray(canvas.buffer_rgba())[..., :3]
    left, top, right, bottom = picture_on(figure)
    middle = (left + right) // 2
    assert page[top + 9, middle].tolist() == list(HOLE)
    assert page[bottom - 9, middle].tolist() == [255, 255, 255]
    half = (top + bottom) // 2
    for place in ((half, left), (half, right), (bottom, middle), (top, middle)):
        around = page[place[0] - 2 : place[0] + 3, place[1] - 2 : place[1] + 3]
        assert around.min() < 200, "a line, darker than the grey and the page"


def picture_on(figure):
    """Where a picture is on its page: left, top, right, bottom."""
    ax = figure.axes[0]
    left, right, bottom, top = ax.images[0].get_extent()
    (x0, y0), (x1, y1) = ax.transData.transform([(left, bottom), (right, top)])
    height = figure.canvas.get_width_height()[1]
    return (round(x0), round(height - y1), round(x1), round(height - y0))


def test_one_band_keeps_its_values_and_gets_a_colour_bar(tmp_path):
    values = np.arange(10_000, dtype="float32").reshape(100, 100)
    values[0, 0] = np.nan
    figure = viz.plot_results(write(tmp_path / "a.tif", values), cmap="magma")
    image = figure.axes[0].images[0]
    assert image.get_array().mask.sum() == 1
    assert np.array_equal(image.get_array()[1:], values[1:])
    assert image.get_clim() == pytest.approx(np.nanpercentile(values, (2, 98)))
    assert image.get_cmap().name == "magma"
    assert len(figure.axes) == 2
    figure = viz.plot_results(tmp_path / "a.tif", bands=[1], vmin=3, vmax=5)
    assert figure.axes[0].images[0].get_clim() == (3, 5)


def test_a_palette_is_shown_in_its_colours(tmp_path):
    values = np.array([[0, 1], [2, 1]], "uint8")
    colours = {0: (1, 2, 3, 255), 1: (200, 0, 0, 255), 2: (0, 90, 0, 255)}
    shown = drawn(viz.plot_results(write(tmp_path / "a.tif", values, colormap=colours)))
    assert shown[..., :3].tolist() == [[[1, 2, 3], [200, 0, 0]], [[0, 90, 0], [200, 0, 0]]]


def test_big_rasters_are_read_at_the_size_of_the_figure(tmp_path):
    values = np.random.default_rng(1).integers(0, 255, (3, 1000, 2000), dtype="uint8")
    path = write(tmp_path / "a.tif", values)
    figure = viz.plot_results(path, figsize=(5, 5))
    assert drawn(figure).shape == (250, 500, 3)
    assert drawn(figure).mean() == pytest.approx(values.mean(), abs=1)
    assert figure.axes[0].images[0].get_extent()[1] == 410_000


def test_several_pictures_make_a_grid(tmp_path):
    values = np.zeros((3, 4, 4), "uint8")
    paths = [write(tmp_path / str(n) / "B04.tif", values) for n in range(4)]
    figure = viz.plot_results({"a": paths[:2], "b": [*paths[1:], tmp_path / "data.json"]})
    assert [ax.get_title() for ax in figure.axes[:4]] == [f"{n}/B04" for n in range(4)]
    assert len(figure.axes) == 6
    assert not any(ax.axison for ax in figure.axes)
    with pytest.raises(InputError, match="2 titles for 4 files"):
        viz.plot_results(paths, titles=["a", "b"])
    with pytest.raises(InputError, match="ax= is for one file"):
        viz.plot_results(paths, ax=figure.axes[0])


def test_into_axes_of_ones_own(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((3, 4, 4), "uint8"))
    own, ax = plt.subplots()
    assert viz.plot_results(path, ax=ax, with_bounds=False) is own
    assert ax.images[0].get_extent() == [-0.5, 3.5, 3.5, -0.5]
    assert plt.get_fignums() == [own.number]


def test_figures_do_not_pile_up_without_a_screen(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((3, 4, 4), "uint8"))
    for _ in range(3):
        viz.plot_results(path, figsize=(2, 2))
    assert plt.get_fignums() == []


def test_files_that_cannot_be_plotted_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no file of format \.tif is among these: a.png"):
        viz.plot_results([tmp_path / "a.png"])
    (tmp_path / "a.tif").write_text("nonsense")
    with pytest.raises(DataError, match=r"cannot look at .*a\.tif"):
        viz.plot_results(tmp_path / "a.tif")
    path = write(tmp_path / "b.tif", np.zeros((4, 4, 4), "uint8"))
    (tmp_path / "cut.tif").write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cut\.tif: (?!Read failed)"):
        viz.plot_results(tmp_path / "cut.tif")
    with pytest.raises(InputError, match=r"b.tif has bands 1 to 4, not 5"):
        viz.plot_results(path, bands=[5])
    with pytest.raises(InputError, match="three bands"):
        viz.plot_results(path, bands=[1, 2])
    with pytest.raises(InputError, match="not a file"):
        viz.plot_results(3)


def test_quicklooks_are_plotted(scenes):
    paths = sorted((scenes / "up42").glob("*quicklook*"))
    figure = viz.plot_quicklooks([*paths, "result.tif"])
    assert {ax.get_title() for ax in figure.axes} == {path.stem for path in paths}
    assert tuple(figure.get_size_inches()) == (8, 8)
    assert drawn(figure, 1).shape == (400, 352, 3)


def test_coverage_with_and_without_a_legend():
    scenes = GeoDataFrame(
        {"sceneId": ["a", "b"]}, geometry=[box(0, 0, 1, 1), box(0.5, 0, 2, 1)], crs="EPSG:4326"
    )
    aoi = GeoDataFrame(geometry=[box(0, 0, 100_000, 100_000)], crs="EPSG:3857")
    figure = viz.plot_coverage(scenes, aoi=aoi)
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert figure.axes[0].collections[-1].get_paths()[0].get_extents().x1 == pytest.approx(
        0.898, abs=1e-3
    )
    assert viz.plot_coverage(scenes, legend_column="other").axes[0].get_legend() is None
    assert viz.plot_coverage(scenes.iloc[:0]).axes[0].collections[:] == []
    with pytest.raises(InputError, match="must be GeoDataFrames"):
        viz.plot_coverage({"features": []})


def test_a_notebook_draws_a_figure_once(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    path = write(tmp_path / "a.tif", np.zeros((3, 4, 4), "uint8"))
    cells = [
        f"from orchard import viz\nfigure = viz.plot_results({str(path)!r}, figsize=(1, 1))",
        f"viz.plot_results({str(path)!r}, figsize=(1, 1))",
        "figure",
        f"for _ in range(3): viz.plot_results({str(path)!r}, figsize=(1, 1))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with warnings.catch_warnings():  # the kernel's machinery has its own
        warnings.simplefilter("ignore")
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    pictures = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in notebook.cells
    ]
    assert pictures == [1, 1, 1, 3]


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    dtype=st.sampled_from(["int16", "float32"]),
)
def test_shades_rise_with_values(low, width, dtype):
    values = np.linspace(-30_000, 30_000, 64).astype(dtype)[None, None]
    shade = shades(values, [(low, low + width)])[0, 0].astype(int)
    assert (np.diff(shade) >= 0).all()
    outside = values[0, 0].astype("float64")
    assert (shade[outside <= low] == 0).all()
    assert (shade[outside >= low + width + 1] >= 254).all()


def test_nothing_valid_has_limits_too():
    values = np.zeros((3, 3), "float32")
    assert percentiles(values, np.zeros((3, 3), "uint8"), (2, 98)) == (0, 1)
    assert percentiles(values, np.full((3, 3), 255, "uint8"), (2, 98)) == (0, 1)
    assert percentiles(values, values.astype("uint8"), None) == (0, 1)


def test_paths_in_all_their_shapes(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert flat_paths(str(a)) == flat_paths(a) == flat_paths([a, str(a)]) == [a]
    assert flat_paths({"x": [a], "y": [b, a]}) == [a, b]
    assert names_of([tmp_path / "x/a.tif", tmp_path / "y/a.tif", b]) == ["x/a", "y/a", "b"]
