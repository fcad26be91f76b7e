"""A whole installation for tests that break it: real servers, real actors, one API key."""

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from harness.actors import ACTORS, Actors

from bus.nats import open_bus
from bus.settings import BusSettings
from bus.subjects import KEYS
from deploy.local import down, env, status, up
from executors.wasm.build import build
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode

TENANT = "acme"
READY_S = 45.0
SERVERS = ("nats", "kafka", "postgres", "valkey")


@dataclass
class Cluster:
    """Where everything answers, and the two things a nemesis does: `kill` and `heal`."""

    data_dir: Path
    cache: Path
    urls: Mapping[str, str]
    port: int
    key: str
    actors: Actors

    @property
    def url(self) -> str:
        """Where the edge answers."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self, victim: str) -> None:
        """SIGKILL an actor, or one of the servers by `server:<name>`."""
        if victim in ACTORS:
            self.actors.kill(victim)
            return
        name = victim.removeprefix("server:")
        pid = next(info.pid for info in status(self.data_dir) if info.name == name)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)

    async def heal(self, victim: str) -> None:
        """Start what `kill` ended, with the same port and data, and return once it serves."""
        if victim in ACTORS:
            self.actors.start(victim)
            await self.actors.serving(victim)
        else:
            await asyncio.to_thread(up, self.data_dir, {}, cache_dir=self.cache)

    async def ready(self) -> None:
        """Return once the edge says it is ready and a task was answered from end to end."""
        deadline = time.monotonic() + READY_S
        async with aiohttp.ClientSession() as session:
            while not await self._answers(session):
                dead = self.actors.dead()
                assert not dead, f"{dead} ended at start\n{self.actors.tails()}"
                assert time.monotonic() < deadline, f"not ready within {READY_S} s\n{self.actors.tails()}"
                await asyncio.sleep(0.1)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        headers = {"Authorization": f"Bearer {self.key}", "Prefer": "wait=5", "Idempotency-Key": "warm-up"}
        task = {"intent": "summarize", "params": {"text": "One. Two."}, "metadata": {"ref": "warm-up"}}
        limit = aiohttp.ClientTimeout(total=8)
        try:
            async with session.post(f"{self.url}/v1/tasks", json=task, headers=headers, timeout=limit) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


@asynccontextmanager
async def cluster(folder: Path, cache: Path) -> AsyncIterator[Cluster]:
    """Everything up and proven by one task; leaving stops every process that was started.

    `folder` must be one that other users may enter: as root, PostgreSQL runs as somebody else.
    """
    data_dir = folder / "servers"
    packages = cache / "packages"
    await asyncio.to_thread(build, "summarize_text", packages)
    try:
        infos = await asyncio.to_thread(up, data_dir, {}, cache_dir=cache)
        urls = {info.name: info.url for info in infos}
        port = free_port()
        settings = {
            **env(infos),
            "AION_EDGE__PORT": str(port),
            "AION_WASM__PACKAGES_DIR": str(packages),
            "AION_WASM__CACHE_DIR": str(folder / "wasm-cache"),
            "AION_WASM__ACK_WAIT_S": "2",
        }
        actors = Actors(settings, folder / "logs")
        try:
            made = Cluster(data_dir, cache, urls, port, await issue_key(urls["nats"]), actors)
            for name in ACTORS:
                actors.start(name)
            await made.ready()
            yield made
        finally:
            await asyncio.to_thread(actors.stop)
    finally:
        await asyncio.to_thread(down, data_dir)


async def issue_key(nats_url: str, tenant_id: str = TENANT) -> str:
    """An API key of a tenant, stored where the edge looks it up."""
    text, record = mint(TenantId(tenant_id), int(time.time() * 1000), secrets.token_bytes(RANDOM_BYTES))
    async with open_bus(BusSettings(url=nats_url)) as bus:
        await bus.kv.put(KEYS, record_key(record.key_id), encode(record))
    return text


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
