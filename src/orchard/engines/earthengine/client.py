"""The connection to Earth Engine: initialisation, deadlines, retries, errors that advise."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from orchard.errors import EngineError, MissingDependencyError

from .failures import Failure, QueueFullError, RefusedError, UnavailableError, classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Client"]

T = TypeVar("T")

_PUBLIC_URL = "https://earthengine.googleapis.com"
_PAGE = 500
_LONGEST_PAUSE = 64.0

# The client library keeps one project and one credential a process: whose they are now.
_lock = threading.RLock()
_active: Client | None = None


class Client:
    """Speaks to Earth Engine for one project.

    Parameters
    ----------
    project : str
        Id of the Google Cloud project.
    credentials : optional
        See `orchard.engines.earthengine.auth.resolve_credentials`.
    url : str, optional
        Of the service; default is the public one.
    deadline : float
        Seconds that one request may take.
    tries : int
        How often a request is tried when its failures look transient.
    sleep : callable
        Pauses between tries, ``sleep(seconds)``.
    """

    def __init__(
        self,
        project: str,
        *,
        credentials: Any = None,
        url: str | None = None,
        deadline: float = 300.0,
        tries: int = 7,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.project = project
        self.url = url
        self.deadline = deadline
        self.tries = tries
        self._given = credentials
        self._sleep = sleep
        self._session: Any = None

    def activate(self) -> None:
        """Point the client library at this project; what builds expressions needs it, too.

        Raises
        ------
        EngineError
            When there are no credentials, or they are not accepted.
        """
        global _active  # noqa: PLW0603 - the library's own state is global
        with _lock:
            ee = _ee()
            if _active is self and ee.data.is_initialized():
                return
            self._retrying("initialisation", self._initialize)
            _active = self

    def _initialize(self) -> None:
        from google.auth.transport.requests import AuthorizedSession

        from .auth import resolve_credentials

        ee = _ee()
        ee.Reset()
        credentials = resolve_credentials(self._given)
        ee.Initialize(credentials=credentials, url=self.url, project=self.project)
        # Retries are ours: the library's sleep up to half a minute and cannot tell a full queue.
        ee.data.setMaxRetries(0)
        ee.data.setDeadline(self.deadline * 1000)
        self._session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]

    # Requests

    def compute(self, value: Any) -> Any:
        """Compute a value on the server."""
        self.activate()
        return self._retrying("a computed value", lambda: _ee().data.computeValue(value))

    def export(self, request_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start an export; the same request id starts nothing twice.

        Returns
        -------
        dict
            The operation.

        Raises
        ------
        QueueFullError
            Nothing was started.
        RefusedError
            Nothing was started, and never will be.
        UnavailableError
            It may have been started: look for it in the listing, or repeat with the same id.
        """
        self.activate()
        operation: dict[str, Any] = self._retrying(
            f"the export {request.get('description')!r}",
            lambda: _ee().data.exportImage(request_id, dict(request)),
        )
        return operation

    def cancel(self, operation_id: str) -> None:
        """Ask for an operation to be cancelled; one that has ended or is forgotten is no error."""
        self.activate()
        name = f"projects/{self.project}/operations/{operation_id}"
        try:
            self._retrying(f"cancelling {name}", lambda: _ee().data.cancelOperation(name))
        except RefusedError as error:
            # 404 (forgotten) and 400 (has ended): the listing tells what became of it.
            if error.__cause__ is None or _status(error.__cause__) not in {400, 404}:
                raise

    def exists(self, operation_id: str) -> bool:
        """Whether the service still knows an operation."""
        answer = self._get(f"operations/{operation_id}", {})
        return answer is not None

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        """Give the project's operations page by page, as the caller asks for them."""
        token = ""
        while True:
            query = {"pageSize": str(_PAGE)} | ({"pageToken": token} if token else {})
            answer = self._get("operations", query) or {}
            yield answer.get("operations") or []
            token = answer.get("nextPageToken") or ""
            if not token:
                return

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """GET below the project; None for 404. The library offers no single page of a listing."""
        self.activate()
        url = f"{self.url or _PUBLIC_URL}/v1/projects/{self.project}/{path}"

        def get() -> dict[str, Any] | None:
            response = self._session.get(
                url,
                params={"alt": "json", **query},
                headers={"x-goog-user-project": self.project},
                timeout=self.deadline,
            )
            if response.status_code == 404:
                return None
            if not response.ok:
                raise _HttpError(response)
            answer: dict[str, Any] = response.json()
            return answer

        return self._retrying(f"GET {path}", get)

    def _retrying(self, what: str, call: Callable[[], T]) -> T:
        for attempt in range(1, self.tries + 1):
            try:
                return call()
            except EngineError:
                raise
            except Exception as error:
                failure, message = _judge(error)
                if failure is Failure.QUEUE:
                    raise QueueFullError(message) from error
                if failure is not Failure.TRANSIENT:
                    raise RefusedError(_advise(what, message, error)) from error
                if attempt == self.tries:
                    raise UnavailableError(
                        f"Earth Engine: {what} failed {attempt} times, the last time with: "
                        f"{message}. Run it again later: nothing is started twice"
                    ) from error
                self._sleep(_pause(attempt))
        raise AssertionError  # pragma: no cover - the loop returns or raises


class _HttpError(Exception):
    """An answer that is an error."""

    def __init__(self, response: Any) -> None:
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text[:500] or response.reason
        super().__init__(message)
        self.status = response.status_code


def _ee() -> Any:
    try:
        import ee
    except ImportError:
        raise MissingDependencyError("earthengine-api", "earthengine") from None
    return ee


def _status(error: BaseException) -> int | None:
    """Find the HTTP status: the library's own exception has dropped it, its context has not."""
    seen: BaseException | None = error
    while seen is not None:
        status = getattr(seen, "status", None) or getattr(
            getattr(seen, "resp", None), "status", None
        )
        if isinstance(status, int | str) and str(status).isdigit():
            return int(status)
        seen = seen.__cause__ or seen.__context__
    return None


def _judge(error: Exception) -> tuple[Failure, str]:
    from google.auth.exceptions import GoogleAuthError, TransportError

    message = str(error) or type(error).__name__
    status = _status(error)
    if status is not None:
        return classify(message, status), message
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return Failure.PERMANENT, message
    if isinstance(error, _ee().EEException):
        return classify(message), message
    if isinstance(error, (OSError, TransportError)) or _is_connection_trouble(error):
        # Timeouts, resets, refusals; requests' errors are OSErrors.
        return Failure.TRANSIENT, f"{type(error).__name__}: {message}"
    raise error


def _is_connection_trouble(error: Exception) -> bool:
    from http.client import HTTPException

    from httplib2 import HttpLib2Error

    return isinstance(error, HTTPException | HttpLib2Error)


def _advise(what: str, message: str, error: Exception) -> str:
    status = _status(error)
    if status in {401, 403} or type(error).__module__.startswith("google.auth"):
        return (
            f"Earth Engine refuses access ({what}): {message}. Check the project, its registration "
            "for Earth Engine and the credentials ('orchard auth ee')"
        )
    return f"Earth Engine refuses {what}: {message}"


def _pause(attempt: int) -> float:
    """Seconds to wait: doubling, spread so that many clients do not come back at once."""
    return min(2.0 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
