"""Two grounds to stand on, the twin and a real server, and the material to test them with."""

import asyncio
import contextlib
import json
import random
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from relay import Relay

from bus import Bus, BusSettings, open_bus
from bus.memory import MemoryBus, MemoryServer
from bus.port import Entry, Reader
from schemas.events import Accepted, AuditEvent, Brief, Ended, Outcome, Routed
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.result import Engine, Usage
from schemas.task import Priority, Privacy

KEEP_S = 600.0


class Ground(Protocol):
    """One isolated server; every `bus` is a connection of its own."""

    def bus(self) -> contextlib.AbstractAsyncContextManager[Bus]: ...

    async def kill(self, bus: Bus) -> None:
        """The process behind `bus` is gone, without a word to the server."""
        ...

    def deaf(self, bus: Bus) -> contextlib.AbstractAsyncContextManager[None]:
        """What `bus` asks reaches the server, and no answer comes back; then the connection is a new one."""
        ...


class MemoryGround:
    def __init__(self, max_bytes: int) -> None:
        self.server = MemoryServer(max_bytes=max_bytes, max_age_s=KEEP_S)

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[Bus]:
        async with MemoryBus(self.server) as bus:
            yield bus

    async def kill(self, bus: Bus) -> None:
        assert isinstance(bus, MemoryBus)
        bus.kill()

    @asynccontextmanager
    async def deaf(self, bus: Bus) -> AsyncIterator[None]:
        self.server.lose_next_ack(1 << 30)
        yield
        self.server._acks_to_lose = 0


class NatsGround:
    def __init__(self, url: str, max_bytes: int, client: Literal["wire", "nats-py"]) -> None:
        self._port = int(url.rsplit(":", 1)[1])
        self._max_bytes = max_bytes
        self._client = client
        self._relays: dict[int, Relay] = {}

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[Bus]:
        relay = Relay(self._port)
        async with relay.listening() as url:
            settings = BusSettings(
                url=url,
                client=self._client,
                keep_s=KEEP_S,
                max_bytes=self._max_bytes,
                tokens_max_bytes=1 << 20,
                connect_timeout_s=3.0,
            )
            async with open_bus(settings) as bus:
                self._relays[id(bus)] = relay
                yield bus

    async def kill(self, bus: Bus) -> None:
        self._relays[id(bus)].cut()

    @asynccontextmanager
    async def deaf(self, bus: Bus) -> AsyncIterator[None]:
        relay = self._relays[id(bus)]
        relay.muted = True
        yield
        relay.reset()
        relay.muted = False


@pytest.fixture
def fresh_nats(nats_binary: str) -> Iterator[str]:
    """The URL of a nats-server of this test's own, with an empty store."""
    with tempfile.TemporaryDirectory(prefix="aion-nats-") as folder:
        ports = Path(folder) / "ports"
        ports.mkdir()
        command = [nats_binary, "-js", "-a", "127.0.0.1", "-p", "-1", "-sd", folder, "--ports_file_dir", str(ports)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield _url(ports, process)
        finally:
            process.kill()
            process.wait(10)


def _url(ports: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        assert process.poll() is None, f"nats-server ended with {process.returncode}"
        for path in ports.glob("*.ports"):
            with contextlib.suppress(ValueError):
                return str(json.loads(path.read_text())["nats"][0])
        time.sleep(0.01)
    raise AssertionError("nats-server did not write its ports within 15 s")


@pytest.fixture(params=["memory", "wire", "nats-py"])
def ground(request: pytest.FixtureRequest, max_bytes: int) -> Ground:
    """A fresh isolated server. `@pytest.mark.parametrize("max_bytes", [...])` bounds its log."""
    if request.param == "memory":
        return MemoryGround(max_bytes)
    return NatsGround(request.getfixturevalue("fresh_nats"), max_bytes, request.param)


@pytest.fixture
def max_bytes() -> int:
    return 64 << 20


class Given:
    """Events of one tenant, valid and distinct."""

    tenant_id = TenantId("acme")

    def __init__(self) -> None:
        self._rng = random.Random(7)

    def event_id(self) -> EventId:
        return EventId(uuid7(1_700_000_000_000, self._rng.randbytes(10)))

    def task_id(self) -> TaskId:
        return TaskId(uuid7(1_700_000_000_000, self._rng.randbytes(10)))

    def brief(self, priority: Priority = Priority.NORMAL) -> Brief:
        return Brief(
            intent="summarize",
            priority=priority,
            privacy=Privacy.LOCAL_ONLY,
            accepted_at_ms=1_700_000_000_000,
            deadline_ms=1_700_000_060_000,
        )

    def accepted(self, task_id: TaskId, *, priority: Priority = Priority.NORMAL, **params: Any) -> Accepted:
        return Accepted(**self._head(task_id), brief=self.brief(priority), params=params, fingerprint="f" * 64)

    def routed(self, task_id: TaskId, *, engine: str = "wasm", **params: Any) -> Routed:
        decision = Engine(route="local", chosen_by="ai-router", reason="only engine")
        return Routed(**self._head(task_id), brief=self.brief(), params=params, engine=engine, decision=decision)

    def ended(self, task_id: TaskId, *, outcome: Outcome = Outcome.COMPLETED) -> Ended:
        engine = Engine(route="local", chosen_by="ai-router", reason="only engine")
        usage = Usage(latency_ms=12)
        return Ended(**self._head(task_id), outcome=outcome, intent="summarize", engine=engine, usage=usage)

    def audit(self, kind: str = "login") -> AuditEvent:
        return AuditEvent(
            event_id=self.event_id(), tenant_id=self.tenant_id, kind=kind, at_ms=1, actor="edge", subject="key-1"
        )

    def _head(self, task_id: TaskId) -> dict[str, Any]:
        return {"event_id": self.event_id(), "tenant_id": self.tenant_id, "task_id": task_id, "at_ms": 1}


@pytest.fixture
def given() -> Given:
    return Given()


Eventually = Callable[[Callable[[], object]], Any]


@pytest.fixture
def eventually() -> Eventually:
    """Waits until a condition holds, at most 5 s: for what a server does in its own time."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - a server's own time has no event to wait for
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def collect() -> Callable[[Reader, int], Any]:
    """Reads on until `count` entries came."""

    async def read(reader: Reader, count: int) -> list[Entry]:
        found: list[Entry] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                found += await reader.next(1.0)
        return found

    return read
