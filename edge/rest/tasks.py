"""The routes of one task: read it, its events, its stream, and cancel it."""

import json

from aiohttp import web

from actors.runtime import Context
from edge.http.answer import REQUEST_ID, Answer
from edge.http.front import TASK_ID, tenant_of
from edge.http.problems import described
from edge.http.sse import EventStream, SlowReader, Writer, stream_headers
from edge.rest.stream import named, pump
from edge.settings import EdgeSettings
from edge.tasks.bookmark import read_bookmark
from edge.tasks.desk import Desk
from edge.tasks.following import Following
from edge.tasks.request import read_task_id
from schemas.errors import Unavailable
from schemas.ids import TaskId


class Tasks:
    """Answers for tasks that exist."""

    def __init__(self, context: Context, settings: EdgeSettings, desk: Desk) -> None:
        self._context = context
        self._settings = settings
        self._desk = desk
        self.dropped_streams = 0

    async def get(self, request: web.BaseRequest) -> Answer:
        """The canonical result, or how far the task is."""
        task_id = _task_id(request)
        seen = await self._desk.find(tenant_of(request), task_id)
        if seen.result is not None:
            return Answer(seen.result)
        body = {"task_id": task_id, "status": "RUNNING", "state": seen.state}
        return Answer(json.dumps(body).encode(), fields="Retry-After: 1\r\n")

    async def events(self, request: web.BaseRequest) -> Answer:
        """The task's events in order, without params."""
        found = await self._desk.history(tenant_of(request), _task_id(request))
        return Answer(json.dumps(found).encode())

    async def cancel(self, request: web.BaseRequest) -> Answer:
        """End the task as CANCELED."""
        return Answer(await self._desk.cancel(tenant_of(request), _task_id(request)))

    async def stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Server-sent events; 204 when the client has already seen the last one, which stops an `EventSource`."""
        tenant_id = tenant_of(request)
        with self._desk.streaming(tenant_id):
            asked, last = read_bookmark(request.query.get("after")), request.headers.get("Last-Event-ID")
            after = read_bookmark(last) if last else asked
            async with self._desk.follow(tenant_id, _task_id(request), after) as following:
                if following.ended:
                    return web.Response(status=204)
                response = EventStream(headers=stream_headers(request))
                await response.prepare(request)
                await self._feed(request, response, following)
                return response

    async def _feed(self, request: web.BaseRequest, response: web.StreamResponse, following: Following) -> None:
        writer = Writer(response, self._settings.write_timeout_s)
        try:
            await writer.add(f"retry: {self._context.rng.randint(1000, 3000)}\n\n".encode())
            await pump(following, writer, self._context.draining, heartbeat_s=self._settings.heartbeat_s)
        except SlowReader:
            self.dropped_streams += 1
            self._context.log.warning(
                "edge.slow_reader_dropped", task_id=_task_id(request), after_s=self._settings.write_timeout_s
            )
            if request.transport is not None:
                request.transport.abort()
        except Unavailable as error:
            self._context.log.warning("edge.stream_lost_bus", task_id=_task_id(request), code=error.code)
            await writer.write(named("error", json.dumps(described(error, request[REQUEST_ID])).encode()))


def _task_id(request: web.BaseRequest) -> TaskId:
    return read_task_id(request[TASK_ID])
