"""Credentials for Earth Engine: of a person, of a service account, of the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from orchard.errors import EngineError, InputError, MissingDependencyError

__all__ = ["FLOWS", "login", "resolve_credentials"]

_SCOPES = (
    "https://www.googleapis.com/auth/earthengine",
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/drive",
)

FLOWS = ("localhost", "notebook", "gcloud", "gcloud-legacy", "appdefault")
"""Ways to log in: a browser on this machine, one elsewhere (headless), Google's command line."""


def resolve_credentials(given: Any = None) -> Any:
    """Return credentials of ``google.auth``.

    Parameters
    ----------
    given : optional
        None: those that `login` has stored, else the machine's own (application default
        credentials). A path: the key file of a service account. ``"anonymous"``: none at all.
        Anything else is taken as it is.

    Raises
    ------
    InputError
        For a key file that is not there or is none.
    EngineError
        When nobody has logged in.
    """
    try:
        import ee
        from google.auth.credentials import AnonymousCredentials
    except ImportError:
        raise MissingDependencyError("earthengine-api", "earthengine") from None
    if given is None:
        try:
            return ee.data.get_persistent_credentials()
        except ee.EEException:
            return _default_credentials()
    if given == "anonymous":
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    if isinstance(given, str | os.PathLike):
        return _service_account(Path(given).expanduser())
    return given


def _default_credentials() -> Any:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except DefaultCredentialsError:
        raise EngineError(
            "nobody has logged in to Earth Engine on this machine: run 'orchard auth ee', or give "
            "the key file of a service account as the engine's credentials"
        ) from None
    return credentials


def _service_account(path: Path) -> Any:
    from google.oauth2 import service_account

    try:
        kind: Any = service_account.Credentials
        return kind.from_service_account_file(str(path), scopes=_SCOPES)
    except FileNotFoundError:
        raise InputError(f"there is no key file of a service account at {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not the key file of a service account: {error}") from None


def login(flow: str = "localhost", *, force: bool = False) -> None:
    """Log a person in and store the credentials; asks in the terminal or the browser.

    Parameters
    ----------
    flow : {"localhost", "notebook", "gcloud", "gcloud-legacy", "appdefault"}
        ``notebook`` is for machines without a browser.
    force : bool
        Whether to log in again when somebody is.
    """
    if flow not in FLOWS:
        raise InputError(f"unknown flow {flow!r}: known are {', '.join(FLOWS)}")
    try:
        import ee
    except ImportError:
        raise MissingDependencyError("earthengine-api", "earthengine") from None
    try:
        ee.Authenticate(auth_mode=flow, force=force)
    except ee.EEException as error:
        raise EngineError(f"logging in to Earth Engine failed: {error}") from None
