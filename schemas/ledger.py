"""What the ledger answers."""

from pydantic import Field

from schemas.ids import TaskId, TenantId, Token
from schemas.result import Status, TaskResult
from schemas.task import Message


class LedgerGet(Message):
    """Ask for one task of one tenant."""

    tenant_id: Token
    task_id: Token


class LedgerTask(Message):
    """A task as the ledger keeps it; `status` and `result` are None while it is open."""

    tenant_id: TenantId
    task_id: TaskId
    intent: str
    state: str = Field(description="The newest event: accepted, routed, started, attempt_failed or ended.")
    status: Status | None = None
    accepted_at_ms: int
    ended_at_ms: int | None = None
    cost_nanousd: int = 0
    result: TaskResult | None = None


class LedgerList(Message):
    """Ask for a tenant's tasks, newest first; `before` is the `next` of the page before."""

    tenant_id: Token
    limit: int = Field(default=50, ge=1, le=500)
    before: str | None = None


class LedgerPage(Message):
    """Some tasks, and where the next page starts (None: this was the last)."""

    tasks: tuple[LedgerTask, ...]
    next: str | None = None
