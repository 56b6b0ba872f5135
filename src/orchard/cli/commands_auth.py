"""Commands about credentials: log in, or say who one is and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import FAILED, Group, State, example

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchard.auth import Account
    from orchard.stores import Store

__all__ = ["COMMANDS"]

_File = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("auth", cls=Group, epilog=example("orchard auth ee --login", "orchard auth s3"))
def auth() -> None:
    """Log in, or say who one is and what is missing.

    Says who one is on the output. The exit code is 1 where something is missing.
    Secrets are never shown.
    """


@auth.command("ee", epilog=example("orchard auth ee --login --flow notebook"))
@click.option("--project", help="Google Cloud project; by default the configuration's.")
@click.option("--credentials", type=_File, help="The key file of a service account.")
@click.option("--login", is_flag=True, help="Log in, also when somebody is.")
@click.option(
    "--flow",
    type=click.Choice(["localhost", "notebook", "gcloud", "gcloud-legacy", "appdefault"]),
    default="localhost",
    help="How: 'notebook' is for machines without a browser.",
)
@click.pass_obj
def earthengine(
    state: State, project: str | None, credentials: Path | None, login: bool, flow: str
) -> int:
    """Earth Engine."""
    from orchard.auth import check_earthengine

    if login:
        from orchard.engines.earthengine.auth import login as log_in

        log_in(flow, force=True)
    config = state.config_or_none()
    engine = config.engine_options("earthengine") if config else {}
    account = check_earthengine(
        project or engine.get("project"),
        credentials=credentials or engine.get("credentials"),
        url=engine.get("url"),
    )
    return _tell(state, account)


@auth.command(
    "gdrive", epilog=example("orchard auth gdrive --client client_secret.json --port 8765")
)
@click.argument("url", required=False)
@click.option("--client", type=_File, help="Log in with this OAuth client's secrets.")
@click.option("--device", is_flag=True, help="By a code on another device: only Orchard's files.")
@click.option("--port", type=int, default=0, help="For the browser to come back to; 0: any.")
@click.option("--token", type=click.Path(dir_okay=False, path_type=Path), help="The token's file.")
@click.pass_obj
def gdrive(
    state: State, url: str | None, client: Path | None, device: bool, port: int, token: Path | None
) -> int:
    """Google Drive.

    URL is gdrive://FOLDER, by default the configuration's.
    """
    if client is not None:
        _login_gdrive(state, client, device=device, port=port, token=token)
    elif device or port:
        raise click.UsageError("--device and --port are for logging in: give --client, too")
    options = {"token_file": str(token)} if token else {}
    if url is None and (token or client):
        url = "gdrive://"
    return _check_store(state, "gdrive", url, options)


def _login_gdrive(
    state: State, client: Path, *, device: bool, port: int, token: Path | None
) -> None:
    try:
        from orchard.stores.gdrive_auth import login_device, login_loopback
    except ModuleNotFoundError as error:
        from orchard.errors import MissingDependencyError

        raise MissingDependencyError(error.name or "google-auth", "gdrive") from None
    if device:

        def show(address: str, code: str) -> None:
            click.echo(f"Open {address} on any device and type {code}", err=True)

        path = login_device(client, token_file=token, show=show)
    else:
        path = login_loopback(
            client,
            token_file=token,
            show=lambda url: click.echo(f"Open {url}", err=True),
            port=port,
        )
    state.say(f"Logged in; the token is in {path}")


def _of_cloud(name: str, scheme: str, title: str) -> Callable[..., int]:
    @auth.command(name, epilog=example(f"orchard auth {name} {scheme}://BUCKET"), help=title)
    @click.argument("url", required=False)
    @click.option("--endpoint", help="Another service than the public one.")
    @click.pass_obj
    def check(state: State, url: str | None, endpoint: str | None) -> int:
        return _check_store(state, scheme, url, {"endpoint": endpoint} if endpoint else {})

    return check


_of_cloud(
    "gcs", "gs", "Google Cloud Storage.\n\nURL is gs://BUCKET, by default the configuration's."
)
_of_cloud("s3", "s3", "S3.\n\nURL is s3://BUCKET, by default the configuration's.")
_of_cloud("azure", "az", "Azure Blob.\n\nURL is az://CONTAINER, by default the configuration's.")


@auth.command("platform", epilog=example("orchard auth platform --file project.json"))
@click.option("--file", "file", type=_File, help="Credentials: project_id, project_api_key.")
@click.pass_obj
def platform(state: State, file: Path | None) -> int:
    """A job platform: of a file, the configuration or the environment."""
    from orchard.auth import check_platform

    config = state.config_or_none()
    part = config.platform if config else None
    said = part.model_dump(exclude_none=True) if part else {}
    return _tell(state, check_platform(cfg_file=file, **said))


@auth.command("clear", epilog=example("orchard auth clear gdrive"))
@click.argument("service", type=click.Choice(["ee", "gdrive"]))
@click.pass_obj
def clear(state: State, service: str) -> None:
    """Delete the token that a login has left."""
    from orchard.auth import forget

    path = forget(service)
    state.say(f"Deleted {path}" if path else "Nobody is logged in: there is no token file")


def _check_store(state: State, scheme: str, url: str | None, options: dict[str, Any]) -> int:
    from orchard.auth import check_store

    return _tell(state, check_store(_store(state, scheme, url, options)))


# Whoever waits for an answer at the terminal would rather know than wait for a better one.
_IMPATIENT = {"max_retries": 1, "retry_timeout": 20}


def _store(state: State, scheme: str, url: str | None, options: dict[str, Any]) -> Store:
    from orchard.stores import open_store

    if url is not None and url.startswith(f"{scheme}://"):
        patience = {"retries": 1} if scheme == "gdrive" else {"retry_config": _IMPATIENT}
        return open_store(url, **patience, **options)
    if url is not None:
        raise click.UsageError(f"{url} is none of {scheme}://")
    config = state.config_or_none()
    if config is None or options or not config.store.url.startswith(f"{scheme}://"):
        raise click.UsageError(f"which one? Give {scheme}://NAME: the configuration has none")
    return config.store


def _tell(state: State, account: Account) -> int:
    """Say who one is, and what is missing."""
    if account.who:
        click.echo(account.who)
    if account.source:
        state.say(f"From: {account.source}")
    if account.missing:
        click.echo(f"Missing: {account.missing}", err=True)
        return FAILED
    return 0


COMMANDS = (auth,)
