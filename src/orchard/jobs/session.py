"""Which platform, which project: said once, in code, in a file or in the environment.

With nothing said, Orchard's own platform is run inside this process, over the embedded ledger: see
`orchard.server.app.create_app`, which is loaded then and only then.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchard.errors import ConfigError, InputError, MissingDependencyError
from orchard.jobs.http import PlatformClient
from orchard.jobs.inprocess import InProcessTransport
from orchard.jobs.names import check_id, url_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from orchard.jobs.retries import Retries

__all__ = ["IN_PROCESS_PROJECT", "IN_PROCESS_URL", "Session", "authenticate", "current_session"]

IN_PROCESS_PROJECT = "local"
# No such host exists (RFC 6761 reserves .invalid): what goes there goes to the application.
IN_PROCESS_URL = "http://orchard.invalid"

_KEYS = ("project_id", "project_api_key", "base_url")


@dataclass(frozen=True, kw_only=True)
class Session:
    """A platform and the project one works in.

    Parameters
    ----------
    project_id : str
        The project.
    client : PlatformClient
        Makes the calls.
    """

    project_id: str
    client: PlatformClient


_default: Session | None = None
_lock = threading.Lock()


def authenticate(
    cfg_file: str | os.PathLike[str] | None = None,
    project_id: str | None = None,
    project_api_key: str | None = None,
    *,
    base_url: str | None = None,
    transport: httpx.BaseTransport | None = None,
    timeout: float = 60.0,
    retries: Retries | None = None,
) -> Session:
    """Say which platform and which project the jobs are in; asks the platform at once.

    Each value is taken from the arguments, else from the file, else from the environment
    (``ORCHARD_PROJECT_ID``, ``ORCHARD_PROJECT_API_KEY``, ``ORCHARD_BASE_URL``). If there is none at
    all, the platform runs inside this process, without socket or credentials.

    Parameters
    ----------
    cfg_file : path, optional
        A JSON file ``{"project_id": …, "project_api_key": …}``, perhaps with a ``base_url``.
    project_id, project_api_key : str, optional
        The project and its key. Without a key no token is asked for, which a platform of one's own
        on this machine may allow.
    base_url : str, optional
        The platform, e.g. ``http://127.0.0.1:8000``.
    transport : httpx.BaseTransport, optional
        Carries the calls to `base_url`'s host instead of the network.
    timeout : float
        Longest silence of the platform in seconds.
    retries : Retries, optional
        How often and how long one call is tried.

    Returns
    -------
    Session
        Also becomes the one that `initialize_job` and its kin use.

    Raises
    ------
    ConfigError
        The file cannot be read or lacks something.
    InputError
        A key without a project, credentials without a platform.
    AuthenticationError
        The platform refuses the credentials.
    PlatformError
        There is no platform at `base_url`, or no such project on it.

    Examples
    --------
    >>> session = authenticate(
    ...     project_id="p1", base_url="http://127.0.0.1:8000"
    ... )  # doctest: +SKIP
    """
    said: dict[str, str | None] = {
        "project_id": project_id,
        "project_api_key": project_api_key,
        "base_url": base_url,
    }
    from_file = _read_file(Path(cfg_file)) if cfg_file is not None else {}
    found = {key: said[key] or from_file.get(key) or _environment(key) for key in _KEYS}
    session = _session(found, transport=transport, timeout=timeout, retries=retries)
    try:
        here = str(session.client.base_url).rstrip("/") == IN_PROCESS_URL
        session.client.check(None if here else url_path("projects", session.project_id))
    except BaseException:
        session.client.close()
        raise
    _set_default(session)
    return session


def current_session() -> Session:
    """Return the session of the last `authenticate`; without one, what the environment says."""
    with _lock:
        session = _default
    return session or authenticate()


def _set_default(session: Session) -> None:
    global _default  # noqa: PLW0603 - "authenticate once, then work" is the users' habit
    with _lock:
        _default = session


def _session(found: Mapping[str, str | None], **options: Any) -> Session:
    project, key, url = (found[name] for name in _KEYS)
    if key and not project:
        raise InputError("a project_api_key needs its project_id")
    if not url:
        if project or key or options["transport"]:
            raise InputError(
                "which platform? say base_url=… (or ORCHARD_BASE_URL, or in the file); say nothing "
                "at all to run one in this process"
            )
        project, url = IN_PROCESS_PROJECT, IN_PROCESS_URL
        options["transport"] = _own_platform()
    if not project:
        raise InputError(f"which project of {url}? say project_id=… (or ORCHARD_PROJECT_ID)")
    client = PlatformClient(
        url, project_id=check_id(project, "project"), api_key=key or None, **options
    )
    return Session(project_id=project, client=client)


def _own_platform() -> httpx.BaseTransport:
    try:
        server = importlib.import_module("orchard.server.app")
    except ImportError as exc:
        raise MissingDependencyError(exc.name or "fastapi", "server") from exc
    return InProcessTransport(server.create_app(in_process=True))


def _environment(key: str) -> str | None:
    return os.environ.get(f"ORCHARD_{key.upper()}") or None


def _read_file(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as exc:
        raise ConfigError(f"cannot read the credentials file {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(f"the credentials file {path} is not JSON: {exc}") from exc
    if not isinstance(content, dict) or not all(content.get(key) for key in _KEYS[:2]):
        raise ConfigError(
            f'the credentials file {path} must be {{"project_id": …, "project_api_key": …}}'
        )
    wrong = [key for key in _KEYS if not isinstance(content.get(key, ""), str)]
    if wrong:
        raise ConfigError(f"{path}: {wrong[0]} must be a string")
    return {key: content[key] for key in _KEYS if key in content}
