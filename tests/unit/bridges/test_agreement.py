"""Kafka and the ledger bill the same ends, and `is_billed` knows which: what one cannot read, nobody bills."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from story import Story

from bridges.judging import is_billed
from bridges.kafka import topics
from bridges.kafka.encode import Encoder
from bridges.ledger.fold import fold
from bus.port import Entry
from schemas.money import MAX_NANOUSD

ENCODER = Encoder("LOG", record_bytes=100_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"intent": "Summarize"},
        {"intent": "sum.marize"},
        {"intent": ""},
        {"intent": "summarize\n"},
        {"engine_name": "WASM"},
        {"engine_name": "a b"},
        {"engine_name": 7},
        {"error": {"code": 7}},
        {"usage": {"latency_ms": -1}},
        {"usage": {"latency_ms": 1, "tokens": 2**53 + 1}},
        {"usage": {"latency_ms": 1, "cost_nanousd": MAX_NANOUSD + 1}},
        {"usage": {"latency_ms": 1, "invented": 1}},
        {"at_ms": 2**63},
        {"at_ms": -1},
        {"event_id": ""},
        {"event_id": "e" * 257},
        {"traceparent": "0" * 257},
        {"tenant_id": "other"},
        {"task_id": "t2"},
        {"result": [1]},
        {"event": "routed"},
    ],
)
def test_an_end_that_is_misspelt_is_billed_by_nobody(story: Story, wrong: dict[str, Any]) -> None:
    nobody_bills(altered(story, **wrong))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b'{"n":1e999}', id="infinite"),
        pytest.param(b'{"n":' + b"9" * 5000 + b"}", id="5000 digits"),
        pytest.param(b'{"text":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"text":"\\ud800"}', id="half a character"),
        pytest.param(b'{"n":' + b"[" * 20_000 + b"]" * 20_000 + b"}", id="nested"),
    ],
)
def test_an_end_whose_answer_nobody_can_read_is_billed_by_nobody(story: Story, answer: bytes) -> None:
    entry = story.entry(9, story.ended("t1", cost_nanousd=700))
    nobody_bills(entry._replace(data=entry.data.replace(b'{"summary":"ok"}', answer)))


@pytest.mark.parametrize(
    "subject",
    [
        "aion.task.accepted.normal.acme.t1",
        "aion.task.ended.completed.acme.t2",
        "aion.task.ended.completed.other.t1",
        "aion.task.ended.completed.acme",
        "aion.audit.acme.ended.t1",
        "aion.other",
    ],
)
def test_an_end_under_the_subject_of_another_event_is_billed_by_nobody(story: Story, subject: str) -> None:
    nobody_bills(story.entry(9, story.ended("t1", cost_nanousd=700))._replace(subject=subject))


def test_ids_that_are_no_tokens_are_billed_by_nobody_though_the_subject_has_them_too(story: Story) -> None:
    long = "t" * 65
    nobody_bills(altered(story, task_id=long)._replace(subject=f"aion.task.ended.completed.acme.{long}"))


@pytest.mark.parametrize(
    "fine",
    [
        {"engine_name": None},
        {"invented": {"by": "a newer writer"}},
        {"event_id": "e" * 256},
        {"event_id": "nul \0 inside"},
        {"usage": {"latency_ms": 2**53, "tokens": 2**53, "cost_nanousd": MAX_NANOUSD}},
    ],
)
def test_an_end_that_both_can_read_is_billed_by_both(story: Story, fine: dict[str, Any]) -> None:
    entry = altered(story, **fine)
    both_bill(entry, topics.EVENTS)


def test_an_end_too_large_for_an_event_of_kafka_is_billed_by_both(story: Story) -> None:
    entry = altered(story, result={"text": "x" * 100_000})
    both_bill(entry, topics.DEAD_LETTERS)
    nobody_bills(entry._replace(subject="aion.task.ended.completed.acme.t2"))
    nobody_bills(entry._replace(data=entry.data[:-1]))


@pytest.mark.parametrize("size_bytes", [2, 100_000])
def test_a_second_end_of_a_task_is_billed_by_both(story: Story, size_bytes: int) -> None:
    ends = [story.entry(number, story.ended("t1", number, text="x" * size_bytes)) for number in (8, 9)]
    bills = [json.loads(record.value) for record in ENCODER.encode(ends) if record.topic == topics.USAGE]
    assert [bill["cost_nanousd"] for bill in bills] == [row.cost_nanousd for row in fold(ends).usage] == [8, 9]


@given(
    text=st.sampled_from(["", "x" * 90_000, "x" * 100_000]),
    wrong=st.sampled_from([{}, {"intent": "A"}, {"task_id": "t2"}, {"event_id": ""}, {"result": []}, {"usage": 7}]),
    subject=st.sampled_from(["task.ended.completed.acme.t1", "task.routed.completed.acme.t1", "audit.acme.login.1"]),
    cut=st.sampled_from([0, 0, 1, 40]),
)
def test_whatever_an_end_looks_like_all_judge_it_alike(
    text: str, wrong: dict[str, Any], subject: str, cut: int
) -> None:
    entry = altered(Story(), **{"result": {"text": text}} | wrong)._replace(subject=f"aion.{subject}")
    entry = entry._replace(data=entry.data[: len(entry.data) - cut])
    by_kafka = sum(record.topic == topics.USAGE for record in ENCODER.encode([entry]))
    assert (by_kafka, len(fold([entry]).usage)) == (is_billed(entry), is_billed(entry))


@pytest.mark.parametrize("subject", ["aion.task.ended.completed.acme.t1", "aion.audit.other.login.1"])
def test_another_event_in_the_place_of_an_end_is_kept_apart_by_both(story: Story, subject: str) -> None:
    nobody_bills(story.entry(9, story.accepted("t1"))._replace(subject=subject))


def test_an_audit_event_under_the_subject_of_a_task_is_kept_apart_by_both(story: Story) -> None:
    nobody_bills(story.entry(9, story.audit())._replace(subject="aion.task.accepted.normal.acme.t1"))


def altered(story: Story, **fields: Any) -> Entry:
    """An end of 700 nano-USD, its JSON with other `fields`."""
    entry = story.entry(9, story.ended("t1", cost_nanousd=700))
    return entry._replace(data=json.dumps(json.loads(entry.data) | fields).encode())


def both_bill(entry: Entry, topic: str) -> None:
    """One record for `topic` and a bill in Kafka; a row and the same bill in the ledger."""
    assert is_billed(entry)
    event, usage = ENCODER.encode([entry])
    assert (event.topic, usage.topic) == (topic, topics.USAGE)
    (bill,), (row,) = fold([entry]).usage, fold([entry]).tasks.values()
    cost = json.loads(entry.data)["usage"]["cost_nanousd"]
    assert (bill.cost_nanousd, json.loads(usage.value)["cost_nanousd"], row.state) == (cost, cost, "ended")


def nobody_bills(entry: Entry) -> None:
    """One dead letter in Kafka, one line of `unreadable` in the ledger."""
    assert not is_billed(entry)
    assert [record.topic for record in ENCODER.encode([entry])] == [topics.DEAD_LETTERS]
    folded = fold([entry])
    assert (folded.usage, folded.tasks, folded.audit, len(folded.unreadable)) == ([], {}, [], 1)
