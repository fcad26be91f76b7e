"""The routes of one task: read it, its events, its stream, and cancel it."""

import json

from aiohttp import web

from actors.runtime import Context
from edge import reading
from edge.answer import REQUEST_ID, Answer
from edge.bulkhead import Bulkhead
from edge.cancel import cancel
from edge.front import TASK_ID, tenant_of
from edge.intake import read_event_id, read_task_id
from edge.settings import EdgeSettings
from edge.stream import HEADERS, SlowReader, Writer, named, pump
from schemas.errors import BusDisconnected, Unavailable
from schemas.ids import TaskId, TenantId


class Tasks:
    """Answers for tasks that exist; the tenant is part of every look-up, so no check can be forgotten."""

    def __init__(self, context: Context, settings: EdgeSettings) -> None:
        self._context = context
        self._settings = settings
        self._reads = Bulkhead("reads", settings.max_reading)
        self.streams = Bulkhead("streams", settings.max_open_streams)
        self.dropped_streams = 0

    async def get(self, request: web.BaseRequest) -> Answer:
        """The canonical result, or how far the task is."""
        with self._reads:
            self._check_connected()
            task_id = _task_id(request)
            seen = await reading.find(self._context.bus, tenant_of(request), task_id)
        if seen.result is not None:
            return Answer(seen.result)
        body = {"task_id": task_id, "status": "RUNNING", "state": seen.state}
        return Answer(json.dumps(body).encode(), fields="Retry-After: 1\r\n")

    async def events(self, request: web.BaseRequest) -> Answer:
        """The task's events in order, without params."""
        with self._reads:
            self._check_connected()
            found = await reading.history(self._context.bus, tenant_of(request), _task_id(request))
        return Answer(json.dumps(found).encode())

    async def cancel(self, request: web.BaseRequest) -> Answer:
        """End the task as CANCELED."""
        with self._reads:
            self._check_connected()
            within_s = self._settings.accept_timeout_s
            result = await cancel(self._context, tenant_of(request), _task_id(request), within_s)
        return Answer(result)

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Server-sent events; 204 when the client has already seen the last one, which stops an `EventSource`."""
        if self._context.draining.is_set():
            raise Unavailable("this edge is draining: connect again, another takes it", retry_after_s=1)
        with self.streams:
            self._check_connected()
            task_id, tenant_id = _task_id(request), tenant_of(request)
            after = read_event_id(request.headers.get("Last-Event-ID") or request.query.get("after"))
            seen = await reading.find(self._context.bus, tenant_id, task_id)
            if seen.result is not None and after and after >= seen.sequence:
                return web.Response(status=204)
            response = web.StreamResponse(headers=HEADERS | {"X-Request-Id": request[REQUEST_ID]})
            await response.prepare(request)
            await self._feed(request, response, (tenant_id, task_id, after), seen)
            return response

    async def _feed(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        what: tuple[TenantId, TaskId, int],
        seen: reading.Seen,
    ) -> None:
        writer = Writer(response, self._settings.write_timeout_s)
        tenant_id, task_id, after = what
        try:
            await writer.write(f"retry: {self._context.rng.randint(1000, 3000)}\n\n".encode())
            if seen.sequence == 0 and seen.result is not None:  # from the ledger: only the end is left
                return await writer.write(named("done", seen.result))
            entries = self._context.bus.log.follow(tenant_id, task_id, after=after)
            await pump(entries, writer, self._context.draining, heartbeat_s=self._settings.heartbeat_s)
        except SlowReader:
            self.dropped_streams += 1
            self._context.log.warning(
                "edge.slow_reader_dropped", task_id=task_id, after_s=self._settings.write_timeout_s
            )
            if request.transport is not None:
                request.transport.abort()
        except BusDisconnected:
            self._context.log.warning("edge.stream_lost_bus", task_id=task_id)
            if request.transport is not None:
                request.transport.abort()  # never a clean end: the client resumes with Last-Event-ID

    def _check_connected(self) -> None:
        if not self._context.bus.connected:
            raise BusDisconnected("the bus is away: try again", retry_after_s=2)


def _task_id(request: web.BaseRequest) -> TaskId:
    return read_task_id(request[TASK_ID])
