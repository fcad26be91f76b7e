"""The WASM executor: answers `routed.wasm-*` by running admitted packages in the sandbox."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import ClassVar

from pydantic import BaseModel

from actors.runtime import Actor, Context, GiveBack, Work
from bus.lease import still_due
from bus.persist import persist
from bus.port import Delivery
from bus.subjects import CANCEL_ALL, ENGINES, MODULES, cancel, routed
from bus.waiting import timeout
from executors.wasm.sandbox import Sandbox
from executors.wasm.settings import WasmSettings
from executors.wasm.store import InstalledPackage
from executors.wasm.telling import Telling
from schemas.errors import (
    AionError,
    DeadlineExceeded,
    InputInvalid,
    LogFull,
    NotFound,
    OutputTooLarge,
    PayloadTooLarge,
    PoisonTask,
    WrongSequence,
)
from schemas.events import AttemptFailed, Ended, Outcome, Routed, following
from schemas.message import encode
from schemas.registry import EngineAdvert, ModuleRecord
from schemas.result import TaskError, Usage
from schemas.task import Priority

_FULL_PAUSE_S = 0.2
_GIVE_UP_S = 5.0
_LACKING_PAUSE_S = 0.25
_LACKING_S = 15.0
"""While packages are being exchanged another instance may have the one that this one lacks."""


class WasmExecutor(Actor):
    """Any number may run; each advertises itself in `ENGINES` while it lives.

    A WASM task costs nothing and is deterministic, so no `started` is appended: a second attempt after a crash
    is harmless, and the late result of the first is refused by the log.
    """

    name: ClassVar[str] = "wasm"
    description: ClassVar[str] = "runs WebAssembly agent packages, each request in a fresh instance"
    settings_type: ClassVar[type[BaseModel]] = WasmSettings
    settings: WasmSettings

    def __init__(self, context: Context, settings: WasmSettings) -> None:
        super().__init__(context, settings)
        self._sandbox = Sandbox(settings.packages_dir, settings.cache_dir, cells=settings.cells)
        self._running: dict[str, asyncio.Task[object]] = {}
        self._cancelled: set[str] = set()
        self._done = 0
        self._refused_late = 0

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Install the packages, say which, and be reachable for cancellations."""
        bus = self.context.bus
        async with self._sandbox, bus.signals.listen(CANCEL_ALL, self._on_cancel):
            for refused in self._sandbox.refused:
                self.context.log.error("package_refused", package=refused.folder, error=str(refused.error))
            for package in self._sandbox.packages.values():
                await bus.kv.put(MODULES, package.name, encode(_record(package)))
            await self._advertise()
            try:
                yield
            finally:
                await self._withdraw()

    def works(self) -> Sequence[Work]:
        """One cursor per priority."""
        settings = self.settings
        return [
            Work(
                routed(self.name, priority, cap=settings.cap, ack_wait_s=settings.ack_wait_s),
                self.execute,
                settings.slots,
                self.give_up,
            )
            for priority in Priority
        ]

    async def run(self) -> None:
        """Renew the advert until drained; without it the router forgets this instance after the TTL."""
        while not self.context.draining.is_set():
            try:
                await self._advertise()
            except AionError as error:
                self.context.log.warning("advert_failed", error=error.code)
            try:
                async with timeout(self.settings.advert_every_s):
                    await self.context.draining.wait()
            except TimeoutError:
                continue
        await self._withdraw()

    def ready(self) -> str | None:
        """Not ready without a single package."""
        return None if self._sandbox.packages else f"no package in {self.settings.packages_dir}"

    def status(self) -> Mapping[str, object]:
        """Counts since the start."""
        return {
            "executed": self._done,
            "running": len(self._running),
            "packages": len(self._sandbox.packages),
            "late_results_refused": self._refused_late,
        }

    async def execute(self, delivery: Delivery) -> None:
        """Run the task and append how it ended; an overdue, cancelled or superseded one is left alone."""
        event = delivery.entry.event()
        if not isinstance(event, Routed):
            return
        now_ms = self.context.now_ms()
        if now_ms >= event.brief.deadline_ms:
            return  # the sweeper ends it
        log = self.context.bus.log
        if not await still_due(log, delivery, event.tenant_id, event.task_id, now_ms * 1_000_000):
            return
        outcome = await self._answer(event, delivery)
        if outcome is None:
            return  # cancelled: `ended.cancelled` stands in the log already
        give_up_s = max(1.0, (event.brief.deadline_ms - self.context.now_ms()) / 1000)
        try:
            await self._append(delivery, event, outcome, give_up_s)
        except WrongSequence:
            self._refused_late += 1
            self.context.log.info("late_result_refused", task_id=event.task_id)
            return
        except LogFull as error:
            raise GiveBack(error.retry_after_s or _FULL_PAUSE_S) from error
        self._done += 1

    async def give_up(self, delivery: Delivery) -> None:
        """End the task as failed: nothing that was lost with it shall be lost once more, also no other engine."""
        event = delivery.entry.event()
        if not isinstance(event, Routed) or self.context.now_ms() >= event.brief.deadline_ms:
            return
        poison = PoisonTask("several executors that ran the task were gone before they had an answer: not tried again")
        ended = self._ended(event, Outcome.FAILED, {}, _shown(poison))
        with suppress(WrongSequence):
            await persist(self.context.bus.log, ended, after=delivery.entry.sequence, give_up_s=_GIVE_UP_S)

    async def _append(
        self, delivery: Delivery, event: Routed, outcome: Ended | AttemptFailed, give_up_s: float
    ) -> None:
        log, after = self.context.bus.log, delivery.entry.sequence
        try:
            await persist(log, outcome, after=after, give_up_s=give_up_s)
        except PayloadTooLarge as error:
            failed = self._failed(event, OutputTooLarge(f"the result cannot be kept: {error.message}"))
            await persist(log, failed, after=after, give_up_s=give_up_s)

    async def _answer(self, event: Routed, delivery: Delivery) -> Ended | AttemptFailed | None:
        key = cancel(event.tenant_id, event.task_id)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # handlers run in tasks
        self._running[key] = task
        try:
            result = await self._run(event, delivery)
        except AionError as error:
            if error.retryable:  # the cells are full or one is being replaced: nothing was decided about the task
                raise GiveBack(error.retry_after_s or _FULL_PAUSE_S) from error
            return self._failed(event, error)
        except asyncio.CancelledError:
            if key not in self._cancelled:
                raise
            task.uncancel()
            return None
        else:
            return self._ended(event, Outcome.COMPLETED, result, None)
        finally:
            self._running.pop(key, None)
            self._cancelled.discard(key)

    async def _run(self, event: Routed, delivery: Delivery) -> dict[str, object]:
        package = self._sandbox.for_intent(event.brief.intent)
        if package is None:
            if self.context.now_ms() - event.at_ms < _LACKING_S * 1000:
                raise GiveBack(_LACKING_PAUSE_S * delivery.delivered)
            raise NotFound(f"no package here answers {event.brief.intent!r}")
        remaining_s = (event.brief.deadline_ms - self.context.now_ms()) / 1000
        telling = Telling(self.context.bus.tokens, event, delivery)
        try:
            answer = await self._sandbox.run(package, event.params, remaining_s, telling.say)
            if telling.begun:
                await telling.finish()
        finally:
            telling.stop()
        return answer.result

    def _failed(self, event: Routed, error: AionError) -> Ended | AttemptFailed:
        shown = _shown(error)
        if isinstance(error, DeadlineExceeded):
            return self._ended(event, Outcome.TIMEOUT, {}, shown)
        if not event.fallbacks or isinstance(error, InputInvalid):
            return self._ended(event, Outcome.FAILED, {}, shown)
        return AttemptFailed(
            **following(event, self.context.new_event_id(), self.context.now_ms()),
            brief=event.brief,
            params=event.params,
            engine=event.engine,
            fallbacks=event.fallbacks,
            attempt=event.attempt,
            error=shown,
            spent_nanousd=event.spent_nanousd,
        )

    def _ended(self, event: Routed, outcome: Outcome, result: dict[str, object], error: TaskError | None) -> Ended:
        now_ms = self.context.now_ms()
        return Ended(
            **following(event, self.context.new_event_id(), now_ms),
            outcome=outcome,
            intent=event.brief.intent,
            engine=event.decision,
            engine_name=event.engine,
            result=result,
            usage=Usage(latency_ms=max(0, now_ms - event.brief.accepted_at_ms), cost_nanousd=event.spent_nanousd),
            error=error,
        )

    def _on_cancel(self, subject: str) -> None:
        task = self._running.get(subject)
        if task is not None:
            self._cancelled.add(subject)
            task.cancel()

    async def _advertise(self) -> None:
        intents = sorted({intent for package in self._sandbox.packages.values() for intent in package.intents})
        slots = self.settings.slots * len(Priority)
        advert = EngineAdvert(
            engine=self.name,
            instance=self.context.instance,
            route="local",
            intents=tuple(intents),
            slots=slots,
            free_slots=max(0, slots - len(self._running)),
            draining=self.context.draining.is_set(),
        )
        await self.context.bus.kv.put(ENGINES, self._key, encode(advert), ttl_s=self.settings.advert_ttl_s)

    async def _withdraw(self) -> None:
        try:
            await self.context.bus.kv.delete(ENGINES, self._key)
        except AionError as error:
            self.context.log.info("advert_left_to_expire", error=error.code)

    @property
    def _key(self) -> str:
        return f"{self.name}.{self.context.instance}"


def _shown(error: AionError) -> TaskError:
    return TaskError(code=error.code, message=error.message, retryable=error.retryable)


def _record(package: InstalledPackage) -> ModuleRecord:
    spec = package.manifest.spec
    return ModuleRecord(
        name=package.name,
        version=package.manifest.metadata.version,
        digest=spec.entry.digest,
        intents=tuple(package.intents),
        description=package.manifest.metadata.description or "",
        input_schema=spec.input_schema,
        output_schema=spec.output_schema,
        openai=spec.openai,
    )
