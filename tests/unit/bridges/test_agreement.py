"""Kafka and the ledger bill the same ends: what one of them cannot read, the other does not bill."""

import json
from typing import Any

import pytest
from story import Story

from bridges.kafka import topics
from bridges.kafka.encode import Encoder
from bridges.ledger.fold import fold

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
    ],
)
def test_an_end_that_is_misspelt_is_billed_by_nobody(story: Story, wrong: dict[str, Any]) -> None:
    entry = story.entry(9, story.ended("t1", cost_nanousd=700))
    entry = entry._replace(data=json.dumps(json.loads(entry.data) | wrong).encode())
    assert [record.topic for record in ENCODER.encode([entry])] == [topics.DEAD_LETTERS]
    folded = fold([entry])
    assert (folded.usage, len(folded.unreadable)) == ([], 1)


def test_an_end_without_an_engine_is_billed_by_both(story: Story) -> None:
    entry = story.entry(9, story.ended("t1"))
    entry = entry._replace(data=json.dumps(json.loads(entry.data) | {"engine_name": None}).encode())
    assert [record.topic for record in ENCODER.encode([entry])] == [topics.EVENTS, topics.USAGE]
    assert len(fold([entry]).usage) == 1
