"""One event of each kind, for the rooms that say and carry them."""

from typing import Any

import pytest

from schemas.events import Accepted, AttemptFailed, AuditEvent, Brief, Ended, LogEvent, Outcome, Routed, Started
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority, Privacy

ENGINE = Engine(route="local", chosen_by="ai-router", reason="only engine")
ERROR = TaskError(code="module_error", message="trap")
BRIEF = Brief(intent="summarize", priority=Priority.HIGH, privacy=Privacy.HYBRID, accepted_at_ms=1, deadline_ms=9)
PARAMS = {"text": "grüß \u2028 🚌", "n": [1, 2.5, None, {"deep": True}]}
HEAD: dict[str, Any] = {"event_id": "e-1", "tenant_id": "acme", "task_id": "t-1", "at_ms": 5}
PLACE: dict[str, Any] = {"brief": BRIEF, "params": {}, "engine": "wasm"}
ANSWER = {"z": 1, "a": {"y": [3, 2, 1]}}
USAGE = Usage(latency_ms=12, tokens=7, cost_nanousd=1_234_567)
END: dict[str, Any] = {"outcome": Outcome.COMPLETED, "intent": "summarize", "engine": ENGINE, "engine_name": "wasm"}
AUDIT: dict[str, Any] = {"event_id": "e-2", "tenant_id": "acme", "kind": "login", "at_ms": 5}


@pytest.fixture(scope="session")
def every_event() -> dict[str, LogEvent]:
    """A valid one of each kind, by its name; of task t-1 of acme."""
    events: tuple[LogEvent, ...] = (
        Accepted(**HEAD, brief=BRIEF, params=PARAMS, metadata={"k": "v"}, fingerprint="f", traceparent="00-1-2-01"),
        Routed(**HEAD, **PLACE, decision=ENGINE, fallbacks=("vllm", "openai"), attempt=3),
        Started(**HEAD, engine="openai", priority=Priority.LOW, attempt=2, owner="i-1"),
        AttemptFailed(**HEAD, **PLACE, fallbacks=(), attempt=1, error=ERROR, cost_nanousd=12, cost_estimated=True),
        Ended(**HEAD, **END, result=ANSWER, usage=USAGE),
        AuditEvent(**AUDIT, actor="edge", subject="key"),
    )
    return {event.event: event for event in events}


@pytest.fixture(scope="session")
def accepted(every_event: dict[str, LogEvent]) -> Accepted:
    """The first event of a task."""
    event = every_event["accepted"]
    assert isinstance(event, Accepted)
    return event
