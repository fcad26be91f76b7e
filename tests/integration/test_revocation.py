"""On the real bus, what was revoked is refused by every edge within five seconds."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import structlog

from actors.auth.actor import Auth
from actors.auth.settings import AuthSettings
from actors.runtime import Context
from bus import BusSettings, open_bus
from bus.port import Service
from bus.questions import AUTH_KEY_CREATE, AUTH_KEY_REVOKE
from edge.actor import Edge
from edge.settings import EdgeSettings
from schemas.identity import KeyCreate, KeyRevoke

EDGES = 3
BOUND_S = 5.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_what_is_revoked_is_refused_by_three_edges_within_five_seconds(nats_url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(open_bus(BusSettings(url=nats_url))) for _ in range(EDGES + 1)]
        context = Context(buses[0], "auth-1", structlog.get_logger(), now_ms)
        auth = Auth(context, AuthSettings(folder=tmp_path / "auth"))
        await stack.enter_async_context(auth.lifespan())
        await stack.enter_async_context(buses[0].rpc.serve(Service("auth", "0.0.0", "auth-1"), auth.answers()))
        ports = []
        for number, bus in enumerate(buses[1:]):
            edge = Edge(Context(bus, f"edge-{number}", structlog.get_logger(), now_ms), EdgeSettings(port=0))
            await stack.enter_async_context(edge.lifespan())
            ports.append(edge.port)
        http = await stack.enter_async_context(aiohttp.ClientSession())

        async def statuses(credential: str) -> set[int]:
            found = set()
            for port in ports:
                headers = {"Authorization": f"Bearer {credential}"}
                async with http.get(f"http://127.0.0.1:{port}/v1/intents", headers=headers) as response:
                    found.add(response.status)
            return found

        async def become(status: int, credentials: list[str]) -> None:
            """Return once every edge says `status` to each."""
            began = time.monotonic()
            while [await statuses(text) for text in credentials] != [{status}] * len(credentials):
                assert time.monotonic() - began < BOUND_S
                await asyncio.sleep(0.005)

        async def post(path: str, body: dict[str, str], key: str = "") -> dict[str, str]:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with http.post(f"http://127.0.0.1:{ports[0]}{path}", json=body, headers=headers) as response:
                assert response.status == 200, await response.text()
                return dict(await response.json())

        asked = KeyCreate(tenant_id="acme", scopes=("tasks:read", "tokens:issue"))
        key = await buses[0].rpc.ask(AUTH_KEY_CREATE, asked)
        users = [await post("/v1/auth/token", {"subject": name}, key.key) for name in ("alice", "bob")]
        alice, bob = (user["access_token"] for user in users)
        await become(200, [key.key, alice, bob])
        await post("/v1/auth/revoke", {"refresh_token": users[0]["refresh_token"]})
        await become(401, [alice])
        assert await statuses(bob) == {200}
        await buses[0].rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=key.key_id))
        await become(401, [key.key, bob])
