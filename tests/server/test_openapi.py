"""schemathesis over the OpenAPI document: no 5xx, nothing without authority or undocumented."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
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


def each(keyed, examples):
    """Run a function on generated cases of every call, right and wrong ones."""
    schema = schemathesis.openapi.from_dict(keyed.app.openapi())
    schema.config.update(base_url=keyed.url)

    def run(test):
        names = []
        for found in schema.get_all_operations():
            operation = found.ok()
            names.append(operation.label)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                cases = operation.as_strategy(generation_mode=mode)
                limited = settings(
                    max_examples=examples,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                )
                try:
                    limited(given(case=cases)(test))()
                except schemathesis.errors.InvalidSchema:
                    raise
                except Exception as error:
                    if type(error).__name__ not in ("Unsatisfiable", "SkipTest"):
                        raise AssertionError(f"{operation.label} ({mode}): {error}") from error
        return names

    return run


def with_real_ids(case, keyed):
    """Let half of the cases reach beyond the first 404."""
    known = {"project_id": "ours", "job_id": keyed.jobs[0], "task": f"{keyed.jobs[0]}-preard"}
    if case.path_parameters and len(str(case.path_parameters)) % 2:
        given = {key: known[key] for key in case.path_parameters if key in known}
        case.path_parameters.update(given)


def test_calls_with_a_token(keyed):
    def call(case):
        if case.path == "/events":  # without end
            return
        with_real_ids(case, keyed)
        headers = {"Authorization": f"Bearer {keyed.tokens['ours']}"}
        own = {} if case.path == "/oauth/token" else {"headers": headers}
        case.call_and_validate(checks=_CHECKS, timeout=30, **own)

    assert len(each(keyed, 4)(call)) > 12


def test_calls_without_a_token(keyed):
    def call(case):
        with_real_ids(case, keyed)
        case.headers.pop("Authorization", None)
        answer = case.call(timeout=30)
        assert 400 <= answer.status_code < 500, answer.status_code

    each(keyed, 2)(call)


def test_no_call_ignores_its_authority(keyed):
    def call(case):
        if not case.path.startswith("/projects"):
            return
        case.path_parameters["project_id"] = "ours"
        headers = {"Authorization": f"Bearer {keyed.tokens['ours']}"}
        case.call_and_validate(headers=headers, checks=[ignored_auth], timeout=30)

    each(keyed, 1)(call)


def test_the_document_says_which_calls_need_a_token(keyed):
    for path, methods in keyed.app.openapi()["paths"].items():
        for call in methods.values():
            secured = {name for entry in call.get("security", ()) for name in entry}
            wanted = set() if path.startswith("/downloads") else {"HTTPBearer"}
            assert secured == ({"HTTPBasic"} if path.startswith("/oauth") else wanted), path


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/health"])
def test_what_anybody_may_see(keyed, path):
    with keyed.client() as client:
        assert client.get(path).status_code == 200
