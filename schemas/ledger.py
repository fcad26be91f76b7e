"""What the ledger answers."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from schemas.ids import Name, TaskId, TenantId, Token
from schemas.message import Message
from schemas.result import Count, Status, TaskResult

Progress: TypeAlias = Literal["RUNNING", "OK", "ERROR", "TIMEOUT", "CANCELED"]


class LedgerGet(Message):
    """Ask for one task of one tenant."""

    tenant_id: Token
    task_id: Token


class LedgerTask(Message):
    """A task as the ledger keeps it; `status` and `result` are None while it is open."""

    tenant_id: TenantId
    task_id: TaskId
    intent: str
    state: Annotated[str, Meta(description="The newest event: accepted, routed, started, attempt_failed or ended.")]
    status: Status | None = None
    accepted_at_ms: int
    ended_at_ms: int | None = None
    cost_nanousd: int = 0
    result: TaskResult | None = None


class LedgerList(Message):
    """Ask for a tenant's tasks, newest first; `before` is the `next` of the page before. No filter, no limit."""

    tenant_id: Token
    status: Annotated[Progress | None, Meta(description="RUNNING: those that have not ended.")] = None
    intent: Name | None = None
    since_ms: Annotated[Count | None, Meta(description="Accepted at or after, Unix milliseconds.")] = None
    until_ms: Annotated[Count | None, Meta(description="Accepted before.")] = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    before: str | None = None


class LedgerPage(Message):
    """Some tasks without their results, and where the next page starts (None: this was the last)."""

    tasks: tuple[LedgerTask, ...]
    next: str | None = None
