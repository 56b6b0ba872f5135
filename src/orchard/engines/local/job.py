"""A claimed task on its way: its shards, what became of them, and what is left to do."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchard.preard import expected_files

from .amend import amended_document, amended_spec
from .failures import Failure, Kind
from .parts import merged
from .pixels import Creation, ShardCancelledError
from .publish import publish_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchard.preard import Window
    from orchard.stores import ObjectInfo
    from orchard.tracking import FileInfo

    from .ledger import Claim, Ledger
    from .pools import Handle
    from .publish import Place

__all__ = ["Job", "Prepared", "prepare"]

_ORDER = (Kind.FINAL, Kind.SCENE, Kind.MEMORY, Kind.TRANSIENT)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is known of a task before its shards are made.

    ``there`` are image files of earlier attempts.
    """

    spec: dict[str, Any]
    there: dict[str, ObjectInfo]


@dataclass(kw_only=True)
class Job:
    """A claimed task. Only the runner's own thread changes it, but for `stop`.

    Parameters
    ----------
    claim : Claim
    place : Place
        Where its files go.
    spec : dict, optional
        Its specification, once it is prepared.
    shards : dict of str to Window
        All its files.
    there : dict of str to ObjectInfo
        Files that were there before.
    handles : dict of str to Handle
        The shards that are being made.
    files : dict of str to FileInfo
        Those that are made.
    errands : int
        How many things are being done with the store.
    """

    claim: Claim
    place: Place
    spec: dict[str, Any] | None = None
    shards: dict[str, Window] = field(default_factory=dict)
    there: dict[str, ObjectInfo] = field(default_factory=dict)
    handles: dict[str, Handle] = field(default_factory=dict)
    files: dict[str, FileInfo] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    errands: int = 0
    losses: int = 0
    needs_tidying: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin(self, prepared: Prepared) -> None:
        """Take note of what is to be made, and of what is made already."""
        self.spec, self.there = prepared.spec, prepared.there
        size = tuple(prepared.spec["tile"]["size"])
        self.shards = expected_files(self.claim.name, size, prepared.spec["file_dimensions"])
        self.files = {
            file.name: file
            for file in self.claim.files
            if file.name in self.shards and self._has(file)
        }
        self.needs_tidying = not self.there.keys() <= self.shards.keys()

    def _has(self, file: FileInfo) -> bool:
        there = self.there.get(file.name)
        return there is not None and there.size == file.size

    def stop(self) -> None:
        """Stop what is being made; may be called by any thread, again and again."""
        if not self.stopping.is_set():
            self.stopping.set()
            for handle in list(self.handles.values()):
                handle.stop()

    def fail(self, failure: Failure) -> None:
        """Take note of a failure; the other shards are not worth the work any more."""
        self.failures.append(failure)
        self.stop()

    @property
    def worst(self) -> Failure:
        """The failure that decides: what cannot be mended, before what can."""
        return min(self.failures, key=lambda failure: _ORDER.index(failure.kind))

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is on its way."""
        return not self.handles and not self.errands

    @property
    def is_made(self) -> bool:
        """Whether all its files are in the store."""
        return bool(self.shards) and len(self.files) == len(self.shards)

    @property
    def part_made(self) -> float:
        """Which part of it is made, from 0 to 1."""
        return len(self.files) / len(self.shards) if self.shards else 0.0

    @property
    def blocksize(self) -> int:
        """Block size of its files."""
        return Creation.of((self.spec or {}).get("creation", {})).blocksize

    def has_scenes_without(self, scenes: set[str]) -> bool:
        """Whether any scene is left when these are left out."""
        days = self.spec["acquisitions"] if self.spec else []
        return any(scene["id"] not in scenes for _, there in days for scene in there)

    def look_again(self, ledger: Ledger) -> None:
        """Find out which files are there now, for as long as the task is still ours.

        Raises
        ------
        ShardCancelledError
            It is not: whoever has it now made those files.
        """
        self.there = self.place.files()
        # In this order: what another holder puts from now on changes the ETag.
        if not ledger.holds(self.claim):
            self.stop()
            raise ShardCancelledError("another runner has taken the task over")

    def tidy(self, ledger: Ledger) -> None:
        """Remove what an earlier attempt has made in another layout; raises as `look_again`."""
        self.look_again(ledger)
        for file in self.there:
            if file not in self.shards:
                self.place.store.delete(self.place.key(file))


def prepare(job: Job, ledger: Ledger) -> Prepared:
    """Publish the image metadata, and look for files of earlier attempts.

    Raises
    ------
    OrderExistsError
        The image belongs to another order.
    ShardCancelledError
        The task is not ours any more.
    StoreError
    """
    claim = job.claim
    spec, document = specification(ledger.spec(claim))
    document = amended_document(document, claim.amended)
    is_new = publish_metadata(job.place, document)
    there = {} if is_new and claim.attempt == 1 else job.place.files()
    if not ledger.holds(claim):
        job.stop()
        raise ShardCancelledError("another runner has taken the task over")
    return Prepared(spec=amended_spec(spec, claim.amended), there=there)


def specification(recorded: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put together what the ledger keeps in parts: the specification and the image metadata."""
    spec = {**recorded["alike"], **recorded}
    changes = recorded["document"]
    image = {**changes.get("image", {}), "images": recorded["images"]}
    document = merged(
        recorded["alike"]["document"], {**changes, "tile": recorded["tile"], "image": image}
    )
    for key in ("alike", "document", "images"):
        del spec[key]
    return spec, document
