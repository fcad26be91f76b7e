"""The checker can fail: a clean history passes, and every planted defect is caught by the rule made for it."""

import re
from dataclasses import replace
from pathlib import Path

import checker.check
import pytest
from checker.check import check
from checker.history import History, Outage, Submission
from planted import (
    PLANTED,
    bills,
    clean,
    duplicate_in_kafka,
    gap_in_kafka,
    late_end,
    of,
    wrong_tenant_in_body,
)


def test_a_clean_history_is_valid() -> None:
    verdict = check(clean())
    assert verdict.outcome == "valid", verdict.report()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_caught(name: str) -> None:
    rule, plant = PLANTED[name]
    verdict = check(plant(clean()))
    assert verdict.outcome == "invalid"
    assert rule in verdict.rules, verdict.report()


def test_every_rule_has_a_planted_defect() -> None:
    folder = Path(str(checker.check.__file__)).parent
    written = {rule for file in folder.glob("*.py") for rule in re.findall(r'Finding\("(\w+)"', file.read_text())}
    assert written == {rule for rule, _ in PLANTED.values()}


def test_every_defect_alone_is_told_from_the_others() -> None:
    """A duplicate is not reported as a gap, nor a bad bill as a bad row."""
    for name in (
        "a duplicate in Kafka",
        "a gap in Kafka behind its position",
        "two events of a key swapped",
        "one byte of a replay altered",
        "a result that is not the log's",
        "another body accepted under a key",
        "the same body refused under its key",
        "a task denied to its owner",
        "a task shown to another tenant",
        "a text of another tenant",
        "a stream that goes back",
        "a stream that leaves one out",
    ):
        rule, plant = PLANTED[name]
        assert set(check(plant(clean())).rules) == {rule}
    assert set(check(bills(clean(), cost_nanousd=1)).rules) == {"bill_differs"}


def test_the_story_names_the_client_the_log_the_projections_and_the_nemesis_in_order() -> None:
    (violation,) = check(duplicate_in_kafka(clean())).violations
    story = "\n".join(violation.timeline or ())
    parts = ["client ref-t1 ok", "log 102 aion.task.accepted", "nemesis SIGKILL router", "kafka aion.task.events.v1"]
    places = [story.index(part) for part in parts]
    assert places == sorted(places)
    assert "t0" not in story


def test_what_is_missing_in_a_source_not_read_to_its_end_is_a_doubt() -> None:
    history = replace(gap_in_kafka(clean()), incomplete=frozenset({"kafka"}))
    assert check(history).outcome == "unknown"


def test_what_is_wrong_stays_wrong_in_a_source_not_read_to_its_end() -> None:
    history = replace(duplicate_in_kafka(clean()), incomplete=frozenset({"kafka", "ledger"}))
    assert check(history).outcome == "invalid"


@pytest.mark.parametrize(
    ("outage", "rules"),
    [
        (Outage(59_000, 60_001), set()),
        (Outage(64_999, 65_000), set()),
        (Outage(59_000, 60_000), {"late_end"}),
        (Outage(65_001, 70_000), {"late_end"}),
    ],
)
def test_a_late_end_is_excused_only_by_an_outage_between_deadline_and_grace(outage: Outage, rules: set[str]) -> None:
    assert set(check(replace(late_end(clean()), outages=[outage])).rules) == rules


def test_a_task_that_was_stored_past_its_deadline_is_due_from_then_on() -> None:
    late = late_end(clean())
    stored = of(late, "t2", "accepted")
    for stored_ms, rules in ((60_001, set()), (60_000, {"late_end"})):
        log = [e._replace(at_ms=stored_ms) if e.sequence == stored.sequence else e for e in late.log]
        assert set(check(replace(late, log=log)).rules) == rules


def test_outages_that_follow_one_another_excuse_together() -> None:
    history = replace(clean(), outages=[Outage(10_000, 12_000), Outage(16_000, 17_000), Outage(22_001, 30_000)])
    assert history.due_ms(5_000) == 22_000


def test_an_answer_that_never_came_is_free_on_either_side() -> None:
    history = clean()
    lost = Submission("ref-t5", "info", None, 1000, "timeout")
    only_info = [s._replace(kind="info", task_id=None) if s.ref == "ref-t3" else s for s in history.submissions]
    assert check(replace(history, submissions=[*only_info, lost])).outcome == "valid"


def test_a_history_without_an_accepted_task_proves_nothing() -> None:
    assert check(History(0, 0, [], [], [], [], [], {})).outcome == "unknown"


def test_a_report_shows_each_rule_before_it_repeats_one() -> None:
    history = bills(duplicate_in_kafka(clean()), cost_nanousd=1)
    report = check(replace(history, usage=[*history.usage, *history.usage[1:]])).report(most=3)
    assert "kafka_duplicate:" in report
    assert "bill_differs:" in report
    assert "billed_twice:" in report


def test_the_first_story_of_a_report_is_the_shortest() -> None:
    long = wrong_tenant_in_body(clean())
    short = replace(long, submissions=[*long.submissions, Submission("ref-t7", "ok", "t7", 1000, "202", "acme")])
    verdict = check(short)
    lengths = [len(violation.timeline or ()) for violation in verdict.violations]
    first = verdict.report(most=1)
    assert first.count("\n    ") == min(lengths) < max(lengths)
    assert "task_lost: t7 was accepted" in first
