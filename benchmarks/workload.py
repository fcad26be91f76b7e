"""What is measured, and for how long."""

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from schemas.events import Accepted, Brief, Ended, Outcome, Routed
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.message import encode
from schemas.result import Engine, Usage
from schemas.task import Priority, Privacy

Sync = Literal["always", "page-cache"]
MODES: Final[tuple[Sync, ...]] = ("always", "page-cache")

CLIENT: Final = "load generator"
"""Its CPU is shown and left out of totals."""

INTENT: Final = "summarize"
TEXT: Final = (
    "The log keeps every event of a task in one order. A router reads what was accepted and decides which engine "
    "answers. An executor runs the work in a sandbox and appends the result. Nothing may follow the end of a task. "
    "The bridge carries each event to Kafka once. The ledger adds up what the tasks have cost."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of one run. `rounds` repeats all loops; figures are medians over rounds.

    The warm-up is long because a fresh Java virtual machine compiles for seconds, on the cores that are measured.
    """

    rate: float = 200.0
    open_loop_s: float = 15.0
    closed_loop_s: float = 12.0
    tasks_open: int = 192
    warm_up_s: float = 10.0
    rounds: int = 3


QUICK: Final = Plan(open_loop_s=5.0, closed_loop_s=5.0, warm_up_s=6.0, rounds=1)


def body() -> bytes:
    """The HTTP body of every task; the edge gives each its own id."""
    return json.dumps({"intent": INTENT, "params": {"text": TEXT}}).encode()


def accepted_bytes() -> bytes:
    """The event that the edge makes of `body`, for the floor to carry: the same size, always the same bytes."""
    return encode(Accepted(**_IDENTITY, brief=_BRIEF, params={"text": TEXT}, fingerprint="0" * 64))


def routed_bytes() -> bytes:
    """The router's answer to it."""
    return encode(Routed(**_IDENTITY, brief=_BRIEF, params={"text": TEXT}, engine="wasm", decision=_DECISION))


def ended_bytes() -> bytes:
    """The executor's answer to that."""
    result = {"summary": TEXT[:240], "sentences": 2}
    return encode(
        Ended(
            **_IDENTITY,
            outcome=Outcome.COMPLETED,
            intent=INTENT,
            engine=_DECISION,
            engine_name="wasm",
            result=result,
            usage=Usage(latency_ms=5),
        )
    )


_ID = uuid7(0, bytes(10))
_IDENTITY: Any = {
    "event_id": EventId(_ID),
    "tenant_id": TenantId("bench"),
    "task_id": TaskId(_ID),
    "at_ms": 0,
    "traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
}
_BRIEF = Brief(
    intent=INTENT, priority=Priority.NORMAL, privacy=Privacy.LOCAL_ONLY, accepted_at_ms=0, deadline_ms=60_000
)
_DECISION = Engine(route="local", chosen_by="ai-router", reason="only_eligible: wasm")
