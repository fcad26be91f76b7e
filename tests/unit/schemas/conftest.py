from collections.abc import Callable

import pytest

from schemas.events import Accepted, AttemptFailed, AuditEvent, Brief, Ended, LogEvent, Outcome, Routed, Started
from schemas.ids import EventId, TaskId, TenantId
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority, Privacy

ENGINE = Engine(route="local", chosen_by="ai-router", reason="only engine")
ERROR = TaskError(code="module_error", message="trap")
BRIEF = Brief(intent="summarize", priority=Priority.HIGH, privacy=Privacy.HYBRID, accepted_at_ms=1, deadline_ms=9)
EVENTS: dict[str, LogEvent] = {
    event.event: event
    for event in (
        Accepted(
            event_id=EventId("e"),
            tenant_id=TenantId("acme"),
            task_id=TaskId("t-1"),
            at_ms=5,
            brief=BRIEF,
            params={"text": "grüß \u2028 🚌", "n": [1, 2.5, None, {"deep": True}]},
            metadata={"k": "v"},
            fingerprint="f",
            traceparent="00-1-2-01",
        ),
        Routed(
            event_id=EventId("e"),
            tenant_id=TenantId("acme"),
            task_id=TaskId("t-1"),
            at_ms=5,
            brief=BRIEF,
            params={},
            engine="wasm",
            decision=ENGINE,
            fallbacks=("vllm", "openai"),
            attempt=3,
        ),
        Started(
            event_id=EventId("e"),
            tenant_id=TenantId("acme"),
            task_id=TaskId("t-1"),
            at_ms=5,
            engine="openai",
            priority=Priority.LOW,
            attempt=2,
            owner="i-1",
        ),
        AttemptFailed(
            event_id=EventId("e"),
            tenant_id=TenantId("acme"),
            task_id=TaskId("t-1"),
            at_ms=5,
            brief=BRIEF,
            params={},
            engine="wasm",
            fallbacks=(),
            attempt=1,
            error=ERROR,
            cost_nanousd=12,
            cost_estimated=True,
        ),
        Ended(
            event_id=EventId("e"),
            tenant_id=TenantId("acme"),
            task_id=TaskId("t-1"),
            at_ms=5,
            outcome=Outcome.COMPLETED,
            intent="summarize",
            engine=ENGINE,
            engine_name="wasm",
            result={"z": 1, "a": {"y": [3, 2, 1]}},
            usage=Usage(latency_ms=12, tokens=7, cost_nanousd=1_234_567),
        ),
        AuditEvent(
            event_id=EventId("e"), tenant_id=TenantId("acme"), kind="login", at_ms=5, actor="edge", subject="key"
        ),
    )
}


@pytest.fixture(scope="session")
def event_of() -> Callable[[str], LogEvent]:
    """A valid event of the named kind, of task t-1 of acme."""
    return EVENTS.__getitem__


@pytest.fixture(params=sorted(EVENTS))
def event(request: pytest.FixtureRequest) -> LogEvent:
    """Each kind of event in turn."""
    return EVENTS[request.param]
