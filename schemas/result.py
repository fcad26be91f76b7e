"""What a client gets back: one canonical result per task."""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from schemas.ids import TaskId
from schemas.message import Message
from schemas.money import MAX_NANOUSD, NANOUSD_PER_USD

Count: TypeAlias = Annotated[int, Meta(ge=0)]
StoredCount: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
"""Of the log: every store holds it, a JSON number of any reader does exactly, and 1,023 of them fit into a bigint."""
Nanousd: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_NANOUSD)]


class Status(StrEnum):
    """How a task ended, in the client's words."""

    OK = "OK"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    CANCELED = "CANCELED"


class Engine(Message):
    """Where the answer came from and why there."""

    route: Literal["local", "api", "hybrid"]
    chosen_by: Literal["ai-router", "policy-override"]
    reason: str


class Usage(Message):
    """What the task used. Money is nano-USD inside and becomes `cost_usd` only in `TaskResult`."""

    latency_ms: StoredCount
    tokens: StoredCount = 0
    cost_nanousd: Nanousd = 0


class UsageReport(Message):
    """`Usage` as clients read it: dollars."""

    latency_ms: Count
    tokens: Count
    cost_usd: Annotated[float, Meta(ge=0)]


class TaskError(Message):
    """Why a task did not answer; `code` is one of `schemas.errors`."""

    code: str
    message: str
    retryable: bool = False


class TaskResult(Message):
    """The canonical result, the same bytes through every door."""

    schema_version: Literal["1.0"] = "1.0"
    task_id: TaskId
    intent: str
    status: Status
    engine: Engine
    result: dict[str, Any] = field(default_factory=dict)
    usage: UsageReport
    error: TaskError | None = None


def report(usage: Usage) -> UsageReport:
    """`usage` in dollars."""
    cost_usd = usage.cost_nanousd / NANOUSD_PER_USD
    return UsageReport(latency_ms=usage.latency_ms, tokens=usage.tokens, cost_usd=cost_usd)
