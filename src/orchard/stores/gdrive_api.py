"""The few calls of Google Drive's API that a store needs, repeated safely where they fail.

A call whose answer is lost may have been done, and httplib2 repeats some by itself. Reading,
deleting and replacing content can simply be done again; files and folders are created under an id
that was fetched before, so that doing it again is answered with "already there" instead of making
a second one of the same name.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import time
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import httplib2
from google.auth.exceptions import GoogleAuthError, TransportError
from google_auth_httplib2 import AuthorizedHttp  # type: ignore[import-untyped]
from googleapiclient import discovery
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import Error, HttpError
from googleapiclient.http import MediaIoBaseUpload

from orchard.errors import AccessError, NotFoundError, OrchardError, StoreError
from orchard.stores.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

__all__ = ["FOLDER_TYPE", "DriveApi", "DriveFile", "quoted", "wait_before_retry"]

T = TypeVar("T")

FOLDER_TYPE = "application/vnd.google-apps.folder"
_FIELDS = "id,name,mimeType,size,md5Checksum,modifiedTime,headRevisionId"
_PAGE = 1000
_IDS = 100  # fetched at a time
_SIMPLE = 5 * 2**20  # larger ones are uploaded in chunks
_CHUNK = 8 * 2**20  # a multiple of 256 KiB, as Drive wants it
_LONGEST_WAIT = 60.0
_RESTARTS = 3  # of an upload whose session Drive has forgotten
_RATE = {"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded", "backendError"}
_FULL = {"storageQuotaExceeded", "teamDriveFileLimitExceeded", "activeItemCreationLimitExceeded"}
_TRANSPORT = (
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
    http.client.HTTPException,
    httplib2.ServerNotFoundError,
    TransportError,
)


@dataclass(frozen=True, kw_only=True)
class DriveFile:
    """A file or a folder of Drive: an id behind a name that need not be unique."""

    id: str
    name: str
    type: str
    size: int | None = None
    md5: str | None = None
    revision: str | None = None
    modified: datetime | None = None

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return self.type == FOLDER_TYPE

    @property
    def binary(self) -> bool:
        """Whether it has bytes: a document of Google's own has none."""
        return self.size is not None and not self.type.startswith("application/vnd.google-apps.")


def quoted(text: str) -> str:
    r"""Quote a text for a query: ``'`` and ``\`` are escaped."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def wait_before_retry(error: Exception, attempt: int, backoff: float) -> float | None:
    """Decide whether to do a call again.

    Parameters
    ----------
    error : Exception
        What went wrong.
    attempt : int
        How often it did before.
    backoff : float
        The first wait, in seconds; each further one is twice as long.

    Returns
    -------
    float or None
        Seconds to wait; None: it would fail again.
    """
    wait = min(backoff * 2**attempt, _LONGEST_WAIT)
    if isinstance(error, HttpError):
        status = int(error.resp.status)
        if status != 429 and status < 500 and not (status == 403 and _reason(error) in _RATE):
            return None
        after = error.resp.get("retry-after", "")
        return min(float(after), _LONGEST_WAIT) if after.isdigit() else wait
    return wait if isinstance(error, _TRANSPORT) else None


class DriveApi:
    """Calls to Drive, by any number of threads.

    Parameters
    ----------
    credentials : google.auth.credentials.Credentials
        Who calls.
    endpoint : str, optional
        Another server than Google's.
    timeout : float
        Seconds that a connection may be silent.
    retries : int
        How often a call that failed transiently is done again.
    backoff : float
        Seconds before the first repetition.
    """

    def __init__(
        self,
        credentials: Any,
        *,
        endpoint: str | None = None,
        timeout: float,
        retries: int,
        backoff: float,
    ) -> None:
        document = json.loads(get_static_doc("drive", "v3"))
        if endpoint:
            # client_options.api_endpoint would keep https:// for uploads.
            document["rootUrl"] = endpoint.rstrip("/") + "/"
        self._service = discovery.build_from_document(document, http=httplib2.Http())
        self._files = self._service.files()
        self._connections = _Connections(credentials, timeout)
        weakref.finalize(self, self._connections.close)
        self._retries, self._backoff = retries, backoff
        self._ids: list[str] = []
        self._ids_lock = Lock()

    def children(self, parent: str, name: str | None = None) -> Iterator[DriveFile]:
        """Give what is in a folder, or what of it has exactly this name."""
        query = f"{quoted(parent)} in parents and trashed = false"
        if name is not None:
            query += f" and name = {quoted(name)}"
        request = self._files.list(
            q=query,
            fields=f"nextPageToken,files({_FIELDS})",
            pageSize=_PAGE,
            supportsAllDrives=True,
            includeItemsFromAllDrives=True,
        )
        while request is not None:
            page = self._call(request.execute)
            for resource in page.get("files", ()):
                # Drive's "=" ignores case.
                if name is None or resource["name"] == name:
                    yield _file(resource)
            request = self._files.list_next(request, page)

    def create_folder(self, parent: str, name: str) -> str:
        """Make a folder; return its id."""
        body = {"id": self._new_id(), "name": name, "mimeType": FOLDER_TYPE, "parents": [parent]}
        request = self._files.create(body=body, fields="id", supportsAllDrives=True)
        with suppress(_IdInUseError):  # by ourselves: the answer was lost
            self._call(request.execute)
        return str(body["id"])

    def create(self, parent: str, name: str, content: IO[bytes], size: int) -> DriveFile:
        """Make a file."""
        body = {"id": self._new_id(), "name": name, "parents": [parent]}

        def request(media: MediaIoBaseUpload) -> Any:
            return self._files.create(
                body=body, media_body=media, fields=_FIELDS, supportsAllDrives=True
            )

        try:
            return self._upload(request, content, size)
        except _IdInUseError:  # by ourselves: the answer was lost
            found = self._files.get(fileId=body["id"], fields=_FIELDS, supportsAllDrives=True)
            return _file(self._call(found.execute))

    def replace(self, id_: str, content: IO[bytes], size: int) -> DriveFile:
        """Replace a file's content; it keeps its id."""

        def request(media: MediaIoBaseUpload) -> Any:
            return self._files.update(
                fileId=id_, media_body=media, fields=_FIELDS, supportsAllDrives=True
            )

        return self._upload(request, content, size)

    def read(self, id_: str) -> bytes:
        """Read a whole file."""
        return bytes(self._call(self._files.get_media(fileId=id_, supportsAllDrives=True).execute))

    def read_range(self, id_: str, start: int, stop: int) -> bytes:
        """Read the bytes from `start` up to, not including, `stop`."""
        request = self._files.get_media(fileId=id_, supportsAllDrives=True)
        request.headers["range"] = f"bytes={start}-{stop - 1}"
        return bytes(self._call(request.execute))

    def delete(self, id_: str) -> None:
        """Delete a file for good."""
        self._call(self._files.delete(fileId=id_, supportsAllDrives=True).execute)

    def about(self) -> dict[str, Any]:
        """Who calls, and how full their Drive is."""
        request = self._service.about().get(fields="user(displayName,emailAddress),storageQuota")
        return dict(self._call(request.execute))

    def _new_id(self) -> str:
        with self._ids_lock:
            if not self._ids:
                request = self._files.generateIds(count=_IDS, space="drive")
                self._ids = list(self._call(request.execute)["ids"])
            return self._ids.pop()

    def _upload(
        self, request: Callable[[MediaIoBaseUpload], Any], content: IO[bytes], size: int
    ) -> DriveFile:
        if size <= _SIMPLE:
            media = _Chunks(content, "application/octet-stream", resumable=False)
            return _file(self._call(request(media).execute))
        for _ in range(_RESTARTS):
            media = _Chunks(content, "application/octet-stream", chunksize=_CHUNK, resumable=True)
            session, resource = request(media), None
            try:
                while resource is None:
                    resource = self._call(_NextChunk(session))[1]
            except NotFoundError:
                if session.resumable_uri is None:
                    raise
            else:
                return _file(resource)
        raise StoreError("Google Drive has forgotten the upload again and again; try later")

    def _call(self, action: Callable[..., T]) -> T:
        """Call ``action(http=…)``; do it again if that may help."""
        for attempt in range(self._retries + 1):
            try:
                with self._connections.borrow() as connection:
                    return action(http=connection)
            except OrchardError:
                raise
            except (Error, GoogleAuthError, httplib2.HttpLib2Error, *_TRANSPORT, OSError) as exc:
                wait = wait_before_retry(exc, attempt, self._backoff)
                if wait is None or attempt == self._retries:
                    _raise(exc)
            time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - jitter
        raise AssertionError  # pragma: no cover - the last attempt returns or raises


class _Chunks(MediaIoBaseUpload):  # type: ignore[misc]
    """Content that is sent as bytes: a stream that was read once cannot be sent again."""

    def has_stream(self) -> bool:
        return False


class _NextChunk:
    """One step of an upload in chunks; called again, it asks Drive first how far it is.

    The client's own retries are not used: they would send an empty body.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, *, http: AuthorizedHttp) -> tuple[Any, dict[str, Any] | None]:
        session = self._session
        try:
            step = session.next_chunk(http=http)
        except HttpError as exc:
            # Where a connection breaks, httplib2 sends a request twice: Drive may have the chunk.
            if int(exc.resp.status) != 400 or session.resumable_uri is None:
                raise
            step = session.next_chunk(http=http)
        return step[0], step[1]


class _IdInUseError(StoreError):
    """A file of this id is there already."""


class _Connections:
    """HTTP connections, each used by one thread at a time (httplib2's are not thread-safe)."""

    def __init__(self, credentials: Any, timeout: float) -> None:
        self._credentials = credentials
        self._timeout = timeout
        self._idle: list[AuthorizedHttp] = []
        self._lock = Lock()

    @contextmanager
    def borrow(self) -> Iterator[AuthorizedHttp]:
        with self._lock:
            connection = self._idle.pop() if self._idle else self._new()
        try:
            yield connection
        except HttpError:
            self._give_back(connection)
            raise
        except BaseException:
            connection.http.close()  # nobody knows what is left in it
            raise
        self._give_back(connection)

    def _new(self) -> AuthorizedHttp:
        plain = httplib2.Http(timeout=self._timeout)
        # 308 means "go on" to Drive's uploads, not "go elsewhere".
        plain.redirect_codes = plain.redirect_codes - {308}
        return AuthorizedHttp(self._credentials, http=plain)

    def _give_back(self, connection: AuthorizedHttp) -> None:
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().http.close()


def _file(resource: dict[str, Any]) -> DriveFile:
    modified = resource.get("modifiedTime")
    return DriveFile(
        id=resource["id"],
        name=resource["name"],
        type=resource["mimeType"],
        size=int(resource["size"]) if "size" in resource else None,
        md5=resource.get("md5Checksum"),
        revision=resource.get("headRevisionId"),
        modified=datetime.fromisoformat(modified) if modified else None,
    )


def _reason(error: HttpError) -> str:
    """Drive's word for an error, such as ``userRateLimitExceeded``."""
    try:
        return str(json.loads(error.content)["error"]["errors"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def _raise(error: Exception) -> NoReturn:
    """Raise ours for one of Google's; its text may hold an address with a token."""
    redact = Redactor()
    if not isinstance(error, HttpError):
        text = redact(f"{type(error).__name__}: {error}")
        if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
            raise AccessError(
                f"Google Drive does not accept the credentials; log in again ({text})"
            ) from None
        raise StoreError(f"Google Drive cannot be reached ({text})") from None
    status, reason = int(error.resp.status), _reason(error)
    text = redact(f"{status} {error.reason}")
    if status == 404:
        raise NotFoundError(f"Google Drive has no such file or folder ({text})") from None
    if reason == "fileIdInUse" or status == 409:
        raise _IdInUseError(text) from None
    if reason in _FULL:
        raise StoreError(f"this Google Drive is full; make room and try again ({text})") from None
    if status in (401, 403):
        raise AccessError(
            f"Google Drive does not allow it; check the login and who the folder is shared with "
            f"({text})"
        ) from None
    raise StoreError(f"Google Drive could not do it ({text})") from None
