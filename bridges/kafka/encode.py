"""Log entries as Kafka records: CloudEvents 1.0, Kafka binding, binary mode.

The value is the event's own bytes; what a consumer filters by is in headers. `aion_stream` and `aion_seq` let
anybody check order and completeness from Kafka alone.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from bridges.judging import audit_subject, check_ids, read_end, stranger
from bridges.kafka import topics
from bridges.position import event_id_of
from bus.port import Entry
from bus.subjects import TaskSubject, task_subject
from schemas.events import EndedInFull, Head, read_head
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


class TooLarge(ValueError):
    """An event of more bytes than a record may have; the text says how many."""


class Record(NamedTuple):
    """One record for one topic; `topic` is still without the prefix."""

    topic: str
    key: bytes
    value: bytes
    at_ms: int
    headers: Headers


class Encoder:
    """Turns entries into records: one each, and a second one, of what is billed, for each `ended` that can be read."""

    def __init__(self, stream: str, *, record_bytes: int) -> None:
        self._record_bytes = record_bytes
        self._stream = ("aion_stream", stream.encode())
        self._source = ("ce_source", f"/aion/{stream}".encode())

    def encode(self, entries: Iterable[Entry]) -> list[Record]:
        """The records of a batch, in order; an event that cannot be one of Kafka's is a dead letter that says why."""
        records: list[Record] = []
        for entry in entries:
            try:
                records += self._records(entry)
            except (ValueError, Unreadable) as error:
                records.append(self._dead(entry, error))
        return records

    def _records(self, entry: Entry) -> tuple[Record, ...]:
        task = task_subject(entry.subject)
        if task is not None and task.event == "ended":
            return self._of_end(entry, task)
        self._check_size(entry)
        if task is not None:
            return (self._of_task(entry, task),)
        if (audit := audit_subject(entry.subject)) is not None:
            return (self._of_audit(entry, *audit),)
        raise stranger(entry)

    def _check_size(self, entry: Entry) -> None:
        if len(entry.data) + _HEADERS_BYTES > self._record_bytes:
            raise TooLarge(f"{len(entry.data)} bytes is over record_bytes {self._record_bytes}")

    def _of_end(self, entry: Entry, told: TaskSubject) -> tuple[Record, Record]:
        """The end and its bill, which stands beside a dead letter too: the ledger bills an end of any size."""
        ended = read_end(entry, told)
        _, tenant, task = told
        record = self._record(entry, ended, topics.EVENTS, task.encode(), _ENDED, f"{tenant}/{task}".encode())
        usage = self._usage(ended, record)
        try:
            self._check_size(entry)
        except TooLarge as error:
            return self._dead(entry, error), usage
        return record, usage

    def _of_task(self, entry: Entry, told: TaskSubject) -> Record:
        event, tenant, task = told
        key, subject = task.encode(), f"{tenant}/{task}".encode()
        head = read_head(entry.data)
        kind = _TASK_TYPES.get(event)
        if kind is None or head.event != event:
            raise stranger(entry)
        check_ids(head)
        return self._record(entry, head, topics.EVENTS, key, kind, subject)

    def _of_audit(self, entry: Entry, tenant: str, kind: str) -> Record:
        head = read_head(entry.data)
        if head.event != "audit":
            raise stranger(entry)
        check_ids(head)
        of_kind, key = ("ce_type", f"io.aion.audit.{kind}.v1".encode()), tenant.encode()
        return self._record(entry, head, topics.AUDIT, key, of_kind, key)

    def _usage(self, ended: EndedInFull, record: Record) -> Record:
        """What was billed, in integers of nano-USD: at most a few kilobytes."""
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
        self, entry: Entry, head: Head | EndedInFull, topic: str, key: bytes, kind: Header, subject: bytes
    ) -> Record:
        sequence, at_ns, _, data = entry
        at_ms = at_ns // 1_000_000
        headers = [
            _SPEC,
            ("ce_id", head.event_id.encode()),
            self._source,
            kind,
            ("ce_subject", subject),
            _time(at_ms),
            _JSON,
            self._stream,
            ("aion_seq", b"%d" % sequence),
        ]
        if head.traceparent:
            headers.append(("traceparent", head.traceparent.encode()))
        return Record(topic, key, data, at_ms, headers)

    def _dead(self, entry: Entry, error: Exception) -> Record:
        """Keyed by sequence. The bytes are kept, cut where they are too many; the digest is of all of them."""
        reason = "schema" if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
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


@lru_cache(maxsize=1024)
def _time(at_ms: int) -> Header:
    """RFC 3339 in UTC with milliseconds: the log's time of the event."""
    seconds, rest_ms = divmod(at_ms, 1000)
    return "ce_time", b"%b.%03dZ" % (_second(seconds), rest_ms)


@lru_cache(maxsize=16)
def _second(seconds: int) -> bytes:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}".encode()
