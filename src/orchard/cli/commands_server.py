"""Commands of the job platform: serve, project."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Group, State, example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchard.server.records import Records

__all__ = ["COMMANDS"]


@click.command("serve", epilog=example("orchard serve", "orchard serve --host 0.0.0.0 --port 8080"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0: any free one.",
)
@click.option("--no-run", is_flag=True, help="Only show and take orders; do not work on them.")
@click.pass_obj
def serve(state: State, host: str, port: int, no_run: bool) -> None:
    """Serve the orders of this configuration as a job platform.

    Open it in a browser to see how they stand. It is a REST API, too, and works on the orders. As
    long as there is no project, it serves this machine only, without keys. To serve others, make a
    project first: 'orchard project create NAME'.
    """
    with _extra():
        from orchard.server.app import create_app
        from orchard.server.serve import check_address, listen
        from orchard.server.serve import serve as run
    config = state.config()
    app = create_app(config, run=not no_run)
    check_address(host, has_projects=bool(app.state.platform.records.projects()))
    with listen(host, port) as opened:
        where = f"[{host}]" if ":" in host else host
        base = f"http://{where}:{opened.getsockname()[1]}"
        state.say(f"Serving {config.store.url} on {base} (its calls: {base}/docs)")
        run(app, opened)


@click.group(
    "project",
    cls=Group,
    epilog=example("orchard project create maps --save maps.json", "orchard project list"),
)
def project() -> None:
    """Make, list and revoke projects of the job platform."""


@project.command("create", epilog=example("orchard project create maps --save maps.json"))
@click.argument("name")
@click.option("--title", help="A name for people.")
@click.option("--description", default="", help="What it is for.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the credentials to this new file, for 'orchard.authenticate(cfg_file=…)'.",
)
@click.pass_obj
def project_create(
    state: State, name: str, title: str | None, description: str, save: Path | None
) -> None:
    """Make a project and show its API key, once.

    Only the hash of the key is kept. NAME is small letters, digits and dashes. The project
    'local' is that of the orders which were submitted on the command line. A revoked project gets
    a new key.
    """
    with _records(state) as records:
        from orchard.server.auth import create_project

        file = _new_private_file(save) if save else None
        try:
            made = create_project(records, name, title, description)
        except BaseException:
            if save is not None and file is not None:
                os.close(file)
                save.unlink()
            raise
        credentials = {"project_id": made.project.id, "project_api_key": made.api_key}
        if file is None:
            click.echo(json.dumps(credentials, indent=2))
        else:
            with os.fdopen(file, "w", encoding="utf-8") as content:
                json.dump(credentials, content, indent=2)
            state.say(f"The credentials of project {name} are in {save}")


@project.command("list", epilog=example("orchard project list"))
@click.pass_obj
def project_list(state: State) -> None:
    """List the projects: id, state, when it was made, name."""
    with _records(state) as records:
        from orchard.server.workflow import text_time

        for found in records.projects():
            status = "active" if found.revoked_ms is None else "revoked"
            made = (text_time(found.created_ms) or "")[:10]
            click.echo(f"{found.id}\t{status}\t{made}\t{found.name}")


@project.command("revoke", epilog=example("orchard project revoke maps"))
@click.argument("name")
@click.pass_obj
def project_revoke(state: State, name: str) -> None:
    """End a project's key.

    All its tokens and links end at once; its orders stay.
    """
    with _records(state) as records:
        if not records.revoke(name):
            raise click.ClickException(f"there is no active project {name!r}")


@contextmanager
def _records(state: State) -> Iterator[Records]:
    """Open the platform's records."""
    with _extra():
        from orchard.server.platform import platform_folder
        from orchard.server.records import Records
    records = Records(platform_folder(state.config().store) / "platform.sqlite")
    try:
        yield records
    finally:
        records.close()


@contextmanager
def _extra() -> Iterator[None]:
    """Say what to install where a library of the server is missing."""
    from orchard.errors import MissingDependencyError

    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "fastapi", "server") from error


def _new_private_file(path: Path) -> int:
    """Open a file that was not there and that nobody else may read."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)


COMMANDS = (serve, project)
