"""A job's workflow and its words: blocks, states, what is asked for (pure)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchard.composite import INDICES, check_formula
from orchard.errors import InputError
from orchard.tracking import State, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .records import BlockRecord

__all__ = [
    "ARD",
    "COMPOSITE",
    "INDEX",
    "PREARD",
    "Composite",
    "Index",
    "Workflow",
    "block_states",
    "job_state",
    "task_id",
    "text_time",
    "version_of",
]

PREARD, ARD, COMPOSITE, INDEX = "preard", "ard", "composite", "index"

_STATES = {
    State.UNSUBMITTED: "NOT STARTED",
    State.READY: "PENDING",
    State.RUNNING: "RUNNING",
    State.COMPLETED: "SUCCEEDED",
    State.EMPTY: "SUCCEEDED",
    State.FAILED: "FAILED",
    State.CANCEL_REQUESTED: "CANCELLING",
    State.CANCELLED: "CANCELLED",
    State.LOST: "ERROR",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Composite(_Part):
    """One picture of the whole period."""

    method: Literal["median", "best"] = Field(
        default="median",
        description="median of the clear pixels, or the pixel of the clearest acquisition",
    )


class Index(_Part):
    """An index of the composite if there is one, else of every acquisition."""

    name: str = Field(
        default="index",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$",
        description=f"{', '.join(INDICES)}; with a formula, any name",
    )
    formula: str | None = Field(
        default=None,
        max_length=500,
        description="Band names, numbers, + - * / **, comparisons, abs, sqrt, log, exp, where, "
        "minimum, maximum; bands are physical numbers (reflectance)",
    )

    @model_validator(mode="after")
    def _check(self) -> Index:
        if self.formula is None and self.name.upper() not in INDICES:
            raise ValueError(
                f"the index {self.name!r} is not known ({', '.join(INDICES)}): give its formula"
            )
        if self.formula is not None:
            try:
                check_formula(self.formula)
            except InputError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def expression(self) -> str:
        """The formula."""
        return self.formula if self.formula is not None else INDICES[self.name.upper()]


class Workflow(_Part):
    """What is made of every task beside its pre-ARD image and its cube."""

    composite: Composite | None = None
    index: Index | None = None

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks, in their order; each is made of the one before."""
        more = ((COMPOSITE, self.composite), (INDEX, self.index))
        return (PREARD, ARD, *(name for name, wanted in more if wanted is not None))

    @property
    def name(self) -> str:
        """A name for people."""
        return "+".join(self.blocks)

    @property
    def id(self) -> str:
        """The same for the same workflow."""
        content = orjson.dumps(self.model_dump(), option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(content, digest_size=8).hexdigest()


def task_id(job: str, block: str) -> str:
    """Return the id of a jobtask: one block of one job."""
    return f"{job}-{block}"


def version_of(status: TaskStatus) -> str:
    """Name a task's result; blocks that were made of another are out of date."""
    # The time, too: a task that was cleaned and made anew has other files of the same content.
    content = [status.update_timestamp_ms, [file.to_dict() for file in status.files]]
    return hashlib.blake2b(orjson.dumps(content), digest_size=8).hexdigest()


def block_states(
    status: TaskStatus,
    workflow: Workflow,
    records: Mapping[str, BlockRecord],
    *,
    active: bool = True,
) -> list[str]:
    """Return the state of each block, in the platform's words.

    Parameters
    ----------
    status : TaskStatus
        Of the task.
    workflow : Workflow
    records : mapping of str to BlockRecord
        What was recorded of the job's blocks.
    active : bool
        Whether somebody makes the blocks of this job; else they wait until they are asked for.
    """
    if status.state is State.EMPTY:
        return ["SUCCEEDED"] * len(workflow.blocks)
    if status.state is not State.COMPLETED:
        rest = "CANCELLED" if status.state is State.CANCELLED else "NOT STARTED"
        return [_STATES[status.state], *[rest] * (len(workflow.blocks) - 1)]
    version, states = version_of(status), []
    for block in workflow.blocks:
        record = records.get(block)
        states.append(record.state if record and record.version == version else "PENDING")
    if active and states[0] == "PENDING":
        states[0] = "RUNNING"  # the image is there, its features and quicklooks are not yet
    return states


def job_state(states: Sequence[str], *, active: bool = True) -> str:
    """Return a job's state from those of its blocks: the first that has not succeeded decides.

    A job runs also between two blocks, while it is `active`: see `block_states`.
    """
    first = next((state for state in states if state != "SUCCEEDED"), "SUCCEEDED")
    begun = active and states[0] == "SUCCEEDED"
    return "RUNNING" if begun and first in ("PENDING", "NOT STARTED") else first


def text_time(ms: int) -> str | None:
    """Return epoch milliseconds as ISO 8601 in UTC; None for 0."""
    if not ms:
        return None
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
