"""Ids of a platform as parts of URLs and of file names (pure)."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath
from urllib.parse import quote

from orchard.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "check_id", "quicklook_name", "url_path"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".jp2")

# Where a server says nothing useful, the first bytes of the picture do.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"GIF8", ".gif"),
)


def check_id(value: str, what: str) -> str:
    """Return an id that is safe as one part of a URL and as one part of a file name.

    Raises
    ------
    InputError
        It is empty, too long, ``.`` or ``..``, or has a slash, a backslash or a control character.
    """
    text = str(value)
    harmless = not any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in text)
    if not harmless or text.strip(". ") == "" or len(text.encode()) > 200:
        raise InputError(f"{text!r} cannot be the id of a {what}")
    return text


def url_path(*parts: str, slash: bool = False) -> str:
    """Join ids and words to the path of a URL, each of them quoted."""
    path = "/".join(quote(part, safe="") for part in parts)
    return f"{path}/" if slash else path


def quicklook_name(quicklook_id: str, content_type: str, head: bytes) -> str:
    """Return the file name of a quicklook: its id, with the suffix of its type if it has none.

    Parameters
    ----------
    quicklook_id : str
        As the platform lists it, e.g. ``a_quicklook.png`` or ``16e18e15``.
    content_type : str
        The ``Content-Type`` of the answer; may be empty.
    head : bytes
        The first bytes of the picture, for the case that the type says nothing.
    """
    name = f"quicklook_{check_id(quicklook_id, 'quicklook')}"
    if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
        return name
    return name + _suffix(content_type, head)


def _suffix(content_type: str, head: bytes) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "image/jpeg":  # mimetypes knows several, and which comes first differs
        return ".jpg"
    if kind == "image/tiff":
        return ".tif"
    if kind.startswith("image/"):
        return mimetypes.guess_extension(kind) or ""
    return next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), "")
