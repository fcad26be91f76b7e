"""Kafka against the log: every event once, unaltered, in order per key."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from checker.history import AUDIT, DEAD_LETTERS, EVENTS, USAGE, History, KafkaRecord, LogEntry
from checker.verdict import Finding

Index = Mapping[tuple[str, int], Sequence[KafkaRecord]]


def check_kafka(history: History) -> Iterator[Finding]:
    """Each entry's records, then what no entry asked for, then the order."""
    index: dict[tuple[str, int], list[KafkaRecord]] = defaultdict(list)
    for record in history.kafka:
        index[record.topic, record.sequence].append(record)
    for entry in history.log:
        for topic in _topics(entry):
            yield from _once(entry, topic, index[topic, entry.sequence], history.positions.get("kafka"))
    yield from _strangers(history)
    yield from _order(history)
    yield from _position(history)


def _topics(entry: LogEntry) -> tuple[str, ...]:
    if entry.event == "audit":
        return (AUDIT,)
    return (EVENTS, USAGE) if entry.event == "ended" else (EVENTS,)


def _once(entry: LogEntry, topic: str, records: Sequence[KafkaRecord], position: int | None) -> Iterator[Finding]:
    what = f"event {entry.sequence} ({entry.event})"
    about = (entry.task, (entry.sequence,))
    if not records:
        if position is not None and position >= entry.sequence:
            message = f"{what} is not in {topic}; the position {position} has passed it"
            yield Finding("kafka_skipped", message, *about, absent_from="kafka")
        else:
            yield Finding("kafka_missing", f"{what} is not in {topic}", *about, absent_from="kafka")
        return
    if len(records) > 1:
        places = ", ".join(f"{record.partition}@{record.offset}" for record in records)
        yield Finding("kafka_duplicate", f"{what} is {len(records)} times in {topic}: {places}", *about)
    for record in records:
        yield from _unaltered(entry, record)


def _usage(entry: LogEntry) -> dict[str, Any]:
    body, usage = entry.body, entry.body.get("usage", {})
    counted = {field: usage.get(field, 0) for field in ("cost_nanousd", "tokens", "latency_ms")}
    said = {field: body.get(field) for field in ("tenant_id", "task_id", "event_id", "intent", "outcome")}
    return counted | said


def _unaltered(entry: LogEntry, record: KafkaRecord) -> Iterator[Finding]:
    about = (entry.task, (entry.sequence,))
    key = entry.task.task_id if entry.task else entry.subject.split(".")[2]
    if record.key != key:
        yield Finding("kafka_wrong_key", f"event {entry.sequence} has the key {record.key}, not {key}", *about)
    if record.topic == USAGE:
        for field, value in _usage(entry).items():
            if record.body.get(field) != value:
                message = f"event {entry.sequence}: {field} {record.body.get(field)} in {USAGE}, {value}"
                yield Finding("kafka_usage_differs", f"{message} in the log", *about)
    elif record.body != entry.body:
        yield Finding("kafka_altered", f"event {entry.sequence} differs between the log and Kafka", *about)


def _strangers(history: History) -> Iterator[Finding]:
    """A record of an earlier window is a repetition: its one place was in that window."""
    for record in history.kafka:
        place = f"{record.topic} {record.partition}@{record.offset}"
        if record.topic == DEAD_LETTERS:
            why = record.headers.get("aion_reason", "")
            yield Finding("kafka_dead_letter", f"event {record.sequence} is a dead letter at {place}: {why}")
            continue
        entry = history.by_sequence.get(record.sequence)
        if entry is None:
            message = f"{place} claims event {record.sequence}, outside {history.begin + 1}..{history.end}"
            yield Finding("kafka_unasked", message, None, (record.sequence,), absent_from="log")
        elif record.topic not in _topics(entry):
            message = f"{place} holds event {record.sequence} ({entry.event}), which does not belong there"
            yield Finding("kafka_unasked", message, entry.task, (record.sequence,))


def _order(history: History) -> Iterator[Finding]:
    """Per key: one partition, and first appearances in the order of the log."""
    keys: dict[tuple[str, str], list[KafkaRecord]] = defaultdict(list)
    for record in sorted(history.kafka, key=lambda r: (r.topic, r.partition, r.offset)):
        keys[record.topic, record.key].append(record)
    for (topic, key), records in keys.items():
        if len({record.partition for record in records}) > 1:
            partitions = sorted({record.partition for record in records})
            yield Finding("kafka_key_split", f"key {key} of {topic} lies in partitions {partitions}")
            continue
        first = list(dict.fromkeys(record.sequence for record in records))
        for earlier, later in itertools.pairwise(first):
            if later < earlier:
                message = f"key {key} of {topic} has event {earlier} before {later}"
                entry = history.by_sequence.get(later)
                yield Finding("kafka_reordered", message, entry.task if entry else None, (later, earlier))


def _position(history: History) -> Iterator[Finding]:
    for name, position in history.positions.items():
        if position > history.end:
            message = f"{name} says it is at {position}, past the log's end {history.end}"
            yield Finding("position_ahead", message, absent_from="log")
        elif position < history.end:
            message = f"{name} stands at {position}, before the log's end {history.end}"
            yield Finding("position_behind", message, absent_from="kafka" if name == "kafka" else "ledger")
