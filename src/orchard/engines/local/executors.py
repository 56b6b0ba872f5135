"""What an executor is called: where the work is done, and with how many workers (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from orchard.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HERE", "Executor"]

HERE = ("synchronous", "threads", "processes")
"""Executors that need nothing but this machine."""

_ADDRESS = re.compile(r"(?:[a-z]+://)?[^\s:/]+:\d+")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Where shards are made.

    Parameters
    ----------
    kind : str
        ``synchronous``, ``threads``, ``processes``, ``distributed`` (Dask), or the dotted path of
        a Dask cluster class (``dask_jobqueue.SLURMCluster``).
    workers : int
        How many shards at a time.
    address : str, optional
        ``HOST:PORT`` of a running Dask scheduler, for ``distributed``.
    options : mapping
        Arguments of the cluster class.
    """

    kind: str = "threads"
    workers: int = 2
    address: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, text: str, workers: int | None = None, options: Mapping[str, Any] | None = None
    ) -> Self:
        """Read ``KIND``, ``KIND N`` or ``distributed HOST:PORT``.

        Parameters
        ----------
        text : str
        workers : int, optional
            Where `text` has no number. Default: 2.
        options : mapping, optional
            Arguments of the cluster class.

        Raises
        ------
        InputError
            For an unknown kind, a number below one, or options of what takes none.
        """
        kind, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        address = None
        if rest and kind == "distributed" and _ADDRESS.fullmatch(rest):
            address = rest
        elif rest and not rest.isdigit():
            raise InputError(
                f"executor {text!r}: {rest!r} is not a number of workers"
                + (" nor HOST:PORT of a Dask scheduler" if kind == "distributed" else "")
            )
        elif rest:
            workers = int(rest)
        count = 2 if workers is None else workers
        if count < 1:
            raise InputError(f"workers must be at least 1, not {count}")
        is_class = bool(_DOTTED.fullmatch(kind))
        if kind not in HERE and kind != "distributed" and not is_class:
            raise InputError(
                f"unknown executor {kind!r}: known are {', '.join(HERE)}, distributed N, "
                "distributed HOST:PORT, or the dotted path of a Dask cluster class"
            )
        if options and (kind in HERE or address):
            raise InputError(f"executor {text!r} takes no options, but got {', '.join(options)}")
        return cls(kind=kind, workers=count, address=address, options=dict(options or {}))

    @property
    def is_remote(self) -> bool:
        """Whether shards are made in other processes than the runner's."""
        return self.kind not in ("synchronous", "threads")

    def __str__(self) -> str:
        return f"{self.kind} {self.address or self.workers}"
