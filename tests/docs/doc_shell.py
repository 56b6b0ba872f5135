"""The command `orchard` for the shell blocks of the documentation, without its start-up.

Forty commands that each import all libraries would take longer than all that they do. So a server
imports them once and forks itself for each command: a process of its own, with the caller's
arguments, folder, environment, input and output. (`orchard serve` is the program itself.)

    python doc_shell.py SOCKET      the server
    python doc_shell.py SOCKET …    one command, run by it
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

WRAPPER = """\
#!/bin/sh
[ "$1" = serve ] && exec "{orchard}" "$@"
exec "{python}" -S -E "{script}" "{address}" "$@"
"""
LIBRARIES = [
    "orchard.cli", "orchard.tracker", "orchard.ard.convert", "orchard.ard.open", "orchard.ard.zarr",
    "orchard.engines.local.runner", "orchard.quicklook", "orchard.viz.plots", "orchard.viz.maps",
    "orchard.delivery", "orchard.grid.roi", "h5netcdf", "rasterio", "matplotlib.pyplot",
]  # fmt: skip


class Shell:
    """A server, and the folder of the command that asks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        address = folder / "shell"
        wrapper = self.folder / "orchard"
        real = Path(sys.executable).with_name("orchard")
        wrapper.write_text(
            WRAPPER.format(
                orchard=real, python=sys.executable, script=Path(__file__), address=address
            )
        )
        wrapper.chmod(0o755)
        self._server = subprocess.Popen([sys.executable, __file__, address])
        while not address.exists():
            if self._server.poll() is not None:
                raise RuntimeError("the server of the shell blocks has not started")
            time.sleep(0.05)

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()


def _ask(address: str, words: list[str]) -> int:
    """Have a command run; return its exit code."""
    asked = json.dumps([words, str(Path.cwd()), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [len(asked).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(asked)
        return connection.recv(1)[0]


def _serve(address: str) -> list[str] | None:
    """Fork for each command; return the words of one in the child that is to run it."""
    import importlib

    os.environ.setdefault("MPLBACKEND", "Agg")
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    while True:
        connection, _ = listener.accept()
        head, files, _, _ = socket.recv_fds(connection, 4, 3)
        with connection.makefile("rb") as stream:
            words, folder, environment = json.loads(stream.read(int.from_bytes(head, "big")))
        if os.fork() == 0:
            listener.close()
            # A waiter between, so that the server goes on at once.
            child = os.fork()
            if child == 0:
                connection.close()
                for place, file in enumerate(files):
                    os.dup2(file, place)
                    os.close(file)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.chdir(folder)
                os.environ.clear()
                os.environ.update(environment)
                return words
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.sendall(bytes([code % 256]))
            os._exit(0)
        for file in files:
            os.close(file)
        connection.close()
        _reap()


def _reap() -> None:
    """Take leave of waiters that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(_ask(sys.argv[1], sys.argv[2:]))
    command = _serve(sys.argv[1])
    from orchard.cli import main

    sys.argv = ["orchard", *command]
    exit_code = 0
    try:
        main()
    except SystemExit as left:
        exit_code = int(left.code or 0)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # taking all libraries down in good order takes longer than the command
