"""Questions and answers over core NATS, discoverable by the stock CLI (ADR-32)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bus.codec import decode_body, encode_call, error_of
from bus.nats.connection import Connection
from bus.nats.message import Message
from bus.nats.service import Served, parse_stats
from bus.port import DEFAULT_TIMEOUT_S, Answer, Call, Question, Rep, Req, Service, ServiceSeen
from bus.subjects import question as question_subject
from bus.waiting import wait_at_most
from schemas.errors import DeadlineExceeded, Unavailable


class NatsRpc:
    """`bus.port.Rpc` on the real server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ask(
        self,
        question: Question[Req, Rep],
        request: Req,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        call: Call | None = None,
    ) -> Rep:
        """See `bus.port.Rpc.ask`."""
        now_ms = self._connection.clock.now_ms()
        deadline_ms = now_ms + int(timeout_s * 1000)
        if call is not None:
            deadline_ms = min(deadline_ms, call.deadline_ms)
        remaining_s = (deadline_ms - now_ms) / 1000
        subject = question_subject(question.actor, question.verb)
        if remaining_s <= 0:
            raise DeadlineExceeded(f"no time is left to ask {subject}")
        sent = encode_call(request, Call(deadline_ms, call.traceparent if call else None))
        try:
            reply = await self._connection.request(subject, sent, timeout_s=remaining_s)
        except Unavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                raise DeadlineExceeded(f"{subject} did not answer within {remaining_s:.3g} s") from error
            raise
        return _typed(reply, question)

    def serve(self, service: Service, answers: Sequence[Answer] = ()) -> AbstractAsyncContextManager[None]:  # type: ignore[type-arg]
        """See `bus.port.Rpc.serve`."""
        return self._serve(service, answers)

    @asynccontextmanager
    async def _serve(self, service: Service, answers: Sequence[Answer]) -> AsyncIterator[None]:  # type: ignore[type-arg]
        served = Served(self._connection, service, answers)
        await served.open()
        try:
            yield
        finally:
            await served.close()

    async def discover(self, *, wait_s: float = 0.3) -> Sequence[ServiceSeen]:
        """See `bus.port.Rpc.discover`."""
        found: list[ServiceSeen] = []
        heard = asyncio.Event()

        def collect(message: Message) -> None:
            seen = parse_stats(message.data)
            if seen is not None:
                found.append(seen)
            heard.set()

        inbox = self._connection.inbox()
        subscription = await self._connection.subscribe(inbox, collect)
        try:
            await self._connection.publish("$SRV.STATS", b"", reply=inbox)
            await _silence(heard, wait_s)
        finally:
            await self._connection.unsubscribe(subscription)
        return sorted(found, key=lambda seen: (seen.name, seen.instance))


async def _silence(heard: asyncio.Event, wait_s: float) -> None:
    heard.clear()
    while await wait_at_most(heard, wait_s):
        heard.clear()


def _typed(reply: Message, question: Question[Req, Rep]) -> Rep:
    headers = reply.headers or {}
    if "Nats-Service-Error-Code" in headers:
        error = error_of(headers.get("Aion-Code", "internal"), headers.get("Nats-Service-Error", ""))
        if "Aion-Retry-After" in headers:
            error.retry_after_s = float(headers["Aion-Retry-After"])
        raise error
    answer = decode_body(reply.data, question.reply)
    assert isinstance(answer, question.reply)  # noqa: S101  # decode_body validated it
    return answer
