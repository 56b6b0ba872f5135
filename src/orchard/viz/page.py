"""A folium map whose page needs no network: its scripts and styles are inside it.

Leaflet (BSD-2-Clause) and jQuery (MIT) come as Python packages; their licence notices stand at the
head of the scripts and so in every page. Only the basemap is fetched, where there is a network.
"""

from __future__ import annotations

import base64
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import folium
from branca.element import MacroElement
from folium.template import Template

from orchard.errors import MissingDependencyError

if TYPE_CHECKING:
    import os

__all__ = ["PAGE_NAME", "Legend", "OfflineMap", "save_page"]

PAGE_NAME = "final_map.html"

_TILES = (
    "https://server.arcgisonline.com/ArcGIS/rest/services/World_Imagery/MapServer/tile/{z}/{y}/{x}"
)
_CREDIT = "Imagery &copy; Esri, Maxar, Earthstar Geographics and the GIS User Community"

_LEAFLET = "xstatic/pkg/leaflet/data"
_JQUERY = "xstatic/pkg/jquery/data"

_STYLE = """
.orchard-popup { font: 12px/1.4 sans-serif; }
.orchard-popup table { border-collapse: collapse; margin-top: 4px; }
.orchard-popup th { text-align: left; vertical-align: top; padding: 1px 8px 1px 0; color: #555; }
.orchard-popup td { overflow-wrap: anywhere; padding: 1px 0; }
.orchard-legend { background: #fffd; padding: 6px 10px; border-radius: 5px;
                  font: 12px/1.4 sans-serif; box-shadow: 0 1px 5px #0006; }
.orchard-legend i { display: block; width: 180px; height: 12px; margin: 3px 0; }
.orchard-legend span { float: right; }
.leaflet-container { background: #e8e8e4; }
"""


class OfflineMap(folium.Map):
    """A `folium.Map` that draws without a network.

    Parameters
    ----------
    basemap : bool
        Show satellite imagery beneath, where there is a network.
    **kwargs
        For `folium.Map`.
    """

    def __init__(self, *, basemap: bool = True, **kwargs: Any) -> None:
        super().__init__(tiles=None, **kwargs)
        self._name = "Map"
        folium.Figure(title="Map · Orchard").add_child(self)  # the browser's tab would be empty
        self.default_js, self.default_css = _assets()
        if basemap:
            folium.TileLayer(
                tiles=_TILES, attr=_CREDIT, name="Satellite", overlay=False, max_zoom=19
            ).add_to(self)


class Legend(MacroElement):
    """Which colour stands for which value of a one-band picture.

    Parameters
    ----------
    title : str
        What the values are.
    low, high : float
        Values of the first and the last colour.
    colours : list of str
        From low to high, in CSS.
    """

    _template = Template(
        """
        {% macro script(this, kwargs) %}
            var {{ this.get_name() }} = L.control({position: "bottomright"});
            {{ this.get_name() }}.onAdd = function () {
                var box = L.DomUtil.create("div", "orchard-legend");
                var text = {{ this.texts|tojson }};
                box.appendChild(document.createTextNode(text[0]));
                var bar = box.appendChild(document.createElement("i"));
                bar.style.background = {{ this.gradient|tojson }};
                box.appendChild(document.createTextNode(text[1]));
                box.appendChild(document.createElement("span")).textContent = text[2];
                return box;
            };
            {{ this.get_name() }}.addTo({{ this._parent.get_name() }});
        {% endmacro %}
        """
    )

    def __init__(self, *, title: str, low: float, high: float, colours: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = "Legend"
        self.texts = [title, _number(low), _number(high)]
        self.gradient = f"linear-gradient(to right, {', '.join(colours)})"


def save_page(page: folium.Map, target: str | os.PathLike[str]) -> Path:
    """Write a map as one HTML file.

    Parameters
    ----------
    page : folium.Map
        The map.
    target : path
        A file (``.html`` or ``.htm``), or a folder, which gets a ``final_map.html``.

    Returns
    -------
    Path
        The file; it is there whole or not at all.
    """
    path = Path(target)
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        path /= PAGE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        temporary.write_text(page.get_root().render(), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


@cache
def _assets() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return scripts and styles as folium wants them, (name, URL); the URLs hold the content."""
    leaflet = _content("xstatic-leaflet", f"{_LEAFLET}/leaflet.js")
    jquery = _content("xstatic-jquery", f"{_JQUERY}/jquery.min.js")
    icons = {
        option: _image(f"marker-{file}.png")
        for option, file in (
            ("iconUrl", "icon"),
            ("iconRetinaUrl", "icon-2x"),
            ("shadowUrl", "shadow"),
        )
    }
    settings = f"L.Icon.Default.imagePath = ''; L.Icon.Default.mergeOptions({icons!r});"
    style = _content("xstatic-leaflet", f"{_LEAFLET}/leaflet.css").decode()
    style = re.sub(r"url\(images/([\w.-]+)\)", lambda found: f"url({_image(found[1])})", style)
    scripts = [
        # folium's names: a plugin that wants one of these finds that it is there
        ("leaflet", _data_url("text/javascript", leaflet)),
        ("jquery", _data_url("text/javascript", jquery)),
        ("orchard_icons", _data_url("text/javascript", settings.encode())),
    ]
    return scripts, [("leaflet_css", _data_url("text/css", (style + _STYLE).encode()))]


def _image(name: str) -> str:
    return _data_url("image/png", _content("xstatic-leaflet", f"{_LEAFLET}/images/{name}"))


def _content(package: str, path: str) -> bytes:
    # Read, not imported: these packages hold nothing to run.
    try:
        return Path(str(distribution(package).locate_file(path))).read_bytes()
    except PackageNotFoundError as exc:
        raise MissingDependencyError(package, "viz") from exc


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
