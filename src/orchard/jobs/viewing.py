"""Looking at what has been downloaded: the methods that jobs, jobtasks and collections share.

The work is done by `orchard.viz`, which is loaded on use.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from orchard.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from folium import Map
    from geopandas import GeoDataFrame
    from matplotlib.figure import Figure

    from orchard.viz import Paths

__all__ = ["Viewing"]


class Viewing:
    """Plots and maps of the last download.

    Attributes
    ----------
    results : list of str, or dict of lists by job id, or None
        Files of the last `download_results`.
    quicklooks : list of str or None
        Files of the last `download_quicklooks`.
    """

    results: list[str] | dict[str, list[str]] | None = None
    quicklooks: list[str] | None = None

    def plot_results(
        self,
        figsize: tuple[float, float] = (14, 8),
        bands: Sequence[int] = (1, 2, 3),
        titles: Sequence[str] | str | None = None,
        filepaths: Paths | None = None,
        plot_file_format: Sequence[str] = (".tif",),
        **kwargs: Any,
    ) -> Figure:
        """Plot the downloaded pictures; see `orchard.viz.plot_results`."""
        paths = self._downloaded() if filepaths is None else filepaths
        from orchard import viz

        return viz.plot_results(
            paths,
            figsize=figsize,
            bands=bands,
            titles=titles,
            plot_file_format=plot_file_format,
            **kwargs,
        )

    def plot_quicklooks(
        self,
        figsize: tuple[float, float] = (8, 8),
        titles: Sequence[str] | str | None = None,
        filepaths: Paths | None = None,
    ) -> Figure:
        """Plot the downloaded quicklooks; see `orchard.viz.plot_quicklooks`."""
        paths = self._downloaded_quicklooks() if filepaths is None else filepaths
        from orchard import viz

        return viz.plot_quicklooks(
            paths,
            figsize=figsize,
            titles=titles,
        )

    def map_results(
        self,
        bands: Sequence[int] = (1, 2, 3),
        aoi: Any = None,
        show_images: bool = True,
        show_features: bool = True,
        name_column: str = "uid",
        save_html: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Map:
        """Show the downloaded pictures and features on a map; see `orchard.viz.map_results`."""
        paths = self._downloaded()
        from orchard import viz

        return viz.map_results(
            paths,
            bands=bands,
            aoi=aoi,
            show_images=show_images,
            show_features=show_features,
            name_column=name_column,
            save_html=save_html,
            **kwargs,
        )

    def map_quicklooks(
        self,
        scenes: GeoDataFrame | Mapping[str, Any] | None = None,
        aoi: Any = None,
        show_images: bool = True,
        show_features: bool = False,
        filepaths: Paths | None = None,
        name_column: str = "id",
        save_html: str | os.PathLike[str] | None = None,
    ) -> Map:
        """Show the downloaded quicklooks on a map, each on its scene's outline.

        Parameters
        ----------
        scenes : GeoDataFrame or FeatureCollection, optional
            The scenes; without them, the results' own features are asked for.
        aoi, show_images, show_features, filepaths, name_column, save_html
            See `orchard.viz.map_quicklooks`.
        """
        paths = self._downloaded_quicklooks() if filepaths is None else filepaths
        found = self._scenes() if scenes is None else scenes
        from orchard import viz

        return viz.map_quicklooks(
            found,
            paths,
            aoi=aoi,
            show_images=show_images,
            show_features=show_features,
            name_column=name_column,
            save_html=save_html,
        )

    @staticmethod
    def plot_coverage(
        scenes: GeoDataFrame,
        aoi: GeoDataFrame | None = None,
        legend_column: str = "sceneId",
        figsize: tuple[float, float] = (12, 16),
    ) -> Figure:
        """Plot the outlines of scenes; see `orchard.viz.plot_coverage`."""
        from orchard import viz

        return viz.plot_coverage(scenes, aoi=aoi, legend_column=legend_column, figsize=figsize)

    def _scenes(self) -> Mapping[str, Any]:
        raise InputError("say which scenes the quicklooks are of: scenes=…")

    def _downloaded(self) -> list[str]:
        if self.results is None:
            raise InputError("there are no results yet: call download_results() first")
        if isinstance(self.results, dict):
            return list(chain.from_iterable(self.results.values()))
        return self.results

    def _downloaded_quicklooks(self) -> list[str]:
        if self.quicklooks is None:
            raise InputError("there are no quicklooks yet: call download_quicklooks() first")
        return self.quicklooks
