"""How a task comes in, whatever the door: a place, an order, its durable acceptance, and the wait for its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from actors.runtime import Context
from edge.settings import EdgeSettings
from edge.tasks.acceptance import Taken, Times, accept, accepted_event, meet
from edge.tasks.admission import Admission
from edge.tasks.allowance import Allowance
from edge.tasks.bulkhead import Bulkhead, Place
from edge.tasks.catalogue import Catalogue
from edge.tasks.open_tasks import OpenTasks
from edge.tasks.reading import result_bytes
from edge.tasks.request import Naming, check_tenant, check_timeout
from edge.tasks.trace import read_traceparent
from edge.tasks.turns import Turns
from edge.tasks.waiting import Waiter, Waiting
from schemas.errors import BusDisconnected, Unavailable, UnknownIntent
from schemas.events import Accepted, canonical_bytes
from schemas.ids import TaskId, TenantId, uuid7
from schemas.task import TaskRequest


class Order(NamedTuple):
    """A checked request as the event it becomes; nothing is stored yet."""

    event: Accepted
    naming: Naming


class Submitted(NamedTuple):
    """A task that is AION's, and its canonical result's JSON if it ended within the wait."""

    taken: Taken
    result: bytes | None


class Held:
    """A task that is AION's, and a place where its end arrives; `result` is awaited once."""

    def __init__(self, taken: Taken, waiter: Waiter) -> None:
        self.taken = taken
        self._waiter = waiter

    async def result(self, wait_s: float) -> bytes | None:
        """The canonical result's JSON, None when it did not end within `wait_s` or the edge drains."""
        return await _result(self.taken, self._waiter, wait_s)


class Intake:
    """Takes tasks in for every door: one instance serves all requests of an edge."""

    def __init__(
        self, context: Context, settings: EdgeSettings, catalogue: Catalogue, waiting: Waiting, admission: Admission
    ) -> None:
        self._context = context
        self._settings = settings
        self._catalogue = catalogue
        self._waiting = waiting
        self._admission = admission
        self.allowance: Allowance | None = None
        """Who counts what tasks may use; None: nobody."""
        self.bulkhead = Bulkhead("submissions", settings.max_waiting, settings.tenant_share)
        self.turns = Turns(settings.max_lag_ms, context.rng, context.worked_s)
        """What a door asks before it reads a submission."""
        self._share_of_backlog = max(1, int(settings.max_backlog * settings.tenant_share))
        self.open_tasks = OpenTasks(self._share_of_backlog, context.now_ms)

    def place(self, tenant_id: TenantId) -> Place:
        """Room for one submission of the tenant, held while it is read, accepted and waited for.

        Raises `Unavailable`, `BusDisconnected`, `LogFull`, `Overloaded` or `TooManyRequests` before anything is read.
        What a tenant has open counts only while so much waits that others may soon find no place.
        """
        if self._context.draining.is_set():
            raise Unavailable("this edge is draining: send the request again, another takes it", retry_after_s=1)
        if not self._context.bus.connected:
            raise BusDisconnected("the bus is away: nothing was accepted, send the request again", retry_after_s=2)
        self._admission.check()
        if self._admission.backlog >= self._share_of_backlog:
            self.open_tasks.check(tenant_id)
        return self.bulkhead.place(tenant_id)

    def order(self, task: TaskRequest, tenant_id: TenantId, naming: Naming, traceparent: str | None) -> Order:
        """The order for `task`.

        Raises `Forbidden` for another tenant's, `BodyInvalid` for more time than there is, and `Overloaded` when its
        time would pass while it waits.
        """
        check_tenant(task, tenant_id)
        check_timeout(task, self._context.longest_task_s)
        now_ms = self._context.now_ms()
        times = Times(now_ms, min(self._settings.default_timeout_s, self._context.longest_task_s))
        self._admission.check_time(task.priority, task.sla.timeout_s or times.default_timeout_s)
        rng = self._context.rng
        task_id = naming.chosen or TaskId(uuid7(now_ms, rng.randbytes(10)))
        trace = read_traceparent(traceparent, rng.randbytes(24))
        event_id = self._context.new_event_id()
        return Order(accepted_event(task, tenant_id, task_id, event_id, trace, times), naming)

    async def submit(self, order: Order, *, wait_s: float) -> Submitted:
        """Accept durably, then wait at most `wait_s` for the end (0: not at all).

        Raises what `edge.tasks.acceptance.accept` and `Allowance.accept` raise, and `UnknownIntent`.
        """
        event = order.event
        with self._waiting.register(event.tenant_id, event.task_id) as waiter:
            taken = await self._take(order)
            return Submitted(taken, await _result(taken, waiter, wait_s))

    @asynccontextmanager
    async def hold(self, order: Order) -> AsyncIterator[Held]:
        """Accept durably, and hear of the end for as long as it is held. Raises what `submit` raises."""
        event = order.event
        with self._waiting.register(event.tenant_id, event.task_id) as waiter:
            yield Held(await self._take(order), waiter)

    async def _take(self, order: Order) -> Taken:
        """Counted as open from before it is stored, so that no end comes too early."""
        event, open_tasks = order.event, self.open_tasks
        added, new = open_tasks.add(event), False
        try:
            taken = await self._accept(order)
            new = not taken.replayed
        finally:
            if added and not new:
                open_tasks.remove(event.tenant_id, event.task_id)
        return taken

    async def _accept(self, order: Order) -> Taken:
        """A replay is answered even when nobody answers its intent any more."""
        log, within_s = self._context.bus.log, self._settings.accept_timeout_s
        event, naming = order
        try:
            self._catalogue.check(event.brief.intent)
        except UnknownIntent:
            taken = await meet(log, event, keyed=naming.keyed, within_s=within_s) if naming.chosen else None
            if taken is None:
                raise
            return taken
        if self.allowance is not None:
            return await self.allowance.accept(
                event, partial(accept, log, event, keyed=naming.keyed, within_s=within_s)
            )
        return await accept(log, event, keyed=naming.keyed, within_s=within_s)


async def _result(taken: Taken, waiter: Waiter, wait_s: float) -> bytes | None:
    if taken.ended is not None:
        return result_bytes(taken.ended)
    data = await waiter.wait(wait_s) if wait_s > 0 else None
    return canonical_bytes(data) if data else None
