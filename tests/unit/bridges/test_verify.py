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
    assert (report.events, report.records, report.usage_records) == (3, 3, 1)


Damage = Callable[[list[Seen]], list[Seen]]


@pytest.mark.parametrize(
    ("fault", "damage"),
    [
        ("missing", lambda s: s[1:]),
        ("duplicate", lambda s: [*s, replace(s[1], offset=9)]),
        ("out_of_order", lambda s: [s[1], s[0], *s[2:]]),
        ("altered", lambda s: [replace(s[0], digest=b"z"), *s[1:]]),
        ("key_in_two_partitions", lambda s: [s[0], replace(s[1], partition=3), *s[2:]]),
        ("unknown", lambda s: [*s, Seen(topics.EVENTS, 0, 9, b"t9", 77, b"q")]),
        ("usage_missing", lambda s: s[:3]),
        ("usage_unasked", lambda s: [*s, Seen(topics.USAGE, 0, 9, b"t2", 3, b"u")]),
    ],
)
def test_each_damage_is_found_and_told(fault: str, damage: Damage) -> None:
    report = judge(damage(list(GOOD)))
    assert not report.ok
    assert report.faults[fault] == 1
    assert any(example.startswith(fault) for example in report.examples)
