"""The one HTTP client against a server that misbehaves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from contract_server import PROJECT, ContractServer, Fault
from hypothesis import given
from hypothesis import strategies as st

from orchard.errors import InputError, OrchardError
from orchard.jobs import AuthenticationError, PlatformError, Retries, UnknownJobError
from orchard.jobs.http import PlatformClient
from orchard.jobs.names import check_id, quicklook_name, url_path
from orchard.jobs.retries import retry_after

JOB = f"projects/{PROJECT}/jobs/j1"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_the_token_is_asked_for_once(client, server):
    assert client.data(JOB)["id"] == "j1"
    assert client.data(JOB)["name"] == "name of j1"
    assert server.token_count == 1
    assert server.requests[-1][2]["authorization"] == "Bearer token-1"


@pytest.mark.parametrize("shape", [("data",), ("access_token",)])
def test_the_token_may_be_given_once_only(client, server, shape):
    server.token_shape = shape
    assert client.data(JOB)["id"] == "j1"


def test_a_reply_without_token_is_refused(client, server):
    server.token_shape = ()
    with pytest.raises(AuthenticationError, match="without a token"):
        client.data(JOB)


def test_an_expired_token_is_renewed_once(client, server):
    client.data(JOB)
    server.tokens = {"another"}
    assert client.data(JOB)["id"] == "j1"
    assert server.token_count == 2


def test_a_renewed_token_that_is_refused_too_is_an_error(client, server):
    server.faults = [Fault("/jobs/", status=401, times=9)]
    with pytest.raises(AuthenticationError) as caught:
        client.data(JOB)
    assert caught.value.status == 401
    assert server.count("/jobs/") == 2
    assert server.token_count == 2


def test_many_threads_renew_one_token(client, server):
    client.data(JOB)
    server.tokens = set()
    with ThreadPoolExecutor(8) as pool:
        assert {info["id"] for info in pool.map(client.data, [JOB] * 40)} == {"j1"}
    assert server.token_count == 2


def test_wrong_credentials_are_told(server, waits):
    client = PlatformClient(server.url, project_id=PROJECT, api_key="wrong", sleep=waits.append)
    with pytest.raises(AuthenticationError, match="refused the credentials of project 'p-1'") as e:
        client.check()
    assert "wrong" not in str(e.value)
    client.close()
    assert waits == []


def test_without_a_key_no_token_is_sent(server):
    client = PlatformClient(server.url)
    with pytest.raises(AuthenticationError):
        client.data(JOB)
    client.close()
    assert server.token_count == 0
    assert "authorization" not in server.requests[-1][2]


def test_429_is_tried_again_after_the_time_asked_for(client, server, waits):
    server.faults = [Fault("/jobs/", status=429, headers={"Retry-After": "7"})]
    assert client.data(JOB)["id"] == "j1"
    assert waits == [7.0]


def test_429_that_asks_for_too_long_is_told_at_once(client, server, waits):
    server.faults = [Fault("/jobs/", status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(PlatformError, match="come back in 3600 s") as caught:
        client.data(JOB)
    assert caught.value.status == 429
    assert waits == []


def test_429_without_end_ends(client, server, waits):
    server.faults = [Fault("/jobs/", status=429, times=99)]
    with pytest.raises(PlatformError, match="answered 429"):
        client.data(JOB)
    assert server.count("/jobs/") == 4
    assert len(waits) == 3
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_burst_of_server_errors_passes(client, server, status):
    server.faults = [Fault("/jobs/", status=status, times=3), Fault("/oauth", status=503)]
    assert client.data(JOB)["id"] == "j1"


def test_a_cut_connection_is_tried_again(client, server):
    server.faults = [Fault("/jobs/", times=2)]
    assert client.data(JOB)["id"] == "j1"


def test_a_body_shorter_than_announced_is_tried_again(client, server):
    server.faults = [Fault("/jobs/", announce=50)]
    assert client.data(JOB)["id"] == "j1"
    assert server.count("/jobs/") == 2


def test_a_missing_job_is_told_with_the_platforms_words(client):
    with pytest.raises(UnknownJobError, match="jobs/nope answered 404: Job not found") as caught:
        client.data(f"projects/{PROJECT}/jobs/nope")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"<html>hello</html>", "text/html", "instead of JSON"),
        (b'{"data": ', "application/json", "instead of JSON"),
        (b"[1]", "application/json", "without data"),
        (b'{"error": {"code": 1, "message": "no"}, "data": null}', "a/b", "with an error"),
    ],
)
def test_an_answer_that_is_none_is_told(client, server, body, kind, message):
    server.faults = [Fault("/jobs/", status=200, body=body, headers={"Content-Type": kind})]
    with pytest.raises(PlatformError, match=message):
        client.data(JOB)


def test_no_error_of_the_http_library_leaks(waits):
    closed = ContractServer()
    closed.close()
    client = PlatformClient(closed.url, sleep=waits.append, retries=Retries(attempts=2))
    with pytest.raises(PlatformError, match="is the platform up") as caught:
        client.data(JOB)
    assert caught.value.status is None
    assert isinstance(caught.value, OrchardError)
    client.close()


@pytest.mark.parametrize(
    "url",
    ["ftp://host", "nonsense", "http://", "http://user:pw@host", "http://host?a=1", "http:///p"],
)
def test_a_base_url_that_is_none_is_refused(url):
    with pytest.raises(InputError) as caught:
        PlatformClient(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
        ("-3", None),
        ("Fri, 20 Nov 2026 12:00:09 -0000", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value, seconds):
    assert retry_after(value, NOW) == seconds


@given(
    attempts=st.integers(1, 12),
    first=st.floats(0.01, 5),
    total=st.floats(0, 300),
    asked=st.lists(st.none() | st.floats(0, 100), min_size=12, max_size=12),
    jitter=st.floats(0.5, 1),
)
def test_patience_is_bounded(attempts, first, total, asked, jitter):
    policy = Retries(attempts=attempts, first=first, total=total)
    waited, tries = 0.0, 1
    while (
        pause := policy.wait(tries, waited=waited, asked=asked[tries - 1], jitter=jitter)
    ) is not None:
        assert pause >= (asked[tries - 1] or 0)
        waited, tries = waited + pause, tries + 1
    assert tries <= attempts
    assert waited <= total


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 300, " "])
def test_ids_that_would_leave_their_place_are_refused(bad):
    with pytest.raises(InputError, match="cannot be the id of a job"):
        check_id(bad, "job")


@given(st.text(min_size=1))
def test_an_id_is_one_part_of_a_url(text):
    path = url_path("jobs", text)
    assert path.count("/") == 1
    assert not set(path) & set("?#% ") - {"%"}


@pytest.mark.parametrize(
    ("name", "kind", "head", "file"),
    [
        ("a_quicklook.png", "image/jpeg", b"", "quicklook_a_quicklook.png"),
        ("16e18e15", "image/jpeg", b"", "quicklook_16e18e15.jpg"),
        ("16e18e15", "image/png; charset=x", b"", "quicklook_16e18e15.png"),
        ("S2A.SAFE", "image/tiff", b"", "quicklook_S2A.SAFE.tif"),
        ("a", "application/octet-stream", b"\x89PNG\r\n\x1a\n", "quicklook_a.png"),
        ("a", "", b"\xff\xd8\xff\xe0", "quicklook_a.jpg"),
        ("a", "", b"????", "quicklook_a"),
    ],
)
def test_a_quicklook_gets_the_suffix_of_its_type(name, kind, head, file):
    assert quicklook_name(name, kind, head) == file
