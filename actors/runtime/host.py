"""One actor alive: its lifespan, its place in discovery, its crews, its own loop, and its drain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from actors.runtime.actor import Actor
from actors.runtime.crew import Crew
from actors.runtime.drain import Drain, Phase, Reason
from actors.runtime.logs import failure
from actors.runtime.suspects import Suspects
from bus import subjects
from bus.port import Service
from bus.waiting import timeout

STOP_TIMEOUT_S = 5.0


class Host:
    """Runs one actor from its lifespan to the end of its drain. `failed` is called once when the actor broke."""

    def __init__(self, actor: Actor, version: str, grace_s: float, failed: Callable[[], None]) -> None:
        self.actor = actor
        self._context = actor.context
        self._version = version
        self._failed = failed
        self._crews: list[Crew] = []
        self._drain = Drain(grace_s)
        self._changed = asyncio.Event()

    @property
    def exit_code(self) -> int:
        """What the process should say about this actor's end."""
        return self._drain.exit_code

    def drain(self, reason: Reason) -> None:
        """Begin to drain, or go on as before when it already does."""
        self._drain = self._drain.ask(reason, self._now_s())
        self._context.draining.set()
        self._changed.set()

    async def run(self) -> None:
        """Everything, from opening to closed; an actor that raises is logged here and reported through `failed`."""
        try:
            async with self.actor.lifespan():
                await self._serve()
        except Exception as error:
            self._break(error)

    def status(self) -> Mapping[str, object]:
        """What discovery shows: the runtime's figures first, then the actor's own."""
        waits_for = self._waits_for()
        return {
            **self._work(),
            "draining": self._drain.phase is not Phase.SERVING,
            "ready": waits_for is None,
            **({} if waits_for is None else {"waits_for": waits_for}),
            **self.actor.status(),
        }

    def _work(self) -> Mapping[str, object]:
        """The figures of an actor that takes from the work queue; another has none."""
        crews = self._crews
        if not crews:
            return {}
        return {
            "in_flight": sum(crew.in_flight for crew in crews),
            "slots": sum(crew.slots for crew in crews),
            "done": sum(crew.done for crew in crews),
            "failed": sum(crew.failed for crew in crews),
            "given_back": sum(crew.given_back for crew in crews),
        }

    def _waits_for(self) -> str | None:
        if self._drain.phase is not Phase.SERVING:
            return "draining"
        return self.actor.ready() if self._context.bus.connected else "the bus"

    async def _serve(self) -> None:
        bus, log = self._context.bus, self._context.log
        suspects = Suspects(bus.kv, log)
        self._crews = [Crew(work, bus, log, self._context.rng, suspects) for work in self.actor.works()]
        async with self._reachable(), asyncio.TaskGroup() as group:
            own = group.create_task(self._run_own())
            crews = {group.create_task(crew.run()) for crew in self._crews}
            log.info("actor_started")
            await self._context.draining.wait()
            await self._stop_taking()
            await self._finish(own, crews)
        log.info("actor_drained", phase=self._drain.phase, exit_code=self.exit_code)

    @asynccontextmanager
    async def _reachable(self) -> AsyncIterator[None]:
        bus, actor = self._context.bus, self.actor
        service = Service(actor.name, self._version, self._context.instance, actor.description, status=self.status)
        drain_me = subjects.drain(actor.name)
        async with (
            bus.signals.listen(drain_me, lambda _: self.drain(Reason.CONTROL)),
            bus.rpc.serve(service, actor.answers()),
        ):
            yield

    async def _run_own(self) -> None:
        try:
            await self.actor.run()
        except Exception as error:
            self._break(error)

    async def _stop_taking(self) -> None:
        async with asyncio.TaskGroup() as group:
            for crew in self._crews:
                group.create_task(self._stop(crew))

    async def _stop(self, crew: Crew) -> None:
        try:
            async with timeout(STOP_TIMEOUT_S):
                await crew.stop()
        except Exception as error:
            self._context.log.warning("stop_failed", **failure(error))

    async def _finish(self, own: asyncio.Task[None], crews: set[asyncio.Task[None]]) -> None:
        """Wait as the drain's phases say; whatever still runs when it is over is cancelled, and so gives back."""
        running = {own, *crews}
        while self._drain.phase is not Phase.CLOSED:
            if self._drain.phase is Phase.GIVING_BACK:
                self._abort(own)
            self._changed.clear()
            running = await self._wait(running)
            self._drain = self._drain.step(self._now_s(), idle=not running)
        for task in running:
            task.cancel()

    async def _wait(self, running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """Those of `running` that run still after all ended, the phase's time was up, or the drain was asked again."""
        changed = asyncio.ensure_future(self._changed.wait())
        deadline_s = self._now_s() + self._drain.remaining_s(self._now_s())
        try:
            while running and not changed.done() and self._now_s() < deadline_s:
                _, waiting = await asyncio.wait(
                    {*running, changed}, timeout=deadline_s - self._now_s(), return_when=asyncio.FIRST_COMPLETED
                )
                running = {task for task in running if task in waiting}
        finally:
            changed.cancel()
        return running

    def _abort(self, own: asyncio.Task[None]) -> None:
        own.cancel()
        for crew in self._crews:
            crew.abort()

    def _break(self, error: Exception) -> None:
        self._context.log.error("actor_failed", **failure(error))
        self.drain(Reason.FAILED)
        self._failed()

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
