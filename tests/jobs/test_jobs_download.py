"""Files from signed links: resumed, checked, and nothing left behind."""

from __future__ import annotations

import base64
import hashlib
import logging
import random

import pytest
from contract_server import Fault, Link

from orchard.jobs import PlatformError, TransferError
from orchard.jobs.download import download, expected_hash, expected_size

CONTENT = random.Random(6).randbytes(3_000_000)
MD5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
SHA = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()


@pytest.fixture
def link(server):
    server.archives["f"] = Link(CONTENT)

    def give() -> str:
        give.count += 1
        return f"{server.url}/signed/f?sig={server.signature}"

    give.count = 0
    return give


def ranges(server):
    return [headers.get("range") for _, path, headers in server.requests if "/signed/" in path]


def test_a_file_arrives_and_the_token_is_not_shown_to_the_store(client, server, link, tmp_path):
    seen = []
    size = download(client, link, tmp_path / "f", progress=lambda *args: seen.append(args))
    assert size == len(CONTENT)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert "authorization" not in server.requests[-1][2]
    assert server.requests[-1][2]["accept-encoding"] == "identity"


def test_no_log_shows_a_signed_link(client, server, link, tmp_path, caplog):
    """Also not those that it is redirected to, and not ours, which are signed in their path."""
    target = f"/signed/f?sig={server.signature}"
    with caplog.at_level(logging.INFO):
        for location in (f"{server.url}{target}", target):
            server.faults = [Fault("/signed/", status=302, headers={"Location": location})]
            download(client, link, tmp_path / "f")
        with pytest.raises(PlatformError, match=r"/downloads/…/f\.zip answered 401"):
            download(client, lambda: f"{server.url}/downloads/s3cret/f.zip", tmp_path / "g")
    assert (tmp_path / "f").read_bytes() == CONTENT
    said = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert len(said) == 5
    assert all(f"GET {server.url}/… " in text for text in said)
    assert "s3cret" not in caplog.text
    assert f"sig={server.signature}" not in caplog.text


def test_a_cut_download_goes_on_where_it_was_cut(client, server, link, tmp_path):
    server.faults = [Fault("/signed/", cut_after=1_000_000), Fault("/signed/", cut_after=500_000)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    first, second, third = ranges(server)
    assert first is None
    assert 0 < int(second[6:-1]) < int(third[6:-1]) <= 1_500_000
    assert server.requests[-1][2]["if-range"] == '"v1"'


def test_a_part_of_an_unknown_whole_is_taken_that_of_another_is_not(client, server, link, tmp_path):
    server.archives["f"] = Link(CONTENT, total="*")
    server.faults = [Fault("/signed/", cut_after=1_000_000)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(ranges(server)) == 2
    server.archives["f"] = Link(CONTENT, total="17")
    server.faults = [Fault("/signed/", cut_after=1_000_000)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert ranges(server)[-1] is None  # read anew


def test_cut_often_but_getting_on_is_no_failure(client, server, link, tmp_path):
    server.archives["f"] = Link(CONTENT * 4)
    server.faults = [Fault("/signed/", cut_after=1_200_000, times=8)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT * 4


def test_cut_often_without_getting_on_ends(client, server, link, tmp_path):
    server.faults = [Fault("/signed/", cut_after=1000, times=99)]
    with pytest.raises(PlatformError, match=r"/signed/f failed") as caught:
        download(client, link, tmp_path / "f")
    assert "sig=" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert len(ranges(server)) == 4


def test_a_store_without_ranges_is_read_anew(client, server, link, tmp_path):
    server.archives["f"] = Link(CONTENT, ranges=False)
    server.faults = [Fault("/signed/", cut_after=1_000_000)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_a_file_is_read_anew(client, server, link, tmp_path, etag):
    server.archives["f"] = Link(CONTENT, etag=etag)
    server.faults = [Fault("/signed/", cut_after=1_000_000)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert ranges(server) == [None, None]


def test_a_file_that_changes_meanwhile_is_read_anew(client, server, link, tmp_path):
    server.faults = [Fault("/signed/", cut_after=1_000_000)]
    changed = CONTENT[::-1]

    def progress(there, total):
        if there and server.archives["f"].content is CONTENT:
            server.archives["f"] = Link(changed, etag='"v2"')

    download(client, link, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == changed


def test_a_link_that_expires_is_asked_for_again(client, server, link, tmp_path):
    server.faults = [Fault("/signed/", cut_after=1_000_000)]

    def progress(there, total):
        server.signature = "s2"

    download(client, link, tmp_path / "f", progress=progress)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert link.count == 2


def test_a_link_that_never_worked_is_an_error(client, server, tmp_path):
    server.archives["f"] = Link(CONTENT)
    with pytest.raises(PlatformError, match="answered 403"):
        download(client, lambda: f"{server.url}/signed/f?sig=old", tmp_path / "f")
    with pytest.raises(PlatformError, match="answered 401"):
        download(client, lambda: "/nowhere", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "nonsense://"])
def test_a_link_that_is_not_http_is_refused(client, tmp_path, url):
    with pytest.raises(PlatformError, match="leads nowhere"):
        download(client, lambda: url, tmp_path / "f")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-goog-hash": f"crc32c=AAAAAA==, md5={MD5}"},
        {"Content-MD5": MD5},
        {"Digest": f"SHA-256={SHA}"},
        {"Repr-Digest": f"sha-256=:{SHA}:"},
        {"x-goog-stored-content-length": str(len(CONTENT))},
    ],
)
def test_what_is_announced_is_checked_also_across_a_cut(client, server, link, tmp_path, headers):
    server.archives["f"] = Link(CONTENT, headers=headers)
    server.faults = [Fault("/signed/", cut_after=1_000_000)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Content-MD5": base64.b64encode(b"x" * 16).decode()}, "the md5 is not the announced one"),
        ({"Repr-Digest": f"sha-256=:{SHA}:, md5=:{MD5}:"}, None),
        ({"x-goog-stored-content-length": "3000001"}, "gave 3000000 bytes instead of 3000001"),
    ],
)
def test_what_does_not_hold_is_read_once_more_then_told(
    client, server, link, tmp_path, headers, message
):
    server.archives["f"] = Link(CONTENT, headers=headers)
    if message is None:
        download(client, link, tmp_path / "f")
        return
    with pytest.raises(TransferError, match=message):
        download(client, link, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []
    assert len(ranges(server)) == 2


@pytest.mark.parametrize("announce", [len(CONTENT) + 10, len(CONTENT) - 10])
def test_a_wrong_length_is_noticed(client, server, link, tmp_path, announce):
    server.archives["f"] = Link(CONTENT, headers={"Content-MD5": MD5}, ranges=False)
    server.faults = [Fault("/signed/", announce=announce)]
    download(client, link, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_headers_that_say_nothing():
    assert expected_size({}) is None
    assert expected_size({"content-range": "bytes 5-9/*"}, partial=True) is None
    assert expected_size({"content-range": "bytes 5-9/10"}, partial=True) == 10
    assert expected_hash({"digest": "sha-256=not base64!", "content-md5": "AAAA"}) is None
    assert expected_hash({}) is None
