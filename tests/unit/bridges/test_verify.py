"""The checker is itself checked: every kind of damage is found and named."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bridges.kafka import topics
from bridges.kafka.verify import Seen, VerifyReport, compare

EXPECTED = {1: (b"a", False), 2: (b"b", True), 3: (b"c", False)}
GOOD = (
    Seen(topics.EVENTS, 0, 0, b"t1", 1, b"a"),
    Seen(topics.EVENTS, 0, 1, b"t1", 2, b"b"),
    Seen(topics.EVENTS, 1, 0, b"t2", 3, b"c"),
    Seen(topics.USAGE, 0, 0, b"t1", 2, b"u"),
)


def judge(seen: Sequence[Seen]) -> VerifyReport:
    report = VerifyReport(1, 3)
    compare(report, EXPECTED, seen)
    return report


def test_a_good_history_is_good() -> None:
    report = judge(GOOD)
    assert report.ok
    assert (report.events, report.records, report.usage_records, report.dead_letters) == (3, 3, 1, 0)


DEAD = Seen(topics.DEAD_LETTERS, 0, 0, b"2", 2, b"b")


def test_a_dead_letter_is_counted_apart_and_is_no_fault() -> None:
    report = judge([GOOD[0], DEAD, *GOOD[2:]])
    assert (report.faults, report.dead_letters) == ({}, 1)
    assert (report.events, report.records, report.usage_records) == (3, 3, 1)


def test_a_dead_letter_of_an_end_that_nobody_bills_needs_no_bill() -> None:
    report = VerifyReport(1, 3)
    compare(report, EXPECTED | {2: (b"b", False)}, [GOOD[0], DEAD, GOOD[2]])
    assert (report.faults, report.dead_letters) == ({}, 1)


def test_a_dead_letter_of_an_end_that_the_ledger_bills_needs_its_bill() -> None:
    report = judge([GOOD[0], DEAD, GOOD[2]])
    assert (report.faults, report.dead_letters) == ({"usage_missing": 1}, 1)


Damage = Callable[[list[Seen]], list[Seen]]


@pytest.mark.parametrize(
    ("fault", "damage"),
    [
        ("missing", lambda s: s[1:]),
        ("duplicate", lambda s: [*s, replace(s[1], offset=9)]),
        ("out_of_order", lambda s: [s[1], s[0], *s[2:]]),
        ("altered", lambda s: [replace(s[0], digest=b"z"), *s[1:]]),
        ("altered", lambda s: [s[0], replace(DEAD, digest=b"z"), *s[2:]]),
        ("key_in_two_partitions", lambda s: [s[0], replace(s[1], partition=3), *s[2:]]),
        ("unknown", lambda s: [*s, Seen(topics.EVENTS, 0, 9, b"t9", 77, b"q")]),
        ("unknown", lambda s: [*s, replace(DEAD, key=b"77", sequence=77)]),
        ("duplicate", lambda s: [*s, DEAD]),
        ("duplicate", lambda s: [s[0], DEAD, replace(DEAD, offset=1), *s[2:]]),
        ("usage_missing", lambda s: s[:3]),
        ("usage_unasked", lambda s: [*s, Seen(topics.USAGE, 0, 9, b"t2", 3, b"u")]),
    ],
)
def test_each_damage_is_found_and_told(fault: str, damage: Damage) -> None:
    report = judge(damage(list(GOOD)))
    assert not report.ok
    assert report.faults[fault] == 1
    assert any(example.startswith(fault) for example in report.examples)
