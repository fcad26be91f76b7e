import pytest

from schemas.events import Accepted, AttemptFailed, AuditEvent, Brief, Ended, LogEvent, Outcome, Routed, Started
from schemas.ids import EventId, TaskId, TenantId
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority, Privacy


@pytest.fixture
def every_event() -> dict[str, LogEvent]:
    """One of each kind, by its subject's event token."""
    head = {"event_id": EventId("e-1"), "tenant_id": TenantId("acme"), "task_id": TaskId("t-1"), "at_ms": 5}
    brief = Brief(intent="summarize", priority=Priority.HIGH, privacy=Privacy.HYBRID, accepted_at_ms=1, deadline_ms=9)
    engine = Engine(route="local", chosen_by="ai-router", reason="only engine")
    error = TaskError(code="module_error", message="trap", retryable=False)
    return {
        "accepted": Accepted(**head, brief=brief, params={"a": 1}, fingerprint="f"),
        "routed": Routed(**head, brief=brief, params={}, engine="wasm", decision=engine, fallbacks=("vllm",)),
        "started": Started(**head, engine="openai", priority=Priority.LOW, attempt=2, owner="i-1"),
        "attempt_failed": AttemptFailed(
            **head, brief=brief, params={}, engine="wasm", fallbacks=(), attempt=1, error=error
        ),
        "ended": Ended(
            **head, outcome=Outcome.TIMEOUT, intent="summarize", engine=engine, usage=Usage(latency_ms=3), error=error
        ),
        "audit": AuditEvent(
            event_id=EventId("e-2"), tenant_id=TenantId("acme"), kind="login", at_ms=5, actor="edge", subject="key"
        ),
    }


@pytest.fixture
def accepted(every_event: dict[str, LogEvent]) -> Accepted:
    """The first event of a task."""
    event = every_event["accepted"]
    assert isinstance(event, Accepted)
    return event
