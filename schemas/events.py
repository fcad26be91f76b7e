"""The events of a task and of the audit trail: all that the log ever holds.

    accepted -> routed [-> started] -> ended
                ^--- attempt_failed <---'

Each event knows its lane, the second half of its subject `aion.task.<event>.<lane>.<tenant>.<task_id>`.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, TypedDict, TypeVar

from msgspec import Meta, Struct, field

from schemas.ids import NAME_PATTERN, EventId, Name, OfToken, TaskId, TenantId, Token
from schemas.message import Decoder, Message, Raw, Unreadable, encode, read
from schemas.money import add_nanousd
from schemas.result import Engine, Nanousd, Status, StoredCount, TaskError, TaskResult, Usage, UsageReport, report
from schemas.task import Priority, Privacy

Ordinal: TypeAlias = Annotated[int, Meta(ge=1)]
Spent: TypeAlias = Annotated[
    Nanousd, Meta(description="What failed attempts before this one have cost; the end bills it.")
]


class Outcome(StrEnum):
    """How a task ended, in the log's words."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DENIED = "denied"


class _TaskEvent(Message, tag_field="event"):
    event_id: EventId
    tenant_id: Annotated[TenantId, OfToken]
    task_id: Annotated[TaskId, OfToken]
    at_ms: Annotated[
        StoredCount, Meta(description="Writer's clock, Unix milliseconds; the sequence alone gives the order.")
    ]
    traceparent: str | None = None


class Brief(Message):
    """What a router or an executor must know of the task, copied forward so that no hop reads back."""

    intent: Name
    priority: Priority
    privacy: Privacy
    budget_nanousd: int | None = None
    p95_ms: int | None = None
    preferred_engine: Name | None = None
    accepted_at_ms: StoredCount
    deadline_ms: Annotated[StoredCount, Meta(description="Absolute, Unix milliseconds, minted once by the edge.")]


class Accepted(_TaskEvent, tag="accepted"):
    """The task is durably AION's: everything needed to run it is in this event."""

    event: ClassVar[Literal["accepted"]] = "accepted"
    brief: Brief
    params: dict[str, Any]
    metadata: dict[str, str] = field(default_factory=dict)
    fingerprint: Annotated[str, Meta(description="SHA-256 over the canonical request, to tell a replay from a reuse.")]

    @property
    def lane(self) -> str:
        """The priority."""
        return self.brief.priority


class Routed(_TaskEvent, tag="routed"):
    """One engine was chosen; `fallbacks` is frozen and only ever shrinks."""

    event: ClassVar[Literal["routed"]] = "routed"
    brief: Brief
    params: dict[str, Any]
    engine: Name
    decision: Engine
    fallbacks: tuple[Name, ...] = ()
    attempt: Ordinal = 1
    spent_nanousd: Spent = 0

    @property
    def lane(self) -> str:
        """`<engine>-<priority>`: what an executor's cursor filters on."""
        return f"{self.engine}-{self.brief.priority}"


class Started(_TaskEvent, tag="started"):
    """An engine that spends money is about to; nobody may pay for this attempt again."""

    event: ClassVar[Literal["started"]] = "started"
    engine: Name
    priority: Priority
    attempt: Ordinal
    owner: Token

    @property
    def lane(self) -> str:
        """`<engine>-<priority>`."""
        return f"{self.engine}-{self.priority}"


class AttemptFailed(_TaskEvent, tag="attempt_failed"):
    """One engine could not answer; the router takes the next of the frozen fallbacks."""

    event: ClassVar[Literal["attempt_failed"]] = "attempt_failed"
    brief: Brief
    params: dict[str, Any]
    engine: Name
    fallbacks: tuple[Name, ...]
    attempt: Ordinal
    error: TaskError
    cost_nanousd: Nanousd = 0
    cost_estimated: bool = False
    spent_nanousd: Spent = 0

    @property
    def lane(self) -> str:
        """The priority."""
        return self.brief.priority

    @property
    def spent_in_all_nanousd(self) -> int:
        """What whoever ends the task now bills, and what the next attempt begins with."""
        return add_nanousd(self.spent_nanousd, self.cost_nanousd)


class Ended(_TaskEvent, tag="ended"):
    """The one terminal event; it carries the whole answer."""

    event: ClassVar[Literal["ended"]] = "ended"
    outcome: Outcome
    intent: Name
    engine: Engine
    engine_name: Name | None = None
    result: dict[str, Any] = field(default_factory=dict)
    usage: Usage
    error: TaskError | None = None

    @property
    def lane(self) -> str:
        """The outcome."""
        return self.outcome


TaskEvent: TypeAlias = Accepted | Routed | Started | AttemptFailed | Ended


class Identity(TypedDict):
    """What every event of a task says of itself."""

    event_id: EventId
    tenant_id: TenantId
    task_id: TaskId
    at_ms: int
    traceparent: str | None


def following(event: TaskEvent, event_id: EventId, at_ms: int) -> Identity:
    """The identity of the event that comes after `event` in its task's history and trace."""
    return Identity(
        event_id=event_id,
        tenant_id=event.tenant_id,
        task_id=event.task_id,
        at_ms=at_ms,
        traceparent=event.traceparent,
    )


class AuditEvent(Message, tag_field="event", tag="audit"):
    """Something a tenant's auditor must be able to read later: `aion.audit.<tenant>.<kind>.<event_id>`."""

    event: ClassVar[Literal["audit"]] = "audit"
    event_id: EventId
    tenant_id: Annotated[TenantId, OfToken]
    kind: Name
    at_ms: StoredCount
    actor: str
    subject: str
    detail: dict[str, str] = field(default_factory=dict)
    traceparent: str | None = None


LogEvent: TypeAlias = TaskEvent | AuditEvent


class Head(Struct, frozen=True):
    """What every entry of the log must say of itself, whatever else is in it."""

    event: str
    event_id: str
    traceparent: str | None = None


class EndedInBrief(Struct, frozen=True, tag_field="event", tag="ended"):
    """What a bill needs of `ended`; its answer is skipped unread.

    Types, amounts and names are checked as in `Ended`; a field that a newer writer added is passed over.
    """

    event_id: EventId
    tenant_id: TenantId
    task_id: TaskId
    at_ms: StoredCount
    outcome: Outcome
    intent: str
    engine: Engine
    usage: Usage
    engine_name: str | None = None
    error: TaskError | None = None
    traceparent: str | None = None


class EndedInFull(EndedInBrief, frozen=True, tag_field="event", tag="ended"):
    """`ended` with its answer, for projections: read whole, so that none bills what another cannot read."""

    event: ClassVar[Literal["ended"]] = "ended"
    result: dict[str, Any] = field(default_factory=dict)


class AcceptedInBrief(Struct, frozen=True, tag_field="event", tag="accepted"):
    """What a deadline needs of `accepted`; its params are skipped unread."""

    brief: Brief
    traceparent: str | None = None


class RoutedInBrief(Struct, frozen=True, tag_field="event", tag="routed"):
    """Which engine `routed` names, and why."""

    engine: Name
    decision: Engine
    spent_nanousd: int = 0


class AttemptFailedInBrief(Struct, frozen=True, tag_field="event", tag="attempt_failed"):
    """What `attempt_failed` says of money."""

    cost_nanousd: int = 0
    spent_nanousd: int = 0


class _EndedInParts(Struct, frozen=True, tag_field="event", tag="ended"):
    """What a client is told of `ended`; what is told word for word stays JSON."""

    task_id: TaskId
    outcome: Outcome
    intent: str
    engine: Raw
    usage: Usage
    result: Raw = Raw(b"{}")
    error: Raw = Raw(b"null")


class _ResultInParts(Struct, frozen=True):
    """`TaskResult`, field by field."""

    schema_version: str
    task_id: TaskId
    intent: str
    status: Status
    engine: Raw
    result: Raw
    usage: UsageReport
    error: Raw


E = TypeVar("E", bound=EndedInBrief)

_NAME: Final = re.compile(NAME_PATTERN)

_heads = Decoder(Head)
_acceptances = Decoder(AcceptedInBrief)
_routes = Decoder(RoutedInBrief)
_failures = Decoder(AttemptFailedInBrief)
_endings_in_parts = Decoder(_EndedInParts)
_endings = Decoder(EndedInBrief)
_endings_in_full = Decoder(EndedInFull)
_task_events: Decoder[TaskEvent] = Decoder(TaskEvent)
_log_events: Decoder[LogEvent] = Decoder(LogEvent)


def read_head(data: bytes) -> Head:
    """The head of the event in `data`, without a look at the rest. Raises `schemas.message.Unreadable`."""
    return read(_heads, data)


def read_accepted_in_brief(data: bytes) -> AcceptedInBrief:
    """What a deadline needs of the `accepted` in `data`. Raises `schemas.message.Unreadable`."""
    return read(_acceptances, data)


def read_routed_in_brief(data: bytes) -> RoutedInBrief:
    """Which engine the `routed` in `data` names. Raises `schemas.message.Unreadable`."""
    return read(_routes, data)


def read_attempt_failed_in_brief(data: bytes) -> AttemptFailedInBrief:
    """What the `attempt_failed` in `data` says of money. Raises `schemas.message.Unreadable`."""
    return read(_failures, data)


def read_ended_in_brief(data: bytes) -> EndedInBrief:
    """What a bill needs of the `ended` in `data`. Raises `schemas.message.Unreadable`."""
    return _named(read(_endings, data))


def read_ended_in_full(data: bytes) -> EndedInFull:
    """All of the `ended` in `data` but what a newer writer added. Raises `schemas.message.Unreadable`."""
    return _named(read(_endings_in_full, data))


def _named(ended: E) -> E:
    if not _are_names(ended.intent, ended.engine_name):
        raise Unreadable("intent or engine_name is not a name")
    return ended


@lru_cache(maxsize=4096)
def _are_names(intent: str, engine: str | None) -> bool:
    """What `Name` says, remembered: there are few names, and patterns are what costs most in a decoder."""
    return all(name is None or _NAME.fullmatch(name) is not None for name in (intent, engine))


def read_task_event(data: bytes) -> TaskEvent:
    """The event of a task in `data`. Raises `schemas.message.Unreadable`."""
    return read(_task_events, data)


def read_event(data: bytes) -> LogEvent:
    """The event in `data`, whatever the log may hold. Raises `schemas.message.Unreadable`."""
    return read(_log_events, data)


_STATUS = {
    Outcome.COMPLETED: Status.OK,
    Outcome.FAILED: Status.ERROR,
    Outcome.DENIED: Status.ERROR,
    Outcome.TIMEOUT: Status.TIMEOUT,
    Outcome.CANCELLED: Status.CANCELED,
}

UNROUTED = Engine(route="local", chosen_by="ai-router", reason="ended before an engine was chosen")
"""The `engine` of a task that no engine ever saw: nothing left this installation."""


def canonical_result(ended: Ended | EndedInFull) -> TaskResult:
    """The client's view of a terminal event: deterministic, so replays are byte-identical."""
    return TaskResult(
        task_id=ended.task_id,
        intent=ended.intent,
        status=_STATUS[ended.outcome],
        engine=ended.engine,
        result=ended.result,
        usage=report(ended.usage),
        error=ended.error,
    )


def canonical_bytes(data: bytes) -> bytes:
    """The canonical result of the `ended` in `data`, as JSON: the bytes of `canonical_result`, a quarter of its cost.

    The answer itself is passed on unread: the log holds what `encode` wrote. Raises `schemas.message.Unreadable`.
    """
    ended = read(_endings_in_parts, data)
    return encode(
        _ResultInParts(
            schema_version="1.0",
            task_id=ended.task_id,
            intent=ended.intent,
            status=_STATUS[ended.outcome],
            engine=ended.engine,
            result=ended.result,
            usage=report(ended.usage),
            error=ended.error,
        )
    )
