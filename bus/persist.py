"""Appends that outlive a short absence of the bus."""

import asyncio

from bus.port import Log
from schemas.errors import Unavailable
from schemas.events import TaskEvent

_PAUSE_S = 0.2


async def persist(log: Log, event: TaskEvent, *, after: int, give_up_s: float) -> int:
    """The sequence of the stored event, tried again while the bus is away and `give_up_s` is not over.

    Safe to repeat: the log recognises an event it already holds. Raises `WrongSequence` when something else
    came first, and the last `Unavailable` when time ran out.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + give_up_s
    while True:
        remaining_s = deadline - loop.time()
        try:
            return await log.append(event, after=after, timeout_s=max(0.1, min(5.0, remaining_s)))
        except Unavailable:
            if loop.time() + _PAUSE_S >= deadline:
                raise
        await asyncio.sleep(_PAUSE_S)
