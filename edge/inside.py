"""What is behind every door of one edge: the bus as it sees it, and the acts of `edge.tasks` over it."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

from actors.runtime import Context
from bus import subjects
from bus.port import Heard
from bus.waiting import timeout
from edge.limits.limits import Limits
from edge.limits.settings import LimitsSettings
from edge.limits.tokens import TokenAllowance
from edge.settings import EdgeSettings
from edge.tasks.admission import Admission
from edge.tasks.catalogue import Catalogue
from edge.tasks.desk import Desk
from edge.tasks.intake import Intake
from edge.tasks.waiting import Waiting
from schemas.ids import TaskId, TenantId


class Inside:
    """Takes tasks in, waits for their ends, and finds them again; `watch` must run meanwhile."""

    def __init__(self, context: Context, settings: EdgeSettings, rates: LimitsSettings) -> None:
        self._context = context
        self._rates = rates
        self._allowance: TokenAllowance | None = None
        self._admission = Admission(context, settings.max_backlog, lambda: self._waiting.heard)
        self._waiting = Waiting(context.bus, context.log, asyncio.get_running_loop().time, settings.recheck_s)
        self.catalogue = Catalogue()
        self.intake = Intake(context, settings, self.catalogue, self._waiting, self._admission)
        self.desk = Desk(context, settings)

    async def open(self, stack: AsyncExitStack, limits: Limits | None) -> None:
        """Know what is answered, hear of ends, and look at the queue once; `stack` ends it."""
        bus, catalogue = self._context.bus, self.catalogue
        modules = await stack.enter_async_context(bus.kv.view(subjects.MODULES, catalogue.module_changed))
        engines = await stack.enter_async_context(bus.kv.view(subjects.ENGINES, catalogue.engine_changed))
        catalogue.load(modules, engines)
        if limits is not None and self._rates.tokens is not None:
            self._allowance = TokenAllowance(limits, catalogue, self._rates.answer_tokens)
            self.intake.allowance = self._allowance
        await stack.enter_async_context(bus.log.live("ended", self._hearer()))
        await self._admission.look()

    async def watch(self) -> None:
        """Look after those that wait and after the queue, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._waiting.watch())
            group.create_task(self._admission.watch())
            group.create_task(self.intake.open_tasks.watch())
            if self._allowance is not None:
                group.create_task(self._allowance.watch())

    async def finish(self, grace_s: float) -> None:
        """Let those that wait have so long; who still waits then is told that its task is accepted."""
        with suppress(TimeoutError):
            async with timeout(grace_s):
                await self.intake.bulkhead.empty()
        self.intake.turns.close()
        self._waiting.close()

    def status(self) -> Mapping[str, object]:
        """How much is open, and what was refused or rescued."""
        return {
            "submissions": self.intake.bulkhead.inside,
            "open_tasks": self.intake.open_tasks.total,
            "streams": self.desk.streams.inside,
            "rescued_waits": self._waiting.rescued,
            "backlog": self._admission.backlog,
            "refused_for_backlog": self._admission.refused,
            "refused_for_time": self._admission.refused_for_time,
            **self.intake.turns.status(),
        }

    def _hearer(self) -> Heard:
        """Tells of each end those that wait, who counts what is open, and who counts tokens if anybody does."""
        hearers = [self._waiting.ended, self.intake.open_tasks.ended]
        if self._allowance is not None:
            hearers.append(self._allowance.ended)

        def ended(tenant_id: TenantId, task_id: TaskId, data: bytes) -> None:
            for hear in hearers:
                hear(tenant_id, task_id, data)

        return ended
