"""`POST /v1/tasks`: read, accept, wait."""

import json

from aiohttp import web

from actors.runtime import Context
from edge.acceptance import Taken, Times, accept, accepted_event, meet
from edge.admission import Admission
from edge.answer import Answer
from edge.body import read_body
from edge.bulkhead import Bulkhead
from edge.catalogue import Catalogue
from edge.front import tenant_of
from edge.intake import Naming, Preference, check_tenant, check_timeout, read_naming, read_prefer, read_request
from edge.reading import result_bytes
from edge.settings import EdgeSettings
from edge.trace import read_traceparent
from edge.waiting import Waiter, Waiting
from schemas.errors import BusDisconnected, Unavailable, UnknownIntent
from schemas.events import Accepted, canonical_bytes
from schemas.ids import TaskId, TenantId, uuid7
from schemas.task import TaskRequest


class Submission:
    """Takes tasks in: one instance serves all requests of an edge."""

    def __init__(
        self, context: Context, settings: EdgeSettings, catalogue: Catalogue, waiting: Waiting, admission: Admission
    ) -> None:
        self._context = context
        self._admission = admission
        self._settings = settings
        self._catalogue = catalogue
        self._waiting = waiting
        self.bulkhead = Bulkhead("submissions", settings.max_waiting)

    async def post(self, request: web.BaseRequest) -> Answer:
        """200 with the canonical result, or 202 with where to find it; both only after the append was confirmed."""
        self._check_open()
        with self.bulkhead:
            settings = self._settings
            prefer = read_prefer(request.headers.getall("Prefer", []), settings.default_wait_s, settings.max_wait_s)
            tenant_id = tenant_of(request)
            body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
            task = read_request(body, settings.max_depth)
            check_tenant(task, tenant_id)
            check_timeout(task, self._context.longest_task_s)
            naming = read_naming(request.headers, task, tenant_id)
            event = self._event(task, tenant_id, naming, request.headers.get("traceparent"))
            with self._waiting.register(tenant_id, event.task_id) as waiter:
                taken = await self._take(event, naming)
                result = await self._result(taken, waiter, prefer)
        return answer(taken, result, prefer)

    def _check_open(self) -> None:
        if self._context.draining.is_set():
            raise Unavailable("this edge is draining: send the request again, another takes it", retry_after_s=1)
        if not self._context.bus.connected:
            raise BusDisconnected("the bus is away: nothing was accepted, send the request again", retry_after_s=2)
        self._admission.check()

    def _event(self, task: TaskRequest, tenant_id: TenantId, naming: Naming, traceparent: str | None) -> Accepted:
        now_ms = self._context.now_ms()
        times = Times(now_ms, min(self._settings.default_timeout_s, self._context.longest_task_s))
        rng = self._context.rng
        task_id = naming.chosen or TaskId(uuid7(now_ms, rng.randbytes(10)))
        trace = read_traceparent(traceparent, rng.randbytes(24))
        return accepted_event(task, tenant_id, task_id, self._context.new_event_id(), trace, times)

    async def _take(self, event: Accepted, naming: Naming) -> Taken:
        """A replay is answered even when nobody answers its intent any more."""
        log, within_s = self._context.bus.log, self._settings.accept_timeout_s
        try:
            self._catalogue.check(event.brief.intent)
        except UnknownIntent:
            taken = await meet(log, event, keyed=naming.keyed, within_s=within_s) if naming.chosen else None
            if taken is None:
                raise
            return taken
        return await accept(log, event, keyed=naming.keyed, within_s=within_s)

    async def _result(self, taken: Taken, waiter: Waiter, prefer: Preference) -> bytes | None:
        if taken.ended is not None:
            return result_bytes(taken.ended)
        data = await waiter.wait(prefer.wait_s) if prefer.wait_s > 0 else None
        return canonical_bytes(data) if data else None


def answer(taken: Taken, result: bytes | None, prefer: Preference) -> Answer:
    """The response for a task that is AION's; `result` is its canonical JSON if it has ended."""
    url = f"/v1/tasks/{taken.task_id}"
    fields = f"Location: {url}\r\n"
    if taken.replayed:
        fields += "Idempotency-Replayed: true\r\n"
    if prefer.applied is not None:
        fields += f"Preference-Applied: {prefer.applied}\r\n"
    if result is not None:
        return Answer(result, fields=fields)
    body = json.dumps({"task_id": taken.task_id, "status_url": url}).encode()
    return Answer(body, status=202, fields=fields)
