"""One tree of errors; every error says what it is about and what to do.

.. code-block:: text

    OrchardError
    ├── InputError (ValueError)     what the caller said cannot be meant
    │   ├── ConfigError             a configuration file: names the file and the key
    │   ├── GridError               a tile grid or an index outside its limits
    │   ├── CollectionError         an unknown collection, band or catalogue
    │   ├── FilterError             a filter that cannot be translated or applied
    │   ├── PeriodError             a period that is empty, reversed or of an unknown frequency
    │   └── TemplateError           a name template with an unknown key, or names that clash
    ├── OrderError                  an order as a whole
    │   ├── OrderExistsError        another order already has this name
    │   ├── OrderNotFoundError      there is no such order
    │   ├── EmptyOrderError         no image was found and the caller asked for an error
    │   └── NotReadyError           server.platform: a result that is not there (yet)
    ├── StoreError                  a store: names the key
    │   ├── NotFoundError           no such key
    │   ├── ConflictError           if-absent or if-match did not hold
    │   ├── AccessError             not allowed, or no credentials
    │   ├── ChecksumError           what arrived is not what was stored
    │   └── DiskFullError           delivery.transfer: no room for what is to be written
    ├── EngineError                 an engine or the catalogue behind it
    │   ├── CatalogError            a STAC catalogue or item that cannot be read
    │   ├── SceneError              one scene that cannot be read: names the scene
    │   ├── ShardCancelledError     engines.local.pixels: the work on a shard was called off
    │   ├── UnavailableError        engines.earthengine: the service cannot be reached
    │   ├── QueueFullError          engines.earthengine: the service takes no more exports now
    │   └── RefusedError            engines.earthengine: the service refuses a request for good
    ├── DataError                   a file's content
    │   ├── MetadataError           a document that is not what it should be
    │   ├── ShardError              a shard that is missing, foreign or broken
    │   └── ArchiveError            jobs: a result archive that is broken or must not be unpacked
    ├── PlatformError               jobs: a call to a job platform failed: names it, HTTP status
    │   ├── AuthenticationError     the credentials, or the token made of them, were refused
    │   ├── UnknownJobError         the platform knows no such job, jobtask or result
    │   └── TransferError           a download that broke off or is not what was announced
    ├── JobFailedError (ValueError) jobs: the job itself failed or was cancelled
    ├── MissingDependencyError (ImportError)   names the one pip line
    ├── PagesError                  the pages are not built: says how to build them
    └── BulkError (ExceptionGroup)  the failures of many independent pieces of work, each named

Those with a room before the colon are defined there, beside what raises them.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AccessError",
    "BulkError",
    "CatalogError",
    "ChecksumError",
    "CollectionError",
    "ConfigError",
    "ConflictError",
    "DataError",
    "EmptyOrderError",
    "EngineError",
    "FilterError",
    "GridError",
    "InputError",
    "MetadataError",
    "MissingDependencyError",
    "NotFoundError",
    "OrchardError",
    "OrderError",
    "OrderExistsError",
    "OrderNotFoundError",
    "PagesError",
    "PeriodError",
    "SceneError",
    "ShardError",
    "StoreError",
    "TemplateError",
]


class OrchardError(Exception):
    """Anything that Orchard raises on purpose."""


class InputError(OrchardError, ValueError):
    """What the caller said cannot be meant."""


class ConfigError(InputError):
    """A configuration file or one of its keys is wrong."""


class GridError(InputError):
    """A tile grid is wrong, or an index is outside its limits."""


class CollectionError(InputError):
    """An unknown collection, band or catalogue."""


class FilterError(InputError):
    """A filter that cannot be translated or applied."""


class PeriodError(InputError):
    """A period that is empty or reversed, or an unknown frequency."""


class TemplateError(InputError):
    """A name template with an unknown key, or one that gives the same name twice."""


class OrderError(OrchardError):
    """An order as a whole."""


class OrderExistsError(OrderError):
    """Another order already has this name."""


class OrderNotFoundError(OrderError):
    """There is no order of this name."""


class EmptyOrderError(OrderError):
    """No image was found, and the caller asked for an error in that case."""


class StoreError(OrchardError):
    """A store could not do what was asked.

    Parameters
    ----------
    message : str
        What happened and what to do.
    key : str, optional
        The key it happened to.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class NotFoundError(StoreError):
    """There is no object of this key."""


class ConflictError(StoreError):
    """``if_absent`` or ``if_match`` did not hold: somebody else wrote first."""


class AccessError(StoreError):
    """Not allowed, or credentials are missing."""


class ChecksumError(StoreError):
    """What arrived is not what was stored."""


class EngineError(OrchardError):
    """An engine, or the catalogue behind it."""


class CatalogError(EngineError):
    """A STAC catalogue or item that cannot be read."""


class SceneError(EngineError):
    """One scene that cannot be read.

    Parameters
    ----------
    message : str
        What happened.
    scene : str
        Id of the scene.
    transient : bool
        Whether trying again may help (a server that does not answer), unlike a broken file.
    """

    def __init__(self, message: str, *, scene: str, transient: bool = False) -> None:
        super().__init__(message)
        self.scene = scene
        self.transient = transient

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process."""
        return (_scene_error, (str(self), self.scene, self.transient))


def _scene_error(message: str, scene: str, transient: bool) -> SceneError:
    return SceneError(message, scene=scene, transient=transient)


class DataError(OrchardError):
    """The content of a file is not what it should be."""


class MetadataError(DataError):
    """A document that is not what it should be."""


class ShardError(DataError):
    """A shard that is missing, foreign or broken."""


class MissingDependencyError(OrchardError, ImportError):
    """An optional library is not installed.

    Parameters
    ----------
    library : str
        What is missing.
    extra : str
        The extra of Orchard that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: pip install 'orchard[{extra}]'")


class PagesError(OrchardError):
    """The scripts of the pages are not there: a checkout without Node.js."""


class BulkError(ExceptionGroup[Exception], OrchardError):
    """The failures of many independent pieces of work; the others were done.

    Parameters
    ----------
    message : str
        What was being done.
    exceptions : sequence of Exception
        One per failure.
    names : sequence of str
        What each failure is about, in the same order.
    """

    names: tuple[str, ...]
    partly: bool = True
    """Whether something was done; else all that was tried has failed."""

    def __new__(
        cls, message: str, exceptions: Sequence[Exception], names: Sequence[str] = ()
    ) -> Self:
        """Build from failures and what each is about."""
        self = super().__new__(cls, message, exceptions)
        self.names = tuple(names)
        return self

    @classmethod
    def of(
        cls, message: str, failures: Mapping[str, Exception], *, partly: bool = True
    ) -> BulkError:
        """Build from what failed, by name."""
        self = cls(message, list(failures.values()), list(failures))
        self.partly = partly
        return self

    def derive(self, excs: Sequence[Exception]) -> BulkError:  # type: ignore[override]
        """Keep the type when a group is split."""
        return BulkError(self.message, excs)

    def by_cause(self) -> dict[str, list[str]]:
        """Return the names by cause; in causes that names share, … stands for what bears them."""
        names = self.names or ("?",) * len(self.exceptions)
        found: dict[str, dict[str, str]] = {}
        for name, exc in zip(names, self.exceptions, strict=True):
            found.setdefault(_anonymous(str(exc), name), {})[name] = str(exc)
        return {
            cause if len(texts) > 1 else next(iter(texts.values())): list(texts)
            for cause, texts in found.items()
        }

    def __str__(self) -> str:
        lines = []
        for cause, names in self.by_cause().items():
            if len(names) > 1:
                lines += [f"  {cause} ({len(names):,})", *(f"    {name}" for name in names)]
            else:
                said = _bearer(names[0]).match(cause)
                lines.append(f"  {cause}" if said else f"  {names[0]}: {cause}")
        return "\n".join([f"{self.message} ({len(self.exceptions):,} failed)", *lines])


def _bearer(name: str) -> re.Pattern[str]:
    """Match a name, or a path that bears it."""
    return re.compile(rf"[^\s'\"(]*(?<!\w){re.escape(name)}(?!\w)[^\s'\",:;)]*")


def _anonymous(text: str, name: str) -> str:
    """Return what happened to something, with … for its name and for paths that bear it."""
    text = text.removeprefix(f"{name}: ")
    # What is about a file may name others of its kind.
    for part in (name, PurePath(name).stem) if "/" in name else (name,):
        text = _bearer(part).sub("…", text)
    return text
