"""The server's half of the log: one totally ordered list with compare-and-set per task."""

from collections.abc import Callable
from datetime import UTC, datetime

from bus.memory.link import Bell
from bus.port import Entry, LogInfo
from bus.subjects import of_event
from schemas.errors import LogFull, PayloadTooLarge, WrongSequence
from schemas.events import AuditEvent, LogEvent, TaskEvent
from schemas.ids import TaskId, TenantId
from schemas.message import encode

_ENTRY_OVERHEAD_BYTES = 48
"""About what a stored message costs beside its subject and bytes."""

_COMPACT_AT = 1024


class LogStore:
    """Synchronous and never wrong about order; whoever calls it adds the wire."""

    def __init__(
        self, now_ns: Callable[[], int], *, max_bytes: int, max_age_s: float | None, max_payload_bytes: int
    ) -> None:
        self._now_ns = now_ns
        self._max_payload_bytes = max_payload_bytes
        self._entries: list[Entry] = []
        self._start = 0  # index of the first entry that is not trimmed
        self._trimmed = 0  # sequence of the newest trimmed entry
        self._size_bytes = 0
        self._tasks: dict[str, list[int]] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._id_of: dict[int, tuple[str, str]] = {}
        self._created: str | None = None
        self.max_bytes = max_bytes
        self.max_age_s = max_age_s
        self.stored = Bell()
        self.listeners: dict[object, Callable[[Entry], None]] = {}

    @property
    def last_sequence(self) -> int:
        """The newest sequence ever given out."""
        return self._trimmed + len(self._entries) - self._start

    def append(self, event: TaskEvent, after: int) -> int:
        """The sequence under which it is stored, now or by an earlier append of the same `event_id`."""
        self.trim()
        subject = of_event(event)
        known = self._ids.get((_owner(subject), event.event_id))
        if known is not None:
            return known
        last = self._tasks.get(_owner(subject), [0])[-1]
        if last != after:
            raise WrongSequence(f"{event.event} of task {event.task_id} expected {after}, the task is at {last}")
        return self._store(event, subject)

    def audit(self, event: AuditEvent) -> int:
        """As `append`; nothing it could follow."""
        self.trim()
        subject = of_event(event)
        known = self._ids.get((_owner(subject), event.event_id))
        return self._store(event, subject) if known is None else known

    def after(self, sequence: int, limit: int) -> list[Entry]:
        """At most `limit` entries that follow `sequence`, from the window's first on."""
        self.trim()
        index = self._start + max(sequence - self._trimmed, 0)
        return self._entries[index : index + limit]

    def get(self, sequence: int) -> Entry | None:
        """The entry, None when it was trimmed or is yet to come."""
        found = self.after(sequence - 1, 1)
        return found[0] if found and found[0].sequence == sequence else None

    def of_task(self, tenant_id: TenantId, task_id: TaskId) -> tuple[Entry, ...]:
        """All entries of the task, in order."""
        self.trim()
        sequences = self._tasks.get(f"{tenant_id}.{task_id}", [])
        return tuple(entry for entry in map(self.get, sequences) if entry is not None)

    def info(self) -> LogInfo:
        """Bounds and size; `created` is the moment of the first look at it."""
        self.trim()
        if self._created is None:
            self._created = datetime.fromtimestamp(self._now_ns() / 1e9, UTC).isoformat()
        return LogInfo(
            self._created, self._trimmed + 1, self.last_sequence, self._size_bytes, self.max_age_s, self.max_bytes
        )

    def trim(self) -> None:
        """Drop what is older than the window."""
        if self.max_age_s is None:
            return
        oldest_ns = self._now_ns() - round(self.max_age_s * 1e9)
        while self._start < len(self._entries) and self._entries[self._start].at_ns < oldest_ns:
            self._forget(self._entries[self._start])
        if self._start >= _COMPACT_AT and self._start * 2 >= len(self._entries):
            del self._entries[: self._start]
            self._start = 0

    def _store(self, event: LogEvent, subject: str) -> int:
        data = encode(event)
        size_bytes = _size_bytes(subject, data)
        if size_bytes > self._max_payload_bytes:
            raise PayloadTooLarge(f"{event.event} is {size_bytes} bytes, over the bus's {self._max_payload_bytes}")
        if self._size_bytes + size_bytes > self.max_bytes:
            raise LogFull(f"the log holds {self._size_bytes} of {self.max_bytes} bytes: come back when it was trimmed")
        entry = Entry(self.last_sequence + 1, self._now_ns(), subject, data)
        self._entries.append(entry)
        self._size_bytes += size_bytes
        self._index(entry, event.event_id)
        self.stored.ring()
        for listener in list(self.listeners.values()):
            listener(entry)
        return entry.sequence

    def _index(self, entry: Entry, event_id: str) -> None:
        owner = _owner(entry.subject)
        self._tasks.setdefault(owner, []).append(entry.sequence)
        self._ids[owner, event_id] = entry.sequence
        self._id_of[entry.sequence] = (owner, event_id)

    def _forget(self, entry: Entry) -> None:
        self._start += 1
        self._trimmed = entry.sequence
        self._size_bytes -= _size_bytes(entry.subject, entry.data)
        key = self._id_of.pop(entry.sequence)
        del self._ids[key]
        sequences = self._tasks[key[0]]
        sequences.pop(0)
        if not sequences:
            del self._tasks[key[0]]


def _owner(subject: str) -> str:
    """What the compare-and-set filter leaves open: `<tenant>.<task>` of a task's events, all of an audit event's."""
    return subject if subject.startswith("aion.audit.") else subject.split(".", 4)[4]


def _size_bytes(subject: str, data: bytes) -> int:
    return len(subject) + len(data) + _ENTRY_OVERHEAD_BYTES
