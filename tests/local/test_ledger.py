"""The ledger: claims and leases, fencing, failures and retries, two processes at once."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchard.engines.local.ledger import Entry, Ledger, next_turn
from orchard.engines.local.lifecycle import OPEN, Step, after, moves
from orchard.engines.local.owners import is_dead, new_owner
from orchard.errors import EngineError
from orchard.tracking import TERMINAL, FileInfo, State, can_become

LEASE = 60.0


def entry(key, order="A", *, submitted=1, priority=0, spec=b"{}", name=None):
    return Entry(
        key=key, order=order, submitted=submitted, name=name or key, prefix="P", spec=spec,
        priority=priority,
    )  # fmt: skip


def fill(ledger, *keys, **options):
    ledger.add([entry(key, **options) for key in keys], {})


def state(ledger, key):
    return ledger.statuses([key])[key].state


def claim(ledger, owner="me", lease=LEASE, **options):
    return ledger.claim(owner, lease, **options)


def names(ledger, key):
    return [event.event for event in ledger.events(key)]


class TestClaims:
    def test_each_task_is_claimed_once_in_the_order_of_recording(self, ledger):
        fill(ledger, "a", "b")
        assert [claim(ledger).key, claim(ledger, "you").key, claim(ledger)] == ["a", "b", None]

    def test_a_claim_says_what_to_do(self, ledger):
        ledger.add([entry("a", spec=b'{"x": {"$part": "p"}, "y": [{"$part": "p"}, 1]}')],
                   {"p": b'{"z": 1}'})  # fmt: skip
        found = claim(ledger)
        assert (found.name, found.prefix, found.order, found.attempt) == ("a", "P", "A", 1)
        assert ledger.spec(found) == {"x": {"z": 1}, "y": [{"z": 1}, 1]}

    def test_recording_again_changes_nothing(self, ledger):
        fill(ledger, "a")
        ledger.complete(claim(ledger), [FileInfo(name="a.tif", size=1)])
        fill(ledger, "a")
        assert state(ledger, "a") is State.COMPLETED
        assert names(ledger, "a") == ["intent", "started", "completed"]

    def test_only_some_orders_and_keys(self, ledger):
        fill(ledger, "a", "b", order="A")
        fill(ledger, "c", order="C")
        assert claim(ledger, orders={"C"}, keys={"c"}).key == "c"
        assert claim(ledger, orders={"A"}, keys={"b"}).key == "b"
        assert claim(ledger, orders={"A"}, keys={"b"}) is None

    def test_a_claim_is_given_back_when_its_lease_ends(self, ledger):
        fill(ledger, "a")
        first = claim(ledger, lease=-1)
        assert claim(ledger) is None
        ledger.reclaim()
        second = claim(ledger, "you")
        assert (second.attempt, second.losses) == (2, 1)
        assert "lease ended" in names(ledger, "a")
        assert not ledger.holds(first)
        assert ledger.holds(second)

    def test_a_lease_that_is_renewed_lasts(self, ledger):
        fill(ledger, "a")
        found = claim(ledger, lease=-1)
        ledger.renew("me", LEASE)
        ledger.reclaim()
        assert ledger.holds(found)
        assert ledger.held("me") == {"a": (1, State.RUNNING)}

    def test_a_late_holder_is_refused_whatever_it_says(self, ledger):
        fill(ledger, "a")
        late = claim(ledger, lease=-1)
        ledger.reclaim()
        winner = claim(ledger, "you")
        file = FileInfo(name="a.tif", size=1)
        said = [
            ledger.complete(late, [file]), ledger.fail(late, "no"), ledger.drop(late),
            ledger.again(late, "no"), ledger.give_back(late), ledger.amend(late, {}, "no"),
        ]  # fmt: skip
        ledger.made(late, [FileInfo(name="late.tif")])
        assert not any(said)
        assert ledger.complete(winner, [file])
        assert ledger.statuses(["a"])["a"].files == (file,)

    def test_a_dead_process_on_this_machine_needs_no_lease_to_end(self, ledger):
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            owner = pool.apply(new_owner)
            assert not is_dead(owner)
            pool.terminate()
            pool.join()
        assert is_dead(owner)
        assert not is_dead(new_owner())
        assert not is_dead("elsewhere|x|1|1|r")
        fill(ledger, "a")
        claim(ledger, owner)
        ledger.reclaim()
        assert state(ledger, "a") is State.READY


class TestTurns:
    def test_orders_share_in_turn(self, ledger):
        fill(ledger, "a1", "a2", "a3", order="A")
        fill(ledger, "b1", "b2", order="B")
        last, got = "", []
        while found := claim(ledger, last=last):
            got.append(found.key)
            last = found.order
        assert got == ["a1", "b1", "a2", "b2", "a3"]

    def test_a_higher_priority_goes_first_across_orders(self, ledger):
        fill(ledger, "a", order="A")
        fill(ledger, "b", order="B", priority=1)
        ledger.add([entry("c", "A", priority=2)], {})
        assert [claim(ledger).key for _ in range(3)] == ["c", "b", "a"]

    def test_turns_go_round(self):
        heads = {"A": 0, "B": 0, "C": 1}
        assert next_turn(heads, "A") == "C"
        assert next_turn({"A": 0, "B": 0}, "A") == "B"
        assert next_turn({"A": 0, "B": 0}, "B") == "A"


class TestSettling:
    def test_a_failure_is_final_and_tells_its_cause(self, ledger):
        fill(ledger, "a")
        ledger.fail(claim(ledger), "band red is missing")
        status = ledger.statuses(["a"])["a"]
        assert (status.state, status.error_message) == (State.FAILED, "band red is missing")
        assert claim(ledger) is None
        assert not ledger.has_open()

    def test_another_attempt_waits_for_its_time(self, ledger):
        fill(ledger, "a")
        ledger.again(claim(ledger), "503", delay=3600)
        ledger.reclaim()
        assert claim(ledger) is None
        assert ledger.has_open({"A"}, {"a"})
        assert ledger.statuses(["a"])["a"].error_message == "503"
        ledger.cancel(["a"])
        assert state(ledger, "a") is State.CANCELLED

    def test_another_attempt_counts_the_failures(self, ledger):
        fill(ledger, "a")
        ledger.again(claim(ledger), "503", delay=1e-6)
        time.sleep(0.001)
        ledger.reclaim()
        assert claim(ledger).failures == 1

    def test_given_back_is_not_a_failure(self, ledger):
        fill(ledger, "a")
        ledger.give_back(claim(ledger))
        found = claim(ledger)
        assert (found.attempt, found.failures, found.losses) == (2, 0, 0)

    def test_what_is_made_is_kept_until_something_else_is_to_be_made(self, ledger):
        fill(ledger, "a")
        file = FileInfo(name="a-0000000000-0000000000.tif", size=3)
        first = claim(ledger)
        ledger.made(first, [file])
        assert ledger.statuses(["a"])["a"].files == ()
        ledger.give_back(first)
        second = claim(ledger)
        assert second.files == (file,)
        ledger.amend(second, {"file_dimensions": [16, 16]}, "memory")
        third = claim(ledger)
        assert (third.files, third.amended) == ((), {"file_dimensions": [16, 16]})

    def test_a_retry_begins_anew_but_stays_small(self, ledger):
        fill(ledger, "a")
        ledger.amend(claim(ledger), {"file_dimensions": [16, 16], "skipped": {"s": "x"}}, "why")
        ledger.fail(claim(ledger), "no")
        ledger.retry(["a"])
        found = claim(ledger)
        assert found.amended == {"file_dimensions": [16, 16]}
        assert found.attempt == 3

    def test_forgetting_leaves_nothing(self, ledger):
        ledger.add([entry("a")], {"p": b"{}"})
        ledger.forget(["a"])
        assert ledger.statuses(["a"]) == {}
        assert ledger.events("a") == []
        assert sqlite3.connect(ledger.path).execute("SELECT count(*) FROM parts").fetchone() == (0,)


class TestCancelling:
    def test_ready_at_once_running_by_its_runner(self, ledger):
        fill(ledger, "a", "b", "c")
        ledger.complete(claim(ledger), [])
        running = claim(ledger)
        ledger.cancel(["a", "b", "c"])
        assert [state(ledger, k) for k in "abc"] == [
            State.COMPLETED, State.CANCEL_REQUESTED, State.CANCELLED
        ]  # fmt: skip
        assert ledger.held("me") == {"b": (1, State.CANCEL_REQUESTED)}
        ledger.drop(running)
        assert state(ledger, "b") is State.CANCELLED

    def test_it_is_not_made_ready_again_when_its_runner_dies(self, ledger):
        fill(ledger, "a")
        claim(ledger, lease=-1)
        ledger.cancel(["a"])
        ledger.reclaim()
        assert state(ledger, "a") is State.CANCELLED


class TestAdopting:
    FILE = FileInfo(name="a.tif", size=7)

    def complete(self, ledger):
        fill(ledger, "a")
        ledger.complete(claim(ledger), [self.FILE])

    @pytest.mark.parametrize(
        ("there", "expected"),
        [([("a.tif", 7)], State.COMPLETED), ([("a.tif", 8)], State.READY), ([], State.READY)],
    )
    def test_a_result_of_an_earlier_submission_counts_if_its_files_are_there(
        self, ledger, there, expected
    ):
        self.complete(ledger)
        ledger.add([entry("a", "B", submitted=2)], {}, lambda _: there)
        assert state(ledger, "a") is expected
        assert ledger.owners("P") == {"a": "B"}

    def test_a_runner_of_an_earlier_submission_is_fenced_off(self, ledger):
        fill(ledger, "a")
        old = claim(ledger)
        fill(ledger, "a", submitted=2)
        assert not ledger.complete(old, [])
        assert claim(ledger).attempt == 2


def test_a_newer_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(EngineError, match="newer Orchard"):
        Ledger(path)


def test_what_is_no_ledger_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_text("no database at all, but long enough to be taken for one " * 50)
    with pytest.raises(EngineError, match="cannot be opened"):
        Ledger(path)


def _claim_all(path, results):
    ledger = Ledger(path)
    owner, mine = new_owner(), []
    while found := ledger.claim(owner, LEASE):
        mine.append(found.key)
        ledger.complete(found, [])
    results.put(mine)
    ledger.close()


def test_two_processes_claim_each_of_500_tasks_once(ledger):
    fill(ledger, *(f"t{i:03d}" for i in range(500)))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_claim_all, args=(ledger.path, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    claimed = [key for _ in workers for key in results.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(claimed) == [f"t{i:03d}" for i in range(500)]
    assert not ledger.has_open()
    assert all(names(ledger, key).count("started") == 1 for key in claimed)


# The state machine

STEPS = list(Step)


def test_steps_agree_with_what_tracking_allows():
    for step in STEPS:
        for before, then in moves(step).items():
            assert can_become(before, then, retry=step is Step.RETRIED), (step, before, then)


def test_terminal_states_are_final_but_for_a_retry():
    for step in STEPS:
        if step is not Step.RETRIED:
            assert not moves(step).keys() & TERMINAL
    assert moves(Step.RETRIED).keys() == TERMINAL - {State.COMPLETED, State.EMPTY}


def test_open_states_are_those_that_have_not_ended():
    assert set(OPEN) == set(State) - TERMINAL - {State.UNSUBMITTED}


class Machine(RuleBasedStateMachine):
    """Whatever runners and users do in whatever order: only legal steps, one holder, no loss."""

    def __init__(self):
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(Path(self.folder.name, "ledger.sqlite"))
        self.keys = [f"t{i}" for i in range(3)]
        fill(self.ledger, *self.keys)
        self.claims = []
        self.model = dict.fromkeys(self.keys, State.READY)
        self.holder = {}

    def teardown(self):
        self.ledger.close()
        self.folder.cleanup()

    def step(self, key, step):
        then = after(self.model[key], step)
        if then is not None:
            self.model[key] = then
        return then is not None

    @rule(owner=st.sampled_from(["one", "two"]))
    def claim(self, owner):
        found = self.ledger.claim(owner, LEASE)
        ready = [key for key in self.keys if self.model[key] is State.READY]
        if found is None:
            assert not ready
            return
        assert found.key == ready[0]
        assert self.step(found.key, Step.STARTED)
        self.holder[found.key] = found
        self.claims.append(found)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        step=st.sampled_from(
            [Step.COMPLETED, Step.FAILED, Step.CANCELLED, Step.ATTEMPT, Step.RETURNED, Step.AMENDED]
        ),
    )
    def say(self, data, step):
        claim = data.draw(st.sampled_from(self.claims))
        ledger = self.ledger
        said = {
            Step.COMPLETED: lambda: ledger.complete(claim, []),
            Step.FAILED: lambda: ledger.fail(claim, "cause"),
            Step.CANCELLED: lambda: ledger.drop(claim),
            Step.ATTEMPT: lambda: ledger.again(claim, "cause"),
            Step.RETURNED: lambda: ledger.give_back(claim),
            Step.AMENDED: lambda: ledger.amend(claim, {}, "why"),
        }[step]()
        if self.holder.get(claim.key) is claim:
            assert said == self.step(claim.key, step)
            if said:
                del self.holder[claim.key]
        else:
            assert not said

    @rule()
    def all_leases_end(self):
        with self.ledger._write() as db:
            db.execute("UPDATE tasks SET lease_until = 0")
        self.ledger.reclaim()
        for key in list(self.holder):
            assert self.step(key, Step.LAPSED)
            del self.holder[key]

    @rule(keys=st.sets(st.integers(0, 2)))
    def cancel(self, keys):
        chosen = [self.keys[i] for i in keys]
        self.ledger.cancel(chosen)
        for key in chosen:
            self.step(key, Step.CANCEL)

    @rule(keys=st.sets(st.integers(0, 2)))
    def retry(self, keys):
        chosen = [self.keys[i] for i in keys]
        self.ledger.retry(chosen)
        for key in chosen:
            self.step(key, Step.RETRIED)

    @invariant()
    def as_the_model_says(self):
        found = self.ledger.statuses(self.keys)
        assert {key: status.state for key, status in found.items()} == self.model
        assert {key for key in self.keys if self.model[key] in OPEN[1:]} == set(self.holder)
        for claim in self.claims:
            assert self.ledger.holds(claim) == (self.holder.get(claim.key) is claim)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
