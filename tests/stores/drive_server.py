"""A Drive v3 server on loopback that enforces Drive's rules; the real client talks to it.

What it knows: files list, get, create, patch, delete and generateIds; ``alt=media`` with ranges;
multipart and resumable uploads. What it refuses, as Drive does: requests without a token, queries
it cannot parse, ids nobody generated, chunks that are no multiple of 256 KiB, ranges behind the
end. Names are not unique, ``name =`` ignores case, ``name contains`` is by prefix, and a page's
token comes only when ``fields`` asks for it.

Rules: https://developers.google.com/workspace/drive/api/reference/rest/v3
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from servers import Faults, Server, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = "application/vnd.google-apps.folder"
TOKEN = "a-bearer-token"
CHUNK = 256 * 1024
SIMPLE = 5 * 2**20
MAX_PAGE = 1000


class RefusedError(Exception):
    """An answer with an error, in Drive's form."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "code": status,
                "message": message,
                "errors": [{"domain": "global", "reason": reason, "message": message}],
            }
        }


def not_found(id_: str) -> RefusedError:
    return RefusedError(404, "notFound", f"File not found: {id_}.")


@dataclass(kw_only=True)
class File:
    id: str
    name: str
    parents: list[str]
    mime: str = "application/octet-stream"
    content: bytes | None = None
    revision: int = 0
    trashed: bool = False
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    def resource(self) -> dict[str, Any]:
        found = {
            "kind": "drive#file",
            "id": self.id,
            "name": self.name,
            "mimeType": self.mime,
            "parents": self.parents,
            "trashed": self.trashed,
            "modifiedTime": self.modified.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        }
        if self.content is not None:
            found |= {
                "size": str(len(self.content)),
                "md5Checksum": hashlib.md5(self.content).hexdigest(),
                "headRevisionId": f"revision-{self.revision}",
            }
        return found


@dataclass(kw_only=True)
class Upload:
    metadata: dict[str, Any]
    total: int
    target: str | None
    received: bytearray = field(default_factory=bytearray)
    done: dict[str, Any] | None = None


class Query:
    """``q`` of files.list, as far as it is known; anything else is refused."""

    _TERM = re.compile(
        r"(?:(?P<field>name|mimeType)\s*(?P<op>!=|=|contains)\s*'(?P<value>(?:\\.|[^'\\])*)'"
        r"|'(?P<parent>(?:\\.|[^'\\])*)'\s+in\s+parents"
        r"|trashed\s*=\s*(?P<trashed>true|false))(?:\s+and\s+|$)"
    )

    def __init__(self, text: str) -> None:
        self.terms = []
        position = 0
        while position < len(text):
            match = self._TERM.match(text, position)
            if not match:
                raise RefusedError(400, "invalid", "Invalid Value")
            self.terms.append(match.groupdict())
            position = match.end()

    def matches(self, file: File) -> bool:
        return all(self._matches(term, file) for term in self.terms)

    def _matches(self, term: dict[str, str], file: File) -> bool:
        if term["trashed"]:
            return file.trashed == (term["trashed"] == "true")
        if term["parent"]:
            return term["parent"] in file.parents
        value = re.sub(r"\\(.)", r"\1", term["value"]).casefold()
        own = (file.name if term["field"] == "name" else file.mime).casefold()
        if term["op"] == "contains":
            return own.startswith(value)
        return (own == value) == (term["op"] == "=")


class Drive:
    """The state and the rules, as a WSGI application."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.endpoint = ""
        self._uploads: dict[str, Upload] = {}
        self._generated: set[str] = set()
        self._pages: dict[str, list[File]] = {}
        self._count = itertools.count(1)
        self._lock = threading.RLock()
        self.files["the-root"] = File(id="the-root", name="My Drive", parents=[], mime=FOLDER)

    def add(self, name: str, parent: str, content: bytes | None = None, mime: str = "") -> str:
        """Put a file or a folder there by another hand; return its id."""
        with self._lock:
            id_ = f"foreign-{next(self._count)}"
            mime = mime or (FOLDER if content is None else "text/plain")
            file = File(id=id_, name=name, parents=[parent], content=content, mime=mime)
            file.revision = next(self._count)
            self.files[id_] = file
            return id_

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        request = Request(
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"],
            query={k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()},
            headers={k[5:].lower(): v for k, v in environ.items() if k.startswith("HTTP_")},
            type=environ.get("CONTENT_TYPE", ""),
            body=environ["wsgi.input"].read(length),
        )
        try:
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                raise RefusedError(401, "authError", "Invalid Credentials")
            with self._lock:
                status, headers, body = self._route(request)
        except RefusedError as refused:
            status, headers = refused.status, {"Content-Type": "application/json"}
            body = json.dumps(refused.body).encode()
        headers["Content-Length"] = str(len(body))
        start_response(f"{status} Answer", list(headers.items()))
        return [body]

    def _route(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.path.startswith("/upload/drive/v3/files"):
            return self._upload(request, request.path.removeprefix("/upload/drive/v3/files"))
        if request.path == "/drive/v3/about":
            user = {"displayName": "A. Grower", "emailAddress": "grower@example.org"}
            return self._answer(request, {"user": user, "storageQuota": {"limit": "1"}})
        path = request.path.removeprefix("/drive/v3/files").strip("/")
        if path == "generateIds":
            return self._generate(request)
        if not path:
            method = {"GET": self._list, "POST": self._create}[request.method]
            return method(request)
        file = self._file(path)
        if request.method == "DELETE":
            self._delete(file.id)
            return 204, {}, b""
        if request.method == "PATCH":
            file.name = json.loads(request.body).get("name", file.name)
        elif request.query.get("alt") == "media":
            return self._media(request, file)
        return self._answer(request, file.resource())

    def _file(self, id_: str) -> File:
        id_ = "the-root" if id_ == "root" else id_
        if id_ not in self.files:
            raise not_found(id_)
        return self.files[id_]

    def _answer(self, request: Request, resource: Any) -> tuple[int, dict[str, str], bytes]:
        fields = request.query.get("fields", "kind,id,name,mimeType")
        body = json.dumps(_select(resource, fields)).encode()
        return 200, {"Content-Type": "application/json; charset=UTF-8"}, body

    def _generate(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        count = int(request.query.get("count", 10))
        if not 1 <= count <= 1000:
            raise RefusedError(400, "invalid", "count")
        ids = [f"generated-{next(self._count)}" for _ in range(count)]
        self._generated.update(ids)
        return self._answer(Request(query={"fields": "*"}), {"ids": ids, "space": "drive"})

    def _list(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        size = int(request.query.get("pageSize", 100))
        if not 1 <= size <= MAX_PAGE:
            raise RefusedError(400, "invalid", "pageSize")
        token = request.query.get("pageToken")
        if token is None:
            query = Query(request.query.get("q", "").replace("'root' in", "'the-root' in"))
            for parent in filter(None, (term["parent"] for term in query.terms)):
                if parent not in self.files:
                    raise not_found("")
            left = [file for file in self.files.values() if query.matches(file)]
        else:
            left = self._pages.pop(token)
        answer: dict[str, Any] = {"files": [file.resource() for file in left[:size]]}
        if left[size:]:
            answer["nextPageToken"] = f"page-{next(self._count)}"
            self._pages[answer["nextPageToken"]] = left[size:]
        return self._answer(request, answer)

    def _create(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        metadata = json.loads(request.body)
        content = None if metadata.get("mimeType") == FOLDER else b""
        return self._answer(request, self._new(metadata, content).resource())

    def _new(self, metadata: dict[str, Any], content: bytes | None) -> File:
        id_ = metadata.get("id") or f"drive-{next(self._count)}"
        self._check_new(metadata)
        parents = [self._file(parent).id for parent in metadata.get("parents", ["root"])]
        if len(parents) != 1:
            raise RefusedError(400, "invalid", "A file has one parent")
        mime = metadata.get("mimeType", "application/octet-stream")
        file = File(id=id_, name=metadata["name"], parents=parents, mime=mime, content=content)
        file.revision = next(self._count)
        self.files[id_] = file
        return file

    def _check_new(self, metadata: dict[str, Any]) -> None:
        id_ = metadata.get("id")
        if id_ in self.files:
            raise RefusedError(409, "fileIdInUse", "A file already exists with the provided ID.")
        if id_ is not None and id_ not in self._generated:
            raise RefusedError(400, "invalid", "The provided file ID is not usable.")

    def _delete(self, id_: str) -> None:
        del self.files[id_]
        for child in [file.id for file in self.files.values() if id_ in file.parents]:
            self._delete(child)

    def _media(self, request: Request, file: File) -> tuple[int, dict[str, str], bytes]:
        if file.content is None:
            raise RefusedError(403, "fileNotDownloadable", "Only files with binary content")
        total = len(file.content)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not wanted:
            return 200, {"Content-Type": file.mime}, file.content
        start, stop = int(wanted[1]), int(wanted[2] or total) + 1
        if start >= total:
            raise RefusedError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        part = file.content[start:stop]
        headers = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{total}"}
        return 206, headers, part

    def _upload(self, request: Request, path: str) -> tuple[int, dict[str, str], bytes]:
        if request.method == "PUT":
            return self._chunk(request)
        target = self._file(path.strip("/")).id if path.strip("/") else None
        if request.query["uploadType"] in ("multipart", "media"):
            simple = request.query["uploadType"] == "media"
            metadata, media = (b"{}", request.body) if simple else _parts(request)
            if len(media) > SIMPLE:
                raise RefusedError(413, "uploadTooLarge", "Use a resumable upload")
            resource = self._commit(json.loads(metadata), media, target)
            return self._answer(request, resource)
        metadata = json.loads(request.body or b"{}")
        self._check_new(metadata)
        session = f"session-{next(self._count)}"
        total = int(request.headers["x_upload_content_length"])
        self._uploads[session] = Upload(metadata=metadata, total=total, target=target)
        fields = request.query.get("fields", "id")
        location = f"{self.endpoint}/upload/drive/v3/files?upload_id={session}&fields={fields}"
        return 200, {"Location": location}, b""

    def _chunk(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        upload = self._uploads.get(request.query["upload_id"])
        if upload is None:
            raise not_found("upload")
        described = request.headers["content_range"]
        if not described.startswith("bytes */"):
            start, stop, total = map(int, re.findall(r"\d+", described))
            if (stop + 1 - start) % CHUNK and stop + 1 != total:
                raise RefusedError(400, "invalid", "Chunks are multiples of 256 KiB")
            if len(request.body) != stop + 1 - start or total != upload.total:
                raise RefusedError(400, "invalid", "Content-Range does not fit")
            if start != len(upload.received):
                raise RefusedError(400, "invalid", "Chunks come in order")
            upload.received += request.body
        if upload.done is None and len(upload.received) == upload.total:
            upload.done = self._commit(upload.metadata, bytes(upload.received), upload.target)
        if upload.done is not None:
            return self._answer(request, upload.done)
        received = len(upload.received)
        return 308, {"Range": f"bytes=0-{received - 1}"} if received else {}, b""

    def _commit(
        self, metadata: dict[str, Any], content: bytes, target: str | None
    ) -> dict[str, Any]:
        if target is None:
            return self._new(metadata, content).resource()
        file = self._file(target)
        file.content, file.modified = content, datetime.now(UTC)
        file.revision = next(self._count)
        return file.resource()


@dataclass(kw_only=True)
class Request:
    method: str = "GET"
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    type: str = ""
    body: bytes = b""


def _parts(request: Request) -> list[bytes]:
    """The bodies of a multipart/related request."""
    boundary = re.search(r'boundary="?([^";]+)', request.type)[1].encode()
    parts = request.body.split(b"--" + boundary)[1:-1]
    return [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1].removesuffix(b"\n") for part in parts]


def _select(resource: Any, fields: str) -> Any:
    """Partial responses: ``a,b(c,d)`` and ``*``."""
    if fields == "*":
        return resource
    if isinstance(resource, list):
        return [_select(one, fields) for one in resource]
    found = {}
    for name, inner in re.findall(r"(\w+)(?:\(([^()]*)\))?", fields):
        if name in resource:
            found[name] = _select(resource[name], inner) if inner else resource[name]
    return found


@contextmanager
def drive_server() -> Iterator[tuple[Server, Drive]]:
    """Serve an empty Drive; give it, too, for what other hands do there."""
    from google.oauth2.credentials import Credentials

    drive = Drive()
    faults = Faults(drive)
    with serve(faults) as endpoint:
        drive.endpoint = endpoint
        options = {"endpoint": endpoint, "credentials": Credentials(token=TOKEN)}
        yield (
            Server(url="gdrive://orchard", endpoint=endpoint, options=options, faults=faults),
            drive,
        )
