"""One file from a signed link: streamed, resumed where it broke off, checked as announced.

The store behind a link says what the whole file is: `Content-Length` (of a whole answer),
`Content-Range` (of a part), `x-goog-stored-content-length`, and perhaps a hash (`x-goog-hash`,
`Content-MD5`, `Digest`, `Repr-Digest`). All that is said must hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from orchard.jobs.errors import PlatformError, TransferError
from orchard.jobs.http import PlatformClient, TransientError, public_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import httpx

__all__ = ["download", "expected_hash", "expected_size"]

# A link that has expired meanwhile is asked for again; one that never worked is not.
_EXPIRED = (400, 401, 403, 404, 410)


def download(
    client: PlatformClient,
    link: Callable[[], str],
    path: Path,
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Download one file; nothing is left at `path` if that fails.

    Parameters
    ----------
    client : PlatformClient
        Whose patience and connections are used. The token is not sent: a signed link needs none,
        and leads to somebody else's store.
    link : callable
        Gives a signed link; called again if the first has expired before the end.
    path : Path
        The file to write.
    progress : callable, optional
        Called with the bytes there are and the bytes there will be (None where nobody says).

    Returns
    -------
    int
        Size in bytes.

    Raises
    ------
    TransferError
        The file is not as long as announced, or its hash differs, also when downloaded again.
    PlatformError
        The link does not answer.
    """
    transfer = _Transfer(link=link, progress=progress)
    try:
        with path.open("wb") as file:
            client.patiently(lambda: transfer.go(client, file), lambda: transfer.offset)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return transfer.offset


def expected_size(headers: Mapping[str, str], *, partial: bool = False) -> int | None:
    """Return the size of the whole file in bytes, as far as the headers say it.

    Parameters
    ----------
    headers : mapping
        Of the answer; names in any case (httpx) or in lower case.
    partial : bool
        The answer is a 206, whose length is that of the part.
    """
    if partial:
        total = headers.get("content-range", "").rpartition("/")[2]
    else:
        total = headers.get("x-goog-stored-content-length") or headers.get("content-length", "")
    return int(total) if total.isdecimal() else None


def expected_hash(headers: Mapping[str, str]) -> tuple[str, bytes] | None:
    """Return (algorithm, digest) of the whole file: SHA-256 if it is given, else MD5, else None."""
    found = {}
    for name in ("repr-digest", "digest", "x-goog-hash"):
        for item in headers.get(name, "").split(","):
            algorithm, _, value = item.strip().partition("=")
            found[algorithm.lower().replace("-", "")] = value.strip(":")
    found.setdefault("md5", headers.get("content-md5", ""))
    for algorithm, length in (("sha256", 32), ("md5", 16)):
        try:
            digest = base64.b64decode(found.get(algorithm, ""), validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(digest) == length:
            return algorithm, digest
    return None


@dataclass
class _Transfer:
    """What is known of a file that is on its way; lives through all tries."""

    link: Callable[[], str]
    progress: Callable[[int, int | None], None] | None = None
    offset: int = 0
    size: int | None = None
    validator: str | None = None
    url: str | None = None
    restarted: bool = False
    hash: tuple[str, bytes] | None = None
    digest: hashlib._Hash | None = None

    def go(self, client: PlatformClient, file: BinaryIO) -> None:
        """Get the rest of the file."""
        self.url = self.url or self.link()
        headers = {"Accept-Encoding": "identity"}
        if self.offset and self.validator:
            headers |= {"Range": f"bytes={self.offset}-", "If-Range": self.validator}
        elif self.offset:
            self._restart(file)
        try:
            with client.stream(self.url, headers) as answer:
                self._begin(answer, file)
                # Raw bytes: a store that labels a .tgz "Content-Encoding: gzip" means the file.
                for chunk in answer.iter_raw():
                    file.write(chunk)
                    if self.digest:
                        self.digest.update(chunk)
                    self.offset += len(chunk)
                    if self.progress:
                        self.progress(self.offset, self.size)
        except PlatformError as exc:
            self._after(exc)
        file.flush()
        self._check(file)

    def _begin(self, answer: httpx.Response, file: BinaryIO) -> None:
        """Take up what the headers say; begin anew unless exactly the missing rest comes."""
        if answer.status_code == 206:
            start = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
            total = expected_size(answer.headers, partial=True)
            other = None not in (total, self.size) and total != self.size
            if start is None or int(start[1]) != self.offset or other:
                self._restart(file)
                problem = f"{self._name} answered another part of the file than the one asked for"
                raise TransientError(TransferError(problem, status=206))
            return
        self._restart(file)
        self.size = expected_size(answer.headers)
        self.hash = expected_hash(answer.headers)
        self.digest = hashlib.new(self.hash[0], usedforsecurity=False) if self.hash else None
        etag = answer.headers.get("etag", "")
        # Only a strong validator says that two answers are parts of the same bytes.
        strong = etag if etag.startswith('"') else None
        self.validator = strong or answer.headers.get("last-modified")

    def _restart(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        self.offset, self.validator = 0, None

    def _after(self, exc: PlatformError) -> None:
        """Ask for a new link where this one worked before; else the error stands."""
        if exc.status == 416:  # the file has become shorter: begin anew
            self.validator = None
        elif exc.status in _EXPIRED and self.size is not None:
            self.url = None
        else:
            raise exc
        raise TransientError(exc) from exc

    def _check(self, file: BinaryIO) -> None:
        if self.size is not None and self.offset != self.size:
            problem = f"{self._name} gave {self.offset} bytes instead of {self.size}"
        elif self.hash and self.digest and self.digest.digest() != self.hash[1]:
            problem = f"{self._name}: the {self.hash[0]} is not the announced one"
        else:
            return
        self._restart(file)
        error = TransferError(f"{problem}; the file was discarded: download it again")
        if self.restarted:
            raise error
        self.restarted = True
        raise TransientError(error)

    @property
    def _name(self) -> str:
        return public_url(self.url or "the link")
