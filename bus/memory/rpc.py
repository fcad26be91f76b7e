"""The question port of one connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bus.memory.link import Link
from bus.memory.server import MemoryServer
from bus.memory.services import Endpoint, Request, Served
from bus.port import DEFAULT_TIMEOUT_S, Answer, Call, Question, Rep, Req, Service, ServiceSeen
from bus.subjects import question as subject_of
from bus.waiting import timeout
from schemas.errors import BusDisconnected, DeadlineExceeded, NoResponders
from schemas.message import decode, encode


class MemoryRpc:
    """`bus.port.Rpc`; requests and replies travel as bytes, so nothing is shared by reference."""

    def __init__(self, server: MemoryServer, link: Link) -> None:
        self._server = server
        self._link = link

    async def ask(
        self,
        question: Question[Req, Rep],
        request: Req,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        call: Call | None = None,
    ) -> Rep:
        """See `bus.port.Rpc.ask`."""
        self._link.check()
        subject = subject_of(question.actor, question.verb)
        now_ms = self._server.now_ms()
        deadline_ms = min(now_ms + round(timeout_s * 1000), call.deadline_ms if call else now_ms + 10**12)
        if deadline_ms <= now_ms:
            raise DeadlineExceeded(f"the deadline passed before {subject} was asked")
        await asyncio.sleep(0)
        endpoint = self._server.services.pick(subject)
        if endpoint is None:
            raise NoResponders(f"nobody answers {subject}: start the {question.actor} actor")
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        sent = Call(deadline_ms, call.traceparent if call else None)
        endpoint.offer(Request(encode(request), sent, reply))
        return decode(await self._reply(subject, reply, (deadline_ms - now_ms) / 1000), question.reply)

    @asynccontextmanager
    async def serve(self, service: Service, answers: Sequence[Answer[Any, Any]] = ()) -> AsyncIterator[None]:
        """See `bus.port.Rpc.serve`."""
        endpoints = tuple(Endpoint(answer, self._server.now_ms) for answer in answers)
        services, key = self._server.services, object()

        def vanish() -> None:
            services.served.pop(key, None)
            for endpoint in endpoints:
                services.close(endpoint)
                endpoint.abort()

        with self._link.holding(vanish):
            services.served[key] = Served(service, endpoints)
            for endpoint in endpoints:
                services.open(endpoint)
            try:
                yield
            finally:
                for endpoint in endpoints:
                    services.close(endpoint)
                for endpoint in endpoints:
                    await endpoint.finish()

    async def discover(self, *, wait_s: float = 0.3) -> Sequence[ServiceSeen]:
        """See `bus.port.Rpc.discover`; in memory everyone answers at once, so nothing is waited for."""
        self._link.check()
        await asyncio.sleep(0)
        found = (_seen(served) for served in self._server.services.served.values())
        return sorted(found, key=lambda seen: (seen.name, seen.instance))

    async def _reply(self, subject: str, reply: asyncio.Future[bytes], left_s: float) -> bytes:
        def lose() -> None:
            if not reply.done():
                reply.set_exception(BusDisconnected(f"the connection was closed while {subject} was asked"))

        try:
            with self._link.holding(lose):
                async with timeout(left_s):
                    return await reply
        except TimeoutError as error:
            raise DeadlineExceeded(f"{subject} did not answer within {left_s:.3f} s") from error


def _seen(served: Served) -> ServiceSeen:
    service = served.service
    data = json.loads(json.dumps(service.status())) if service.status else {}
    return ServiceSeen(service.name, service.version, service.instance, dict(service.metadata), data)
