"""Events to project, a context over the twin, and a log that can be tampered with."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from actors.runtime.actor import Context
from bus.memory import MemoryBus, MemoryServer
from bus.port import Entry, LogInfo
from bus.subjects import of_event
from schemas.events import Accepted, AttemptFailed, AuditEvent, Brief, Ended, LogEvent, Outcome, Routed, Started
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority, Privacy

NOW_MS = 1_700_000_000_000
DECISION = Engine(route="local", chosen_by="ai-router", reason="only engine")
BRIEF = Brief(
    intent="summarize",
    priority=Priority.NORMAL,
    privacy=Privacy.LOCAL_ONLY,
    accepted_at_ms=NOW_MS,
    deadline_ms=NOW_MS + 60_000,
)


class Story:
    """Valid, distinct events; `entry` stores one at a sequence of the test's choice."""

    def __init__(self) -> None:
        self._rng = random.Random(11)

    def new_id(self) -> str:
        return uuid7(NOW_MS, self._rng.randbytes(10))

    def _head(self, task_id: str, tenant_id: str) -> dict[str, Any]:
        return {
            "event_id": EventId(self.new_id()),
            "tenant_id": TenantId(tenant_id),
            "task_id": TaskId(task_id),
            "at_ms": NOW_MS,
        }

    def accepted(self, task_id: str, tenant_id: str = "acme") -> Accepted:
        return Accepted(**self._head(task_id, tenant_id), brief=BRIEF, params={"text": "hi"}, fingerprint="f" * 64)

    def routed(self, task_id: str, tenant_id: str = "acme") -> Routed:
        return Routed(**self._head(task_id, tenant_id), brief=BRIEF, params={}, engine="openai", decision=DECISION)

    def started(self, task_id: str, tenant_id: str = "acme") -> Started:
        head = self._head(task_id, tenant_id)
        return Started(**head, engine="openai", priority=Priority.NORMAL, attempt=1, owner="one")

    def attempt_failed(self, task_id: str, cost_nanousd: int, tenant_id: str = "acme") -> AttemptFailed:
        error = TaskError(code="unavailable", message="away", retryable=True)
        more = {"engine": "openai", "fallbacks": (), "attempt": 1, "error": error, "cost_nanousd": cost_nanousd}
        return AttemptFailed(**self._head(task_id, tenant_id), brief=BRIEF, params={}, **more)

    def ended(self, task_id: str, cost_nanousd: int = 0, tenant_id: str = "acme") -> Ended:
        usage = Usage(latency_ms=12, tokens=7, cost_nanousd=cost_nanousd)
        more = {"outcome": Outcome.COMPLETED, "intent": "summarize", "engine": DECISION, "usage": usage}
        return Ended(**self._head(task_id, tenant_id), engine_name="openai", result={"summary": "ok"}, **more)

    def audit(self, detail: str = "ok", tenant_id: str = "acme") -> AuditEvent:
        return AuditEvent(
            event_id=EventId(self.new_id()),
            tenant_id=TenantId(tenant_id),
            kind="login",
            at_ms=NOW_MS,
            actor="edge",
            subject="key-1",
            detail={"verdict": detail},
        )

    def entry(self, sequence: int, event: LogEvent) -> Entry:
        at_ns = (NOW_MS + sequence) * 1_000_000
        return Entry(sequence, at_ns, of_event(event), event.model_dump_json().encode())

    def entries(self, count: int, *, first: int = 1) -> list[Entry]:
        return [self.entry(first + number, self.accepted(f"t{first + number}")) for number in range(count)]


@pytest.fixture
def story() -> Story:
    return Story()


@dataclass
class AlterableLog:
    """A log whose past can change under a projection, as a lost disk or a wrong restore changes it."""

    entries: list[Entry]
    created: str = "2026-01-01T00:00:00Z"
    trimmed: int = 0
    opened: list[int] = field(default_factory=list)
    silences: int = 0

    async def info(self, *, timeout_s: float = 5.0) -> LogInfo:
        kept = [entry.sequence for entry in self.entries]
        last = kept[-1] if kept else self.trimmed
        return LogInfo(self.created, kept[0] if kept else last + 1, last, 0, None)

    @asynccontextmanager
    async def read(self, after: int, *, batch: int = 1000) -> AsyncIterator["AlterableReader"]:
        self.opened.append(after)
        yield AlterableReader(self, after, batch)


@dataclass
class AlterableReader:
    log: AlterableLog
    position: int
    batch: int

    async def next(self, timeout_s: float) -> Sequence[Entry]:
        found = [entry for entry in self.log.entries if entry.sequence > self.position][: self.batch]
        if found:
            self.position = found[-1].sequence
        else:
            self.log.silences += 1
            await asyncio.sleep(0)
        return found


class Eager(random.Random):
    """Every pause is over at once."""

    def uniform(self, a: float, b: float) -> float:
        return a


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
def context(server: MemoryServer) -> Context:
    return Context(MemoryBus(server), "one", structlog.get_logger(), lambda: NOW_MS, Eager())


@pytest.fixture
def alterable_log() -> type[AlterableLog]:
    return AlterableLog
