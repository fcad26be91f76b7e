"""Refusals are counted in bounded space and told in bounded lines, and none is lost while the log is away."""

import asyncio

import structlog

from actors.runtime import Context
from actors.runtime.refusals import MOST, Refusal, Refusals
from bus.memory import MemoryBus, MemoryServer
from schemas.errors import LogFull, Unavailable
from schemas.events import AuditEvent
from schemas.ids import TenantId


class Log:
    """Takes audit events, or is full."""

    def __init__(self) -> None:
        self.told: list[AuditEvent] = []
        self.full = False
        self.loses_answers = False
        self.hangs = False

    async def audit(self, event: AuditEvent) -> int:
        if self.hangs:
            await asyncio.Event().wait()
        if self.full:
            raise LogFull("no room")
        self.told.append(event)
        if self.loses_answers:
            raise Unavailable("the link was lost")
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
    assert sum(int(event.detail["count"]) for event in log.told) == 3
    told = len(log.told)
    await found.tell()
    assert len(log.told) == told


async def test_what_may_have_been_told_is_told_again_as_the_same_event() -> None:
    found, log = refusals()
    log.loses_answers = True
    found.note(Refusal(TenantId("acme"), "key:a", "revoked"))
    await found.tell()
    found.note(Refusal(TenantId("acme"), "key:a", "revoked"))
    log.loses_answers = False
    await found.tell()
    stored = {event.event_id: event for event in log.told}
    assert len(log.told) == 3
    assert [event.detail["count"] for event in stored.values()] == ["1", "1"]


async def test_what_is_cancelled_while_it_is_told_is_told_again() -> None:
    found, log = refusals()
    log.hangs = True
    found.note(Refusal(TenantId("acme"), "key:a", "revoked"))
    telling = asyncio.create_task(found.tell())
    await asyncio.sleep(0)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    log.hangs = False
    await found.tell()
    assert [event.detail["count"] for event in log.told] == ["1"]
