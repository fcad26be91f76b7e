"""Log entries as Kafka records: CloudEvents 1.0, Kafka binding, binary mode.

The value is the event's own bytes; what a consumer filters by is in headers. `aion_stream` and `aion_seq` let
anybody check order and completeness from Kafka alone.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from bridges.kafka import topics
from bridges.position import event_id_of
from bus.port import Entry
from schemas.events import EndedInBrief, Head, read_ended_in_brief, read_head
from schemas.message import Unreadable, encode

Header = tuple[str, bytes]
Headers = list[Header]

_JSON: Final = ("content-type", b"application/json")
_SPEC: Final = ("ce_specversion", b"1.0")
_HEADERS_BYTES: Final = 1024
_DEAD_BYTES: Final = 262_144
_TASK_TYPES: Final[dict[str, Header]] = {
    event: ("ce_type", f"io.aion.task.{event}.v1".encode())
    for event in ("accepted", "routed", "started", "attempt_failed", "ended")
}
_ENDED: Final = _TASK_TYPES["ended"]
_USAGE: Final[Header] = ("ce_type", b"io.aion.usage.recorded.v1")


class Record(NamedTuple):
    """One record for one topic; `topic` is still without the prefix."""

    topic: str
    key: bytes
    value: bytes
    at_ms: int
    headers: Headers


class Encoder:
    """Turns entries into records: one each, and a second one, of what is billed, for each `ended`."""

    def __init__(self, stream: str, *, record_bytes: int) -> None:
        self._record_bytes = record_bytes
        self._stream = ("aion_stream", stream.encode())
        self._source = ("ce_source", f"/aion/{stream}".encode())

    def encode(self, entries: Iterable[Entry]) -> list[Record]:
        """The records of a batch, in order; what cannot be encoded becomes one dead letter that says why."""
        records: list[Record] = []
        for entry in entries:
            try:
                records += self._records(entry)
            except (ValueError, Unreadable) as error:
                reason = "schema" if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
                records.append(self._dead(entry, reason))
        return records

    def _records(self, entry: Entry) -> tuple[Record, ...]:
        if len(entry.data) + _HEADERS_BYTES > self._record_bytes:
            raise ValueError(f"{len(entry.data)} bytes is over record_bytes {self._record_bytes}")
        words = entry.subject.split(".")
        if len(words) == 6 and words[1] == "task":
            return self._of_task(entry, words[2], words[4], words[5])
        if len(words) == 5 and words[1] == "audit":
            return self._of_audit(entry, words[2], words[3])
        raise _stranger(entry)

    def _of_task(self, entry: Entry, event: str, tenant: str, task: str) -> tuple[Record, ...]:
        key, subject = task.encode(), f"{tenant}/{task}".encode()
        if event == "ended":
            ended = read_ended_in_brief(entry.data)
            if ended.task_id != task or ended.tenant_id != tenant:
                raise _stranger(entry)
            record = self._record(entry, ended, topics.EVENTS, key, _ENDED, subject)
            return record, self._usage(ended, record)
        head = read_head(entry.data)
        kind = _TASK_TYPES.get(event)
        if kind is None or head.event != event:
            raise _stranger(entry)
        return (self._record(entry, head, topics.EVENTS, key, kind, subject),)

    def _of_audit(self, entry: Entry, tenant: str, kind: str) -> tuple[Record, ...]:
        head = read_head(entry.data)
        if head.event != "audit":
            raise _stranger(entry)
        of_kind, key = ("ce_type", f"io.aion.audit.{kind}.v1".encode()), tenant.encode()
        return (self._record(entry, head, topics.AUDIT, key, of_kind, key),)

    def _usage(self, ended: EndedInBrief, record: Record) -> Record:
        """What was billed: integers of nano-USD, one record per task."""
        usage = ended.usage
        value = {
            "tenant_id": ended.tenant_id,
            "task_id": ended.task_id,
            "intent": ended.intent,
            "outcome": ended.outcome,
            "route": ended.engine.route,
            "engine": ended.engine_name,
            "tokens": usage.tokens,
            "latency_ms": usage.latency_ms,
            "cost_nanousd": usage.cost_nanousd,
            "ended_at_ms": ended.at_ms,
            "event_id": ended.event_id,
        }
        _, key, _, at_ms, headers = record
        event_id = ("ce_id", headers[1][1] + b"-usage")
        return Record(topics.USAGE, key, encode(value), at_ms, [_SPEC, event_id, self._source, _USAGE, *headers[4:]])

    def _record(
        self, entry: Entry, head: Head | EndedInBrief, topic: str, key: bytes, kind: Header, subject: bytes
    ) -> Record:
        sequence, at_ns, _, data = entry
        at_ms = at_ns // 1_000_000
        headers = [
            _SPEC,
            ("ce_id", _text(head.event_id)),
            self._source,
            kind,
            ("ce_subject", subject),
            _time(at_ms),
            _JSON,
            self._stream,
            ("aion_seq", b"%d" % sequence),
        ]
        if head.traceparent:
            headers.append(("traceparent", _text(head.traceparent)))
        return Record(topic, key, data, at_ms, headers)

    def _dead(self, entry: Entry, reason: str) -> Record:
        """Keyed by sequence. The bytes are kept, cut where they are too many; the digest is of all of them."""
        headers: Headers = [
            _SPEC,
            ("ce_id", event_id_of(entry).encode(errors="replace")),
            self._source,
            ("ce_type", b"io.aion.deadletter.v1"),
            ("ce_subject", entry.subject.encode()),
            _time(entry.at_ns // 1_000_000),
            ("content-type", b"application/octet-stream"),
            self._stream,
            ("aion_seq", str(entry.sequence).encode()),
            ("aion_reason", reason[:200].encode(errors="replace")),
            ("aion_size_bytes", str(len(entry.data)).encode()),
            ("aion_sha256", sha256(entry.data).hexdigest().encode()),
        ]
        key = str(entry.sequence).encode()
        return Record(topics.DEAD_LETTERS, key, entry.data[:_DEAD_BYTES], entry.at_ns // 1_000_000, headers)


def _stranger(entry: Entry) -> ValueError:
    return ValueError(f"subject {entry.subject} does not fit the event")


def _text(value: str) -> bytes:
    if not value or len(value) > 256:
        raise ValueError("event_id and traceparent are texts of 1 to 256 characters")
    return value.encode()


@lru_cache(maxsize=1024)
def _time(at_ms: int) -> Header:
    """RFC 3339 in UTC with milliseconds: the log's time of the event."""
    seconds, rest_ms = divmod(at_ms, 1000)
    return "ce_time", b"%b.%03dZ" % (_second(seconds), rest_ms)


@lru_cache(maxsize=16)
def _second(seconds: int) -> bytes:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".encode()
