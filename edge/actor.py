"""The edge as an actor: what it opens, how it looks after it, and how it goes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar

from pydantic import BaseModel

from actors.runtime import Actor, Context
from actors.runtime.settings import RedisSettings
from edge.doors import Doors
from edge.inside import Inside
from edge.limits.limits import Limits
from edge.limits.opening import open_limits
from edge.limits.settings import LimitsSettings
from edge.settings import EdgeSettings


class Edge(Actor):
    """Doors in front of the log. It owns no data: any number may run, and any may die."""

    name: ClassVar[str] = "edge"
    description: ClassVar[str] = "takes tasks over HTTP and gRPC, accepts them durably, waits and streams"
    settings_type: ClassVar[type[BaseModel]] = EdgeSettings
    further: ClassVar[Mapping[str, type[BaseModel]]] = {"limits": LimitsSettings, "redis": RedisSettings}

    def __init__(
        self,
        context: Context,
        settings: EdgeSettings,
        rates: LimitsSettings | None = None,
        redis: RedisSettings | None = None,
    ) -> None:
        super().__init__(context, settings)
        self._settings = settings
        self._rates = rates or LimitsSettings()
        self._redis = redis or RedisSettings()
        self._limits: Limits | None = None
        self._inside = Inside(context, settings, self._rates)
        self._doors = Doors(context, settings, self._inside, self._checks)
        self._loaded = False
        self._watching: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """What is inside, then the doors; left in the opposite order after waiters had their grace."""
        async with AsyncExitStack() as stack:
            self._limits = await stack.enter_async_context(open_limits(self._rates, self._redis, self.context.log))
            await self._inside.open(stack, self._limits)
            await self._doors.open(stack, self._limits, tell_limits=self._rates.fields != "off")
            watching = self._watching = asyncio.create_task(self._watch(), name="edge.watch")
            self._loaded = True
            try:
                yield
            finally:
                await self._finish(watching)

    async def run(self) -> None:
        """Ends with the drain; raises when what looks after the waiting requests and the queue broke."""
        draining = asyncio.create_task(self.context.draining.wait(), name="edge.draining")
        watching = [self._watching] if self._watching is not None else []
        try:
            await asyncio.wait([draining, *watching], return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()
        for task in watching:
            if task.done():
                task.result()

    @property
    def routes(self) -> Mapping[str, Sequence[str]]:
        """Every path of HTTP with its methods, once `lifespan` was entered."""
        return self._doors.routes

    @property
    def port(self) -> int:
        """What HTTP listens on, once `lifespan` was entered."""
        return self._doors.port

    @property
    def grpc_port(self) -> int | None:
        """The same of gRPC, None without."""
        return self._doors.grpc_port

    def ready(self) -> str | None:
        """What is missing, else None."""
        missing = [name for name, holds in self._checks().items() if not holds]
        return f"waits for {', '.join(missing)}" if missing else None

    def status(self) -> Mapping[str, object]:
        """How much is open, and what was refused, rescued or dropped."""
        limits = {"limits": self._limits.status()} if self._limits is not None else {}
        return {**self._doors.status(), **self._inside.status(), **limits}

    def _checks(self) -> Mapping[str, bool]:
        return {
            "bus": self.context.bus.connected,
            "views": self._loaded,
            "not_draining": not self.context.draining.is_set(),
        }

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._inside.watch())
            group.create_task(self._doors.watch())
            if self._limits is not None:
                group.create_task(self._limits.watch())

    async def _finish(self, watching: "asyncio.Task[None]") -> None:
        """Let requests finish waiting within the grace, answer the rest with 202, close streams, stop listening."""
        grace_s = self._settings.drain_grace_s
        self.context.draining.set()
        self._doors.leave(grace_s)
        await self._inside.finish(grace_s)
        await self._doors.close()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
