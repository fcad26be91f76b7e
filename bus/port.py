"""The bus as everything above it sees it: six narrow ports, answered by `bus.nats` and by the twin `bus.memory`.

Both answers pass one conformance suite (`tests/conformance`). Every call that crosses the wire takes
`timeout_s`; running out of it raises `Unavailable` (the outcome is then unknown) unless said otherwise.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from bus.subjects import Cursor
from schemas.events import AuditEvent, LogEvent, TaskEvent, read_event
from schemas.ids import TaskId, TenantId
from schemas.message import Message

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)

DEFAULT_TIMEOUT_S = 5.0

Heard = Callable[[TenantId, TaskId, bytes], None]
"""Told whose event was stored, and the event; it may not block."""


class Entry(NamedTuple):
    """One stored event: its place in the log, the log's own time, and its bytes."""

    sequence: int
    at_ns: int
    subject: str
    data: bytes

    def event(self) -> LogEvent:
        """The decoded event; costs a parse at each call."""
        return read_event(self.data)


@dataclass(frozen=True, slots=True)
class LogInfo:
    """What the log holds. `created` tells one log from another that reuses its sequences."""

    created: str
    first: int
    last: int
    size_bytes: int
    max_age_s: float | None
    max_bytes: int | None = None
    """Past it appends are refused; None: no limit."""


class Reader(Protocol):
    """A private, gapless walk over the whole log in order; nothing is acknowledged and nobody else is affected."""

    @property
    def restarts(self) -> int:
        """How often it had to begin anew at the server, where it was.

        Between two readings of another number the log may have been replaced: what is handed out since continues the
        sequences, and says nothing about what stood there before.
        """
        ...

    @property
    def pending(self) -> int:
        """How many entries were stored behind the last one handed out; it may be old, and is never asked for anew."""
        ...

    async def next(self, timeout_s: float) -> Sequence[Entry]:
        """At least one entry, or none when nothing came within `timeout_s`.

        Sequences strictly increase. After a lost connection the reader goes on by itself where it was.
        """
        ...


class Log(Protocol):
    """The truth: one totally ordered stream of events."""

    async def append(self, event: TaskEvent, *, after: int, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """The sequence of the stored event, once it is durable.

        `after` is the sequence of the task's event that this one follows, 0 for its first. Appending the same
        `event_id` again after an unknown outcome returns the first append's sequence.
        Raises `WrongSequence` (something else came first), `LogFull`, `PayloadTooLarge`, `Unavailable`.
        """
        ...

    async def audit(self, event: AuditEvent, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """The sequence of the stored audit event, however often the same `event_id` is appended.

        Raises `LogFull`, `PayloadTooLarge`, `Unavailable` (the outcome is unknown: append the same event again).
        """
        ...

    async def last(self, tenant_id: TenantId, task_id: TaskId, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Entry | None:
        """The task's newest event, None when the log holds none of it."""
        ...

    async def events(
        self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[Entry, ...]:
        """All events of the task after sequence `after` that are still in the window, in order."""
        ...

    def read(self, after: int, *, batch: int = 1000, linger_s: float = 0.0) -> AbstractAsyncContextManager[Reader]:
        """Everything stored after sequence `after`, and what is stored from now on, `batch` entries at most at once.

        With `linger_s`, once it has caught up, the reader lets entries gather for that long instead of waking for each.
        """
        ...

    def follow(self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0) -> AsyncIterator[Entry]:
        """The task's events after `after`, replayed and then live, without gap or repeat; ends after `ended`."""
        ...

    def watch(
        self, tenant_id: TenantId, task_id: TaskId, stirred: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Calls `stirred()` when an event of the task was stored; it may not block.

        It only wakes, and a wake-up may be lost with a connection: who must not miss one looks now and then as well.
        """
        ...

    def live(self, event: str, callback: Heard) -> AbstractAsyncContextManager[None]:
        """Calls `callback(tenant_id, task_id, data)` for each `event` of a task stored from now on, as it is stored.

        The feed is not replayed: who must not miss one reads the log as well.
        """
        ...

    async def info(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> LogInfo:
        """Bounds, size and identity of the log."""
        ...

    async def set_window(self, max_age_s: float | None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Trim events older than `max_age_s`; None keeps everything up to the log's size limit."""
        ...


class Delivery(Protocol):
    """One entry handed to one taker. Exactly one of `done` and `give_back` is called, once."""

    entry: Entry
    delivered: int
    """1 for the first delivery of this entry, more after a crash or a give-back."""

    async def done(self) -> None:
        """The work this entry asked for is in the log; frees the slot. A lost ack only means a redelivery.

        Like `give_back` it waits for nobody and raises nothing that the caller could act on.
        """
        ...

    async def give_back(self, delay_s: float = 0.0) -> None:
        """Let any replica take it again after `delay_s`; frees the slot."""
        ...


class Taker(Protocol):
    """An open share of a cursor: holds at most `slots` deliveries that are neither done nor given back.

    It reports progress for all of them every third of the cursor's `ack_wait_s`, so only a dead or stopped
    process loses its deliveries to another.
    """

    async def get(self) -> Delivery:
        """The next delivery, waiting for it. After `stop` it raises `TakerStopped`."""
        ...

    async def stop(self) -> None:
        """Stop pulling and give back what was pulled and not yet handed out; idempotent."""
        ...


class TakerStopped(Exception):
    """The taker was stopped and has nothing left to hand out."""


class Queue(Protocol):
    """The work queue: named cursors on the log."""

    def take(self, cursor: Cursor, *, slots: int) -> AbstractAsyncContextManager[Taker]:
        """Open a share of `cursor`, created if absent. Leaving gives back all that is unanswered."""
        ...

    async def pending(self, cursor: Cursor, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """Entries not yet delivered to anyone: the autoscaling signal."""
        ...

    async def backlog(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """Entries that wait or are in hand, over all work cursors that were ever opened; it opens none."""
        ...


@dataclass(frozen=True, slots=True)
class Question(Generic[Req, Rep]):
    """A typed verb of one actor, at `aion.rpc.<actor>.<verb>`."""

    actor: str
    verb: str
    request: type[Req]
    reply: type[Rep]


class Call(NamedTuple):
    """What travels beside a request: an absolute deadline and the trace."""

    deadline_ms: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Answer(Generic[Req, Rep]):
    """One served verb: at most `concurrency` at once and `mailbox` waiting; past that 429 at once."""

    question: Question[Req, Rep]
    handler: Callable[[Req, Call], Awaitable[Rep]]
    concurrency: int = 16
    mailbox: int = 256


@dataclass(frozen=True, slots=True)
class Service:
    """An actor as discovery shows it (ADR-32). `status` is asked at each `$SRV.STATS` and put in its `data`."""

    name: str
    version: str
    instance: str
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    status: Callable[[], Mapping[str, object]] | None = None


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """One instance that answered discovery, with the `data` of its stats."""

    name: str
    version: str
    instance: str
    metadata: Mapping[str, str]
    data: Mapping[str, object]


class Rpc(Protocol):
    """Questions and answers; never work."""

    async def ask(
        self,
        question: Question[Req, Rep],
        request: Req,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        call: Call | None = None,
    ) -> Rep:
        """The typed reply. The deadline sent is the earlier of `timeout_s` from now and `call.deadline_ms`.

        Raises `NoResponders` at once when nobody serves it, `TooManyRequests` when the mailbox is full,
        `DeadlineExceeded` when time ran out, else the answerer's own error.
        """
        ...

    def serve(self, service: Service, answers: Sequence[Answer[Any, Any]] = ()) -> AbstractAsyncContextManager[None]:
        """Appear in discovery and answer; leaving stops taking, finishes what was taken, then disappears."""
        ...

    async def discover(self, *, wait_s: float = 0.3) -> Sequence[ServiceSeen]:
        """Everyone who answers `$SRV.STATS` until `wait_s` passes in silence."""
        ...


@dataclass(frozen=True, slots=True)
class KvEntry:
    """A value and the revision that wrote it."""

    value: bytes
    revision: int


class Kv(Protocol):
    """What all must know, in buckets; read by views, never asked for on the hot path."""

    async def put(
        self, bucket: str, key: str, value: bytes, *, ttl_s: float | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> int:
        """The revision. With `ttl_s` (whole seconds, at least 1) the key disappears unless it is put again."""
        ...

    async def create(self, bucket: str, key: str, value: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """As `put`, but raises `Conflict` when the key exists."""
        ...

    async def update(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        after: int,
        ttl_s: float | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> int:
        """As `put`, but raises `Conflict` unless revision `after` is the key's newest: of many writers one wins."""
        ...

    async def get(self, bucket: str, key: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> KvEntry | None:
        """The newest value, None when absent, deleted or expired."""
        ...

    async def delete(self, bucket: str, key: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Remove the key; absent is fine."""
        ...

    def view(
        self, bucket: str, changed: Callable[[str, bytes | None], None] | None = None
    ) -> AbstractAsyncContextManager[Mapping[str, bytes]]:
        """A live mapping, complete when handed over and kept current.

        `changed(key, value or None)` is called for each later change, and may not block.
        """
        ...


class Tokens(Protocol):
    """Token deltas of running tasks: ordered, kept for minutes, lost with the server."""

    async def publish(self, tenant_id: TenantId, task_id: TaskId, data: bytes) -> None:
        """Send one delta (about 30 ms of tokens); not durable, not acknowledged."""
        ...

    async def kept(
        self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[Entry, ...]:
        """The task's oldest deltas after token sequence `after` that are still kept: some 128 KiB of them, in order.

        None when there is nothing more, also when the server lost them. What was just published may be missing still.
        Raises `Unavailable`.
        """
        ...

    def live(
        self, tenant_id: TenantId, task_id: TaskId, callback: Callable[[bytes], None]
    ) -> AbstractAsyncContextManager[None]:
        """Calls `callback(data)` for each delta of the task sent from now on; it may not block.

        It hears what `kept` that is asked later does not return; what is sent while the connection is away is missed.
        """
        ...


class Signals(Protocol):
    """Fire-and-forget control messages (`aion.ctl.>`): who is not listening misses them."""

    async def send(self, subject: str) -> None:
        """Send to all who listen now."""
        ...

    def listen(self, pattern: str, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """Call `callback(subject)` for each signal that matches; it may not block."""
        ...


class Bus(Protocol):
    """All six ports over one connection."""

    log: Log
    queue: Queue
    rpc: Rpc
    kv: Kv
    tokens: Tokens
    signals: Signals

    @property
    def connected(self) -> bool:
        """Whether the server answered last; readiness follows it."""
        ...

    @property
    def reconnects(self) -> int:
        """How often the connection was restored: what is only told live was missed meanwhile, however short it was."""
        ...

    def now_ms(self) -> int:
        """Unix milliseconds by the server's clock, which stamps the log, whatever this machine's own clock says."""
        ...

    async def closed(self) -> None:
        """Returns when the connection is gone for good; the process should end non-zero then."""
        ...
