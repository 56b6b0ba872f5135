"""The report as one HTML page: scripts, styles and data are in it, and nothing can be fetched."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from orchard.errors import AccessError, PagesError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Report", "read_asset", "render"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="Orchard">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<div id="app"><noscript>{plain}</noscript></div>
<script type="application/json" id="model">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def render(model: Mapping[str, Any]) -> str:
    """Write the page of a model.

    Parameters
    ----------
    model : mapping
        As `build_model` makes it.

    Returns
    -------
    str
        HTML. Its content security policy allows its own script and style, by their digests, and
        pictures within the page; nothing else, and no request at all.

    Raises
    ------
    PagesError
        When the scripts are not built.
    """
    script, style = read_asset("report.js"), read_asset("report.css")
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=policy,
        title=html.escape(str(model["name"])),
        style=style,
        script=script,
        plain=_plain(model),
        data=_embedded(model),
    )


def _embedded(model: Mapping[str, Any]) -> str:
    """Write JSON so that nothing in it ends the script element that it is in."""
    text = orjson.dumps(model, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(model: Mapping[str, Any]) -> str:
    """Say how the order stands where no scripts run."""
    letters = model["tasks"]["state"]
    rows = "".join(
        f"<li>{html.escape(state['name'])}: {letters.count(state['code'])}</li>"
        for state in model["states"]
        if state["code"] in letters
    )
    return f"<h1>{html.escape(str(model['name']))}</h1><ul>{rows}</ul>"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def read_asset(name: str) -> str:
    """Read a script or a style sheet of the pages.

    Raises
    ------
    PagesError
        When it is not built.
    """
    try:
        file = resources.files(__package__).joinpath("static", name)
        # What a browser hashes has no other line ends than these.
        return file.read_text(encoding="utf-8").replace("\r\n", "\n")
    except OSError:
        raise PagesError(
            f"the script {name} of the pages is not built: in a checkout, install Node.js 20 or "
            "later (with npm) and run: python web/build.py; wheels carry it"
        ) from None


class Report:
    """A report: write it, or look at it in a notebook.

    Parameters
    ----------
    model : mapping
        As `build_model` makes it.
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.model = model

    @property
    def html(self) -> str:
        """The page."""
        return render(self.model)

    def save(self, path: str | Path) -> Path:
        """Write the page; it is there whole or not at all.

        Raises
        ------
        AccessError
            When it cannot be written.
        """
        target = Path(path)
        text = self.html
        temporary = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8", newline="\n")
            temporary.replace(target)
        except OSError as error:
            raise AccessError(f"the report {target} cannot be written: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return target

    def __repr__(self) -> str:
        return f"<Report of {self.model['name']!r}>"

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        return (
            f'<iframe srcdoc="{page}" sandbox="allow-scripts" '
            f'title="{html.escape(str(self.model["name"]), quote=True)}" '
            'style="width:100%;height:720px;border:1px solid #8885;border-radius:6px"></iframe>'
        )
