"""WebSockets of edge processes on the real bus: slow readers, a revoked key, and an edge that is told to go."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.slow_readers import TENANT, Kind, Plan, Said, measure, percentile
from benchmarks.system.start import free_port
from bus import BusSettings, open_bus, subjects
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import changed, encode

pytestmark = pytest.mark.alone

BOUND_S = 5.0


@pytest.mark.parametrize("kind", ["ws", "sse"])
async def test_sixty_slow_readers_cost_little_hurt_nobody_and_resume(nats_url: str, kind: Kind, tmp_path: Path) -> None:
    """`python -m benchmarks.slow_readers` is the same with five hundred, and says by how much."""
    found = await measure(
        nats_url, kind, Plan(60, 10, seconds=1.5, beats=20, beat_s=0.1), tmp_path, AION_EDGE__WRITE_TIMEOUT_S="1"
    )
    assert found.memory_bytes < 1 << 20
    assert (found.cut_off, found.resumed) == (60, 60)
    assert len(found.beside_ms) > len(found.before_ms) / 2
    assert percentile(found.beside_ms, 0.5) < 500  # of a machine that may be busy: a stall would be seconds


@asynccontextmanager
async def edge(nats_url: str) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """A process that listens, and its port."""
    port = free_port()
    ours = {"AION_NATS__URL": nats_url, "AION_EDGE__PORT": str(port), "AION_RUNTIME__LOG_LEVEL": "error"}
    command = (sys.executable, "-m", "actors", "run", "edge")
    process = await asyncio.create_subprocess_exec(*command, env=os.environ | ours)
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        writer.close()
        yield port, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def heard(socket: ClientConnection) -> tuple[int, list[dict[str, Any]]]:
    """All that comes to the end, and the close code."""
    said: list[dict[str, Any]] = []
    async with asyncio.timeout(BOUND_S):
        try:
            while True:
                said.append(json.loads(await socket.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006, said


async def test_an_edge_that_goes_says_where_to_go_on_and_a_revoked_key_ends_what_it_opened(nats_url: str) -> None:
    async with open_bus(BusSettings(url=nats_url)) as bus, edge(nats_url) as (port, process):
        text, record = mint(TENANT, time.time_ns() // 1_000_000, random.randbytes(RANDOM_BYTES))
        await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
        said = Said(bus, 20)
        await said.begin()
        key = {"Authorization": f"Bearer {text}"}
        follow = {"type": "subscribe", "id": "s", "task_id": said.task_id}
        async with connect(f"ws://127.0.0.1:{port}/v1/ws", additional_headers=key, proxy=None) as socket:
            await socket.send(json.dumps(follow))
            frames = [json.loads(await socket.recv()) for _ in range(4)]  # welcome, subscribed, accepted, routed
            await said.say()
            frames.append(json.loads(await socket.recv()))
            process.send_signal(signal.SIGTERM)
            code, rest = await heard(socket)
            assert await asyncio.wait_for(process.wait(), BOUND_S) == 0
        last = frames[-1]["event_id"]
        assert (code, rest[0]) == (1012, {"type": "end", "id": "s", "reason": "draining", "after": last})
        await said.say()
        async with (
            edge(nats_url) as (other, _),
            connect(f"ws://127.0.0.1:{other}/v1/ws", additional_headers=key, proxy=None) as socket,
        ):
            await socket.send(json.dumps(follow | {"after": last}))
            frames += [json.loads(await socket.recv()) for _ in range(3)]
            assert "".join(f["data"]["text"] for f in frames if f.get("event") in {"partial", "token"}) == said.text
            await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(changed(record, revoked=True)))
            code, rest = await heard(socket)
        assert (code, rest[0]["after"]) == (4401, frames[-1]["event_id"])
