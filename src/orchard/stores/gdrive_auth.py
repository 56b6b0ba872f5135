"""Who one is to Google Drive: service accounts, token files, and logging in without a browser here.

Two ways to log in, both with the client secrets of a desktop (loopback) or limited-input (device)
application of one's own Google Cloud project. OAuth is spoken here, not through oauthlib, which
logs what it sends.

- `login_loopback`: one opens an address in a browser on this machine (or through an SSH tunnel),
  which comes back to a port of this machine. Sees all of one's Drive.
- `login_device`: one types a short code on any other device. Google restricts this way to files
  that Orchard itself made (the scope ``drive.file``), so it cannot see Earth Engine's exports.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import stat
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httplib2
from google.oauth2 import credentials as google_credentials
from google.oauth2 import service_account

from orchard.errors import AccessError, InputError
from orchard.stores.redact import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "default_token_file",
    "load_credentials",
    "login_device",
    "login_loopback",
    "read_token",
    "write_token",
]

# google-auth is only partly typed.
Credentials: Any = google_credentials.Credentials
_ServiceAccount: Any = service_account.Credentials

SCOPE = "https://www.googleapis.com/auth/drive"
DEVICE_SCOPE = "https://www.googleapis.com/auth/drive.file"
_DEVICE_URI = "https://oauth2.googleapis.com/device/code"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_TIMEOUT = 60.0


def default_token_file() -> Path:
    """Where a login is kept: ``ORCHARD_GDRIVE_TOKEN``, or in the user's configuration folder."""
    given = os.environ.get("ORCHARD_GDRIVE_TOKEN")
    configuration = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(given or f"{configuration}/orchard/gdrive-token.json").expanduser()


def load_credentials(
    *,
    service_account_file: str | os.PathLike[str] | None = None,
    service_account_info: dict[str, Any] | None = None,
    token_file: str | os.PathLike[str] | None = None,
) -> Any:
    """Find credentials: what is given, else a login's token file, else the environment's account.

    Parameters
    ----------
    service_account_file : path, optional
        A service account's key; ``GOOGLE_APPLICATION_CREDENTIALS`` where nothing else is there.
    service_account_info : dict, optional
        Its content.
    token_file : path, optional
        What `login_loopback` or `login_device` wrote; by default `default_token_file`.

    Raises
    ------
    AccessError
        There are none, or they are unusable; their content is never shown.
    """
    given = [service_account_file, service_account_info, token_file]
    if sum(one is not None for one in given) > 1:
        raise InputError("give one of service_account_file, service_account_info and token_file")
    if service_account_info is not None:
        return _service_account(service_account_info, "service_account_info")
    if service_account_file is not None:
        return _service_account(_read_json(Path(service_account_file)), str(service_account_file))
    if token_file is not None:
        return read_token(Path(token_file))
    if default_token_file().exists():
        return read_token(default_token_file())
    environment = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if environment:
        return _service_account(_read_json(Path(environment)), environment)
    raise AccessError(
        "no credentials for Google Drive: run 'orchard auth gdrive', or give a service account's "
        "key file (service_account_file, GOOGLE_APPLICATION_CREDENTIALS)"
    )


def _service_account(info: dict[str, Any], name: str) -> Any:
    try:
        return _ServiceAccount.from_service_account_info(info, scopes=[SCOPE])
    except (ValueError, KeyError, TypeError):
        raise AccessError(f"{name} is not the key of a service account") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.expanduser().read_bytes())
    except OSError as exc:
        raise AccessError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError:
        raise AccessError(f"{path} is not JSON") from None
    if not isinstance(content, dict):
        raise AccessError(f"{path} holds no credentials")
    return content


def read_token(path: Path) -> Any:
    """Read a token file; one that others may read is refused."""
    info = _read_json(path)
    if os.name == "posix" and stat.S_IMODE(path.expanduser().stat().st_mode) & 0o077:
        raise AccessError(f"others may read {path}, which is a secret: chmod 600 {path}")
    try:
        return Credentials.from_authorized_user_info(info)
    except (ValueError, KeyError, TypeError):
        raise AccessError(f"{path} is not the token of a login: log in again") from None


def write_token(path: Path, credentials: Any) -> None:
    """Write a token file that only its owner may read, from the first byte."""
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(credentials.to_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def login_loopback(
    client_secrets: Path,
    *,
    token_file: Path | None = None,
    show: Callable[[str], None],
    port: int = 0,
    timeout: float = 300.0,
) -> Path:
    """Log in through a browser that can reach a port of this machine.

    Parameters
    ----------
    client_secrets : Path
        The JSON of a desktop application's OAuth client.
    token_file : Path, optional
        Where to keep the login.
    show : callable
        Given the address that is to be opened.
    port : int
        Of this machine; 0: any. Choose one to tunnel it (``ssh -L PORT:127.0.0.1:PORT``).
    timeout : float
        Seconds to wait.

    Returns
    -------
    Path
        The token file.
    """
    client = _client(client_secrets)
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    with HTTPServer(("127.0.0.1", port), _Answer) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        show(_authorization_url(client, address, state=state, verifier=verifier))
        answer = _wait(server, timeout)
    if answer.get("state") != state or "code" not in answer:
        raise AccessError(f"the login was not completed ({answer.get('error', 'no code came')})")
    grant = {
        "client_id": client["client_id"],
        "client_secret": client.get("client_secret", ""),
        "code": answer["code"],
        "code_verifier": verifier,
        "grant_type": "authorization_code",
        "redirect_uri": address,
    }
    token = _post(client["token_uri"], grant)
    if "access_token" not in token:
        raise AccessError(f"Google refused the login: {token.get('error', 'unknown')}")
    return _keep(token, client, SCOPE, token_file)


def _authorization_url(client: dict[str, Any], address: str, *, state: str, verifier: str) -> str:
    """Where the user agrees; the verifier's hash binds the code to us (RFC 7636)."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    query = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": address,
        "scope": SCOPE,
        "state": state,
        "code_challenge": challenge.decode().rstrip("="),
        "code_challenge_method": "S256",
        # Without these there is no refresh token, and the login lasts an hour.
        "access_type": "offline",
        "prompt": "consent",
    }
    return f"{client['auth_uri']}?{urlencode(query)}"


class _Answer(BaseHTTPRequestHandler):
    """Takes the one request by which the browser comes back."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "state" in query:  # not the icon that browsers ask for, too
            self.server.answer = {k: v[0] for k, v in query.items()}  # type: ignore[attr-defined]
        body = b"Orchard is logged in. You may close this page."
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the request holds the code."""


def _wait(server: HTTPServer, timeout: float) -> dict[str, str]:
    deadline = time.monotonic() + timeout
    while not hasattr(server, "answer"):
        server.timeout = deadline - time.monotonic()
        if server.timeout <= 0:
            raise AccessError(f"nobody logged in within {timeout:g} s")
        server.handle_request()
    return dict(server.answer)


def login_device(
    client_secrets: Path,
    *,
    token_file: Path | None = None,
    show: Callable[[str, str], None],
    device_uri: str = _DEVICE_URI,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Log in on another device, by typing a code there; sees only files that Orchard made.

    Parameters
    ----------
    client_secrets : Path
        The JSON of an OAuth client for TVs and limited-input devices.
    token_file : Path, optional
        Where to keep the login.
    show : callable
        Given the address to open and the code to type.
    device_uri : str
        Where codes are had.
    sleep : callable
        Waits some seconds.

    Returns
    -------
    Path
        The token file.
    """
    client = _client(client_secrets)
    code = _post(device_uri, {"client_id": client["client_id"], "scope": DEVICE_SCOPE})
    if "device_code" not in code:
        raise AccessError(f"Google gives no code: {code.get('error', 'unknown')}")
    show(code.get("verification_url") or code["verification_uri"], code["user_code"])
    interval = float(code.get("interval", 5))
    grant = {
        "client_id": client["client_id"],
        "client_secret": client.get("client_secret", ""),
        "device_code": code["device_code"],
        "grant_type": _DEVICE_GRANT,
    }
    for _ in range(int(float(code.get("expires_in", 1800)) / interval) + 1):
        sleep(interval)
        token = _post(client["token_uri"], grant)
        if "access_token" in token:
            return _keep(token, client, DEVICE_SCOPE, token_file)
        if token.get("error") == "slow_down":
            interval += 5
        elif token.get("error") != "authorization_pending":
            raise AccessError(f"the login was not completed: {token.get('error', 'unknown')}")
    raise AccessError("the code has expired: log in again")


def _post(uri: str, fields: dict[str, str]) -> dict[str, Any]:
    connection = httplib2.Http(timeout=_TIMEOUT)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        _, content = connection.request(uri, "POST", body=urlencode(fields), headers=headers)
        return dict(json.loads(content))
    except (OSError, httplib2.HttpLib2Error, ValueError) as exc:
        raise AccessError(f"cannot log in at {uri}: {Redactor()(str(exc))}") from None
    finally:
        connection.close()


def _client(path: Path) -> dict[str, Any]:
    """The OAuth client of a client secrets file."""
    config = _read_json(path)
    client = config.get("installed") or config.get("web")
    if not isinstance(client, dict) or not {"client_id", "token_uri", "auth_uri"} <= client.keys():
        raise AccessError(f"{path} does not hold the secrets of an OAuth client")
    return client


def _keep(
    token: dict[str, Any], client: dict[str, Any], scope: str, token_file: Path | None
) -> Path:
    path = token_file or default_token_file()
    credentials = Credentials(
        token["access_token"],
        refresh_token=token.get("refresh_token"),
        token_uri=client["token_uri"],
        client_id=client["client_id"],
        client_secret=client.get("client_secret", ""),
        scopes=[scope],
    )
    write_token(path, credentials)
    return path
