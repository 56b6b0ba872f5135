"""The one HTTP client behind jobs: token, timeouts, bounded retries, errors that say what to do."""

from __future__ import annotations

import random
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

import httpx

import orchard
from orchard.errors import InputError
from orchard.jobs.errors import AuthenticationError, PlatformError, UnknownJobError
from orchard.jobs.retries import TRANSIENT_STATUS, Retries, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PlatformClient", "TransientError", "public_url"]

T = TypeVar("T")

# The file GETs of a platform may take a while to begin: an archive is made on the fly.
_CONNECT_SECONDS = 10.0


class TransientError(Exception):
    """Something that may be over at the next try; carries the error to raise if it is not."""

    def __init__(self, error: PlatformError, asked: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.asked = asked


class PlatformClient:
    """Calls to one job platform on behalf of one project. Safe to share between threads.

    Parameters
    ----------
    base_url : str
        The platform's URL, e.g. ``http://127.0.0.1:8000``.
    project_id, api_key : str, optional
        Credentials for the token. Without a key no token is asked for or sent.
    transport : httpx.BaseTransport, optional
        Carries the calls to `base_url`'s host, e.g. to an application in this process. Links that
        lead elsewhere take the network.
    timeout : float
        Longest silence of the server in seconds.
    retries : Retries, optional
        How often and how long one call is tried.
    sleep : callable
        Waits that many seconds; the one clock of this package.
    """

    def __init__(
        self,
        base_url: str,
        *,
        project_id: str | None = None,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = _checked_url(base_url)
        self.sleep = sleep
        self._credentials = (project_id or "", api_key) if api_key else None
        self._retries = retries or Retries()
        self._token: str | None = None
        self._lock = threading.Lock()
        origin = f"{self.base_url.scheme}://{self.base_url.netloc.decode()}"
        self._http = httpx.Client(
            base_url=self.base_url,
            mounts={origin: transport} if transport else None,
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            follow_redirects=True,
            headers={"User-Agent": f"orchard/{orchard.__version__}"},
            event_hooks={"request": [self._keep_quiet]},
        )

    def __repr__(self) -> str:
        return f"PlatformClient({str(self.base_url)!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def data(self, path: str) -> Any:
        """GET the ``data`` of an answer in the platform's envelope."""
        return _unwrapped(self._json(path), path)

    def document(self, path: str) -> dict[str, Any]:
        """GET a JSON object that comes without envelope, such as a FeatureCollection."""
        answer = self._json(path)
        if not isinstance(answer, dict):
            raise PlatformError(f"GET {path} answered {type(answer).__name__}, not an object")
        if "data" in answer and "type" not in answer:  # some platforms wrap GeoJSON all the same
            answer = _unwrapped(answer, path)
        return dict(answer)

    def text(self, path: str) -> str:
        """GET a text: the logs."""
        return self._call("GET", path).text

    def content(self, path: str) -> tuple[bytes, str]:
        """GET a small file: its bytes and its ``Content-Type`` (empty where none is given)."""
        answer = self._call("GET", path)
        return answer.content, answer.headers.get("content-type", "")

    def post(self, path: str) -> None:
        """POST without a body; the platform's POSTs may be repeated."""
        self._call("POST", path)

    def check(self, path: str | None = None) -> None:
        """Ask for a token now, so that wrong credentials are told at once.

        Without a key there is none: then GET `path`, once, so that a wrong address is told.

        Raises
        ------
        PlatformError
            Nobody answers there, or otherwise than a job platform.
        """
        if self._credentials:
            self._current_token(stale=None)
        elif path is not None:
            try:
                self._read(self._send("GET", path, {}), path)
            except TransientError as problem:
                cause = problem.error
                raise PlatformError(f"{self.base_url}: {cause}", status=cause.status) from problem

    def patiently(
        self, once: Callable[[], T], progress: Callable[[], int] | None = None, step: int = 1 << 20
    ) -> T:
        """Run something until it does not raise `TransientError`, or patience ends.

        Parameters
        ----------
        once : callable
            One try.
        progress : callable, optional
            How far the work is. A try that came `step` further starts the count anew: a long
            download may be cut often, as long as it gets on.
        step : int
            See `progress`.
        """
        attempt, waited, mark = 1, 0.0, 0
        while True:
            try:
                return once()
            except TransientError as problem:
                if progress and progress() >= mark + step:
                    attempt, waited, mark = 1, 0.0, progress()
                jitter = 0.5 + random.random() / 2  # noqa: S311 - not a secret
                pause = self._retries.wait(
                    attempt, waited=waited, asked=problem.asked, jitter=jitter
                )
                if pause is None:
                    raise problem.error from problem.__cause__
                self.sleep(pause)
                attempt, waited = attempt + 1, waited + pause

    @contextmanager
    def stream(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """GET a signed link, without the token, as a stream; used within `patiently`.

        Raises
        ------
        TransientError
            No connection, a connection that breaks (also while the body is read), 429 or 5xx.
        PlatformError
            Any other answer than success, or a link that is not HTTP.
        """
        what = f"GET {public_url(url)}"
        url = urljoin(str(self.base_url), url)  # a platform may name its own links without a host
        if not url.startswith(("http://", "https://")):
            raise PlatformError(f"{what} leads nowhere: it is not an HTTP link")
        with _translated(what), self._http.stream("GET", url, headers=headers) as response:
            if not response.is_success:
                response.read()
                raise _failure(response, what)
            yield response

    def _keep_quiet(self, request: httpx.Request) -> None:
        """Have httpx log the host alone of what may be a signed link: of redirections, too."""
        url = request.url
        elsewhere = (url.host, url.port) != (self.base_url.host, self.base_url.port)
        if elsewhere or url.query or "/downloads/" in url.path:
            request.url = _QuietURL(url)

    def _json(self, path: str) -> Any:
        return self._read(self._call("GET", path), path)

    def _read(self, answer: httpx.Response, path: str) -> Any:
        try:
            return answer.json()
        except ValueError as exc:
            kind = answer.headers.get("content-type", "an unknown type")
            raise PlatformError(
                f"GET {path} answered with {kind} instead of JSON: is there a job platform at "
                f"{self.base_url}?",
                status=answer.status_code,
            ) from exc

    def _call(self, method: str, path: str) -> httpx.Response:
        """Send one call: with the token, renewed once on 401, tried again while that may help."""
        return self.patiently(lambda: self._authorised(method, path))

    def _authorised(self, method: str, path: str) -> httpx.Response:
        if self._credentials is None:
            return self._send(method, path, {})
        token = self._current_token(stale=None)
        try:
            return self._send(method, path, {"Authorization": f"Bearer {token}"})
        except AuthenticationError:
            token = self._current_token(stale=token)
            return self._send(method, path, {"Authorization": f"Bearer {token}"})

    def _send(
        self, method: str, path: str, headers: dict[str, str], **extra: Any
    ) -> httpx.Response:
        what = f"{method} {path}"
        with _translated(what):
            response = self._http.request(method, path, headers=headers, **extra)
        if not response.is_success:
            raise _failure(response, what)
        return response

    def _current_token(self, stale: str | None) -> str:
        """Return the token, a new one where there is none or it is the stale one.

        Under a lock: of many threads whose token has expired, one asks for the next.
        """
        with self._lock:
            if self._token is None or self._token == stale:
                self._token = self.patiently(self._new_token)
            return self._token

    def _new_token(self) -> str:
        project, key = self._credentials or ("", None)
        try:
            answer = self._send(
                "POST",
                "oauth/token",
                {},
                auth=httpx.BasicAuth(project, key or ""),
                data={"grant_type": "client_credentials"},
            )
        except PlatformError as exc:
            if exc.status in (400, 401, 403):
                raise AuthenticationError(
                    f"{self.base_url} refused the credentials of project {project!r}: check "
                    "project_id and project_api_key",
                    status=exc.status,
                ) from exc
            raise
        return _token_of(answer)


class _QuietURL(httpx.URL):
    """A URL that does not say all: a signed link is as good as a key to who reads a log.

    httpx logs each URL at level INFO, and a library does not configure the logging of others.
    """

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc.decode()}/…"

    def join(self, url: httpx.URL | str) -> httpx.URL:
        return httpx.URL(urljoin(super().__str__(), str(url)))


def _checked_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as exc:
        raise InputError(f"base_url {base_url!r} is not a URL: {exc}") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"base_url {base_url!r} must start with http:// or https:// and a host")
    if url.userinfo or url.query or url.fragment:
        raise InputError(
            "base_url has no user, password or query: give project_id and project_api_key instead"
        )
    return url


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn httpx's errors into ours: what may pass is tried again, the rest is told."""
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as exc:
        raise PlatformError(f"{what} leads nowhere: {exc}") from exc
    except httpx.TransportError as exc:
        kind = "took too long" if isinstance(exc, httpx.TimeoutException) else "failed"
        error = PlatformError(f"{what} {kind} ({type(exc).__name__}: {exc}); is the platform up?")
        raise TransientError(error) from exc
    except httpx.HTTPError as exc:
        raise PlatformError(f"{what} failed: {exc}") from exc


def _failure(response: httpx.Response, what: str) -> PlatformError | TransientError:
    """Return what to raise for an answer that is not a success."""
    status = response.status_code
    message = f"{what} answered {status}: {_reason(response)}"
    if status == 401:
        return AuthenticationError(message, status=status)
    if status in (404, 410):
        return UnknownJobError(message, status=status)
    asked = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    if asked:
        message += f" (it asks to come back in {asked:.0f} s)"
    error = PlatformError(message, status=status)
    return TransientError(error, asked) if status in TRANSIENT_STATUS else error


def _reason(response: httpx.Response) -> str:
    """Return what an error answer says, short and on one line."""
    try:
        found = response.json()
    except ValueError:
        kind = response.headers.get("content-type", "")
        found = response.text if kind.startswith("text/plain") else ""  # never a page of HTML
    for key in ("error", "message", "detail"):
        if isinstance(found, dict):
            found = found.get(key, found)
    text = " ".join(str(found or response.reason_phrase or "no reason given").split())
    return text[:300]


def _unwrapped(answer: Any, path: str) -> Any:
    if not isinstance(answer, dict) or "data" not in answer:
        raise PlatformError(f"GET {path} answered without data")
    if answer.get("error"):
        raise PlatformError(f"GET {path} answered with an error: {answer['error']}")
    return answer["data"]


def _token_of(answer: httpx.Response) -> str:
    """Read the token, which the platform gives twice; either will do."""
    try:
        found = answer.json()
        data = found.get("data") or {}
        token = found.get("access_token") or data.get("accessToken")
    except (ValueError, AttributeError):
        token = None
    if not isinstance(token, str) or not token:
        raise AuthenticationError(
            f"{answer.url} answered without a token", status=answer.status_code
        )
    return token


def public_url(url: str) -> str:
    """Return a signed link without its signature, for messages."""
    return re.sub(r"/downloads/[^/]+", "/downloads/…", url.partition("?")[0])
