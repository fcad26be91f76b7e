"""Entries as CloudEvents in Kafka's binary mode."""

import json
import random
from typing import Any

import pytest
from aiokafka.partitioner import murmur2 as reference
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st
from story import Story

from bridges.kafka import topics
from bridges.kafka.encode import Encoder
from bridges.kafka.partition import murmur2, partition_of, partitions_of
from bridges.kafka.settings import MESSAGE_BYTES, KafkaSettings
from bridges.kafka.sink import decode_position
from bridges.position import event_id_of
from bus.port import Entry
from schemas.errors import Misconfigured
from schemas.message import changed, encode
from schemas.money import MAX_NANOUSD
from schemas.result import Usage

ENCODER = Encoder("LOG", record_bytes=100_000)


@given(st.binary(max_size=80))
def test_the_hash_is_the_java_clients(data: bytes) -> None:
    assert murmur2(data) == reference(data) & 0xFFFFFFFF


@given(st.lists(st.binary(max_size=41), max_size=60), st.integers(1, 50))
def test_many_keys_at_once_come_where_each_comes_alone(keys: list[bytes], partitions: int) -> None:
    alike = [key.ljust(36, b"-") for key in keys]
    for some in (keys, alike):
        assert partitions_of(some, partitions) == {key: partition_of(key, partitions) for key in some}


def test_the_hash_matches_vectors_of_kafkas_own_test() -> None:
    """`UtilsTest.testMurmur2` of Apache Kafka, signed there."""
    vectors = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for data, wanted in vectors.items():
        assert murmur2(data) == wanted & 0xFFFFFFFF


def test_keys_spread_over_all_partitions() -> None:
    rng = random.Random(3)
    assert {partition_of(rng.randbytes(16).hex().encode(), 6) for _ in range(200)} == set(range(6))


def test_a_task_event_is_a_cloudevent_with_its_own_bytes(story: Story) -> None:
    event = changed(story.accepted("t1"), traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    entry = story.entry(7, event)
    (record,) = ENCODER.encode([entry])
    assert (record.topic, record.key, record.value) == (topics.EVENTS, b"t1", entry.data)
    assert record.at_ms == entry.at_ns // 1_000_000
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": event.event_id.encode(),
        "ce_source": b"/aion/LOG",
        "ce_type": b"io.aion.task.accepted.v1",
        "ce_subject": b"acme/t1",
        "ce_time": b"2023-11-14T22:13:20.007Z",
        "content-type": b"application/json",
        "aion_stream": b"LOG",
        "aion_seq": b"7",
        "traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
    }


def test_an_end_is_also_a_usage_record_in_whole_nanodollars(story: Story) -> None:
    entry = story.entry(9, story.ended("t1", cost_nanousd=123_456_789_012))
    event, usage = ENCODER.encode([entry])
    assert dict(event.headers)["ce_type"] == b"io.aion.task.ended.v1"
    assert (usage.topic, usage.key) == (topics.USAGE, b"t1")
    value = json.loads(usage.value)
    assert value["cost_nanousd"] == 123_456_789_012
    assert isinstance(value["cost_nanousd"], int)
    assert (value["tenant_id"], value["task_id"], value["tokens"]) == ("acme", "t1", 7)
    assert dict(usage.headers)["ce_id"] != dict(event.headers)["ce_id"]


@pytest.mark.parametrize("subject", ["aion.task.ended.completed.acme.t2", "aion.task.ended.completed.other.t1"])
def test_an_end_under_the_subject_of_another_task_is_a_dead_letter(story: Story, subject: str) -> None:
    entry = story.entry(9, story.ended("t1", cost_nanousd=1))
    (record,) = ENCODER.encode([entry._replace(subject=subject)])
    assert record.topic == topics.DEAD_LETTERS
    assert subject.encode() in dict(record.headers)["aion_reason"]


def test_an_end_too_large_for_an_event_is_a_dead_letter_and_is_billed_all_the_same(story: Story) -> None:
    entry = story.entry(9, story.ended("t1", cost_nanousd=700, text="x" * 100_000))
    dead, usage = ENCODER.encode([entry])
    _, wanted = Encoder("LOG", record_bytes=200_000).encode([entry])
    assert (dead.topic, dead.key, dead.value) == (topics.DEAD_LETTERS, b"9", entry.data)
    assert dict(dead.headers)["aion_reason"] == b"TooLarge: %d bytes is over record_bytes 100000" % len(entry.data)
    assert usage == wanted
    assert (usage.topic, json.loads(usage.value)["cost_nanousd"]) == (topics.USAGE, 700)


def test_any_other_event_too_large_is_one_dead_letter(story: Story) -> None:
    for event in (story.accepted("t1", text="x" * 100_000), story.audit("x" * 100_000)):
        (record,) = ENCODER.encode([story.entry(9, event)])
        assert record.topic == topics.DEAD_LETTERS
        assert dict(record.headers)["aion_reason"].startswith(b"TooLarge: ")


def test_an_end_too_large_that_cannot_be_read_says_so_and_is_billed_by_nobody(story: Story) -> None:
    entry = story.entry(9, story.ended("t1", cost_nanousd=700, text="x" * 100_000))
    for broken, reason in (
        (entry._replace(data=entry.data[:-1]), b"schema"),
        (entry._replace(subject="aion.task.ended.completed.acme.t2"), b"Unfit: "),
    ):
        (record,) = ENCODER.encode([broken])
        assert record.topic == topics.DEAD_LETTERS
        assert dict(record.headers)["aion_reason"].startswith(reason)


def test_the_longest_bill_fits_where_the_smallest_record_does(story: Story) -> None:
    bus = "\U0001f68c"
    end = changed(
        story.ended("t" * 64, MAX_NANOUSD, "a" * 64), event_id="\x01" * 256, traceparent=bus * 256, intent="i" * 64
    )
    usage = Usage(latency_ms=2**53, tokens=2**53, cost_nanousd=MAX_NANOUSD)
    entry = story.entry(9, changed(end, engine_name="e" * 64, usage=usage))
    _, bill = ENCODER.encode([entry._replace(sequence=2**63 - 1)])
    headers = sum(len(name) + len(value) + 10 for name, value in bill.headers)
    assert len(bill.value) + headers < 16_384


def test_an_audit_event_is_keyed_by_its_tenant(story: Story) -> None:
    (record,) = ENCODER.encode([story.entry(3, story.audit())])
    assert (record.topic, record.key) == (topics.AUDIT, b"acme")
    assert dict(record.headers)["ce_type"] == b"io.aion.audit.login.v1"


TASK = "aion.task.accepted.normal.acme.t1"


@pytest.mark.parametrize(
    ("subject", "data"),
    [
        (TASK, b"not json"),
        (TASK, b"[]"),
        (TASK, b"\xff\xfe"),
        (TASK, b'{"event":"accepted","event_id":"\xff"}'),
        (TASK, b'{"event":"accepted","event_id":""}'),
        (TASK, b'{"event":"accepted","event_id":"' + b"x" * 257 + b'"}'),
        (TASK, b'{"event":"accepted","event_id":"e","traceparent":"' + b"x" * 257 + b'"}'),
        (TASK, b'{"event":"accepted"}'),
        (TASK, b'{"event":"accepted","event_id":7}'),
        (TASK, b'{"event":"routed","event_id":"e"}'),
        (TASK, b'{"event":"accepted","event_id":"' + b"x" * 100_000 + b'"}'),
        ("aion.task.ended.completed.acme.t1", b'{"event":"ended","event_id":"e"}'),
        ("aion.task.invented.normal.acme.t1", b'{"event":"invented","event_id":"e"}'),
        ("aion.other", b'{"event":"accepted","event_id":"e"}'),
        (TASK, b'{"event":"accepted","event_id":"\\ud800"}'),
        (TASK, b"[" * 60_000),
    ],
)
def test_what_cannot_be_encoded_becomes_one_dead_letter_that_says_why(subject: str, data: bytes) -> None:
    (record,) = ENCODER.encode([Entry(5, 1_700_000_000_000_000_000, subject, data)])
    headers = dict(record.headers)
    assert (record.topic, record.key) == (topics.DEAD_LETTERS, b"5")
    assert record.value == data[: len(record.value)]
    assert headers["aion_reason"]
    assert headers["aion_seq"] == b"5"


def test_an_event_without_an_id_is_told_by_its_bytes() -> None:
    one, other = (event_id_of(Entry(1, 0, TASK, data)) for data in (b"x", b"y"))
    assert one.startswith("sha256:")
    assert one != other


@pytest.mark.parametrize("told", [b"", b"x" * 257, b"\\u0000", b"\xff"])
def test_an_id_that_a_position_cannot_hold_is_a_digest_instead(told: bytes) -> None:
    assert event_id_of(Entry(1, 0, TASK, b'{"event":"accepted","event_id":"' + told + b'"}')).startswith("sha256:")


def test_the_longest_id_is_told_as_it_is() -> None:
    assert event_id_of(Entry(1, 0, TASK, b'{"event":"accepted","event_id":"' + b"x" * 256 + b'"}')) == "x" * 256


def test_a_foreign_position_record_is_refused() -> None:
    with pytest.raises(Misconfigured, match="not one of ours"):
        decode_position(b'{"offset": 3}')


def test_timeouts_that_do_not_nest_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        KafkaSettings(step_timeout_s=11)


@pytest.mark.parametrize("wrong", [{"batch_bytes": 2_097_153}, {"record_bytes": 2_093_057}])
def test_a_batch_that_no_topic_would_take_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"max\.message\.bytes 2097152"):
        KafkaSettings(**wrong)


def test_the_largest_record_with_the_longest_ids_fits_into_a_message() -> None:
    settings = KafkaSettings(batch_bytes=MESSAGE_BYTES, record_bytes=MESSAGE_BYTES - 4096)
    data = encode({"event": "accepted", "event_id": "\U0001f68c" * 256, "traceparent": "\U0001f68c" * 256})
    whole = data.ljust(settings.record_bytes - 1024)
    (record,) = Encoder("LOG", record_bytes=settings.record_bytes).encode([Entry(2**62, 0, TASK, whole)])
    assert record.topic == topics.EVENTS
    batch = DefaultRecordBatchBuilder(2, 0, 1, 1, 1, 1, MESSAGE_BYTES)
    batch.append(0, record.at_ms, record.key, record.value, record.headers)
    assert len(batch.build()) <= MESSAGE_BYTES


@pytest.mark.parametrize(("replication", "in_sync"), [(1, "1"), (2, "1"), (3, "2")])
def test_all_replicas_but_one_must_hold_what_is_acknowledged(replication: int, in_sync: str) -> None:
    wanted = topics.mandatory(KafkaSettings(replication=replication))
    assert {topic.configs["min.insync.replicas"] for topic in wanted} == {in_sync}
