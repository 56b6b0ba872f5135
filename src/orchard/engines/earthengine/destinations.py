"""Where Earth Engine writes, in terms of a store's URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from orchard.errors import InputError

__all__ = ["Destination"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A folder of Cloud Storage or Drive.

    Parameters
    ----------
    kind : {"gs", "gdrive"}
    root : str
        The bucket, or the outermost folder.
    folder : str
        Below it; perhaps empty.
    """

    kind: str
    root: str
    folder: str

    @classmethod
    def of(cls, url: str, prefix: str) -> Self:
        """Return the folder `prefix` of a store.

        Raises
        ------
        InputError
            For a store that Earth Engine cannot write to.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"gs", "gdrive"}:
            raise InputError(
                f"Earth Engine cannot export to the store {url}: it writes to Cloud Storage "
                "(gs://) and Google Drive (gdrive://)"
            )
        below = [unquote(parts.path).strip("/"), prefix.strip("/")]
        return cls(
            kind=parts.scheme,
            root=unquote(parts.netloc),
            folder="/".join(part for part in below if part),
        )

    def options(self, name: str, *, sharded: bool) -> dict[str, Any]:
        """Return the options of the export.

        Parameters
        ----------
        name : str
            Of the file, or of its shards without their offsets.
        sharded : bool
            Whether there will be several files. For these Cloud Storage appends the offsets to the
            prefix as it is, while Drive puts a dash between.
        """
        if self.kind == "gs":
            prefix = f"{self.folder}/{name}".lstrip("/")
            return {"bucket": self.root, "fileNamePrefix": f"{prefix}-" if sharded else prefix}
        # Drive knows folders by their name alone, whatever they are in.
        return {"folder": self.folder.rpartition("/")[2] or self.root, "fileNamePrefix": name}
