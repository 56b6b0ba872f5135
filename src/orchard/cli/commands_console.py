"""A Python console on a configuration."""

from __future__ import annotations

import click

from .common import State, example

__all__ = ["COMMANDS"]


@click.command("console", epilog=example("orchard -C orchard.yaml console"))
@click.option("--ipython", is_flag=True, help="Use IPython.")
@click.pass_obj
def console(state: State, ipython: bool) -> None:
    """Open a Python console on a configuration.

    In it `orchard`, `config` and `tracker` are ready.
    """
    import orchard

    config = state.config()
    names = {"orchard": orchard, "config": config, "tracker": config.get_tracker()}
    banner = f"Orchard {orchard.__version__}, {config.path}: {', '.join(names)} are ready"
    if ipython:
        _ipython(names, banner)
        return
    import code

    code.interact(banner=banner, local=names, exitmsg="")


def _ipython(names: dict[str, object], banner: str) -> None:
    try:
        from IPython import start_ipython
    except ImportError:
        raise click.ClickException("IPython is not installed: pip install ipython") from None
    click.echo(banner, err=True)
    start_ipython(argv=["--no-banner"], user_ns=names)


COMMANDS = (console,)
