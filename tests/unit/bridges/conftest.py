"""A story to project, a context over the twin, and a log that can be tampered with."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import structlog
from story import NOW_MS, Story

from actors.runtime.actor import Context
from bus.memory import MemoryBus, MemoryServer
from bus.port import Entry, LogInfo


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
    restarts: int = 0

    async def info(self, *, timeout_s: float = 5.0) -> LogInfo:
        kept = [entry.sequence for entry in self.entries]
        last = kept[-1] if kept else self.trimmed
        return LogInfo(self.created, kept[0] if kept else last + 1, last, 0, None)

    @asynccontextmanager
    async def read(self, after: int, *, batch: int = 1000, linger_s: float = 0.0) -> AsyncIterator["AlterableReader"]:
        self.opened.append(after)
        yield AlterableReader(self, after, batch)


@dataclass
class AlterableReader:
    log: AlterableLog
    position: int
    batch: int

    @property
    def restarts(self) -> int:
        return self.log.restarts

    @property
    def pending(self) -> int:
        return sum(entry.sequence > self.position for entry in self.log.entries)

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
