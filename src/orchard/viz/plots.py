"""Plots with matplotlib: results, quicklooks, coverage."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rasterio.plot import show

from orchard.errors import InputError
from orchard.quicklook.pictures import HOLE
from orchard.viz.files import QUICKLOOK_FORMATS, flat_paths, names_of, of_format
from orchard.viz.pictures import Raster, read_for_screen, rgba
from orchard.viz.stretch import Stretch, percentiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes

    from orchard.viz import Paths

__all__ = ["plot_coverage", "plot_quicklooks", "plot_results"]

_COLUMNS = 3
_FRAME = "0.6"
# matplotlib's backends that write files only.
_BLIND = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


def plot_results(
    filepaths: Paths,
    figsize: tuple[float, float] = (14, 8),
    bands: Sequence[int] = (1, 2, 3),
    titles: Sequence[str] | str | None = None,
    plot_file_format: Sequence[str] = (".tif",),
    *,
    stretch: Stretch = (2.0, 98.0),
    **kwargs: Any,
) -> Figure:
    """Plot rasters, several in a grid of three columns; grey where there is no data.

    Parameters
    ----------
    filepaths : path, list of paths, or mapping of such lists
        The files; those of other formats are left out.
    figsize : (width, height)
        Of the figure, in inches.
    bands : sequence of int
        Three bands (red, green, blue) or one, counted from 1. Of a file with fewer than three bands
        the first is plotted.
    titles : list of str, optional
        One for each file plotted; default: the names of the files.
    plot_file_format : sequence of str
        Suffixes of the files to plot.
    stretch : (lower, upper) or None
        Percentiles of the valid values that become darkest and lightest; 8-bit values are shown as
        they are. None switches it off: integers are shown as 0 to 255, floats as 0 to 1.
    **kwargs
        For `rasterio.plot.show`, and through it matplotlib's ``imshow``: ``cmap``, ``vmin``,
        ``vmax``, ``ax`` (with one file), ``with_bounds``, ``adjust``, …

    Returns
    -------
    matplotlib.figure.Figure
        It has been shown where there is a screen or a notebook to show it on.

    Raises
    ------
    InputError
        No file is of that format, a band is not there, or there are too few titles.
    DataError
        A file cannot be read.
    """
    paths = of_format(flat_paths(filepaths), plot_file_format)
    names = _titles(titles, paths)
    axes = _axes(len(paths), figsize, kwargs.pop("ax", None))
    figure = axes[0].figure.figure
    columns = min(len(paths), _COLUMNS)
    size = max(256, math.ceil(max(figsize) * figure.dpi / columns))
    for path, name, ax in zip(paths, names, axes, strict=False):
        raster = read_for_screen(path, bands, size)
        _plot(raster, ax, stretch, {"title": name, **kwargs})
        _framed(ax)
        _fit_title(ax, max(figsize[0], 1) / columns)
    for ax in axes:
        ax.set_axis_off()
    return _shown(figure)


def plot_quicklooks(
    filepaths: Paths,
    figsize: tuple[float, float] = (8, 8),
    titles: Sequence[str] | str | None = None,
) -> Figure:
    """Plot quicklooks: pictures in .jpg, .png and the like. See `plot_results`."""
    return plot_results(
        filepaths, figsize=figsize, titles=titles, plot_file_format=QUICKLOOK_FORMATS
    )


def plot_coverage(
    scenes: GeoDataFrame,
    aoi: GeoDataFrame | None = None,
    legend_column: str = "sceneId",
    figsize: tuple[float, float] = (12, 16),
) -> Figure:
    """Plot the outlines of scenes over an area.

    Parameters
    ----------
    scenes : GeoDataFrame
        For example the results' ``data.json`` as a table.
    aoi : GeoDataFrame, optional
        The area; drawn as a red outline, in the coordinate system of the scenes.
    legend_column : str
        Column that gives colour and legend; without it all scenes look the same.
    figsize : (width, height)
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        It has been shown where there is a screen or a notebook to show it on.
    """
    from geopandas import GeoDataFrame

    if not isinstance(scenes, GeoDataFrame) or not isinstance(aoi, (GeoDataFrame, type(None))):
        raise InputError("scenes and aoi must be GeoDataFrames")
    figure, ax = plt.subplots(figsize=figsize, FigureClass=_Figure)
    scenes = scenes[scenes.geometry.notna() & ~scenes.geometry.is_empty]
    if len(scenes):
        known = legend_column in scenes.columns
        legend = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if known else None
        scenes.plot(
            legend_column if known else None,
            ax=ax,
            categorical=known,
            cmap="Set3" if known else None,
            edgecolor="black",
            alpha=0.7,
            legend=known,
            legend_kwds=legend,
        )
    if aoi is not None and len(aoi):
        if scenes.crs is not None and aoi.crs is not None:
            aoi = aoi.to_crs(scenes.crs)
        aoi.plot(ax=ax, facecolor="none", edgecolor="red", linewidth=1.5)
    ax.set_axis_off()
    return _shown(figure)


class _Figure(Figure):
    """A figure that a notebook's cell draws once, although it is both shown and returned."""

    shown_in: int | None = None  # number of the cell

    def _ipython_display_(self) -> None:
        if self.shown_in is None or self.shown_in != _cell():
            raise NotImplementedError  # IPython's word for "draw it as you always do"
        self.shown_in = None


def _cell() -> int | None:
    """Return the number of the notebook's cell that is being run, if there is one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell.execution_count if shell else None


def _titles(titles: Sequence[str] | str | None, paths: Sequence[Path]) -> list[str]:
    if titles is None:
        return names_of(paths)
    names = [titles] if isinstance(titles, str) else list(titles)
    if len(names) != len(paths):
        raise InputError(f"{len(names)} titles for {len(paths)} files: give one for each file")
    return names


def _axes(count: int, figsize: tuple[float, float], given: Axes | None) -> list[Axes]:
    if given is not None:
        if count > 1:
            raise InputError(f"ax= is for one file, not for {count}")
        return [given]
    columns = min(count, _COLUMNS)
    _, axes = plt.subplots(
        nrows=math.ceil(count / columns),
        ncols=columns,
        figsize=figsize,
        squeeze=False,
        layout="constrained",
        FigureClass=_Figure,
    )
    return list(axes.ravel())


def _plot(raster: Raster, ax: Axes, stretch: Stretch, kwargs: dict[str, Any]) -> None:
    if kwargs.pop("with_bounds", True) and "transform" not in kwargs:
        kwargs = {"extent": _extent(raster), **kwargs}
    if not raster.single:
        picture = np.moveaxis(rgba(raster, stretch=stretch), -1, 0)
        opaque = bool((raster.alpha == 255).all())
        show(picture[:3] if opaque else picture, ax=ax, **kwargs)
        return
    # One band keeps its values, so that the colour bar says what they are.
    values = np.ma.masked_array(raster.values[0], raster.alpha == 0)
    if stretch is not None and not {"vmin", "vmax", "norm"} & kwargs.keys():
        low, high = percentiles(raster.values[0], raster.alpha, stretch)
        kwargs |= {"vmin": low, "vmax": high}
    show(values, ax=ax, **kwargs)
    if ax.images:
        ax.figure.colorbar(ax.images[-1], ax=ax, shrink=0.6)


def _framed(ax: Axes) -> None:
    """Lay grey behind a picture, with a thin frame: clouds are white, and so is the page."""
    if not ax.images:  # contours
        return
    left, right, bottom, top = ax.images[-1].get_extent()
    place = ((left, bottom), right - left, top - bottom)
    order = ax.images[-1].get_zorder()
    grey = tuple(shade / 255 for shade in HOLE)
    ax.add_patch(Rectangle(*place, facecolor=grey, edgecolor="none", zorder=order - 1))
    frame = Rectangle(*place, fill=False, edgecolor=_FRAME, linewidth=0.8, zorder=order + 1)
    frame.set_clip_on(False)
    ax.add_patch(frame)


def _fit_title(ax: Axes, width: float) -> None:
    """Make a title small enough for its axes, `width` inches wide: names of results are long."""
    letters = max(1, len(ax.get_title()))
    points = width * 72 / (0.7 * letters)  # a bold letter is about 0.7 of its height wide
    ax.title.set_fontsize(min(12.0, max(5.0, points)))


def _extent(raster: Raster) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) as matplotlib wants it."""
    height, width = raster.alpha.shape
    t = raster.transform
    return (t.c, t.c + t.a * width, t.f + t.e * height, t.f)


def _shown(figure: Figure) -> Figure:
    """Show a figure where it can be seen; elsewhere only keep it from piling up in pyplot."""
    if not isinstance(figure, _Figure):  # the caller's own
        return figure
    if mpl.get_backend().lower() in _BLIND:
        plt.close(figure)
        return figure
    plt.show()
    figure.shown_in = _cell()
    return figure
