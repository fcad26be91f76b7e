"""The processes of an installation: real actors under the real supervisor, each started again when it ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context
from random import Random
from typing import Any, NoReturn

import structlog
from pydantic import BaseModel
from simulation.loop import Process, VirtualLoop
from simulation.network import Network
from simulation.server import Figures, SimulatedServer, SlowLink, now_ms
from structlog.typing import FilteringBoundLogger

from actors.runtime import Actor
from actors.runtime.supervisor import Cast, Supervisor
from bus.memory import MemoryBus
from bus.port import Bus

RESTART_S = 0.3
AFTER_FAILURE_S = 2.0
GRACE_S = 3.0


class Member:
    """One process by its role. A name stays, lives change: each start is a new `Process` with a new connection."""

    def __init__(self, name: str, cast: Cast, ground: "Ground", *, port: int | None = None) -> None:
        self._cast = cast
        self._ground = ground
        self._rng = Random(f"{ground.seed}/{name}")
        self._keeper: asyncio.Task[None] | None = None
        self._running: asyncio.Task[int] | None = None
        self._supervisor: Supervisor | None = None
        self._hold = False
        self._outside = copy_context()
        self.name = name
        self.role = name.rstrip("12")
        self.port = port
        self.process = Process(name)
        self.link = ground.link(self._rng)
        self.well_since_s = 0.0

    @property
    def well(self) -> bool:
        """Whether it runs, is not stopped, and hears the bus at its usual pace."""
        return self._running is not None and not self.process.halted and self.link.up and not self.link.slow_s

    def start(self) -> None:
        """Begin a life."""
        if self._running is not None:
            return
        self._hold = False
        ground = self._ground
        self.process = Process(self.name)
        self.process.die = self._die
        self.link = ground.link(self._rng)
        context = self.process.context()
        self._supervisor = context.run(self._supervise)
        self._running = ground.loop.create_task(self._supervisor.run(), name=self.name, context=context)
        self._keeper = ground.loop.create_task(self._keep(self._running))
        self.well_since_s = ground.loop.time()

    def kill(self) -> bool:
        """SIGKILL; it stays down until `start`. False when it does not run."""
        if self._running is None:
            return False
        self._end()
        self._hold = True
        self._ground.loop.kill_process(self.process)
        self._bus.kill()
        if self.port is not None:
            self._ground.network.drop(self.port)
        return True

    def _die(self, text: str) -> None:
        """Its own work kills it; whoever manages processes starts it again."""
        if self.kill():
            self._ground.deaths.append((now_ms(), text))
            self._ground.loop.call_later(RESTART_S, self.start, context=self._outside)

    def terminate(self) -> bool:
        """SIGTERM: it drains and ends, and is started again."""
        if self._running is None or self.process.halted or self._supervisor is None:
            return False
        self._ground.loop.call_soon(self._supervisor.drain, context=self.process.context())
        return True

    def stop(self) -> bool:
        """SIGSTOP."""
        if self._running is None or self.process.halted:
            return False
        self._ground.loop.stop_process(self.process)
        return True

    def resume(self) -> int:
        """SIGCONT: how much had been waiting."""
        self.well_since_s = self._ground.loop.time()
        return self._ground.loop.resume_process(self.process)

    def disconnect(self) -> bool:
        """Its connection to the bus is gone for good, and the process finds out."""
        if self._running is None or not self.link.alive:
            return False
        self._bus.kill()
        return True

    def unlink(self) -> bool:
        """Its connection to the bus is away."""
        if self._running is None or not self.link.up:
            return False
        self._bus.lose()
        return True

    def relink(self) -> None:
        """It is back."""
        self.well_since_s = self._ground.loop.time()
        if self.link.alive and not self.link.up:
            self._bus.restore()

    def heal(self) -> None:
        """Running, not stopped, connected."""
        self.resume()
        self.relink()
        self.link.slow_s = 0.0
        self.start()

    async def _keep(self, running: "asyncio.Task[int]") -> None:
        """As the process manager does: whoever ends is started again, after a moment."""
        code = await running
        self._ground.figures.count(f"exit {code}")
        self._bus.kill()
        if self.port is not None:
            self._ground.network.drop(self.port)
        self._running = None
        await asyncio.sleep(AFTER_FAILURE_S if code else RESTART_S)
        if not self._hold:
            self.start()

    def _end(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        self._running = None

    def _supervise(self) -> Supervisor:
        ground = self._ground
        self._bus = MemoryBus(ground.server, self.link)
        return Supervisor(
            self._cast,
            self._open_bus,
            ground.log.bind(process=self.name),
            keep_s=ground.keep_s,
            grace_s=GRACE_S,
            rng=self._rng,
            worked_s=self.process.worked_s,
        )

    @asynccontextmanager
    async def _open_bus(self) -> AsyncIterator[Bus]:
        yield self._bus


class Ground:
    """What all processes of a simulation share: loop, network, bus server, log of errors, figures."""

    def __init__(self, seed: int, loop: VirtualLoop, server: SimulatedServer, figures: Figures, usual_s: float) -> None:
        self.seed = seed
        self.loop = loop
        self.network: Network = loop.network
        self.server = server
        self.figures = figures
        self.keep_s = server.log.max_age_s or 3600.0
        self.usual_s = usual_s
        self.errors: list[str] = []
        """What a process logged as an error and no error of AION's own explains: a fault of the code."""
        self.deaths: list[tuple[int, str]] = []
        """When (Unix milliseconds) a process was killed by its own work, and by whose text."""
        self.log = self._logger()

    def link(self, rng: Random) -> SlowLink:
        """A new connection's link."""
        return SlowLink(rng, self.figures, self.usual_s)

    def _logger(self) -> FilteringBoundLogger:
        wrapper = structlog.make_filtering_bound_logger("error")
        logger: FilteringBoundLogger = structlog.wrap_logger(None, processors=[self._noted], wrapper_class=wrapper)
        return logger

    def _noted(self, _: object, __: str, event: Mapping[str, Any]) -> NoReturn:
        code = event.get("code")
        self.figures.count(f"logged {event['event']} {code or event.get('error')}")
        if code is None and event.get("error") is not None:
            self.errors.append(f"{event['process']}: {dict(event)}")
        raise structlog.DropEvent


def cast(actor: type[Actor], settings: BaseModel) -> Cast:
    """A process of one actor."""
    return Cast([(actor, settings)])
