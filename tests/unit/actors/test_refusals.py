"""Refusals are counted in bounded space and told in bounded lines, and none is lost while the log is away."""

import structlog

from actors.runtime import Context
from actors.runtime.refusals import MOST, Refusal, Refusals
from bus.memory import MemoryBus, MemoryServer
from schemas.errors import LogFull
from schemas.events import AuditEvent
from schemas.ids import TenantId


class Log:
    """Takes audit events, or is full."""

    def __init__(self) -> None:
        self.told: list[AuditEvent] = []
        self.full = False

    async def audit(self, event: AuditEvent) -> int:
        if self.full:
            raise LogFull("no room")
        self.told.append(event)
        return len(self.told)


def refusals() -> tuple[Refusals, Log]:
    bus, log = MemoryBus(MemoryServer()), Log()
    bus.log = log  # type: ignore[assignment]
    return Refusals(Context(bus, "edge-1", structlog.get_logger(), lambda: 5), "edge"), log


async def test_a_flood_of_names_is_told_in_few_lines() -> None:
    found, log = refusals()
    for number in range(10_000):
        found.note(Refusal(TenantId("acme"), f"key:{number % 5000}", "revoked"))
    await found.tell()
    assert len(log.told) == MOST
    assert sum(int(event.detail["count"]) for event in log.told) == found.total == 10_000
    assert {event.kind for event in log.told} == {"refused"}


async def test_what_cannot_be_told_now_is_told_later() -> None:
    found, log = refusals()
    log.full = True
    for _ in range(3):
        found.note(Refusal(TenantId("acme"), "key:a", "revoked"))
        await found.tell()
    log.full = False
    await found.tell()
    assert [event.detail["count"] for event in log.told] == ["3"]
    await found.tell()
    assert len(log.told) == 1
