"""The router: reads what was accepted or failed, decides, and appends where it goes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from pydantic import BaseModel

from actors.runtime import Actor, Context, GiveBack, Work
from bus.lease import still_due
from bus.persist import persist
from bus.port import Delivery
from bus.subjects import ENGINES, accepted, attempt_failed
from router.decision import Decision, Decisions, engines_of, next_attempt
from router.settings import RouterSettings
from schemas.errors import LogFull, WrongSequence
from schemas.events import Accepted, AttemptFailed, Ended, Outcome, Routed, following
from schemas.message import Unreadable, decode
from schemas.registry import EngineAdvert
from schemas.result import Engine, Usage
from schemas.task import Priority

_APPEND_S = 8.0


class Router(Actor):
    """Stateless: any number of routers may share the cursors; compare-and-set lets one answer each event."""

    name: ClassVar[str] = "router"
    description: ClassVar[str] = "decides which engine answers a task"
    settings_type: ClassVar[type[BaseModel]] = RouterSettings
    settings: RouterSettings

    def __init__(self, context: Context, settings: RouterSettings) -> None:
        super().__init__(context, settings)
        self._decisions = Decisions(())
        self._adverts: Mapping[str, bytes] = {}
        self._routed = 0
        self._waited = 0
        self._superseded = 0

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Know the engines before the first task is taken."""
        async with self.context.bus.kv.view(ENGINES, self._engines_changed) as adverts:
            self._adverts = adverts
            self._engines_changed("", None)
            yield

    def works(self) -> Sequence[Work]:
        """New tasks and failed attempts, each priority on its own cursor so that none waits behind a lower one."""
        slots = self.settings.slots
        fresh = [Work(accepted(priority), self.route_accepted, slots) for priority in Priority]
        failed = [Work(attempt_failed(priority), self.route_failed, slots) for priority in Priority]
        return [*fresh, *failed]

    def status(self) -> Mapping[str, object]:
        """Counts since the start."""
        return {
            "routed": self._routed,
            "waited": self._waited,
            "superseded": self._superseded,
            "engines": len(self._decisions.engines),
        }

    def _engines_changed(self, key: str, value: bytes | None) -> None:
        adverts: list[EngineAdvert] = []
        for name, data in self._adverts.items():
            try:
                adverts.append(decode(data, EngineAdvert))
            except Unreadable:
                self.context.log.warning("advert_unreadable", key=name)
        self._decisions = Decisions(engines_of(adverts))

    async def route_accepted(self, delivery: Delivery) -> None:
        """Append `routed` after `accepted`; gives the task back while no engine is alive."""
        event = delivery.entry.event()
        if not isinstance(event, Accepted) or not await self._due(delivery, event):
            return
        decision = self._decisions.of(event.brief)
        if decision is None:
            raise self._not_now(delivery)
        await self._append(delivery, self._routed_event(event, decision, attempt=1))

    async def route_failed(self, delivery: Delivery) -> None:
        """Append the next `routed` after `attempt_failed`, or end the task when nothing is left to try."""
        event = delivery.entry.event()
        if not isinstance(event, AttemptFailed) or not await self._due(delivery, event):
            return
        if not event.fallbacks:
            await self._append(delivery, self._exhausted(event))
            return
        decision = next_attempt(event.brief, event.fallbacks, self._decisions.engines)
        if decision is None:
            raise self._not_now(delivery)
        await self._append(delivery, self._routed_event(event, decision, attempt=event.attempt + 1))

    async def _due(self, delivery: Delivery, event: Accepted | AttemptFailed) -> bool:
        now_ms = self.context.now_ms()
        if now_ms >= event.brief.deadline_ms:
            return False  # the sweeper ends it
        return await still_due(self.context.bus.log, delivery, event.tenant_id, event.task_id, now_ms * 1_000_000)

    def _not_now(self, delivery: Delivery) -> GiveBack:
        self._waited += 1
        pause_s = self.settings.wait_min_s * 2 ** min(delivery.delivered - 1, 8)
        return GiveBack(min(self.settings.wait_max_s, pause_s))

    async def _append(self, delivery: Delivery, event: Routed | Ended) -> None:
        try:
            await persist(self.context.bus.log, event, after=delivery.entry.sequence, give_up_s=_APPEND_S)
        except WrongSequence:
            self._superseded += 1
            self.context.log.info("route_superseded", task_id=event.task_id)
            return
        except LogFull as error:
            raise GiveBack(error.retry_after_s or self.settings.wait_max_s) from error
        self._routed += 1

    def _routed_event(self, event: Accepted | AttemptFailed, decision: Decision, *, attempt: int) -> Routed:
        return Routed(
            **following(event, self.context.new_event_id(), self.context.now_ms()),
            brief=event.brief,
            params=event.params,
            engine=decision.engine,
            decision=decision.shown,
            fallbacks=decision.fallbacks,
            attempt=attempt,
            spent_nanousd=event.spent_in_all_nanousd if isinstance(event, AttemptFailed) else 0,
        )

    def _exhausted(self, event: AttemptFailed) -> Ended:
        now_ms = self.context.now_ms()
        latency_ms = max(0, now_ms - event.brief.accepted_at_ms)
        return Ended(
            **following(event, self.context.new_event_id(), now_ms),
            outcome=Outcome.FAILED,
            intent=event.brief.intent,
            engine=Engine(route="local", chosen_by="ai-router", reason=f"every engine failed, last {event.engine}"),
            engine_name=event.engine,
            usage=Usage(latency_ms=latency_ms, cost_nanousd=event.spent_in_all_nanousd),
            error=event.error,
        )
