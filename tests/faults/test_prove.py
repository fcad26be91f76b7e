"""The parts of `make prove` that are pure: its load, its spans of absence, and when it says proven."""

from collections import Counter

import pytest
from checker.history import Outage
from checker.verdict import Verdict
from prove.memory import Memory, Operation
from prove.outages import Absence, intersection, outages, union
from prove.plan import TENANTS, canaries, plan
from prove.report import PROOFS, Report

SWEEPERS = ("sweeper.1", "sweeper.2")


def test_the_same_seed_gives_the_same_load_and_another_one_another() -> None:
    one = plan(7, tasks=500, per_s=100.0)
    assert one == plan(7, tasks=500, per_s=100.0)
    assert one != plan(8, tasks=500, per_s=100.0)
    assert {intention.tenant_id for intention in one} == set(TENANTS)
    assert 3.5 < one[-1].at_s < 6.5
    assert len({intention.ref for intention in one}) == 500


def test_each_text_carries_the_canary_of_its_own_tenant_alone() -> None:
    texts = canaries(7)
    for intention in plan(7, tasks=100, per_s=100.0):
        found = {name for name, canary in texts.items() if canary in str(intention.body)}
        assert found == {intention.tenant_id}


def test_a_late_end_is_excused_while_the_log_is_away_or_every_sweeper_is() -> None:
    absences = [
        Absence("log", 100, 200, "killed"),
        Absence("sweeper.1", 300, 500, "paused"),
        Absence("sweeper.2", 400, 450, "killed"),
        Absence("sweeper.2", 440, 600, "cut"),
        Absence("router.1", 0, 10_000, "paused"),
    ]
    assert [outage[:2] for outage in outages(absences, SWEEPERS, "log")] == [(100, 200), (400, 500)]
    assert outages(absences[:2], SWEEPERS, "log") == [Outage(100, 200, "log was away")]


def test_spans_are_joined_and_cut() -> None:
    assert union([(5, 7), (1, 3), (3, 4), (6, 9)]) == [(1, 4), (5, 9)]
    assert intersection([(1, 4), (5, 9)], [(3, 6), (9, 12)]) == [(3, 4), (5, 6)]


def report(memory: Memory, *, without: str = "", outcome: str = "valid") -> Report:
    counts = Counter({name: 1 for name in PROOFS if name != without})
    verdict = Verdict("valid" if outcome == "valid" else "unknown", [], [])
    return Report(1, [], counts, memory, verdict, {}, [])


def settled(*, answered: int, given_up: int) -> Memory:
    found = [Operation("submit", True, 1, 0.1, "200")] * answered
    return Memory(operations=found + [Operation("submit", False, 9, 45.0, "503 unavailable")] * given_up)


def test_a_run_is_proven_with_one_error_in_a_hundred_and_not_with_more() -> None:
    assert report(settled(answered=99, given_up=1)).failures == []
    (failure,) = report(settled(answered=98, given_up=2)).failures
    assert "2.00%" in failure


@pytest.mark.parametrize("name", PROOFS)
def test_a_kind_of_fault_that_never_happened_fails_the_run(name: str) -> None:
    (failure,) = report(settled(answered=1, given_up=0), without=name).failures
    assert PROOFS[name] in failure


def test_an_unknown_verdict_and_an_answer_nobody_can_act_on_fail_the_run() -> None:
    memory = settled(answered=1, given_up=0)
    assert report(memory, outcome="unknown").failures == ["the checker says unknown"]
    memory.complaints.append("POST tasks: 500 internal")
    assert report(memory).failures == ["complaint: POST tasks: 500 internal"]
    assert "PROVEN" not in report(memory).text()
    assert '"complaint: POST tasks: 500 internal"' in report(memory).json()
