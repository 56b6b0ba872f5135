"""Open S3, GCS and Azure: endpoint, region, credentials, anonymous access.

What is given as an option wins over the environment, the environment over the services' own files:

========  ==================================================================================
S3        ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``,
          ``AWS_REGION``, ``AWS_ENDPOINT_URL``, ``AWS_PROFILE`` with the keys of
          ``~/.aws/credentials`` and ``~/.aws/config``, web identity, container and instance roles
GCS       ``GOOGLE_APPLICATION_CREDENTIALS``, ``GOOGLE_SERVICE_ACCOUNT``,
          ``GOOGLE_SERVICE_ACCOUNT_KEY``, ``STORAGE_EMULATOR_HOST``, gcloud's own login, and the
          metadata service
Azure     ``AZURE_STORAGE_ACCOUNT_NAME``, ``AZURE_STORAGE_ACCOUNT_KEY``,
          ``AZURE_STORAGE_SAS_TOKEN``, ``AZURE_STORAGE_CONNECTION_STRING``, ``AZURE_CLIENT_ID``,
          …, managed identity
========  ==================================================================================

Every configuration key of obstore (``access_key_id``, ``service_account``, ``account_name``, …) is
an option, too.
"""

from __future__ import annotations

import configparser
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from orchard.errors import ConflictError, InputError
from orchard.stores.base import READ_TIMEOUT, check_folder, check_timeout
from orchard.stores.identity import find_identity
from orchard.stores.object import ObjectStore
from orchard.stores.redact import Redactor, secret_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obstore import PutMode

__all__ = ["open_cloud"]

# A request may last long when files are large, but not go without a byte for long (read_timeout).
_CLIENT = {"connect_timeout": "10s", "timeout": "10min"}
_DURATIONS = ("retry_timeout", "init_backoff", "max_backoff")

_PROFILE_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}

# Where the services' own tools look for another endpoint.
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


class GenerationStore(ObjectStore):
    """GCS, which compares generations where others compare ETags.

    Listings do not tell generations, so that of the ETag is looked up first. Two generations of one
    ETag have the same content: taking one for the other loses nothing.
    """

    def _mode(self, key: str, *, if_absent: bool, if_match: str | None) -> PutMode:
        if if_match is None:
            return super()._mode(key, if_absent=if_absent, if_match=if_match)
        try:
            meta = self._head(key).meta
        except FileNotFoundError:
            meta = None
        if meta is None or (meta["e_tag"] or "").strip('"') != if_match:
            raise ConflictError(f"{key} in {self.url} was written by somebody else", key=key)
        return {"version": meta["version"], "e_tag": meta["e_tag"]}


def open_cloud(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
    profile: str | None = None,
    read_timeout: float = READ_TIMEOUT,
    client_options: Mapping[str, Any] | None = None,
    retry_config: Mapping[str, Any] | None = None,
    **config: Any,
) -> ObjectStore:
    """Open a bucket or a container.

    Parameters
    ----------
    url : str
        ``s3://BUCKET[/PREFIX]``, ``gs://BUCKET[/PREFIX]`` or ``az://CONTAINER[/PREFIX]``.
    endpoint : str, optional
        Another service than the public one; ``http://`` is taken at its word.
    region : str, optional
        S3 only.
    anonymous : bool
        Sign nothing: public buckets.
    profile : str, optional
        S3 only: the section of ``~/.aws/credentials`` to take the keys from.
    read_timeout : float
        Seconds that a connection may be silent; then the request is done again.
    client_options, retry_config : dict, optional
        As obstore has them; durations may be numbers, in seconds. Transient failures are retried
        10 times within 3 minutes unless said otherwise here.
    **config
        The service's configuration keys, as obstore names them.
    """
    scheme, bucket, prefix = _split(url)
    options = {
        "endpoint": endpoint,
        "region": region,
        "anonymous": anonymous,
        "profile": profile,
        "read_timeout": read_timeout,
        "client_options": client_options,
        "retry_config": retry_config,
        **config,
    }
    endpoint = endpoint or next(filter(None, map(os.environ.get, _ENDPOINTS[scheme])), None)
    if scheme != "s3" and (region or profile):
        raise InputError(f"{scheme}:// has neither region nor profile; these are of s3://")
    settings = {"s3": _s3, "gs": _gcs, "az": _azure}[scheme](
        dict(config), endpoint=endpoint, anonymous=anonymous
    )
    if scheme == "s3":
        settings |= {"region": region} if region else {}
        settings = _profile(profile, anonymous=anonymous, given=settings) | settings
    plain = any(str(settings.get(key)).startswith("http://") for key in ("endpoint", "base_url"))
    check_timeout(read_timeout)
    client = _CLIENT | {"read_timeout": timedelta(seconds=read_timeout)}
    client |= ({"allow_http": True} if plain else {}) | dict(client_options or {})
    redact = Redactor(secret_values(options | settings))
    kind: Callable[..., Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[scheme]
    try:
        backend = kind(
            bucket,
            prefix=prefix or None,
            config=settings,
            client_options=client,
            retry_config=_retry(retry_config or {}),
        )
    except (BaseError, ValueError, TypeError) as exc:
        raise InputError(f"cannot open {url}: {redact(str(exc))}") from None
    given = {name: value for name, value in options.items() if value}
    return (GenerationStore if scheme == "gs" else ObjectStore)(
        backend,
        url=url,
        redact=redact,
        reopen=(_reopen, (url, given)),
        identity=find_identity(scheme, settings, config, anonymous=anonymous),
    )


def _reopen(url: str, options: dict[str, Any]) -> ObjectStore:
    return open_cloud(url, **options)


def _split(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    if not parts.netloc:
        raise InputError(f"{url} names no bucket: {parts.scheme}://BUCKET[/PREFIX]")
    return parts.scheme.lower(), parts.netloc, check_folder(parts.path.removeprefix("/"))


def _s3(config: dict[str, Any], *, endpoint: str | None, anonymous: bool) -> dict[str, Any]:
    # One DELETE per object: not every service that speaks S3 knows the bulk one.
    found: dict[str, Any] = {"disable_bulk_delete": True}
    if endpoint:
        found["endpoint"] = endpoint
    return found | ({"skip_signature": True} if anonymous else {}) | config


def _gcs(config: dict[str, Any], *, endpoint: str | None, anonymous: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if endpoint:
        found["base_url"] = endpoint if "://" in endpoint else f"http://{endpoint}"
    if anonymous:
        # skip_signature alone still asks the metadata service for a token when writing.
        key = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        found |= {"skip_signature": True, "service_account_key": json.dumps(key)}
    return found | config


def _azure(config: dict[str, Any], *, endpoint: str | None, anonymous: bool) -> dict[str, Any]:
    connection = config.pop("connection_string", None)
    found: dict[str, Any] = {}
    if connection or not (config.keys() & {"account_name", "azure_storage_account_name"}):
        connection = connection or os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
        found = _connection(connection) if connection else {}
    if endpoint:
        found["endpoint"] = endpoint
    return found | ({"skip_signature": True} if anonymous else {}) | config


def _connection(text: str) -> dict[str, Any]:
    """What an Azure connection string says, as configuration keys."""
    pairs = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    if pairs.get("UseDevelopmentStorage", "").lower() == "true":
        return {"use_emulator": True}
    if "AccountName" not in pairs:
        raise InputError("the Azure connection string names no AccountName")
    found = {"account_name": pairs["AccountName"]}
    if "AccountKey" in pairs:
        found["account_key"] = pairs["AccountKey"]
    if "SharedAccessSignature" in pairs:
        found["sas_key"] = pairs["SharedAccessSignature"]
    if "BlobEndpoint" in pairs:
        found["endpoint"] = pairs["BlobEndpoint"].rstrip("/")
    elif "EndpointSuffix" in pairs:
        protocol = pairs.get("DefaultEndpointsProtocol", "https")
        account, suffix = pairs["AccountName"], pairs["EndpointSuffix"]
        found["endpoint"] = f"{protocol}://{account}.blob.{suffix}"
    return found


def _profile(name: str | None, *, anonymous: bool, given: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and region of a profile in AWS's own files, where nothing nearer gives them."""
    found = _profile_section(name)
    settings = {}
    nearer = anonymous or bool(
        given.keys() & {"access_key_id", "aws_access_key_id"} or "AWS_ACCESS_KEY_ID" in os.environ
    )
    if name is not None or not nearer:
        settings = {
            ours: found[theirs] for theirs, ours in _PROFILE_KEYS.items() if theirs in found
        }
    if "region" in found and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys():
        settings["region"] = found["region"]
    return settings


def _profile_section(name: str | None) -> dict[str, str]:
    wanted = name or os.environ.get("AWS_PROFILE", "default")
    home = Path.home() / ".aws"
    files = {
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", home / "credentials"): wanted,
        os.environ.get("AWS_CONFIG_FILE", home / "config"): (
            wanted if wanted == "default" else f"profile {wanted}"
        ),
    }
    found: dict[str, str] = {}
    for file, section in files.items():
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except configparser.Error:
            raise InputError(f"{file} is not a file of AWS profiles") from None
        if parser.has_section(section):
            found = dict(parser.items(section)) | found
    if not found and name is not None:
        raise InputError(f"there is no profile {name!r} in {' or '.join(map(str, files))}")
    return found


def _retry(config: Mapping[str, Any]) -> dict[str, Any]:
    """Retry configuration, with numbers of seconds as durations."""
    return {
        name: _retry(value)
        if isinstance(value, dict)
        else timedelta(seconds=value)
        if name in _DURATIONS and isinstance(value, int | float)
        else value
        for name, value in config.items()
    }
