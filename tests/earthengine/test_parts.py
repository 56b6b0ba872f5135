"""The decisions, one by one: listings, verdicts, parts, the ledger, credentials."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchard.engines import Engine, open_engine
from orchard.engines.earthengine import EarthEngine, ledger_path, login, resolve_credentials
from orchard.engines.earthengine.ledger import Ledger
from orchard.engines.earthengine.lifecycle import Action, Part, PartState, judge, observe
from orchard.engines.earthengine.operations import Operation, PartId, list_operations
from orchard.engines.earthengine.spec import PartSpec
from orchard.engines.earthengine.splitting import (
    Limits,
    dates_per_file,
    expression_size,
    first_generation,
    n_parts,
    next_generation,
    split_dimensions,
)
from orchard.errors import EngineError, InputError
from orchard.preard import Window, date_groups, expected_files, layout, parse_shard_name
from orchard.tracking import State

# Listings


def _json(number, state="RUNNING", part=None, **metadata):
    description = part.describe("ORDER") if part else "somebody else's"
    return {
        "name": f"projects/p/operations/{number}",
        "metadata": {"state": state, "description": description, **metadata},
    }


class Pages:
    def __init__(self, *pages):
        self.pages = pages
        self.asked = 0

    def __iter__(self):
        for page in self.pages:
            self.asked += 1
            yield page


A, B = PartId(key="AAA"), PartId(key="BBB", generation=1, number=2, attempt=3)


def test_a_listing_stops_when_all_was_seen():
    pages = Pages([_json(3, part=B)], [_json(2, part=A)], [_json(1)])
    listing = list_operations(pages, parts={A, B}, ids=set())
    assert pages.asked == 2
    assert not listing.complete
    assert listing.parts.keys() == {A, B}
    assert listing.of_key("BBB")[0].id == "3"


def test_it_goes_on_while_tasks_wait():
    pages = Pages([_json(4, "PENDING")], [_json(3, "PENDING", part=A)], [_json(2)], [_json(1)])
    listing = list_operations(pages, parts=set(), ids=set(), count_pending=True)
    assert pages.asked == 3
    assert listing.pending == 2


def test_it_is_complete_when_something_is_missing():
    pages = Pages([_json(2)], [_json(1, part=B)])
    listing = list_operations(pages, parts={A}, ids={"2"})
    assert listing.complete
    assert A not in listing.parts
    assert list_operations(pages).by_id.keys() == {"1", "2"}


def test_of_two_operations_the_one_that_is_further_counts():
    pages = Pages([_json(2, "FAILED", part=A), _json(1, "SUCCEEDED", part=A)])
    assert list_operations(pages).parts[A].id == "1"


def test_reading_an_operation():
    operation = Operation.from_json(
        {
            **_json(
                7,
                "FAILED",
                A,
                createTime="2024-01-01T00:00:01Z",
                startTime="1970-01-01T00:00:00Z",
                updateTime="2024-01-01T00:00:02.5Z",
                destinationUris=["u"],
                attempt=2,
                batchEecuUsageSeconds=3.5,
                priority=100,
                type="EXPORT_IMAGE",
            ),
            "error": {"code": 3, "message": "no"},
        }
    )
    assert (operation.id, operation.state, operation.error) == ("7", State.FAILED, "no")
    assert (operation.created_ms, operation.started_ms) == (1704067201000, 0)
    assert operation.updated_ms == 1704067202500
    assert (operation.uris, operation.attempt, operation.eecu_seconds) == (("u",), 2, 3.5)
    assert operation.order == "ORDER"
    # A state that we have never heard of is none that has ended.
    assert Operation.from_json(_json(1, "PAUSED")).state is State.RUNNING


# Verdicts


def _parts(*states, error=None, generation=0, attempt=0):
    return [
        Part(
            id=PartId(key="K", generation=generation, number=n, attempt=attempt),
            state=PartState(state),
            error=error,
        )
        for n, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("states", "action", "state"),
    [
        (["WAITING"], Action.WAIT, State.READY),
        (["INTENDED"], Action.WAIT, State.READY),
        (["READY", "RUNNING"], Action.WAIT, State.RUNNING),
        (["READY", "COMPLETED"], Action.WAIT, State.RUNNING),
        (["COMPLETED", "COMPLETED"], Action.VERIFY, State.RUNNING),
        (["COMPLETED", "LOST"], Action.VERIFY, State.RUNNING),
        (["CANCEL_REQUESTED"], Action.WAIT, State.CANCEL_REQUESTED),
        (["CANCELLED"], Action.CANCEL, State.CANCELLED),
        (["CANCELLED", "RUNNING"], Action.WAIT, State.CANCEL_REQUESTED),
    ],
)
def test_verdicts(states, action, state):
    verdict = judge(_parts(*states))
    assert (verdict.action, verdict.state) == (action, state)


@pytest.mark.parametrize(
    ("error", "generation", "attempt", "action"),
    [
        ("User memory limit exceeded.", 0, 0, Action.SPLIT),
        ("Computation timed out.", 2, 0, Action.SPLIT),
        ("Computation timed out.", 3, 0, Action.FAIL),
        ("An internal error has occurred", 0, 1, Action.REPEAT),
        ("An internal error has occurred", 0, 2, Action.FAIL),
        ("Invalid number of arguments", 0, 0, Action.FAIL),
    ],
)
def test_failures(error, generation, attempt, action):
    parts = _parts("FAILED", "RUNNING", error=error, generation=generation, attempt=attempt)
    assert judge(parts).action is action


def test_what_is_cancelled_may_still_be_done():
    assert judge(_parts("COMPLETED"), cancelling=True).action is Action.VERIFY
    assert judge(_parts("RUNNING"), cancelling=True).state is State.CANCEL_REQUESTED


def test_the_next_attempt_is_another_export():
    part = observe(
        Part(id=PartId(key="K", attempt=1)),
        Operation(id="x", state=State.FAILED, eecu_seconds=3.0, error="e"),
    )
    again = part.again()
    assert again.id.request_id != part.id.request_id
    assert (again.state, again.operation, again.error) == (PartState.WAITING, "", None)
    assert (again.eecu_seconds, again.spent_seconds) == (0, 3.0)
    last = observe(again, Operation(id="y", state=State.COMPLETED, eecu_seconds=2.0))
    assert last.cost == 5.0


# Parts of a tile


@settings(deadline=None)
@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 3))
def test_parts_are_the_tiles_shards(width, height, generation):
    size = width, height
    dimensions = split_dimensions(size, generation)
    windows = layout(size, dimensions)
    assert len(windows) <= 4**generation
    files = expected_files("N", size, dimensions)
    parts = [PartSpec.of("N", size, {}, 1, generation, n) for n in range(len(windows))]
    assert [f"{part.name}.tif" for part in parts] == list(files)
    assert [part.window for part in parts] == windows
    whole = PartSpec.of("N", size, {"fileDimensions": 512}, 5)
    assert (whole.window, whole.dates) == (Window(0, 0, height, width), range(5))


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 24))
def test_what_is_too_large_is_cut_in_turns(width, height, dates):
    size, generation, seen = (width, height), 0, []
    while generation is not None:
        seen.append(generation)
        count = n_parts(size, dates, generation)
        parts = [PartSpec.of("N", size, {}, dates, generation, n) for n in range(count)]
        names = [f"{part.name}.tif" for part in parts]
        groups = date_groups(dates, dates_per_file(dates, generation))
        dimensions = split_dimensions(size, generation) if generation % 10 else None
        assert names == list(expected_files("N", size, dimensions, groups))
        assert {parse_shard_name(name).name for name in names} == {"N"}
        # Each pixel of each date once.
        assert sum(p.window.width * p.window.height * len(p.dates) for p in parts) == (
            width * height * dates
        )
        generation = next_generation(generation, dates)
    assert seen == sorted(seen)
    assert seen == [0, 1, 11, 12, 22, 23, 33][: len(seen)] or dates < 8
    assert dates > 1 or seen == [0, 1, 2, 3]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300), st.integers(1, 20))
def test_no_export_breaks_a_limit_that_is_known_before(scenes, bands):
    limits = Limits(bands=60, expression=60_000)
    generation = first_generation(scenes, bands, limits)
    assert generation is not None
    assert generation % 10 == 0
    for group in date_groups(len(scenes), dates_per_file(len(scenes), generation)):
        assert len(group) * bands <= 60
        some = scenes[group.start : group.stop]
        assert expression_size(sum(some), len(some), bands) <= 60_000
    assert first_generation(scenes, 61, limits) is None


# The ledger


def test_a_ledger_of_the_future_is_left_alone(tmp_path):
    import sqlite3

    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(EngineError, match=r"newer Orchard \(format 99\)"):
        Ledger(path).open_keys()


def test_a_ledger_of_before_is_carried_on(tmp_path):
    import sqlite3

    from orchard.engines.earthengine import ledger as module

    path = tmp_path / "ledger.sqlite"
    old = module._SCHEMA.replace("    dates INTEGER NOT NULL DEFAULT 1,\n", "").replace(
        "    spent_seconds REAL NOT NULL DEFAULT 0,\n", ""
    )
    with sqlite3.connect(path) as connection:
        connection.executescript(old)
        connection.execute(
            "INSERT INTO tasks (key, ord, name, prefix, store, state, export, width, height, "
            "created_ms, updated_ms, spec) "
            "VALUES ('K', 'O', 'N', 'P', 's', 'READY', X'7B7D', 4, 5, 1, 1, X'')"
        )
        connection.execute("INSERT INTO parts (key, generation, number, attempt, state, "
                           "eecu_seconds) VALUES ('K', 0, 0, 1, 'FAILED', 2.5)")  # fmt: skip
        connection.execute("PRAGMA user_version=1")
    connection.close()
    for _ in range(2):
        ledger = Ledger(path)
        assert ledger.records(["K"])["K"].dates == 1
        assert ledger.usage(["K"]) == {"K": 2.5}
        ledger.close()


def test_a_broken_ledger(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(EngineError, match=r"ledger\.sqlite cannot be opened"):
        Ledger(path).open_keys()


def test_where_the_ledger_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert ledger_path("my-project") == tmp_path / "orchard" / "earthengine-my-project.sqlite"


# Opening


def test_open_engine(tmp_path):
    engine = open_engine("earthengine", project="p", ledger=tmp_path / "l.sqlite")
    assert isinstance(engine, EarthEngine)
    assert engine.name == "earthengine"
    assert engine.content == {}
    _: Engine = engine
    assert not (tmp_path / "l.sqlite").exists()
    with pytest.raises(InputError, match="qeue"):
        open_engine("earthengine", project="p", qeue=3)
    with pytest.raises(InputError, match="queue must be at least 1"):
        open_engine("earthengine", project="p", queue=0)
    with pytest.raises(InputError, match="project is empty"):
        open_engine("earthengine", project="")


def test_credentials(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no key file"):
        resolve_credentials(tmp_path / "key.json")
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(InputError, match="not the key file of a service account"):
        resolve_credentials(str(tmp_path / "key.json"))
    marker = object()
    assert resolve_credentials(marker) is marker
    assert type(resolve_credentials("anonymous")).__name__ == "AnonymousCredentials"
    # Nobody has logged in: neither with the library nor on the machine.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(EngineError, match="orchard auth ee"):
        resolve_credentials()


def test_a_service_account(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    document = {
        "type": "service_account",
        "client_email": "robot@example.com",
        "private_key": key.decode(),
        "private_key_id": "1",
        "token_uri": "http://127.0.0.1:9/token",
    }
    (tmp_path / "key.json").write_text(json.dumps(document))
    credentials = resolve_credentials(tmp_path / "key.json")
    assert credentials.service_account_email == "robot@example.com"
    assert "https://www.googleapis.com/auth/earthengine" in credentials.scopes


def test_login(monkeypatch):
    import ee

    asked = []
    monkeypatch.setattr(ee, "Authenticate", lambda **options: asked.append(options))
    login("notebook", force=True)
    assert asked == [{"auth_mode": "notebook", "force": True}]
    with pytest.raises(InputError, match="unknown flow 'carrier pigeon'"):
        login("carrier pigeon")
