"""An open loop: every intention begins at its time, whatever became of the others."""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random

import aiohttp
from prove.client import Client
from prove.memory import Memory
from prove.plan import Intention

MOST_CONNECTIONS = 2000


async def run_load(
    intentions: Sequence[Intention], edges: Sequence[str], keys: Mapping[str, str], memory: Memory
) -> None:
    """Returns when every client has what it wanted or has given up."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    opened = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MOST_CONNECTIONS))
    async with opened as session, asyncio.TaskGroup() as group:
        client = Client(session, edges, keys, memory, Random(len(intentions)))
        for intention in intentions:
            await asyncio.sleep(max(0.0, began_s + intention.at_s - loop.time()))
            group.create_task(client.live(intention))
