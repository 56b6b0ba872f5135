"""Fixtures for all tests that need a store's server: each is started once, when first asked for.

A conftest takes them with ``from fixtures import *``.
"""

from __future__ import annotations

import os
import re

import pytest
import servers
from drive_server import drive_server

from orchard.stores import open_store

__all__ = ["azure", "drive", "fresh", "gcs", "no_foreign_credentials", "s3"]


@pytest.fixture(autouse=True)
def no_foreign_credentials(monkeypatch, tmp_path):
    """Tests never see, and so never use, the credentials of whoever runs them."""
    for name in list(os.environ):
        if re.match(r"(AWS|AZURE|GOOGLE)_|STORAGE_EMULATOR_HOST", name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no config"))


@pytest.fixture(scope="session")
def s3():
    with servers.s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs():
    with servers.gcs_server() as server:
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory):
    reason = servers.azurite_missing()
    if reason:
        pytest.skip(reason)
    with servers.azure_server(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def drive():
    """An empty Drive: a (server, drive) pair."""
    pytest.importorskip("googleapiclient", reason="needs the extra gdrive")
    with drive_server() as pair:
        yield pair


@pytest.fixture
def fresh(tmp_path):
    """Open an empty store in a server's bucket: each test has a prefix of its own."""
    prefix = re.sub(r"\W", "-", f"{tmp_path.parent.name}-{tmp_path.name}")

    def open_fresh(server, **options):
        return open_store(f"{server.url}/{prefix}", **(server.options | options))

    return open_fresh
