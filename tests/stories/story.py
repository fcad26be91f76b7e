"""The events of tasks, valid and distinct, for tests that read a log."""

from typing import Any

from bus.memory import MemoryBus
from bus.port import Entry
from bus.subjects import of_event
from schemas.events import Accepted, AttemptFailed, AuditEvent, Brief, Ended, LogEvent, Outcome, Routed, Started
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.message import encode
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority, Privacy

NOW_MS = 1_700_000_000_000
ENGINE = "openai"
DECISION = Engine(route="api", chosen_by="ai-router", reason="cheapest")


def brief(later_ms: int = 0) -> Brief:
    """Of a task that was accepted `later_ms` after the story began, with a minute's time."""
    return Brief(
        intent="summarize",
        priority=Priority.NORMAL,
        privacy=Privacy.ALLOW_API,
        accepted_at_ms=NOW_MS + later_ms,
        deadline_ms=NOW_MS + later_ms + 60_000,
    )


class Story:
    """One task or many; every event has an id of its own."""

    def accepted(self, task_id: str, tenant_id: str = "acme", *, text: str = "hi", later_ms: int = 0) -> Accepted:
        head = self._head(task_id, tenant_id)
        return Accepted(**head, brief=brief(later_ms), params={"text": text}, fingerprint="f" * 64)

    def routed(self, task_id: str, tenant_id: str = "acme", *, later_ms: int = 0) -> Routed:
        head = self._head(task_id, tenant_id)
        return Routed(**head, brief=brief(later_ms), params={}, engine=ENGINE, decision=DECISION)

    def started(self, task_id: str, tenant_id: str = "acme") -> Started:
        head = self._head(task_id, tenant_id)
        return Started(**head, engine=ENGINE, priority=Priority.NORMAL, attempt=1, owner="one")

    def attempt_failed(self, task_id: str, cost_nanousd: int, tenant_id: str = "acme") -> AttemptFailed:
        error = TaskError(code="unavailable", message="away", retryable=True)
        more: dict[str, Any] = {
            "engine": ENGINE,
            "fallbacks": (),
            "attempt": 1,
            "error": error,
            "cost_nanousd": cost_nanousd,
        }
        return AttemptFailed(**self._head(task_id, tenant_id), brief=brief(), params={}, **more)

    def ended(self, task_id: str, cost_nanousd: int = 0, tenant_id: str = "acme", **result: Any) -> Ended:
        usage = Usage(latency_ms=12, tokens=7, cost_nanousd=cost_nanousd)
        more: dict[str, Any] = {"outcome": Outcome.COMPLETED, "intent": "summarize", "engine": DECISION, "usage": usage}
        answer = result or {"summary": "ok"}
        return Ended(**self._head(task_id, tenant_id), engine_name=ENGINE, result=answer, **more)

    def audit(self, detail: str = "ok", tenant_id: str = "acme") -> AuditEvent:
        return AuditEvent(
            event_id=new_id(),
            tenant_id=TenantId(tenant_id),
            kind="login",
            at_ms=NOW_MS,
            actor="edge",
            subject="key-1",
            detail={"verdict": detail},
        )

    def entry(self, sequence: int, event: LogEvent) -> Entry:
        """`event` as the log would hold it at `sequence`."""
        at_ns = (NOW_MS + sequence) * 1_000_000
        return Entry(sequence, at_ns, of_event(event), encode(event))

    def entries(self, count: int, *, first: int = 1) -> list[Entry]:
        """The acceptance of as many tasks, from sequence `first` on."""
        return [self.entry(first + number, self.accepted(f"t{first + number}")) for number in range(count)]

    def _head(self, task_id: str, tenant_id: str) -> dict[str, Any]:
        head = {"tenant_id": TenantId(tenant_id), "task_id": TaskId(task_id), "at_ms": NOW_MS}
        return {"event_id": new_id(), **head}


def new_id() -> EventId:
    """Of an event that is like no other."""
    return EventId(uuid7(NOW_MS))


async def entries_of(bus: MemoryBus) -> list[Entry]:
    """All that the log holds."""
    async with bus.log.read(0, batch=10_000) as reader:
        return list(await reader.next(1.0))
