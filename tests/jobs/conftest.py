"""A platform to talk to, and a session with it that never really waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from contract_server import KEY, PROJECT, ContractServer

from orchard.jobs import Retries, Session, session
from orchard.jobs.http import PlatformClient

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[ContractServer]:
    found = ContractServer()
    found.add_job(
        "j1",
        {"id": "t1", "name": "first", "status": "SUCCESSFULL", "block": {"name": "preard"}},
        {"id": "t2"},  # a platform may leave out nearly everything
        mode="DEFAULT",
    )
    yield found
    found.close()


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the client wanted to wait."""
    return []


@pytest.fixture
def client(server: ContractServer, waits: list[float]) -> Iterator[PlatformClient]:
    found = PlatformClient(
        server.url,
        project_id=PROJECT,
        api_key=KEY,
        timeout=5,
        retries=Retries(attempts=4, first=1.0, total=60),
        sleep=waits.append,
    )
    yield found
    found.close()


@pytest.fixture
def logged_in(client: PlatformClient, monkeypatch: pytest.MonkeyPatch) -> Session:
    """The session that `initialize_job` and its kin use."""
    found = Session(project_id=PROJECT, client=client)
    monkeypatch.setattr(session, "_default", found)
    return found
