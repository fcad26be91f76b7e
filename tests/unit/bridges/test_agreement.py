"""Kafka and the ledger bill the same ends: what one of them cannot read, the other does not bill."""

import json
from typing import Any

import pytest
from story import Story

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
    assert [record.topic for record in ENCODER.encode([entry])] == [topics.EVENTS, topics.USAGE]
    (bill,), (row,) = fold([entry]).usage, fold([entry]).tasks.values()
    assert (bill.cost_nanousd, row.state) == (json.loads(entry.data)["usage"]["cost_nanousd"], "ended")


@pytest.mark.parametrize("subject", ["aion.task.ended.completed.acme.t1", "aion.audit.other.login.1"])
def test_another_event_in_the_place_of_an_end_is_kept_apart_by_both(story: Story, subject: str) -> None:
    nobody_bills(story.entry(9, story.accepted("t1"))._replace(subject=subject))


def test_an_audit_event_under_the_subject_of_a_task_is_kept_apart_by_both(story: Story) -> None:
    nobody_bills(story.entry(9, story.audit())._replace(subject="aion.task.accepted.normal.acme.t1"))


def altered(story: Story, **fields: Any) -> Entry:
    """An end of 700 nano-USD, its JSON with other `fields`."""
    entry = story.entry(9, story.ended("t1", cost_nanousd=700))
    return entry._replace(data=json.dumps(json.loads(entry.data) | fields).encode())


def nobody_bills(entry: Entry) -> None:
    """One dead letter in Kafka, one line of `unreadable` in the ledger."""
    assert [record.topic for record in ENCODER.encode([entry])] == [topics.DEAD_LETTERS]
    folded = fold([entry])
    assert (folded.usage, folded.tasks, folded.audit, len(folded.unreadable)) == ([], {}, [], 1)
