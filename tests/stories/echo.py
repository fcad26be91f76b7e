"""A system whose capacity is known: an engine with so many slots, and edges here or as processes of their own."""

import asyncio
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, TypeAlias

import aiohttp
import structlog
from natsd import Natsd
from pydantic import BaseModel, ConfigDict

from actors.runtime import Actor, Work
from actors.runtime.settings import RedisSettings
from actors.runtime.supervisor import Cast, Supervisor
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bus import Bus, open_bus
from bus.persist import persist
from bus.port import Delivery
from bus.subjects import ENGINES, KEYS, routed
from edge.actor import Edge
from edge.limits.settings import LimitsSettings
from edge.settings import EdgeSettings
from router.actor import Router
from router.settings import RouterSettings
from schemas.errors import WrongSequence
from schemas.events import Ended, Outcome, Routed, following
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode
from schemas.registry import EngineAdvert
from schemas.result import Usage
from schemas.task import Priority

ENGINE = "echo"
Limited: TypeAlias = tuple[LimitsSettings, RedisSettings]
START_S = 30.0


class EchoSettings(BaseModel):
    """What one engine can do: `slots / service_s` tasks a second."""

    model_config = ConfigDict(frozen=True)

    slots: int = 64
    service_s: float = 0.0


class Echo(Actor):
    """An executor that takes its time; a task whose deadline has passed it leaves to the sweeper."""

    name: ClassVar[str] = ENGINE
    settings_type: ClassVar[type[BaseModel]] = EchoSettings

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self._engine = asyncio.Semaphore(self.settings.slots)
        advert = EngineAdvert(engine=ENGINE, instance="1", route="local", intents=("greet",), slots=64, free_slots=64)
        await self.context.bus.kv.put(ENGINES, f"{ENGINE}.1", encode(advert))
        yield

    def works(self) -> Sequence[Work]:
        return [Work(routed(ENGINE, priority), self.answer, self.settings.slots) for priority in Priority]

    async def answer(self, delivery: Delivery) -> None:
        event = delivery.entry.event()
        assert isinstance(event, Routed)
        async with self._engine:
            if self.context.now_ms() >= event.brief.deadline_ms:
                return
            await asyncio.sleep(self.settings.service_s)
        ended = Ended(
            **following(event, self.context.new_event_id(), self.context.now_ms()),
            outcome=Outcome.COMPLETED,
            intent=event.brief.intent,
            engine=event.decision,
            result={"echo": event.params},
            usage=Usage(latency_ms=1),
        )
        try:
            await persist(self.context.bus.log, ended, after=delivery.entry.sequence, give_up_s=8)
        except WrongSequence:
            return


class System:
    """Edges on real NATS, and whoever works behind them."""

    def __init__(
        self, nats: Natsd, bus: Bus, http: aiohttp.ClientSession, engine: EchoSettings, limits: Limited | None
    ) -> None:
        self.nats = nats
        self.bus = bus
        self.http = http
        self._engine = engine
        self._limits = limits or (LimitsSettings(), RedisSettings())
        self._edges: list[asyncio.subprocess.Process] = []
        self._crew: tuple[Supervisor, asyncio.Task[int]] | None = None

    async def edge(self, port: int, **settings: Any) -> asyncio.subprocess.Process:
        """An edge that is ready, on `port` of this machine."""
        given = {"PORT": port, "DRAIN_GRACE_S": 5} | settings
        variables = {f"AION_EDGE__{name.upper()}": str(value) for name, value in given.items()}
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AION_")}
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process's end
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "actors", "run", "edge"),
            env=ours | variables | {"AION_NATS__URL": self.nats.url, "AION_NATS__MAX_BYTES": str(1 << 28)},
            stdout=log,
            stderr=log,
        )
        log.close()
        self._edges.append(process)
        async with asyncio.timeout(START_S):
            while await self._ready_edges() < sum(edge.returncode is None for edge in self._edges):
                assert process.returncode is None, "the edge did not start"
                await asyncio.sleep(0.1)
        return process

    async def start(self, *ports: int) -> None:
        """Router, engine and sweeper, and edges on these ports, in this process."""
        cast = Cast(
            [
                *((Edge, EdgeSettings(port=port, drain_grace_s=1.0), *self._limits) for port in ports),
                (Router, RouterSettings(wait_min_s=0.05, wait_max_s=0.2)),
                (Echo, self._engine),
                (Sweeper, SweeperSettings(required=())),
            ]
        )
        settings = self.nats.settings()
        supervisor = Supervisor(cast, lambda: open_bus(settings), structlog.get_logger(), keep_s=600)
        self._crew = supervisor, asyncio.create_task(supervisor.run())
        async with asyncio.timeout(START_S):
            for port in ports:
                while not await self._serves(port):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)

    async def stop(self) -> None:
        """Drain them."""
        if self._crew is not None:
            supervisor, running = self._crew
            self._crew = None
            supervisor.drain()
            async with asyncio.timeout(30):
                assert await running == 0

    async def close(self) -> None:
        """End everything."""
        for process in self._edges:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await self.stop()

    async def _ready_edges(self) -> int:
        found = await self.bus.rpc.discover(wait_s=0.1)
        return sum(one.name == "edge" and bool(one.data.get("ready")) for one in found)

    async def _serves(self, port: int) -> bool:
        try:
            async with self.http.get(f"http://127.0.0.1:{port}/readyz", headers={"Connection": "close"}) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def system(
    nats: Natsd, engine: EchoSettings, *ports: int, limits: Limited | None = None
) -> AsyncIterator[System]:
    """The system, with edges of this process on these ports; `limits` are their rates, and their Redis."""
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(open_bus(nats.settings()))
        key, record = mint(TenantId("acme"), time.time_ns() // 1_000_000, secrets.token_bytes(RANDOM_BYTES))
        await bus.kv.put(KEYS, record_key(record.key_id), encode(record))
        connector = aiohttp.TCPConnector(limit=0)
        session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}, connector=connector)
        http = await stack.enter_async_context(session)
        it = System(nats, bus, http, engine, limits)
        stack.push_async_callback(it.close)
        await it.start(*ports)
        yield it


async def histories(bus: Bus) -> dict[str, list[str]]:
    """The events of every task in the log, in order."""
    found: dict[str, list[str]] = {}
    last, read = (await bus.log.info()).last, 0
    async with bus.log.read(0) as reader:
        while read < last:
            for entry in await reader.next(5.0):
                read = entry.sequence
                _, _, event, *_, task_id = entry.subject.split(".")
                found.setdefault(task_id, []).append(event)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
