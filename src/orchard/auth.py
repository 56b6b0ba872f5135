"""Who one is to each service, and what is missing; no secret is ever in what comes back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchard.errors import EngineError, InputError, MissingDependencyError, OrchardError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchard.stores import Store

__all__ = ["Account", "check_earthengine", "check_platform", "check_store", "forget"]

_COMMANDS = {"gdrive": "gdrive", "gs": "gcs", "s3": "s3", "az": "azure"}


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a check of one's credentials found.

    Parameters
    ----------
    service : str
        As the command line names it.
    who : str, optional
        Who one is, without secrets; None: unknown or nobody.
    source : str
        Where the credentials come from.
    missing : str, optional
        What is wrong or missing and what to do; None: all is well.
    """

    service: str
    who: str | None
    source: str = ""
    missing: str | None = None


def check_store(store: Store) -> Account:
    """Check the credentials of a store in a service, by listing it.

    Parameters
    ----------
    store : Store
        Of ``s3://``, ``gs://``, ``az://`` or ``gdrive://``.

    Raises
    ------
    InputError
        For a store that knows no accounts.
    """
    scheme = store.url.partition("://")[0]
    if scheme not in _COMMANDS:
        raise InputError(f"{store.url} needs no login")
    service = _COMMANDS[scheme]
    told = getattr(store, "identity", None)
    who, source = (told.who, told.source) if told else (None, "")
    try:
        account: Any = getattr(store, "account", None)
        if account is not None:
            who = _person(account().get("user") or {})
        next(iter(store.list()), None)
    except OrchardError as error:
        return Account(service=service, who=who, source=source, missing=str(error))
    return Account(service=service, who=who, source=source or store.url)


def _person(user: Mapping[str, Any]) -> str | None:
    """A person, as Google tells of one."""
    mail, name = user.get("emailAddress"), user.get("displayName")
    return f"{name} <{mail}>" if mail and name else mail or name


def check_earthengine(project: str | None, **options: Any) -> Account:
    """Check the credentials for Earth Engine, by opening the project.

    Parameters
    ----------
    project : str or None
        Id of the Google Cloud project.
    **options
        Of `orchard.engines.earthengine.client.Client`: ``credentials``, ``url``, ….
    """
    from orchard.engines.earthengine.auth import resolve_credentials
    from orchard.engines.earthengine.client import Client

    try:
        found = resolve_credentials(options.pop("credentials", None))
    except (EngineError, InputError) as error:
        return Account(service="ee", who=None, missing=str(error))
    who = getattr(found, "service_account_email", None) or _kind(found)
    if not project:
        missing = "which Google Cloud project? say 'engine: {name: earthengine, project: …}'"
        return Account(service="ee", who=who, missing=missing)
    try:
        Client(project, credentials=found, **options).activate()
    except EngineError as error:
        return Account(service="ee", who=who, source=f"project {project}", missing=str(error))
    return Account(service="ee", who=who, source=f"project {project}")


def _kind(credentials: Any) -> str:
    anonymous = type(credentials).__name__ == "AnonymousCredentials"
    return "nobody (anonymous)" if anonymous else "a person's login"


def check_platform(
    *,
    base_url: str | None = None,
    project_id: str | None = None,
    project_api_key: str | None = None,
    cfg_file: str | os.PathLike[str] | None = None,
) -> Account:
    """Check the credentials of a job platform, by asking it for the project.

    Takes what `orchard.authenticate` takes, and looks into the environment as it does.
    """
    said = (base_url, project_id, project_api_key, cfg_file)
    known = ("ORCHARD_BASE_URL", "ORCHARD_PROJECT_ID", "ORCHARD_PROJECT_API_KEY")
    if not any(said) and not any(map(os.environ.get, known)):
        missing = (
            "no platform is named, so jobs run in this process: set ORCHARD_BASE_URL, "
            "ORCHARD_PROJECT_ID and ORCHARD_PROJECT_API_KEY, or 'platform: {base_url: …}'"
        )
        return Account(service="platform", who=None, missing=missing)
    from orchard.jobs import authenticate

    try:
        session = authenticate(
            cfg_file, project_id=project_id, project_api_key=project_api_key, base_url=base_url
        )
        session.client.data(f"projects/{session.project_id}/jobs")
    except OrchardError as error:
        who = project_id or os.environ.get("ORCHARD_PROJECT_ID")
        return Account(service="platform", who=who and f"project {who}", missing=str(error))
    who, source = f"project {session.project_id}", str(session.client.base_url)
    return Account(service="platform", who=who, source=source)


def forget(service: str) -> Path | None:
    """Delete the token file that a login has left.

    Parameters
    ----------
    service : {"ee", "gdrive"}

    Returns
    -------
    Path or None
        The file; None: there was none.
    """
    if service == "gdrive":
        from orchard.stores.gdrive_auth import default_token_file

        path = default_token_file()
    elif service == "ee":
        path = _earthengine_file()
    else:
        raise InputError(f"{service} has no login of its own: known are ee, gdrive")
    if not path.exists():
        return None
    path.unlink()
    return path


def _earthengine_file() -> Path:
    try:
        import ee
    except ImportError:
        raise MissingDependencyError("earthengine-api", "earthengine") from None
    return Path(ee.oauth.get_credentials_path())
