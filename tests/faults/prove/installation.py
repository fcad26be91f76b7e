"""Everything that is attacked: three servers behind their fronts, and two of every actor."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.actors import wrong_clock
from harness.cluster import free_port, issue_key
from harness.front import Front, front
from harness.servers import SERVERS, Servers
from prove.fleet import Fleet, fleet
from prove.plan import TENANTS
from prove.schedule import ACTOR_NAMES

from executors.wasm.build import build

START_S = 60.0


@dataclass
class Installation:
    """`direct` are the servers' own addresses, past every front (Kafka's clients are sent to its front anyway)."""

    servers: Servers
    fronts: Mapping[str, Front]
    fleet: Fleet
    edges: Sequence[str]
    keys: Mapping[str, str]
    direct: Mapping[str, str]


@asynccontextmanager
async def installation(folder: Path, cache: Path, clocks: Mapping[str, float]) -> AsyncIterator[Installation]:
    """All of it, serving; each actor's own clock is wrong by its seconds of `clocks`.

    Leaving stops every process that was started; `folder` must be one that others may enter.
    """
    await asyncio.to_thread(build, "summarize_text", cache / "packages")
    servers = Servers(folder / "servers", cache)
    try:
        async with AsyncExitStack() as stack:
            fronts = await _open_fronts(stack, servers)
            servers.kafka.front_port = fronts["link:kafka"].port
            await asyncio.gather(*(asyncio.to_thread(servers.up, name) for name in SERVERS))
            ports = {name: free_port() for name in ACTOR_NAMES if name.startswith("edge.")}
            own = {name: _own(name, fronts, ports) | wrong_clock(clocks[name]) for name in ACTOR_NAMES}
            made = fleet(_shared(folder, cache), own, folder / "logs")
            keys = {name: await issue_key(servers.direct_url("nats"), name) for name in TENANTS}
            stack.push_async_callback(asyncio.to_thread, made.actors.stop)
            made.start()
            keeper = asyncio.create_task(made.keep(), name="fleet")
            try:
                late = await made.serving(START_S)
                assert not late, f"{late} did not start\n{made.actors.tails()}"
                edges = [f"http://127.0.0.1:{port}" for port in ports.values()]
                direct = {name: servers.direct_url(name) for name in SERVERS}
                yield Installation(servers, fronts, made, edges, keys, direct)
            finally:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
    finally:
        await asyncio.to_thread(servers.down)


async def _open_fronts(stack: AsyncExitStack, servers: Servers) -> dict[str, Front]:
    """One front for each actor's wire to NATS, one for each ledger's to PostgreSQL, one for all of Kafka's clients."""
    links = {f"link:nats/{name}": "nats" for name in ACTOR_NAMES} | {"link:kafka": "kafka"}
    links |= {f"link:postgres/{name}": "postgres" for name in ACTOR_NAMES if name.startswith("ledger.")}
    return {
        link: await stack.enter_async_context(front(link, servers.port(server), kafka=server == "kafka"))
        for link, server in links.items()
    }


def _shared(folder: Path, cache: Path) -> dict[str, str]:
    return {
        "AION_WASM__PACKAGES_DIR": str(cache / "packages"),
        "AION_WASM__CACHE_DIR": str(folder / "wasm-cache"),
        "AION_WASM__ACK_WAIT_S": "2",
        "AION_RUNTIME__LOG_JSON": "true",
    }


def _own(name: str, fronts: Mapping[str, Front], ports: Mapping[str, int]) -> dict[str, str]:
    settings = {"AION_NATS__URL": f"nats://127.0.0.1:{fronts[f'link:nats/{name}'].port}"}
    if name in ports:
        settings["AION_EDGE__PORT"] = str(ports[name])
    if name.startswith("kafka."):
        settings["AION_KAFKA__BOOTSTRAP"] = f"127.0.0.1:{fronts['link:kafka'].port}"
    if name.startswith("ledger."):
        port = fronts[f"link:postgres/{name}"].port
        settings["AION_POSTGRES__URL"] = f"postgresql://aion@127.0.0.1:{port}/aion"
    return settings
