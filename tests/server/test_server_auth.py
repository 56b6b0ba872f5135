"""Keys, tokens and links: what holds, what has expired, what was revoked, what was forged."""

from __future__ import annotations

import stat

import jwt
import pytest

from orchard.errors import EngineError, InputError
from orchard.server.auth import Auth, Busy, Link, create_project
from orchard.server.records import Records


@pytest.fixture
def records(tmp_path):
    found = Records(tmp_path / "platform.sqlite")
    yield found
    found.close()


def test_of_a_key_only_the_hash_is_kept(records):
    made = create_project(records, "maps", "Maps", "for maps")
    assert made.api_key not in repr(made.project)
    content = b"".join(path.read_bytes() for path in records.path.parent.iterdir())
    assert made.api_key.encode() not in content
    assert b"scrypt$" in content
    assert stat.S_IMODE(records.path.stat().st_mode) == 0o600


def test_two_keys_never_have_one_hash(records):
    first, second = (create_project(records, name) for name in ("a", "b"))
    assert first.api_key != second.api_key
    assert first.project.key_hash != second.project.key_hash


@pytest.mark.parametrize("bad", ["", "A", "a_b", "../a", "a" * 41, "-a", "a b", "é", "a\n"])
def test_ids_that_cannot_be_one(records, bad):
    with pytest.raises(InputError, match="cannot be the id of a project"):
        create_project(records, bad)


def test_a_token_is_its_projects(records):
    auth = Auth(records)
    made = create_project(records, "maps")
    token = auth.token("maps", made.api_key)
    assert auth.project_of(token).id == "maps"
    assert made.api_key not in token


@pytest.mark.parametrize("key", ["", "wrong", "orchard_", "\ud800", "x" * 10**6])
def test_a_wrong_key_gets_no_token(records, key):
    auth = Auth(records)
    create_project(records, "maps")
    assert auth.token("maps", key) is None
    assert auth.token("nobody", key) is None


def test_an_expired_token_is_nobodys(records):
    made = create_project(records, "maps")
    token = Auth(records, token_seconds=-10).token("maps", made.api_key)
    assert Auth(records).project_of(token) is None


def test_forged_tokens_are_nobodys(records):
    auth = Auth(records)
    made = create_project(records, "maps")
    right = auth.token("maps", made.api_key)
    claims = jwt.decode(right, options={"verify_signature": False})
    forged = [
        jwt.encode(claims, "another secret that is long enough", algorithm="HS256"),
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(
            {k: v for k, v in claims.items() if k != "exp"}, records.secret(), algorithm="HS256"
        ),
        right[:-3] + "AAA",
        right.split(".")[0],
        "",
        "a.b.c",
    ]
    assert [auth.project_of(token) for token in forged] == [None] * len(forged)


def test_revoking_ends_tokens_and_links_and_a_new_key_does_not_bring_them_back(records):
    auth = Auth(records)
    old = create_project(records, "maps")
    token = auth.token("maps", old.api_key)
    signed = auth.sign(Link(project="maps", job="J", block="ard"))
    assert auth.read_link(signed, is_open=True) == Link(project="maps", job="J", block="ard")
    assert records.revoke("maps")
    assert not records.revoke("maps")
    assert auth.project_of(token) is auth.read_link(signed, is_open=True) is None
    assert auth.token("maps", old.api_key) is None
    new = create_project(records, "maps")
    assert auth.project_of(token) is auth.read_link(signed, is_open=True) is None
    assert auth.token("maps", old.api_key) is None
    assert auth.token("maps", new.api_key)


def test_an_active_project_is_not_made_again(records):
    create_project(records, "maps")
    with pytest.raises(InputError, match="already a project"):
        create_project(records, "maps")


def test_links_expire_and_cannot_be_forged(records):
    auth = Auth(records)
    signed = auth.sign(Link(project="local", job="J", block="ard"))
    assert auth.read_link(signed, is_open=True).job == "J"
    for forged in (signed[:-2] + "xx", "x" + signed, "", "a.b.c", signed.replace(".", "")):
        assert auth.read_link(forged, is_open=True) is None
    assert auth.read_link(signed, is_open=False) is None  # there is a project by now
    with pytest.raises(TimeoutError):
        Auth(records, link_seconds=-1).read_link(signed, is_open=True)


def test_a_link_is_no_token_and_a_token_no_link(records):
    auth = Auth(records)
    made = create_project(records, "maps")
    assert auth.read_link(auth.token("maps", made.api_key), is_open=True) is None
    assert auth.project_of(auth.sign(Link(project="maps", job="J", block="ard"))) is None


def test_strangers_cannot_fill_the_memory_with_hashes(records):
    auth = Auth(records)
    while auth._hashing.acquire(blocking=False):
        pass
    with pytest.raises(Busy):
        auth.token("maps", "key")


def test_the_secret_survives_and_differs_between_platforms(records, tmp_path):
    again = Records(records.path)
    other = Records(tmp_path / "other" / "platform.sqlite")
    assert again.secret() == records.secret() != other.secret()
    again.close()
    other.close()


def test_a_file_of_a_newer_orchard_is_refused(records, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "new.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(EngineError, match="newer Orchard"):
        Records(tmp_path / "new.sqlite")
    (tmp_path / "broken.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(EngineError, match="cannot be opened"):
        Records(tmp_path / "broken.sqlite")
