"""The connections of the load loops: an edge that closes idle ones must not thin out the load unseen."""

import asyncio
from collections.abc import Callable

import pytest

from benchmarks.system.http import Pool

HOST = "127.0.0.1"


async def test_connections_that_the_edge_closed_are_missed_and_opened_again() -> None:
    accepted: list[asyncio.StreamWriter] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    async with await asyncio.start_server(take, HOST, 0) as server:
        pool = Pool(HOST, server.sockets[0].getsockname()[1], b"")
        await pool.fill(3)
        pool.check(3)
        await _until(lambda: len(accepted) == 3)
        accepted[0].close()
        await _until(lambda: not _has(pool, 3))
        with pytest.raises(RuntimeError, match="2 of 3"):
            pool.check(3)
        await pool.fill(3)
        pool.check(3)
        pool.close()
        for writer in accepted:
            writer.close()


def _has(pool: Pool, count: int) -> bool:
    try:
        pool.check(count)
    except RuntimeError:
        return False
    return True


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to hold within 5 s")
