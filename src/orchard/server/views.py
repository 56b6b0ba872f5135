"""A job as it is now: its task, its workflow, and what was recorded of its blocks (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .workflow import block_states, job_state, task_id, version_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchard.tracking import TaskStatus

    from .index import JobRef
    from .records import BlockRecord
    from .workflow import Workflow

__all__ = ["JobView"]


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job as it is now; ``active``: its blocks are made without being asked for."""

    ref: JobRef
    project: str
    name: str
    prefix: str
    status: TaskStatus
    workflow: Workflow
    records: Mapping[str, BlockRecord]
    submission: Mapping[str, Any]
    active: bool = True

    @property
    def id(self) -> str:
        """Its id: that of the task."""
        return self.ref.id

    @cached_property
    def states(self) -> list[str]:
        """The states of its blocks."""
        return block_states(self.status, self.workflow, self.records, active=self.active)

    @property
    def state(self) -> str:
        """Its state."""
        return job_state(self.states, active=self.active)

    @property
    def version(self) -> str:
        """Names the task's result, of which the blocks are made."""
        return version_of(self.status)

    def current(self, block: str) -> BlockRecord | None:
        """Return what is recorded of a block, unless that was made of an earlier result."""
        record = self.records.get(block)
        return record if record is not None and record.version == self.version else None

    def block_of(self, task: str) -> str | None:
        """Return the block of a jobtask's id; None: it is none of this job."""
        return next(
            (block for block in self.workflow.blocks if task_id(self.id, block) == task), None
        )

    @property
    def finished_ms(self) -> int:
        """When its last block ended; 0: not yet."""
        if self.state not in ("SUCCEEDED", "FAILED", "CANCELLED", "ERROR"):
            return 0
        ends = [record.finished_ms for record in self.records.values()]
        return max([self.status.update_timestamp_ms, *ends])
