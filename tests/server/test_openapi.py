"""schemathesis over the OpenAPI document: no 5xx, no answer without authority, none undocumented."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def ours(keyed):
    config = schemathesis.Config()
    config.update(suppress_health_check=["all"])
    loaded = schemathesis.openapi.from_dict(keyed.app.openapi(), config=config)
    loaded.config.update(base_url=keyed.url)
    return loaded


schema = schemathesis.pytest.from_fixture("ours")


@schema.exclude(path="/events").parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_calls_with_a_token(case, keyed):
    known = {
        "project_id": "ours",
        "job_id": keyed.jobs[0],
        "task": f"{keyed.jobs[0]}-preard",
    }
    # Half of the cases reach beyond the first 404: their ids are real ones.
    if case.path_parameters and hash(str(case.path_parameters)) % 2:
        case.path_parameters.update({k: v for k, v in known.items() if k in case.path_parameters})
    if case.path == "/oauth/token":
        case.call_and_validate(checks=_CHECKS)
    else:
        headers = {"Authorization": f"Bearer {keyed.tokens['ours']}"}
        case.call_and_validate(headers=headers, checks=_CHECKS, timeout=30)


@schema.exclude(path="/oauth/token").parametrize()
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_calls_without_a_token(case, keyed):
    case.headers.pop("Authorization", None)
    answer = case.call(timeout=30)
    assert 400 <= answer.status_code < 500, (case.method, case.path, answer.status_code)


@schema.exclude(path="/events").parametrize()
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_call_ignores_its_authority(case, keyed):
    if case.path.startswith("/projects"):
        case.path_parameters["project_id"] = "ours"
        headers = {"Authorization": f"Bearer {keyed.tokens['ours']}"}
        case.call_and_validate(headers=headers, checks=[ignored_auth], timeout=30)
