"""Redis from the side of a request: asked together with others, never waited for long, not asked while it is away."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from bus.waiting import timeout
from edge.limits.bucket import Bucket
from edge.limits.settings import Rate
from schemas.errors import Unavailable

ROUND = 128
"""Asks in one call: about 0.3 ms of the server's time."""
LINE = 4096
"""Asks that may wait for a round."""
PROBE_TIMEOUT_S = 1.0


class Ask(NamedTuple):
    """What a request wants: its buckets, and the least level that is known of each.

    With `owed` it is debited whatever the levels are; a negative cost gives back.
    """

    buckets: tuple[Bucket, ...]
    least_us: tuple[int, ...]
    owed: bool = False


class Reply(NamedTuple):
    """Whether it was admitted, and each bucket's level after that."""

    admitted: bool
    levels_us: tuple[int, ...]


class Script(Protocol):
    """Runs a round of asks, each all or nothing, in their order. The caller puts a deadline on it."""

    async def run(self, asks: Sequence[Ask]) -> list[Reply]:
        """A reply for each ask. Raises `Unavailable`."""
        ...

    async def close(self) -> None:
        """Drop the connections."""
        ...


PROBE = Ask((Bucket("probe", "probe", Rate(rpm=60, burst=1)),), (0,), owed=True)


class Shared:
    """Gathers what is asked while a round is under way into the next one.

    The first round that fails or takes longer than `answer_timeout_s` opens the circuit: whoever waits is told so at
    once, and nobody asks until a probe got an answer. `serve` must run for anything to be answered.
    """

    def __init__(self, script: Script, log: FilteringBoundLogger, *, answer_timeout_s: float, retry_s: float) -> None:
        self._script = script
        self._log = log
        self._answer_timeout_s = answer_timeout_s
        self._retry_s = retry_s
        self._line: list[tuple[Ask, asyncio.Future[Reply | None]]] = []
        self._wake = asyncio.Event()
        self.away = True
        self.rounds = 0
        self.lost = 0
        """How often Redis went away."""

    async def take(self, ask: Ask) -> Reply | None:
        """The reply, None when Redis does not answer: then the caller decides alone."""
        if self.away or len(self._line) >= LINE:
            return None
        future: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._line.append((ask, future))
        self._wake.set()
        return await future

    async def serve(self) -> None:
        """Play rounds, and look for a Redis that is away."""
        try:
            while True:
                if self.away:
                    await asyncio.sleep(self._retry_s)
                    await self.probe()
                else:
                    await self._wake.wait()
                    await self._round()
        finally:
            self.away = True
            self._give_up(self._line)

    async def probe(self) -> None:
        """Whether Redis runs the script and takes its writes, which it tries on a bucket of its own."""
        try:
            async with timeout(PROBE_TIMEOUT_S):
                await self._script.run((PROBE,))
        except (Unavailable, TimeoutError):
            return
        if self.away:
            self._log.info("edge.limits_shared", lost=self.lost)
        self.away = False

    async def _round(self) -> None:
        now, self._line = self._line[:ROUND], self._line[ROUND:]
        if not self._line:
            self._wake.clear()
        if not now:
            return
        self.rounds += 1
        try:
            async with timeout(self._answer_timeout_s):
                replies = await self._script.run([ask for ask, _ in now])
        except (Unavailable, TimeoutError) as error:
            self._lose(error)
            self._give_up(now)
            self._give_up(self._line)
            self._line = []
            return
        except asyncio.CancelledError:
            self._give_up(now)
            raise
        for (_, future), reply in zip(now, replies, strict=True):
            if not future.done():
                future.set_result(reply)

    def _lose(self, error: Exception) -> None:
        self.away = True
        self.lost += 1
        self._log.warning("edge.limits_alone", reason=str(error) or f"no answer within {self._answer_timeout_s:g} s")

    @staticmethod
    def _give_up(line: list[tuple[Ask, "asyncio.Future[Reply | None]"]]) -> None:
        for _, future in line:
            if not future.done():
                future.set_result(None)
