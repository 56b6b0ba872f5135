"""The log of a block: what the ledger and the platform recorded of it, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .workflow import PREARD, text_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchard.stores import Store

    from .platform import Platform
    from .views import JobView

__all__ = ["block_log"]


class _Ledger(Protocol):
    def events(self, key: str) -> Sequence[Any]: ...


@runtime_checkable
class _HasLedger(Protocol):
    """An engine whose ledger tells what happened to a task."""

    def ledger(self, store: Store) -> _Ledger: ...


def block_log(platform: Platform, view: JobView, block: str) -> str:
    """Return the log of one block of a job, oldest line first; times are UTC."""
    lines = [*(_task_lines(platform, view) if block == PREARD else ()), *_block_lines(view, block)]
    return "".join(f"{at or '-'} {text}\n" for at, text in lines)


def _task_lines(platform: Platform, view: JobView) -> Iterator[tuple[str | None, str]]:
    engine = platform.engine
    status = view.status
    if isinstance(engine, _HasLedger):
        for event in engine.ledger(platform.store).events(view.id):
            # Which process of which machine did it is nobody's business out there.
            detail = (event.detail or "").partition(" by ")[0]
            yield text_time(event.at_ms), f"{event.event}: {detail}" if detail else event.event
    else:
        yield text_time(status.creation_timestamp_ms), "recorded"
        if status.start_timestamp_ms:
            yield text_time(status.start_timestamp_ms), f"started: attempt {status.attempt}"
    if status.error_message:
        yield text_time(status.update_timestamp_ms), f"{status.state}: {status.error_message}"


def _block_lines(view: JobView, block: str) -> Iterator[tuple[str | None, str]]:
    record = view.current(block)
    if record is None:
        return
    if record.started_ms:
        yield text_time(record.started_ms), f"block {block} started: attempt {record.attempt}"
    if record.finished_ms:
        cause = f": {record.error}" if record.error else ""
        yield text_time(record.finished_ms), f"block {block} {record.state}{cause}"
