"""Looks at everything every few seconds, and keeps what it saw."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from benchmarks.floor.wire import Wire
from benchmarks.processes import Children
from benchmarks.soak.judge import Kind, Point, Series
from benchmarks.soak.logs import Logs
from benchmarks.soak.resources import held
from benchmarks.system.lag import last_sequence, position
from benchmarks.system.start import PROJECTIONS
from bus.subjects import LOG_STREAM

EVERY_S = 5.0


class Watch:
    """One run's series. `run` raises when an actor ends or a server does not answer."""

    def __init__(self, wire: Wire, children: Children, pids: Mapping[str, int], logs: Logs) -> None:
        self._wire = wire
        self._children = children
        self._pids = pids
        self._logs = logs
        self._points: dict[tuple[Kind, str], list[Point]] = defaultdict(list)
        self._began = perf_counter()

    def series(self) -> list[Series]:
        """What was sampled so far."""
        return [Series(kind, subject, points) for (kind, subject), points in self._points.items()]

    async def run(self) -> None:
        """Sample until cancelled."""
        self._began = perf_counter()
        due = 0.0
        while True:
            await asyncio.sleep(max(0.0, due - (perf_counter() - self._began)))
            await self.look()
            due += EVERY_S

    async def look(self) -> None:
        """Sample once."""
        self._children.check()
        for name, own in (await asyncio.to_thread(held, self._pids)).items():
            self._note("rss", name, own.rss_mib)
            self._note("fds", name, own.fds)
            self._note("threads", name, own.threads)
        await asyncio.to_thread(self._logs.read_on)
        await self._look_at_streams()
        head = await last_sequence(self._wire)
        for name in PROJECTIONS:
            self._note("lag", name, max(0, head - (await position(self._wire, name) or 0)))

    async def _look_at_streams(self) -> None:
        for stream in await _all(self._wire, "STREAM.LIST", "streams"):
            self._note("messages", stream["config"]["name"], stream["state"]["messages"])
            self._note("kib", stream["config"]["name"], stream["state"]["bytes"] / 1024)
        for consumer in await _all(self._wire, f"CONSUMER.LIST.{LOG_STREAM}", "consumers"):
            if consumer["config"].get("durable_name"):  # the others are readers of one projection, whose lag is seen
                self._note("pending", consumer["name"], consumer["num_pending"] + consumer["num_ack_pending"])

    def _note(self, kind: Kind, subject: str, value: float) -> None:
        self._points[kind, subject].append((perf_counter() - self._began, value))


async def _all(wire: Wire, verb: str, of: str) -> list[dict[str, Any]]:
    """Every page of a JetStream list."""
    found: list[dict[str, Any]] = []
    while True:
        page = await wire.api(verb, {"offset": len(found)})
        found += page.get(of) or []
        if len(found) >= page["total"]:
            return found
