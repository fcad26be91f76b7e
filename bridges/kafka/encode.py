"""Log entries as Kafka records: CloudEvents 1.0, Kafka binding, binary mode.

The value is the event's own bytes; what a consumer filters by is in headers. `aion_stream` and `aion_seq` let
anybody check order and completeness from Kafka alone.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from bridges.kafka import topics
from bridges.position import event_id_of
from bus.port import Entry
from schemas.events import Ended, Head, read_head, read_task_event
from schemas.message import Unreadable

Headers = list[tuple[str, bytes]]

_JSON: Final = ("content-type", b"application/json")
_SPEC: Final = ("ce_specversion", b"1.0")
_HEADERS_BYTES: Final = 1024
_DEAD_BYTES: Final = 262_144
_TASK_EVENTS: Final = frozenset({"accepted", "routed", "started", "attempt_failed", "ended"})


class Record(NamedTuple):
    """One record for one topic; `topic` is still without the prefix."""

    topic: str
    key: bytes
    value: bytes
    at_ms: int
    headers: Headers


class Encoder:
    """Turns entries into records, one primary record each and one usage record for each `ended`."""

    def __init__(self, stream: str, *, record_bytes: int) -> None:
        self._record_bytes = record_bytes
        self._stream = ("aion_stream", stream.encode())
        self._source = ("ce_source", f"/aion/{stream}".encode())

    def encode(self, entry: Entry) -> Iterator[Record]:
        """The records of one entry; what cannot be encoded becomes one dead letter that says why."""
        try:
            records = list(self._records(entry))
        except (ValueError, Unreadable) as error:
            reason = "schema" if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
            yield self._dead(entry, reason)
            return
        yield from records

    def _records(self, entry: Entry) -> Iterator[Record]:
        if len(entry.data) + _HEADERS_BYTES > self._record_bytes:
            raise ValueError(f"{len(entry.data)} bytes is over record_bytes {self._record_bytes}")
        head = read_head(entry.data)
        match entry.subject.split("."):
            case ["aion", "task", event, _, tenant, task] if event in _TASK_EVENTS and head.event == event:
                yield self._record(entry, head, topics.EVENTS, task, f"io.aion.task.{event}.v1", f"{tenant}/{task}")
                if event == "ended":
                    yield self._usage(entry)
            case ["aion", "audit", tenant, kind] if head.event == "audit":
                yield self._record(entry, head, topics.AUDIT, tenant, f"io.aion.audit.{kind}.v1", tenant)
            case _:
                raise ValueError(f"subject {entry.subject} does not fit the event")

    def _usage(self, entry: Entry) -> Record:
        """What was billed: integers of nano-USD, one record per task."""
        ended = read_task_event(entry.data)
        if not isinstance(ended, Ended):
            raise ValueError("the event is not ended")
        value = {
            "tenant_id": ended.tenant_id,
            "task_id": ended.task_id,
            "intent": ended.intent,
            "outcome": ended.outcome.value,
            "route": ended.engine.route,
            "engine": ended.engine_name,
            "tokens": ended.usage.tokens,
            "latency_ms": ended.usage.latency_ms,
            "cost_nanousd": ended.usage.cost_nanousd,
            "ended_at_ms": ended.at_ms,
            "event_id": ended.event_id,
        }
        head = Head("usage", f"{ended.event_id}-usage", ended.traceparent)
        subject = f"{ended.tenant_id}/{ended.task_id}"
        record = self._record(entry, head, topics.USAGE, ended.task_id, "io.aion.usage.recorded.v1", subject)
        return record._replace(value=json.dumps(value, separators=(",", ":")).encode())

    def _record(self, entry: Entry, head: Head, topic: str, key: str, kind: str, subject: str) -> Record:
        headers = [_SPEC, ("ce_id", _text(head.event_id)), self._source, ("ce_type", kind.encode())]
        headers += [("ce_subject", subject.encode()), ("ce_time", _time(entry.at_ns)), _JSON]
        headers += [self._stream, ("aion_seq", str(entry.sequence).encode())]
        if head.traceparent:
            headers.append(("traceparent", _text(head.traceparent)))
        return Record(topic, key.encode(), entry.data, entry.at_ns // 1_000_000, headers)

    def _dead(self, entry: Entry, reason: str) -> Record:
        """Keyed by sequence. The bytes are kept, cut where they are too many; the digest is of all of them."""
        headers: Headers = [
            _SPEC,
            ("ce_id", event_id_of(entry).encode(errors="replace")),
            self._source,
            ("ce_type", b"io.aion.deadletter.v1"),
            ("ce_subject", entry.subject.encode()),
            ("ce_time", _time(entry.at_ns)),
            ("content-type", b"application/octet-stream"),
            self._stream,
            ("aion_seq", str(entry.sequence).encode()),
            ("aion_reason", reason[:200].encode(errors="replace")),
            ("aion_size_bytes", str(len(entry.data)).encode()),
            ("aion_sha256", sha256(entry.data).hexdigest().encode()),
        ]
        key = str(entry.sequence).encode()
        return Record(topics.DEAD_LETTERS, key, entry.data[:_DEAD_BYTES], entry.at_ns // 1_000_000, headers)


def _text(value: str) -> bytes:
    if not value or len(value) > 256:
        raise ValueError("event_id and traceparent are texts of 1 to 256 characters")
    return value.encode()


def _time(at_ns: int) -> bytes:
    """RFC 3339 in UTC with milliseconds: the log's time of the event."""
    seconds, rest_ns = divmod(at_ns, 1_000_000_000)
    return b"%b.%03dZ" % (_second(seconds), rest_ns // 1_000_000)


@lru_cache(maxsize=64)
def _second(seconds: int) -> bytes:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".encode()
