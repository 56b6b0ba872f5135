"""Who one is to S3, GCS or Azure, as far as it is known without asking; shows no secret."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Identity", "find_identity"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who one is, and where that comes from.

    Parameters
    ----------
    who : str, optional
        The account, without secrets; None: no credentials were found.
    source : str
        Where they were found, or where they were looked for.
    """

    who: str | None
    source: str


def find_identity(
    scheme: str, settings: Mapping[str, Any], given: Mapping[str, Any], *, anonymous: bool
) -> Identity:
    """Find out whose credentials a store would use.

    Parameters
    ----------
    scheme : {"s3", "gs", "az"}
    settings : mapping
        The service's configuration keys, all that were found.
    given : mapping
        Those of them that were given as options.
    anonymous : bool
        Whether nothing is signed.
    """
    if anonymous:
        return Identity(who="nobody (anonymous)", source="as asked for")
    found = {_bare(name): value for name, value in settings.items() if value}
    options = {_bare(name) for name in given}
    return {"s3": _s3, "gs": _gcs, "az": _azure}[scheme](found, options)


def _bare(name: str) -> str:
    """The name of a configuration key without its service's prefix."""
    for prefix in ("aws_", "google_", "azure_storage_", "azure_"):
        name = name.lower().removeprefix(prefix)
    return name


def _s3(found: Mapping[str, Any], options: set[str]) -> Identity:
    if "access_key_id" in options:
        return Identity(who=_key(found["access_key_id"]), source="options")
    if "access_key_id" in found:
        return Identity(who=_key(found["access_key_id"]), source="a profile of ~/.aws")
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return Identity(who=_key(os.environ["AWS_ACCESS_KEY_ID"]), source="AWS_ACCESS_KEY_ID")
    for name, who in (
        ("AWS_WEB_IDENTITY_TOKEN_FILE", os.environ.get("AWS_ROLE_ARN", "a web identity's role")),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "this container's role"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "this container's role"),
    ):
        if os.environ.get(name):
            return Identity(who=who, source=name)
    return Identity(
        who=None,
        source="no AWS_ACCESS_KEY_ID and no keys in ~/.aws: only this machine's own role is left",
    )


def _key(key: str) -> str:
    return f"access key …{key[-4:]}"


def _gcs(found: Mapping[str, Any], options: set[str]) -> Identity:
    if "bearer_token" in found:
        return Identity(who="whoever the bearer token is of", source="options")
    if "service_account_key" in found:
        return Identity(who=_of_json(str(found["service_account_key"])), source="options")
    files = [
        ("options", found[name])
        for name in ("service_account", "service_account_path", "application_credentials")
        if name in options and name in found
    ]
    for name in ("SERVICE_ACCOUNT", "SERVICE_ACCOUNT_PATH", "APPLICATION_CREDENTIALS"):
        files += [(f"GOOGLE_{name}", os.environ.get(f"GOOGLE_{name}"))]
    login = Path("~/.config/gcloud/application_default_credentials.json").expanduser()
    files.append(("gcloud", str(login) if login.exists() else None))
    for source, file in files:
        if file:
            return Identity(who=_of_file(Path(str(file))), source=f"{source} ({file})")
    return Identity(
        who=None,
        source="no GOOGLE_APPLICATION_CREDENTIALS and no gcloud login ('gcloud auth "
        "application-default login'): only this machine's own account is left",
    )


def _of_file(path: Path) -> str | None:
    try:
        return _of_json(path.read_text())
    except (OSError, UnicodeDecodeError):
        return None


def _of_json(text: str) -> str | None:
    """The account of a file of credentials, by the words in it that are no secrets."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    if content.get("client_email"):
        return str(content["client_email"])
    return "a person's login" if content.get("type") == "authorized_user" else None


def _azure(found: Mapping[str, Any], options: set[str]) -> Identity:
    name = found.get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not name:
        return Identity(
            who=None,
            source="no account: set AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_CONNECTION_STRING",
        )
    kinds = {
        "account_key": "its key",
        "access_key": "its key",
        "sas_key": "a SAS token",
        "sas_token": "a SAS token",
        "client_id": "an application",
        "bearer_token": "a bearer token",
    }
    for kind, words in kinds.items():
        if kind in found:
            source = "options" if kind in options else "options or connection string"
            return Identity(who=f"account {name}, by {words}", source=source)
        for variable in (f"AZURE_STORAGE_{kind.upper()}", f"AZURE_{kind.upper()}"):
            if os.environ.get(variable):
                return Identity(who=f"account {name}, by {words}", source=variable)
    return Identity(
        who=None,
        source=f"no key, SAS token or application for the account {name}: only this machine's own "
        "identity is left",
    )
