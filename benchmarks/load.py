"""Open and closed loops, the same for the floor and for the system.

A `Send` starts one task and calls back once with whether it ended well. An open loop sends at fixed times whatever
happens, and counts latency from the time it meant to send, so a stall is charged to everyone who waited behind it.
A closed loop keeps a number of tasks open and measures how many end per second.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep

Done = Callable[[bool], None]
Send = Callable[[Done], None]

LEFTOVERS_S = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What one loop saw: latencies of what ended well (ascending), how many did not, and over how long."""

    latencies_ms: tuple[float, ...]
    failed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tasks that ended well per second."""
        return len(self.latencies_ms) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The latency that `share` of the tasks did not exceed; NaN when none ended well."""
        if not self.latencies_ms:
            return float("nan")
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(share * len(self.latencies_ms)))]


class _Counter:
    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.failed = 0
        self.open = 0
        self.idle = asyncio.Event()

    def ended(self, latency_s: float, well: bool) -> None:
        self.open -= 1
        if well:
            self.latencies_ms.append(latency_s * 1000)
        else:
            self.failed += 1
        if not self.open:
            self.idle.set()

    async def leftovers(self) -> None:
        """Wait for what is open; what never ends has failed."""
        if not self.open:
            return
        self.idle.clear()
        try:
            async with asyncio.timeout(LEFTOVERS_S):
                await self.idle.wait()
        except TimeoutError:
            self.failed += self.open

    def sample(self, seconds: float) -> Sample:
        return Sample(tuple(sorted(self.latencies_ms)), self.failed, seconds)


async def open_loop(send: Send, *, rate: float, seconds: float) -> Sample:
    """Send at `rate` per second for `seconds`, then wait for the rest.

    A thread keeps the time: the loop's own timers round up to a millisecond, which would be charged to every task.
    """
    loop = asyncio.get_running_loop()
    counter = _Counter()
    began, total = perf_counter(), round(rate * seconds)

    def start(intended: float) -> None:
        counter.open += 1
        send(lambda well: counter.ended(perf_counter() - intended, well))

    def pace() -> None:
        for number in range(total):
            intended = began + number / rate
            sleep(max(0.0, intended - perf_counter()))
            loop.call_soon_threadsafe(start, intended)

    await asyncio.to_thread(pace)
    await asyncio.sleep(0)  # the last start is queued behind the thread's end
    await counter.leftovers()
    return counter.sample(seconds)


async def closed_loop(send: Send, *, tasks_open: int, seconds: float) -> Sample:
    """Keep `tasks_open` open for `seconds`, then wait for the rest; the rate counts all, over all the time."""
    counter = _Counter()
    began = perf_counter()
    until = began + seconds

    def start() -> None:
        counter.open += 1
        sent = perf_counter()

        def done(well: bool) -> None:
            now = perf_counter()
            if now < until:
                start()
            counter.ended(now - sent, well)

        send(done)

    for _ in range(tasks_open):
        start()
    await asyncio.sleep(seconds)
    await counter.leftovers()
    return counter.sample(perf_counter() - began)
