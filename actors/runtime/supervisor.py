"""Any set of actors in one process: opened together, drained together, closed in the reverse order."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

from pydantic import BaseModel
from structlog.typing import FilteringBoundLogger

from actors.runtime.actor import Actor, Context
from actors.runtime.chance import Chance
from actors.runtime.drain import Reason
from actors.runtime.host import Host
from actors.runtime.settings import Settings
from actors.runtime.version import installed_version
from bus.port import Bus

ActorType = type[Actor]
BusOpener = Callable[[], AbstractAsyncContextManager[Bus]]
"""Opens the process's one connection; leaving it flushes and closes."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The actors of a process, each with its settings already read."""

    members: Sequence[tuple[ActorType, *tuple[BaseModel, ...]]]


def load_cast(types: Sequence[ActorType], settings: Settings) -> Cast:
    """Read every actor's sections. Raises `Misconfigured` before anything was opened."""
    return Cast([(cls, *(settings.load(name, kind) for name, kind in _sections(cls))) for cls in types])


def section_of(cls: ActorType) -> str:
    """The section of settings that is an actor's own."""
    return cls.section or cls.name


def _sections(cls: ActorType) -> Sequence[tuple[str, type[BaseModel]]]:
    return [(section_of(cls), cls.settings_type), *cls.further.items()]


class Supervisor:
    """Runs a cast over one bus until every actor has drained.

    One actor that fails drains all: the process ends non-zero and whoever started it starts it again. One that
    is drained by signal (`aion.ctl.drain.<actor>`) leaves alone; the others go on. Its actors have the bus's clock;
    their randomness, and what this process has worked, are the system's unless it is told others.
    """

    def __init__(
        self,
        cast: Cast,
        open_bus: BusOpener,
        log: FilteringBoundLogger,
        *,
        keep_s: float,
        grace_s: float = 20.0,
        rng: Random | None = None,
        worked_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._cast = cast
        self._open_bus = open_bus
        self._log = log
        self._grace_s = grace_s
        self._keep_s = keep_s
        self._rng = rng or Chance()
        self._worked_s = worked_s
        self._hosts: list[Host] = []
        self._asked: Reason | None = None

    async def run(self) -> int:
        """The exit code: 0 drained on request, 1 an actor failed, 75 the bus is gone for good."""
        async with self._open_bus() as bus:
            self._hosts = [self._host(bus, cls, *settings) for cls, *settings in self._cast.members]
            if self._asked is not None:
                self.drain(self._asked)
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(bus))
                async with asyncio.TaskGroup() as living:
                    for host in self._hosts:
                        living.create_task(host.run())
                watch.cancel()
        return max((host.exit_code for host in self._hosts), default=0)

    def drain(self, reason: Reason = Reason.SIGNAL) -> None:
        """Drain every actor; before the bus is open it is remembered."""
        self._asked = self._asked or reason
        for host in self._hosts:
            host.drain(reason)

    def status(self) -> Mapping[str, Mapping[str, object]]:
        """Each actor's figures, by name."""
        return {host.actor.name: host.status() for host in self._hosts}

    def _host(self, bus: Bus, cls: ActorType, *settings: BaseModel) -> Host:
        instance = self._rng.randbytes(8).hex()
        log = self._log.bind(actor=cls.name, instance=instance)
        context = Context(bus, instance, log, bus.now_ms, self._rng, keep_s=self._keep_s, worked_s=self._worked_s)
        return Host(cls(context, *settings), installed_version(), self._grace_s, lambda: self.drain(Reason.FAILED))

    async def _watch(self, bus: Bus) -> None:
        await bus.closed()
        self._log.error("bus_gone", exit_code=75)
        self.drain(Reason.BUS_GONE)
