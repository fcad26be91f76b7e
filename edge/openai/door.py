"""The routes that OpenAI's clients call. Each request is a task like any other: stored, billed once, and cancelled
when its client goes away, unless an `Idempotency-Key` says that it will come back for the answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar

from aiohttp import web
from pydantic import BaseModel

from actors.runtime import Context
from edge.http.answer import Answer
from edge.http.body import read_body
from edge.http.front import TASK_ID, tenant_of
from edge.http.sse import EventStream, SlowReader, Writer, stream_headers
from edge.openai.chat import chat_params, completion_params, reply_of
from edge.openai.dialects import ChatDialect, CompletionDialect, Dialect, Head
from edge.openai.embeddings import embeddings_answer, embeddings_params
from edge.openai.errors import Unanswered, unanswered
from edge.openai.forms import ChatForm, CompletionForm, EmbeddingsForm, OpenAiForm, Sampling
from edge.openai.models import Models, Offer
from edge.openai.outcome import read_end
from edge.openai.telling import Telling
from edge.settings import EdgeSettings
from edge.tasks.acceptance import Taken
from edge.tasks.desk import Desk
from edge.tasks.intake import Held, Intake, Order
from edge.tasks.request import name_task, read_form
from schemas.errors import AionError
from schemas.faces import ChatFace, EmbeddingsFace
from schemas.message import encode
from schemas.result import TaskResult
from schemas.task import TaskRequest

LATE_S: Final = 6.0
"""A task ends at the latest five seconds after its deadline (DESIGN section 4); who waits here waits for that."""

F = TypeVar("F", bound=BaseModel)
T = TypeVar("T")
Writing: TypeAlias = Callable[[Taken, TaskResult], dict[str, object]]


class OpenAiDoor:
    """One instance serves all requests of an edge."""

    def __init__(self, context: Context, settings: EdgeSettings, intake: Intake, desk: Desk, models: Models) -> None:
        self._context = context
        self._settings = settings
        self._intake = intake
        self._desk = desk
        self._models = models
        self.abandoned = 0
        """Tasks that were cancelled because their client had gone."""

    async def models(self, _request: web.BaseRequest) -> Answer:
        """What may be asked for now."""
        return Answer(json.dumps({"object": "list", "data": self._models.listing()}).encode())

    async def model(self, request: web.BaseRequest) -> Answer:
        """One model. Names may hold a slash, which a path carries as `%2F`."""
        name = request[TASK_ID].replace("%2F", "/").replace("%2f", "/").replace("%25", "%")
        return Answer(json.dumps(self._models.get(name)).encode())

    async def chat(self, request: web.BaseRequest) -> web.StreamResponse:
        """`POST /v1/chat/completions`."""
        with self._intake.place(tenant_of(request)):
            form = await self._read(request, ChatForm)
            offer = self._models.find(form.model, ChatFace)
            order = self._order(request, form, offer, chat_params(form, offer))
            return await self._say(request, form, order, offer.face, ChatDialect())

    async def completions(self, request: web.BaseRequest) -> web.StreamResponse:
        """`POST /v1/completions`."""
        with self._intake.place(tenant_of(request)):
            form = await self._read(request, CompletionForm)
            offer = self._models.find(form.model, ChatFace)
            order = self._order(request, form, offer, completion_params(form, offer))
            return await self._say(request, form, order, offer.face, CompletionDialect())

    async def embeddings(self, request: web.BaseRequest) -> web.StreamResponse:
        """`POST /v1/embeddings`."""
        with self._intake.place(tenant_of(request)):
            form = await self._read(request, EmbeddingsForm)
            offer = self._models.find(form.model, EmbeddingsFace)
            order = self._order(request, form, offer, embeddings_params(form, offer))
            return await self._whole(order, lambda _taken, result: embeddings_answer(form, result, offer.face))

    async def _read(self, request: web.BaseRequest, form: type[F]) -> F:
        body = await read_body(request, self._settings.max_body_bytes, self._settings.body_timeout_s)
        return read_form(body, self._settings.max_depth, form, "the body is not what this endpoint takes")

    def _order(self, request: web.BaseRequest, form: OpenAiForm, offer: Offer[Any], params: dict[str, Any]) -> Order:
        offer.check_privacy(form.sla.privacy)
        tenant_id, headers = tenant_of(request), request.headers
        task = TaskRequest(
            intent=offer.intent,
            params=params,
            preferred_engine=offer.engine,
            priority=form.priority,
            sla=form.sla,
            metadata=form.metadata or {},
        )
        naming = name_task(headers.get("Idempotency-Key"), task, tenant_id)
        return self._intake.order(task, tenant_id, naming, headers.get("traceparent"))

    async def _say(
        self, request: web.BaseRequest, form: Sampling, order: Order, face: ChatFace, dialect: Dialect
    ) -> web.StreamResponse:
        def head(taken: Taken) -> Head:
            return Head(f"{dialect.prefix}{taken.task_id}", taken.accepted_at_ms // 1000, form.model)

        if not form.stream:
            return await self._whole(order, lambda taken, result: dialect.whole(head(taken), reply_of(result, face)))
        include_usage = form.stream_options is not None and form.stream_options.include_usage is True
        with self._desk.streaming(tenant_of(request)):
            async with self._held(order) as held, AsyncExitStack() as stack:
                task_id = held.taken.task_id
                try:
                    following = await stack.enter_async_context(self._desk.follow(tenant_of(request), task_id))
                except AionError as error:
                    return unanswered(Unanswered(error, task_id, once=not order.naming.keyed))
                response = EventStream(headers=stream_headers(request) | fields_of(held.taken))
                await response.prepare(request)
                telling = Telling(dialect, head(held.taken), include_usage, self._settings.heartbeat_s)
                writer = Writer(response, self._settings.write_timeout_s)
                ending = self._end(order, held, lambda result: reply_of(result, face))
                await self._to_reader(request, telling.tell(ending, following, writer))
        return response

    async def _to_reader(self, request: web.BaseRequest, telling: Awaitable[None]) -> None:
        try:
            await telling
        except SlowReader:
            self._context.log.warning("edge.slow_reader_dropped", after_s=self._settings.write_timeout_s)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionError from None

    async def _whole(self, order: Order, write: Writing) -> web.StreamResponse:
        try:
            async with self._held(order) as held:
                body = await self._end(order, held, lambda result: write(held.taken, result))
        except Unanswered as failure:
            return unanswered(failure)
        fields = "".join(f"{name}: {value}\r\n" for name, value in fields_of(held.taken).items())
        return Answer(encode(body), fields=fields)

    async def _end(self, order: Order, held: Held, read: Callable[[TaskResult], T]) -> T:
        left_s = (order.event.brief.deadline_ms - self._context.now_ms()) / 1000 + LATE_S
        return read_end(await held.result(left_s), order, read)

    @asynccontextmanager
    async def _held(self, order: Order) -> AsyncIterator[Held]:
        """The accepted task. Whoever goes away while it is held, and cannot come back for it, has it cancelled."""
        try:
            async with self._intake.hold(order) as held:
                yield held
        except (asyncio.CancelledError, ConnectionError):
            if not order.naming.keyed and not self._context.draining.is_set():
                await self._abandon(order)
            raise

    async def _abandon(self, order: Order) -> None:
        event = order.event
        try:
            await self._desk.cancel(event.tenant_id, event.task_id)
        except AionError as error:  # it has ended, was never stored, or runs on to its deadline
            self._context.log.info("edge.not_cancelled", task_id=event.task_id, code=error.code)
        else:
            self.abandoned += 1


def fields_of(taken: Taken) -> dict[str, str]:
    """What the head of an answer says of its task."""
    return {"X-Aion-Task-Id": taken.task_id} | ({"Idempotency-Replayed": "true"} if taken.replayed else {})
