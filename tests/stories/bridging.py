"""A bridge that runs in a test, and a producer that is killed at a step of its transactions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from bridges.bridge import Bridge


@asynccontextmanager
async def running(bridge: Bridge) -> AsyncIterator["asyncio.Task[None]"]:
    """It runs meanwhile, and drains."""
    task = asyncio.create_task(bridge.run())
    try:
        yield task
        bridge.context.draining.set()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():  # noqa: ASYNC110 - a broker's progress
            await asyncio.sleep(0.01)


async def reach(bridge: Bridge, sequence: int) -> None:
    """Returns once it has written all up to there."""
    await until(lambda: int(str(bridge.status()["sequence"])) >= sequence)


def kill_producers(monkeypatch: pytest.MonkeyPatch, step: str, moment: str) -> None:
    """Three of the producer's calls of `step` are its last: before, or `after` the broker did it and nobody heard."""
    left, calls = 3, 0
    real = getattr(AIOKafkaProducer, step)

    async def deadly(self: AIOKafkaProducer, *args: Any, **kwargs: Any) -> Any:
        nonlocal left, calls
        calls += 1
        dies = left > 0 and calls % 3 == 2
        left -= dies
        if dies and moment == "before":
            raise ConnectionError("killed before")
        answer = await real(self, *args, **kwargs)
        if dies:
            raise ConnectionError("killed after")
        return answer

    monkeypatch.setattr(AIOKafkaProducer, step, deadly)
