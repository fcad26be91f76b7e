"""What is measured, and for how long."""

import json
from dataclasses import dataclass
from typing import Final, Literal

from schemas.events import Accepted, Brief
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.message import encode
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
    identifier = uuid7(0, bytes(10))
    event = Accepted(
        event_id=EventId(identifier),
        tenant_id=TenantId("bench"),
        task_id=TaskId(identifier),
        at_ms=0,
        traceparent="00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        brief=Brief(
            intent=INTENT,
            priority=Priority.NORMAL,
            privacy=Privacy.LOCAL_ONLY,
            accepted_at_ms=0,
            deadline_ms=60_000,
        ),
        params={"text": TEXT},
        fingerprint="0" * 64,
    )
    return encode(event)
