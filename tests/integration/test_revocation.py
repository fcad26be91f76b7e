"""On the real bus, over three edges: what was revoked is refused within five seconds, what is rotated never."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import structlog

from actors.auth.actor import Auth
from actors.auth.settings import AuthSettings
from actors.runtime import Context
from bus import Bus, BusSettings, open_bus
from bus.port import Service
from bus.questions import AUTH_KEY_CREATE, AUTH_KEY_REVOKE, AUTH_KEY_ROTATE, AUTH_SIGNING_ROTATE
from edge.actor import Edge
from edge.settings import EdgeSettings
from schemas.identity import KeyCreate, KeyRevoke, KeyRotate, SigningRotate

EDGES = 3
BOUND_S = 5.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Installation:
    """An auth actor and three edges, each with a connection of its own."""

    def __init__(self, bus: Bus, ports: list[int], http: aiohttp.ClientSession) -> None:
        self.bus = bus
        self.ports = ports
        self.http = http

    async def status(self, credential: str, port: int) -> int:
        headers = {"Authorization": f"Bearer {credential}"}
        async with self.http.get(f"http://127.0.0.1:{port}/v1/intents", headers=headers) as response:
            return response.status

    async def statuses(self, credential: str) -> set[int]:
        return {await self.status(credential, port) for port in self.ports}

    async def post(self, path: str, body: dict[str, str], key: str = "", edge: int = 0) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.http.post(f"http://127.0.0.1:{self.ports[edge]}{path}", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())

    async def become(self, status: int, credentials: list[str]) -> None:
        """Return once every edge says `status` to each."""
        began = time.monotonic()
        while [await self.statuses(text) for text in credentials] != [{status}] * len(credentials):
            assert time.monotonic() - began < BOUND_S
            await asyncio.sleep(0.005)


@asynccontextmanager
async def installation(nats_url: str, folder: Path, **settings: Any) -> AsyncIterator[Installation]:
    async with AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(open_bus(BusSettings(url=nats_url))) for _ in range(EDGES + 1)]
        context = Context(buses[0], "auth-1", structlog.get_logger(), now_ms)
        auth = Auth(context, AuthSettings(folder=folder, **settings))
        await stack.enter_async_context(auth.lifespan())
        await stack.enter_async_context(buses[0].rpc.serve(Service("auth", "0.0.0", "auth-1"), auth.answers()))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(auth.run())
        stack.callback(context.draining.set)
        ports = []
        for number, bus in enumerate(buses[1:]):
            edge = Edge(Context(bus, f"edge-{number}", structlog.get_logger(), now_ms), EdgeSettings(port=0))
            await stack.enter_async_context(edge.lifespan())
            ports.append(edge.port)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Installation(buses[0], ports, http)


async def test_what_is_revoked_is_refused_by_three_edges_within_five_seconds(nats_url: str, tmp_path: Path) -> None:
    async with installation(nats_url, tmp_path / "auth") as it:
        asked = KeyCreate(tenant_id="acme", scopes=("tasks:read", "tokens:issue"))
        key = await it.bus.rpc.ask(AUTH_KEY_CREATE, asked)
        users = [await it.post("/v1/auth/token", {"subject": name}, key.key) for name in ("alice", "bob")]
        alice, bob = (user["access_token"] for user in users)
        await it.become(200, [key.key, alice, bob])
        await it.post("/v1/auth/revoke", {"refresh_token": users[0]["refresh_token"]})
        await it.become(401, [alice])
        assert await it.statuses(bob) == {200}
        await it.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=key.key_id))
        await it.become(401, [key.key, bob])


async def test_keys_are_rotated_under_load_on_three_edges_and_nothing_valid_is_refused(
    nats_url: str, tmp_path: Path
) -> None:
    """Signing keys and the API key both; each client goes round the edges with what it was given last."""
    async with installation(nats_url, tmp_path / "auth", access_ttl_s=10, tick_s=0.05, lead_s=0.25) as it:
        first = await it.bus.rpc.ask(AUTH_KEY_CREATE, KeyCreate(tenant_id="acme"))
        keys, seen, statuses, done = [first.key], set[str](), Counter[int](), asyncio.Event()
        await it.become(200, keys)

        async def client(number: int) -> None:
            while not done.is_set():
                answer = await it.post("/v1/auth/token", {}, keys[-1], edge=number % EDGES)
                token = answer["access_token"]
                seen.add(jwt.get_unverified_header(token)["kid"])
                for credential in (token, keys[-1], keys[0]):
                    for port in it.ports:
                        statuses[await it.status(credential, port)] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(client(number))
            for turn in range(8):
                await it.bus.rpc.ask(AUTH_SIGNING_ROTATE, SigningRotate())
                await asyncio.sleep(0.4)
                if turn % 3 == 0:
                    key_id = keys[-1].split("_")[1]
                    issued = await it.bus.rpc.ask(AUTH_KEY_ROTATE, KeyRotate(key_id=key_id, overlap_s=60))
                    await it.become(200, [issued.key])
                    keys.append(issued.key)
            done.set()
        assert len(seen) >= 7
        assert len(keys) == 4
        assert statuses.total() > 100
        assert set(statuses) == {200}
