"""Where files live: a folder, memory, S3, GCS, Azure or Google Drive.

`open_store` gives a `Store`: put, get, list, fetch to a file, delete.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from orchard.errors import InputError, MissingDependencyError
from orchard.stores.base import (
    Copy,
    HasCopies,
    HasPath,
    ObjectInfo,
    Store,
    Sweeps,
    check_folder,
    check_key,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = [
    "Copy",
    "HasCopies",
    "HasPath",
    "ObjectInfo",
    "Store",
    "Sweeps",
    "check_folder",
    "check_key",
    "open_store",
]


def open_store(url: str | os.PathLike[str], **options: Any) -> Store:
    """Open a store; nothing is created and nothing is asked of a service before its first use.

    Parameters
    ----------
    url : str or Path
        A folder's path or ``file://`` URL, ``memory://NAME``, ``s3://BUCKET[/PREFIX]``,
        ``gs://BUCKET[/PREFIX]``, ``az://CONTAINER[/PREFIX]`` or ``gdrive://FOLDER[/SUB]``. Secrets
        do not belong into it: give them as options or in the environment.
    **options
        For S3, GCS and Azure: ``endpoint``, ``region``, ``anonymous``, ``profile`` (S3),
        ``read_timeout``, ``client_options``, ``retry_config`` and every configuration key of the
        service (see `orchard.stores.cloud`). For Google Drive see
        `orchard.stores.gdrive.open_gdrive`. A folder and memory have none.

    Returns
    -------
    Store

    Raises
    ------
    InputError
        An unknown scheme or option, or a URL that carries a secret.
    MissingDependencyError
        The store needs an extra that is not installed.

    Examples
    --------
    >>> store = open_store("memory://example")
    >>> info = store.put("a/b.txt", b"hello")
    >>> [found.key for found in store.list("a")]
    ['a/b.txt']
    """
    # A pathlib path would have lost one of the slashes of a URL: only a string can be one.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url) if isinstance(url, str) else None
    if scheme is None or not isinstance(url, str):
        return _open_folder(url, options)
    name = scheme[1].lower()
    if name not in _SCHEMES:
        raise InputError(
            f"{name}:// is not a store; known are {', '.join(f'{s}://' for s in _SCHEMES)} "
            "and the path of a folder"
        )
    _refuse_secrets(url, name)
    return _SCHEMES[name](url, options)


def _refuse_secrets(url: str | os.PathLike[str], scheme: str) -> None:
    """Refuse a user, password or query in a URL, without repeating it."""
    parts = urlsplit(str(url))
    if scheme != "file" and ("@" in parts.netloc or parts.query or parts.fragment):
        raise InputError(
            f"a {scheme}:// URL has no user, password or query: give credentials as options, "
            "configuration keys or in the environment"
        )


def _open_folder(url: str | os.PathLike[str], options: dict[str, Any]) -> Store:
    from orchard.stores.folder import FolderStore

    _no_options("a folder", options)
    if not str(url):
        raise InputError("the path of a store is empty; '.' is the current folder")
    return FolderStore(url)


def _open_file_url(url: str, options: dict[str, Any]) -> Store:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{url} names another machine; a folder of this one is file:///PATH")
    return _open_folder(Path(unquote(parts.path)), options)


def _open_memory(url: str, options: dict[str, Any]) -> Store:
    from orchard.stores.object import open_memory

    _no_options("memory", options)
    return open_memory(url)


def _open_cloud(url: str, options: dict[str, Any]) -> Store:
    from orchard.stores.cloud import open_cloud

    return open_cloud(url, **options)


def _open_gdrive(url: str, options: dict[str, Any]) -> Store:
    try:
        from orchard.stores.gdrive import open_gdrive
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(exc.name or "google-api-python-client", "gdrive") from exc
    return open_gdrive(url, **options)


def _no_options(what: str, options: dict[str, Any]) -> None:
    if options:
        raise InputError(f"{what} takes no options, but got {', '.join(sorted(options))}")


_SCHEMES: dict[str, Callable[[str, dict[str, Any]], Store]] = {
    "file": _open_file_url,
    "memory": _open_memory,
    "s3": _open_cloud,
    "gs": _open_cloud,
    "az": _open_cloud,
    "gdrive": _open_gdrive,
}
