"""The simulated service: exports as operations that wait, run and end; limits; faults."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .images import EvaluationError, Image
from .writer import write_files

if TYPE_CHECKING:
    from .interpreter import Interpreter

__all__ = ["Limits", "Operation", "Service", "ServiceError", "Sink"]

Sink = Callable[[Mapping[str, Any], str, bytes], str]
"""``sink(destination, name, content)`` stores a file and returns its folder's URL; the destination
is ``cloudStorageDestination`` or ``driveDestination`` of the request, the name is whole."""

_ENDED = frozenset({"SUCCEEDED", "CANCELLED", "FAILED"})
_DESCRIPTION = re.compile(r"[A-Za-z0-9.,:;_-]{1,100}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,60}")
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


class ServiceError(Exception):
    """An answer that is an error: HTTP status, the API's status and a message."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    @property
    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error": {"code": self.code, "status": self.status, "message": str(self)}}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the service takes.

    Parameters
    ----------
    queue : int
        Operations that may wait.
    expression : int
        Bytes of an expression.
    running : int
        Operations that run at a time.
    memory : int, optional
        Pixels x bands that fit into memory; an export of more fails.
    bands : int
        Of an image.
    """

    queue: int = 3000
    expression: int = 10_000_000
    running: int = 2
    memory: int | None = None
    bands: int = 5000


@dataclass(kw_only=True)
class Operation:
    """One export."""

    id: str
    body: Mapping[str, Any]
    created: datetime
    updated: datetime
    state: str = "PENDING"
    started: datetime | None = None
    ended: datetime | None = None
    attempt: int = 1
    error: str | None = None
    uris: list[str] = field(default_factory=list)
    eecu: float = 0.0
    image: Image | None = None

    def to_json(self, project: str) -> dict[str, Any]:
        """Return as the API has it."""
        metadata = {
            "@type": "type.googleapis.com/google.earthengine.v1.OperationMetadata",
            "state": self.state,
            "type": "EXPORT_IMAGE",
            "description": self.body.get("description", ""),
            "priority": int((self.body.get("priority") or {}).get("value", 100)),
            "createTime": _stamp(self.created),
            "updateTime": _stamp(self.updated),
            "startTime": _stamp(self.started or datetime(1970, 1, 1, tzinfo=UTC)),
            "attempt": self.attempt,
        }
        if self.ended:
            metadata |= {"endTime": _stamp(self.ended), "batchEecuUsageSeconds": self.eecu}
        if self.uris:
            metadata["destinationUris"] = self.uris
        answer: dict[str, Any] = {
            "name": f"projects/{project}/operations/{self.id}",
            "metadata": metadata,
            "done": self.state in _ENDED,
        }
        if self.error:
            answer["error"] = {"code": 3, "message": self.error}
        elif self.state == "SUCCEEDED":
            answer["response"] = {
                "@type": "type.googleapis.com/google.earthengine.v1.ExportImageResponse"
            }
        return answer


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Service:
    """What the server serves. Time passes only when `step` is called.

    Parameters
    ----------
    interpreter : Interpreter
    sink : callable
        Where files go.
    limits : Limits
    project : str

    Attributes
    ----------
    operations : dict
        By id, the oldest first.
    exports : list of str
        Request ids of all exports that were started.
    pending, most_pending : int
        How many operations wait, and how many did at most.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        sink: Sink,
        *,
        limits: Limits | None = None,
        project: str = "test-project",
    ) -> None:
        self.interpreter = interpreter
        self.sink = sink
        self.limits = limits or Limits()
        self.project = project
        self.operations: dict[str, Operation] = {}
        self.exports: list[str] = []
        self.most_pending = 0
        self.now = _EPOCH
        self.pending = 0
        self._ids = itertools.count(1)
        self._requests: dict[str, str] = {}
        self._failing: list[tuple[str, str, list[int]]] = []
        self._held: list[str] = []
        self._losing: list[str] = []
        self._lock = threading.RLock()

    # What can be asked

    def compute(self, body: Mapping[str, Any], size: int) -> dict[str, Any]:
        """Answer ``value:compute``."""
        self._check_size(size)
        try:
            result = self.interpreter.evaluate(body["expression"])
        except EvaluationError as error:
            raise ServiceError(400, "INVALID_ARGUMENT", str(error)) from error
        if isinstance(result, Image):
            raise ServiceError(400, "INVALID_ARGUMENT", "an image is not a value")
        return {"result": result}

    def export(self, body: Mapping[str, Any], size: int) -> dict[str, Any]:
        """Answer ``image:export``: the operation, or that of the same request before."""
        with self._lock:
            request = body.get("requestId", "")
            if request in self._requests and self._requests[request] in self.operations:
                return self.operations[self._requests[request]].to_json(self.project)
            self._check_export(body, size)
            try:
                image = self.interpreter.evaluate(body["expression"])
                self._check_image(image, body)
            except EvaluationError as error:
                raise ServiceError(400, "INVALID_ARGUMENT", str(error)) from error
            name = f"{next(self._ids):024d}"
            operation = Operation(
                id=name, body=body, created=self.now, updated=self.now, image=image
            )
            self.operations[name] = operation
            self._requests[request] = name
            self.exports.append(request)
            self.pending += 1
            self.most_pending = max(self.most_pending, self.pending)
            self.now += timedelta(milliseconds=1)
            return operation.to_json(self.project)

    def _check_size(self, size: int) -> None:
        if size > self.limits.expression:
            raise ServiceError(
                400,
                "INVALID_ARGUMENT",
                f"Request payload size exceeds the limit: {self.limits.expression} bytes.",
            )

    def _check_export(self, body: Mapping[str, Any], size: int) -> None:
        self._check_size(size)
        if not _DESCRIPTION.fullmatch(body.get("description", "")):
            raise ServiceError(400, "INVALID_ARGUMENT", "Invalid description.")
        if not _REQUEST_ID.fullmatch(body.get("requestId", "")):
            raise ServiceError(400, "INVALID_ARGUMENT", "Invalid request id.")
        if self.pending >= self.limits.queue:
            raise ServiceError(
                429,
                "RESOURCE_EXHAUSTED",
                f"Too many tasks already in the queue ({self.limits.queue}). "
                "Please wait for some of them to complete.",
            )

    def _check_image(self, image: Any, body: Mapping[str, Any]) -> None:
        if not isinstance(image, Image) or image.size is None:
            raise EvaluationError("the expression is not an image on a grid")
        if len(image.bands) > self.limits.bands:
            raise EvaluationError(f"Too many bands: {len(image.bands)} (max: {self.limits.bands}).")
        pixels = image.size[0] * image.size[1]
        most = int((body.get("maxPixels") or {}).get("value", 100_000_000))
        if pixels > most:
            raise EvaluationError(
                f"Export too large: specified {pixels} pixels (max: {most}). "
                "Specify higher maxPixels value if you intend to export a large area."
            )

    def page(self, size: int, token: str) -> dict[str, Any]:
        """Answer the listing of operations, the newest first."""
        with self._lock:
            newest = list(self.operations.values())[::-1]
            if token:
                # Those before the last one that was given: new operations do not move the pages.
                newest = [op for op in newest if op.id < token]
            answer: dict[str, Any] = {
                "operations": [op.to_json(self.project) for op in newest[:size]]
            }
            if len(newest) > size:
                answer["nextPageToken"] = newest[size - 1].id
            return answer

    def get(self, name: str) -> Operation:
        """Return one operation."""
        if name not in self.operations:
            raise ServiceError(404, "NOT_FOUND", f"Operation {name!r} not found.")
        return self.operations[name]

    def cancel(self, name: str) -> dict[str, Any]:
        """Answer ``:cancel``: what waits is cancelled, what runs will be."""
        with self._lock:
            operation = self.get(name)
            if operation.state == "PENDING":
                self.pending -= 1
                self._end(operation, "CANCELLED")
            elif operation.state == "RUNNING":
                operation.state = "CANCELLING"
                operation.updated = self.now
            return {}

    # Time

    def step(self, times: int = 1) -> None:
        """Let time pass: what runs ends, what waits starts (by priority, then age)."""
        with self._lock:
            for _ in range(times):
                self.now += timedelta(minutes=1)
                for operation in [*self._in("RUNNING"), *self._in("CANCELLING")]:
                    self._finish(operation)
                waiting = sorted(self._in("PENDING"), key=_urgency)
                for operation in waiting[: self.limits.running]:
                    self.pending -= 1
                    operation.state, operation.started = "RUNNING", self.now
                    operation.updated = self.now

    def finish_all(self) -> None:
        """Let time pass until nothing is left to do but what is held."""
        while any(self._in(state) for state in ("RUNNING", "CANCELLING", "PENDING")):
            self.step()

    def _in(self, state: str) -> list[Operation]:
        return [
            op
            for op in self.operations.values()
            if op.state == state and not (state == "PENDING" and self._is_held(op))
        ]

    def _is_held(self, operation: Operation) -> bool:
        return any(part in _label(operation) for part in self._held)

    def _finish(self, operation: Operation) -> None:
        operation.eecu = 12.5
        if operation.state == "CANCELLING":
            self._end(operation, "CANCELLED")
            return
        try:
            error = self._fault(operation) or self._memory_error(operation)
            if error is None:
                operation.uris = list(dict.fromkeys(self._write(operation)))
        except EvaluationError as problem:
            error = str(problem)
        operation.error = error
        self._end(operation, "FAILED" if error else "SUCCEEDED")

    def _end(self, operation: Operation, state: str) -> None:
        operation.state, operation.ended, operation.updated = state, self.now, self.now
        operation.image = None

    def _memory_error(self, operation: Operation) -> str | None:
        image, limit = operation.image, self.limits.memory
        if image is None or image.size is None or limit is None:
            return None
        needed = image.size[0] * image.size[1] * len(image.bands)
        return "User memory limit exceeded." if needed > limit else None

    def _write(self, operation: Operation) -> Iterator[str]:
        options = operation.body["fileExportOptions"]
        cloud = options.get("cloudStorageDestination")
        where = cloud or options["driveDestination"]
        assert operation.image is not None
        files = write_files(
            operation.image,
            options.get("geoTiffOptions") or {},
            where["filenamePrefix"],
            "" if cloud else "-",
        )
        for name, content in files:
            if not any(part in name for part in self._losing):
                yield self.sink(where, name, content)

    # Faults

    def fail(self, part: str, message: str, times: int = 1) -> None:
        """Let the next exports whose name has `part` in it fail with this message."""
        self._failing.append((part, message, [times]))

    def _fault(self, operation: Operation) -> str | None:
        for part, message, left in self._failing:
            if part in _label(operation) and left[0] > 0:
                left[0] -= 1
                return message
        return None

    def hold(self, part: str) -> None:
        """Keep exports whose name has `part` in it waiting for ever."""
        self._held.append(part)

    def lose(self, part: str) -> None:
        """Do not write the files whose name has `part` in it."""
        self._losing.append(part)

    def expire(self) -> None:
        """Forget all operations and request ids, as the service does after some days."""
        with self._lock:
            self.operations.clear()
            self._requests.clear()
            self.pending = 0

    def forget_requests(self) -> None:
        """Forget the request ids only."""
        self._requests.clear()


def _urgency(operation: Operation) -> tuple[int, str]:
    return -int((operation.body.get("priority") or {}).get("value", 100)), operation.id


def _label(operation: Operation) -> str:
    options = operation.body["fileExportOptions"]
    where = options.get("cloudStorageDestination") or options["driveDestination"]
    return str(where["filenamePrefix"])
