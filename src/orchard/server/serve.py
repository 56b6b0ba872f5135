"""Running the platform on a socket."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

import uvicorn

from orchard.errors import EngineError, InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["check_address", "listen", "make_server", "serve"]

_GRACE = 10
_BACKLOG = 1024


def check_address(host: str, *, has_projects: bool) -> None:
    """Refuse to serve other machines without a project, that is without any key.

    Raises
    ------
    InputError
        It says how to make a project.
    """
    if has_projects or _is_loopback(host):
        return
    raise InputError(
        f"on {host} other machines could reach the platform, and there is no project whose key "
        "they would need: make one with 'orchard project create NAME', or serve on 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Open the socket to serve on; port 0: any free one.

    Raises
    ------
    EngineError
        When the address cannot be had.
    """
    opened = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(_BACKLOG)
    except OSError as error:
        if opened is not None:
            opened.close()
        taken = "; choose another port (--port)" if error.errno == errno.EADDRINUSE else ""
        raise EngineError(
            f"{host}:{port} cannot be served: {error.strerror or error}{taken}"
        ) from error
    return opened


class _Server(uvicorn.Server):
    """Tells the application that it is ending before it waits for those who are still connected.

    Streams of events end by themselves then; without, each would be waited for in vain.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.ending.set()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def make_server(app: FastAPI) -> uvicorn.Server:
    """Return the server of an application; its `run` takes the sockets."""
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,  # who runs it says what is logged, and the application logs its calls
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE,
        )
    )


def serve(app: FastAPI, opened: socket.socket) -> None:
    """Serve until interrupted; downloads that are under way have ten seconds to end.

    Raises
    ------
    EngineError
        When the application could not start.
    """
    server = make_server(app)
    server.run(sockets=[opened])
    if not server.started:
        raise EngineError("the platform could not start: its log says why")
