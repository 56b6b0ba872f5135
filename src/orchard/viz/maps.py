"""Maps with folium: pictures where they lie, features with popups, in a page of bounded size."""

from __future__ import annotations

import base64
import html
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import folium
import numpy as np
from folium.utilities import JsCode

from orchard.errors import DataError, InputError
from orchard.viz.features import (
    Bounds,
    Feature,
    feature_bounds,
    features_of,
    outline,
    pair,
    popup,
)
from orchard.viz.files import QUICKLOOK_FORMATS, flat_paths, names_of, of_format
from orchard.viz.page import Legend, OfflineMap, save_page
from orchard.viz.pictures import Raster, png, read_for_map, rgba
from orchard.viz.stretch import Stretch, percentiles

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from geopandas import GeoDataFrame

    from orchard.viz import Paths

__all__ = ["map_images", "map_quicklooks", "map_results"]

_FEATURES = 500
_OPEN_LAYERS = 6
_RASTERS = (".tif", ".tiff")

_LINE = {"color": "#2b6cb0", "weight": 2, "fillColor": "#5288c4", "fillOpacity": 0.1}
_HOVER = {"color": "#d97706", "weight": 3, "fillColor": "#ffaf00", "fillOpacity": 0.2}
_AOI = {"color": "#dc2626", "weight": 2, "dashArray": "5, 5", "fillOpacity": 0}

_BIND = JsCode(
    """
    function (feature, layer) {
        layer.bindPopup(feature.properties.popup,
                        {maxWidth: 420, maxHeight: 260, className: "orchard-popup"});
        layer.bindTooltip(feature.properties.tooltip, {sticky: true});
    }
    """
)


@dataclass(frozen=True, kw_only=True)
class _Picture:
    name: str
    path: Path
    raster: Raster

    @property
    def bounds(self) -> Bounds:
        if self.raster.bounds is None:
            raise DataError(f"{self.path} lies nowhere")
        return self.raster.bounds


def map_images(
    filepaths: Paths = (),
    features: Any = None,
    *,
    bands: Sequence[int] = (1, 2, 3),
    aoi: Any = None,
    show_images: bool = True,
    show_features: bool = True,
    name_column: str = "uid",
    save_html: str | os.PathLike[str] | None = None,
    stretch: Stretch = (2.0, 98.0),
    cmap: str = "viridis",
    size: int = 1024,
    page_size: int = 6_000_000,
    basemap: bool = True,
) -> folium.Map:
    """Show pictures and features on a map.

    Parameters
    ----------
    filepaths : path, list of paths, or mapping of such lists
        Rasters. One with a georeference is warped to the map's projection; one without is put on
        its feature's box. A picture's feature is the one that names it in ``up42.data_path``, or
        whose id is the name of the file.
    features : FeatureCollection, GeoDataFrame, path of a GeoJSON file, …
        In longitude and latitude, or with a coordinate system of their own (a GeoDataFrame's).
    bands : sequence of int
        Three bands (red, green, blue) or one, counted from 1. Of a file with fewer than three bands
        the first is shown, in colours.
    aoi : as `features`
        An area, drawn as a red outline.
    show_images, show_features : bool
        What to show.
    name_column : str
        Property of a feature that names it and its picture.
    save_html : path, optional
        Also write the page: a file (``.html``), or a folder, which gets ``final_map.html``.
    stretch : (lower, upper) or None
        Percentiles that become darkest and lightest; 8-bit values are shown as they are, None shows
        all as they are. One-band pictures have one common range, so that a colour means one value.
    cmap : str
        matplotlib's name of the colours of one-band pictures.
    size : int
        Pixels of a picture's longer side, at most.
    page_size : int
        Bytes of all pictures in the page together, at most: many or noisy ones are shown smaller.
    basemap : bool
        Show satellite imagery beneath, where there is a network.

    Returns
    -------
    folium.Map
        Draws without a network; more can be added to it.

    Raises
    ------
    InputError
        There is nothing to show, or something is not what it should be.
    DataError
        A file cannot be read.

    Warns
    -----
    UserWarning
        A picture of which nobody says where it lies is left out, and features beyond 500 are.
    """
    found = features_of(features)
    area = features_of(aoi, "aoi")
    paths = flat_paths(filepaths) if show_images else []
    partners = pair(paths, found, name_column)
    pictures = _placed(paths, partners, found, bands, size, name_column)
    shown = found if show_features else []
    boxes = [picture.bounds for picture in pictures]
    boxes += [box for box in map(feature_bounds, [*shown, *area]) if box]
    if not boxes:
        raise InputError("there is nothing to show on a map: no picture and no feature has a place")

    page = OfflineMap(basemap=basemap, control_scale=True, zoom_snap=0.25)
    _add_pictures(page, pictures, stretch, cmap, page_size)
    if area:
        _add_area(page, area)
    if shown:
        _add_features(page, shown, name_column)
    layers = len(pictures) + bool(area) + bool(shown)
    folium.LayerControl(position="topright", collapsed=layers > _OPEN_LAYERS).add_to(page)
    left, bottom, right, top = _around(boxes)
    page.fit_bounds([[bottom, left], [top, right]])
    if save_html is not None:
        save_page(page, save_html)
    return page


def map_results(
    filepaths: Paths,
    bands: Sequence[int] = (1, 2, 3),
    aoi: Any = None,
    show_images: bool = True,
    show_features: bool = True,
    name_column: str = "uid",
    save_html: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> folium.Map:
    """Show the files of a result on a map: its GeoTIFFs, and its features.

    Parameters
    ----------
    filepaths : path, list of paths, or mapping of such lists
        What `download_results` returned. Features are those of the ``.geojson`` files among them,
        else of ``data.json``.
    bands, aoi, show_images, show_features, name_column, save_html
        See `map_images`.
    **kwargs
        ``stretch``, ``cmap``, ``size``, ``page_size``, ``basemap`` of `map_images`.
    """
    paths = flat_paths(filepaths)
    documents = [path for path in paths if path.suffix.lower() == ".json"]
    vectors = [path for path in paths if path.suffix.lower() == ".geojson"]
    data = [path for path in documents if path.name == "data.json"] or documents[:1]
    shown = [feature for path in vectors or data for feature in features_of(path)]
    if not shown and not show_images:
        raise InputError("there are no features among the results, and no images were asked for")
    return map_images(
        [path for path in paths if path.suffix.lower() in _RASTERS],
        shown,
        bands=bands,
        aoi=aoi,
        show_images=show_images,
        show_features=show_features,
        name_column=name_column,
        save_html=save_html,
        **kwargs,
    )


def map_quicklooks(
    scenes: GeoDataFrame | Mapping[str, Any],
    filepaths: Paths,
    aoi: Any = None,
    show_images: bool = True,
    show_features: bool = False,
    name_column: str = "id",
    save_html: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> folium.Map:
    """Show quicklooks on a map, each on the box of the scene whose id is in its name.

    Parameters
    ----------
    scenes : GeoDataFrame or FeatureCollection
        The scenes.
    filepaths : path or list of paths
        The quicklooks, ``quicklook_ID.png`` or ``.jpg``.
    aoi, show_images, show_features, name_column, save_html, **kwargs
        See `map_images`.
    """
    return map_images(
        of_format(flat_paths(filepaths), QUICKLOOK_FORMATS) if show_images else [],
        scenes,
        aoi=aoi,
        show_images=show_images,
        show_features=show_features,
        name_column=name_column,
        save_html=save_html,
        **kwargs,
    )


def _placed(
    paths: Sequence[Path],
    partners: Sequence[int | None],
    features: Sequence[Feature],
    bands: Sequence[int],
    size: int,
    name_column: str,
) -> list[_Picture]:
    """Read the pictures; leave out, with a warning, those of which nobody says where they lie."""
    pictures = []
    stems = names_of(paths)
    for number, (path, partner) in enumerate(zip(paths, partners, strict=True), start=1):
        feature = features[partner] if partner is not None else None
        place = feature_bounds(feature) if feature is not None else None
        try:
            raster = read_for_map(path, bands, size, place)
        except DataError as exc:
            if len(paths) == 1:
                raise
            warnings.warn(f"left out of the map: {exc}", stacklevel=3)
            continue
        name = (_name(feature, name_column) if feature is not None else "") or stems[number - 1]
        pictures.append(_Picture(name=f"Image {number} - {name}", path=path, raster=raster))
    if paths and not pictures:
        raise DataError(f"none of the {len(paths)} pictures can be shown")
    return pictures


def _name(feature: Feature, name_column: str) -> str:
    name = feature["properties"].get(name_column, feature.get("id"))
    return "" if name is None else str(name)


def _add_pictures(
    page: folium.Map,
    pictures: Sequence[_Picture],
    stretch: Stretch,
    cmap: str,
    page_size: int,
) -> None:
    limits = _common_limits([p.raster for p in pictures if p.raster.single], stretch)
    for picture in pictures:
        colours = rgba(
            picture.raster,
            stretch=stretch,
            cmap=cmap,
            limits=limits if picture.raster.single else None,
        )
        left, bottom, right, top = picture.bounds
        overlay = folium.raster_layers.ImageOverlay(
            _data_url(colours, page_size // len(pictures)),
            bounds=[[bottom, left], [top, right]],
            name=html.escape(picture.name),
            alt=picture.name,
            zindex=1,
        )
        overlay.add_to(page)
    if limits is not None:
        _add_legend(page, limits, cmap, [p for p in pictures if p.raster.single])


def _common_limits(rasters: Sequence[Raster], stretch: Stretch) -> tuple[float, float] | None:
    """Return one range for all one-band pictures."""
    ranges = [percentiles(r.values[0], r.alpha, stretch) for r in rasters if r.alpha.any()]
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _data_url(colours: np.ndarray[Any, np.dtype[np.uint8]], budget: int) -> str:
    """Return a picture as a PNG in a URL of at most `budget` bytes, smaller if it must be."""
    content = png(colours)
    while len(content) * 4 / 3 > budget and max(colours.shape[:2]) > 32:
        step = math.ceil(math.sqrt(len(content) * 4 / 3 / budget))
        colours = _thinned(colours, max(2, step))
        content = png(colours)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _thinned(
    colours: np.ndarray[Any, np.dtype[np.uint8]], step: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.ascontiguousarray(colours[step // 2 :: step, step // 2 :: step])


def _add_legend(
    page: folium.Map, limits: tuple[float, float], cmap: str, pictures: Sequence[_Picture]
) -> None:
    import matplotlib as mpl

    colours = [mpl.colors.to_hex(mpl.colormaps[cmap](step / 10)) for step in range(11)]
    title = pictures[0].path.stem if len(pictures) == 1 else f"{len(pictures)} images"
    low, high = limits
    Legend(title=title, low=low, high=high, colours=colours).add_to(page)


def _add_area(page: folium.Map, area: Sequence[Feature]) -> None:
    folium.GeoJson(
        {"type": "FeatureCollection", "features": [_bare(feature) for feature in area]},
        name="aoi",
        style_function=lambda _: _AOI,
        interactive=False,
    ).add_to(page)


def _add_features(page: folium.Map, features: Sequence[Feature], name_column: str) -> None:
    if len(features) > _FEATURES:
        warnings.warn(
            f"the map shows the first {_FEATURES} of {len(features)} features", stacklevel=3
        )
        features = features[:_FEATURES]
    told = []
    for number, feature in enumerate(features, start=1):
        if not feature.get("geometry"):
            continue
        name = _name(feature, name_column)
        title = f"Feature {number} - {name}" if name else f"Feature {number}"
        texts = {"popup": popup(title, feature["properties"]), "tooltip": html.escape(title)}
        told.append({**_bare(feature), "properties": texts})
    if told:
        folium.GeoJson(
            {"type": "FeatureCollection", "features": told},
            name="Features",
            style_function=lambda _: _LINE,
            highlight_function=lambda _: _HOVER,
            on_each_feature=_BIND,
        ).add_to(page)


def _bare(feature: Feature) -> Feature:
    """Return a feature's outline alone."""
    return {"type": "Feature", "properties": {}, "geometry": outline(feature).get("geometry")}


def _around(boxes: Sequence[Bounds]) -> Bounds:
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)
