"""A whole installation for one measurement, waited for until it answers tasks."""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from benchmarks.floor.wire import Wire, connect
from benchmarks.processes import Children, run_to_end
from benchmarks.servers import servers
from benchmarks.system.http import Pool, prepare
from benchmarks.system.lag import position
from benchmarks.workload import Sync, body
from deploy.local import ServerInfo, env

PROCFILE = Path(__file__).parents[2] / "Procfile"
PROJECTIONS = ("kafka", "ledger")
HOST = "127.0.0.1"
READY_S = 90.0
BUILD_S = 600.0
_KEY = re.compile(r"aion_[0-9A-Za-z]+_[0-9A-Za-z]+_[0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class System:
    """What runs. `folder` is the servers', `pids` are theirs and the actors', `pool` posts one task again and again.

    `key` is the API key that it posts with, `port` where; `nats_url` is the bus behind.
    """

    folder: Path
    key: str
    port: int
    nats_url: str
    pool: Pool
    wire: Wire
    children: Children
    pids: Mapping[str, int]


@asynccontextmanager
async def running(folder: Path, sync: Sync, **settings: str) -> AsyncIterator[System]:
    """Fresh servers and every actor, with `settings` besides; the actors' logs stay in `folder / "logs"`.

    Raises `RuntimeError` when an actor ended meanwhile, `TimeoutError` when one never answers.
    """
    await run_to_end((sys.executable, "-m", "executors.wasm.build"), {}, BUILD_S)
    async with servers(folder / "servers", sync) as infos:
        port = free_port()
        variables = environment(env(infos.values()), port, sync) | settings
        wire = await connect(infos["nats"].url)
        with Children(folder / "logs", variables) as children:
            start_actors(children)
            key = await create_key(variables)
            pool = Pool(HOST, port, prepare(HOST, port, key, body()))
            await ready(children, wire, pool, port)
            pids = pids_of(infos) | children.pids
            yield System(folder / "servers", key, port, infos["nats"].url, pool, wire, children, pids)
            children.check()
            pool.close()
        wire.close()


def pids_of(infos: Mapping[str, ServerInfo]) -> dict[str, int]:
    """The servers that were started here."""
    return {f"{name} server": info.pid for name, info in infos.items() if info.pid}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listening:
        return int(listening.getsockname()[1])


def environment(addresses: Mapping[str, str], port: int, sync: Sync) -> dict[str, str]:
    """What every actor is told. Batches only cost where nothing is fsynced."""
    return {
        **addresses,
        "AION_EDGE__PORT": str(port),
        "AION_NATS__GROUP_APPENDS": "true" if sync == "always" else "false",
        "AION_RUNTIME__LOG_LEVEL": "warning",
    }


def start_actors(children: Children) -> None:
    """One process each, by the Procfile's own commands."""
    for line in PROCFILE.read_text().splitlines():
        name, _, command = line.partition(":")
        words = [(sys.executable, "-m", "actors") if word == "aionctl" else (word,) for word in command.split()]
        children.start(name, tuple(chain.from_iterable(words)))


async def start_edge(children: Children, name: str, port: int, settings: Mapping[str, str]) -> None:
    """Another edge on a port of its own, waited for until it listens."""
    own = {"AION_EDGE__PORT": str(port), **settings}
    words = [f"{variable}={value}" for variable, value in own.items()]
    children.start(name, ("env", "-u", "AION_EDGE__GRPC__PORT", *words, sys.executable, "-m", "actors", "run", "edge"))
    await listening(children, port)


async def listening(children: Children, port: int) -> None:
    """Returns when somebody listens there. Raises `RuntimeError` when a child ended, `TimeoutError` after 90 s."""
    async with asyncio.timeout(READY_S):
        while not await _is_open(port):
            children.check()
            await asyncio.sleep(0.1)


async def create_key(variables: Mapping[str, str]) -> str:
    """A fresh API key of tenant `bench`, as soon as the auth actor answers."""
    command = (sys.executable, "-m", "actors", "key", "create", "--tenant", "bench", "--wait-s", str(READY_S))
    shown = await run_to_end(command, variables, READY_S + 10)
    found = _KEY.search(shown)
    if found is None:
        raise RuntimeError(f"aionctl key create printed no key: {shown[:200]}")
    return found[0]


async def ready(children: Children, wire: Wire, pool: Pool, port: int) -> None:
    """Returns when a task was answered and every projection follows; raises `TimeoutError` after 90 s."""
    async with asyncio.timeout(READY_S):
        await listening(children, port)
        await pool.fill(1)
        while not await _answers(pool):
            children.check()
            await asyncio.sleep(0.2)
        for name in PROJECTIONS:
            while await position(wire, name) is None:
                children.check()
                await asyncio.sleep(0.1)


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def _answers(pool: Pool) -> bool:
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    pool.send(future.set_result)
    return await future
