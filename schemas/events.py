"""The events of a task and of the audit trail: all that the log ever holds.

    accepted -> routed [-> started] -> ended
                ^--- attempt_failed <---'

Each event knows its lane, the second half of its subject `aion.task.<event>.<lane>.<tenant>.<task_id>`.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from pydantic import Field, TypeAdapter

from schemas.ids import EventId, Name, TaskId, TenantId, Token
from schemas.result import Engine, Status, TaskError, TaskResult, Usage, report
from schemas.task import Message, Priority, Privacy


class Outcome(StrEnum):
    """How a task ended, in the log's words."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DENIED = "denied"


class _TaskEvent(Message):
    event_id: EventId
    tenant_id: TenantId = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    task_id: TaskId = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    at_ms: int = Field(ge=0, description="Writer's clock, Unix milliseconds; order comes from the sequence alone.")
    traceparent: str | None = None


class Brief(Message):
    """What a router or an executor must know of the task, copied forward so that no hop reads back."""

    intent: Name
    priority: Priority
    privacy: Privacy
    budget_nanousd: int | None = None
    p95_ms: int | None = None
    preferred_engine: Name | None = None
    accepted_at_ms: int
    deadline_ms: int = Field(description="Absolute, Unix milliseconds, minted once by the edge.")


class Accepted(_TaskEvent):
    """The task is durably AION's: everything needed to run it is in this event."""

    event: Literal["accepted"] = "accepted"
    brief: Brief
    params: dict[str, Any]
    metadata: dict[str, str] = Field(default_factory=dict)
    fingerprint: str = Field(description="SHA-256 over the canonical request, to tell a replay from a reuse.")

    @property
    def lane(self) -> str:
        """The priority."""
        return self.brief.priority.value


class Routed(_TaskEvent):
    """One engine was chosen; `fallbacks` is frozen and only ever shrinks."""

    event: Literal["routed"] = "routed"
    brief: Brief
    params: dict[str, Any]
    engine: Name
    decision: Engine
    fallbacks: tuple[Name, ...] = ()
    attempt: int = Field(default=1, ge=1)

    @property
    def lane(self) -> str:
        """`<engine>-<priority>`: what an executor's cursor filters on."""
        return f"{self.engine}-{self.brief.priority.value}"


class Started(_TaskEvent):
    """An engine that spends money is about to; nobody may pay for this attempt again."""

    event: Literal["started"] = "started"
    engine: Name
    priority: Priority
    attempt: int = Field(ge=1)
    owner: Token

    @property
    def lane(self) -> str:
        """`<engine>-<priority>`."""
        return f"{self.engine}-{self.priority.value}"


class AttemptFailed(_TaskEvent):
    """One engine could not answer; the router takes the next of the frozen fallbacks."""

    event: Literal["attempt_failed"] = "attempt_failed"
    brief: Brief
    params: dict[str, Any]
    engine: Name
    fallbacks: tuple[Name, ...]
    attempt: int = Field(ge=1)
    error: TaskError
    cost_nanousd: int = Field(default=0, ge=0)
    cost_estimated: bool = False

    @property
    def lane(self) -> str:
        """The priority."""
        return self.brief.priority.value


class Ended(_TaskEvent):
    """The one terminal event; it carries the whole answer."""

    event: Literal["ended"] = "ended"
    outcome: Outcome
    intent: Name
    engine: Engine
    engine_name: Name | None = None
    result: dict[str, Any] = Field(default_factory=dict)
    usage: Usage
    error: TaskError | None = None

    @property
    def lane(self) -> str:
        """The outcome."""
        return self.outcome.value


TaskEvent: TypeAlias = Annotated[Accepted | Routed | Started | AttemptFailed | Ended, Field(discriminator="event")]
task_event_adapter: TypeAdapter[TaskEvent] = TypeAdapter(TaskEvent)


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


class AuditEvent(Message):
    """Something a tenant's auditor must be able to read later: `aion.audit.<tenant>.<kind>`."""

    event: Literal["audit"] = "audit"
    event_id: EventId
    tenant_id: TenantId = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    kind: Name
    at_ms: int = Field(ge=0)
    actor: str
    subject: str
    detail: dict[str, str] = Field(default_factory=dict)
    traceparent: str | None = None


LogEvent: TypeAlias = Annotated[
    Accepted | Routed | Started | AttemptFailed | Ended | AuditEvent, Field(discriminator="event")
]
log_event_adapter: TypeAdapter[LogEvent] = TypeAdapter(LogEvent)

_STATUS = {
    Outcome.COMPLETED: Status.OK,
    Outcome.FAILED: Status.ERROR,
    Outcome.DENIED: Status.ERROR,
    Outcome.TIMEOUT: Status.TIMEOUT,
    Outcome.CANCELLED: Status.CANCELED,
}

UNROUTED = Engine(route="local", chosen_by="ai-router", reason="ended before an engine was chosen")
"""The `engine` of a task that no engine ever saw: nothing left this installation."""


def canonical_result(ended: Ended) -> TaskResult:
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
