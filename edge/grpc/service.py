"""`aion.v1.AionTasks`: what REST does, as calls."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import grpc

from actors.runtime import Context
from aion.v1 import tasks_pb2
from edge.grpc.arrivals import Arrivals
from edge.grpc.calls import Call, Calls, Method
from edge.grpc.reading import read_after, read_task, read_wait
from edge.grpc.writing import broken_off, intents_message, result_message, stream_event, task_state
from edge.http.routes import ANY_CALLER
from edge.settings import EdgeSettings
from edge.tasks.catalogue import Catalogue
from edge.tasks.desk import Desk
from edge.tasks.following import LOOK_S, Following
from edge.tasks.intake import Intake
from edge.tasks.items import Item
from edge.tasks.reading import Seen
from edge.tasks.request import name_task, read_task_id
from schemas import scopes
from schemas.errors import InvalidRequest, Unavailable

NAME: Final = tasks_pb2.DESCRIPTOR.services_by_name["AionTasks"].full_name
REPLY_S: Final = 0.1
"""What a wait leaves of the caller's deadline for the way back: the caller learns the task's id, not only its end."""


class AionTasks:
    """The service: one instance serves all calls of an edge."""

    def __init__(
        self, context: Context, settings: EdgeSettings, intake: Intake, desk: Desk, catalogue: Catalogue
    ) -> None:
        self._context = context
        self._settings = settings
        self._intake = intake
        self._desk = desk
        self._catalogue = catalogue

    def methods(self, calls: Calls, arrivals: Arrivals) -> "grpc.GenericRpcHandler":
        """Every method by its name."""
        submit = Method("Submit", scopes.SUBMIT, "POST /v1/tasks")
        stream = Method("Stream", scopes.READ, "GET /v1/stream/{task_id}")
        read = Method("StatusById", scopes.READ, "GET /v1/tasks/{task_id}")
        cancel = Method("Cancel", scopes.CANCEL, "POST /v1/tasks/{task_id}/cancel")
        listing = Method("ListIntents", ANY_CALLER, "GET /v1/intents")
        handlers = {
            submit.name: calls.answering(submit, tasks_pb2.SubmitRequest, self.submit),
            stream.name: calls.streaming(stream, tasks_pb2.StreamRequest, self.stream, self._desk.streaming),
            read.name: calls.answering(read, tasks_pb2.StatusByIdRequest, self.status_by_id),
            cancel.name: calls.answering(cancel, tasks_pb2.CancelRequest, self.cancel),
            listing.name: calls.answering(listing, tasks_pb2.ListIntentsRequest, self.list_intents),
        }
        return arrivals.methods(NAME, handlers)

    async def submit(self, request: tasks_pb2.SubmitRequest, call: Call) -> tasks_pb2.SubmitResponse:
        """The task's id, and its result if that came within the wait; only after the append was confirmed."""
        self._intake.turns.check()
        settings, tenant_id = self._settings, call.caller.tenant_id
        with self._intake.place(tenant_id):
            task = read_task(request.task, max_depth=settings.max_depth, max_bytes=settings.max_body_bytes)
            naming = name_task(_key(request, call), task, tenant_id)
            wait_s = read_wait(request, settings.default_wait_s, settings.max_wait_s)
            if call.remaining_s is not None:
                wait_s = min(wait_s, max(0.0, call.remaining_s - REPLY_S))
            order = self._intake.order(task, tenant_id, naming, call.metadata.get("traceparent"))
            taken, result = await self._intake.submit(order, wait_s=wait_s)
        return tasks_pb2.SubmitResponse(
            task_id=taken.task_id, replayed=taken.replayed, result=None if result is None else result_message(result)
        )

    async def stream(self, request: tasks_pb2.StreamRequest, call: Call) -> AsyncGenerator[tasks_pb2.StreamEvent, None]:
        """Past and coming events; `error` and a status before the task's end, so that a client resumes."""
        tenant_id, task_id, after = call.caller.tenant_id, read_task_id(request.task_id), read_after(request)
        try:
            async with (
                self._desk.follow(tenant_id, task_id, after) as following,
                aclosing(_until(following, self._context.draining)) as items,
            ):
                async for item in items:
                    yield stream_event(item)
        except (Unavailable, _Draining) as error:
            yield broken_off(error)
            raise

    async def status_by_id(self, request: tasks_pb2.StatusByIdRequest, call: Call) -> tasks_pb2.StatusByIdResponse:
        """How far the task is, and the canonical result once it has ended."""
        task_id = read_task_id(request.task_id)
        seen: Seen = await self._desk.find(call.caller.tenant_id, task_id)
        result = None if seen.result is None else result_message(seen.result)
        return tasks_pb2.StatusByIdResponse(task_id=task_id, state=task_state(seen.state), result=result)

    async def cancel(self, request: tasks_pb2.CancelRequest, call: Call) -> tasks_pb2.CancelResponse:
        """The result of the task, ended as CANCELED."""
        result = await self._desk.cancel(call.caller.tenant_id, read_task_id(request.task_id))
        return tasks_pb2.CancelResponse(result=result_message(result))

    async def list_intents(self, _request: tasks_pb2.ListIntentsRequest, _call: Call) -> tasks_pb2.ListIntentsResponse:
        """What is answered now, and by whom."""
        return intents_message(self._catalogue.listing())


class _Draining(Unavailable):
    """The edge goes, the task does not."""


def _key(request: tasks_pb2.SubmitRequest, call: Call) -> str | None:
    """The idempotency key, from the message or from the metadata, where proxies and interceptors put it."""
    said = call.metadata.get("idempotency-key")
    if not request.HasField("idempotency_key"):
        return said
    if said is not None and said != request.idempotency_key:
        raise InvalidRequest("idempotency_key and the metadata idempotency-key differ: send one of them")
    return request.idempotency_key


async def _until(following: Following, draining: asyncio.Event) -> AsyncGenerator[Item, None]:
    """The items to the end, as long as the edge stays. Raises `_Draining`."""
    stop = asyncio.ensure_future(draining.wait())
    stop.add_done_callback(lambda _: following.leave())
    try:
        while not following.ended:
            item = await following.next(LOOK_S)
            if item is not None:
                yield item
            elif stop.done():
                raise _Draining(f"this edge is draining: stream again after {following.mark}", retry_after_s=1)
    finally:
        stop.cancel()
