"""The server's half of questions: who serves what, and a mailbox per served verb."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from bus.memory.link import Bell
from bus.port import Answer, Call, Service
from bus.subjects import question
from bus.waiting import timeout
from schemas.errors import AionError, DeadlineExceeded, TooManyRequests
from schemas.message import decode, encode


@dataclass(slots=True)
class Request:
    """One request that was taken, and where its reply goes."""

    data: bytes
    call: Call
    reply: asyncio.Future[bytes]

    def fail(self, error: AionError) -> None:
        """Answer with an error of the same kind: the asker gets its own copy."""
        if not self.reply.done():
            self.reply.set_exception(type(error)(error.message, retry_after_s=error.retry_after_s))


class Endpoint:
    """One served verb of one instance: at most `concurrency` at work and `mailbox` waiting."""

    def __init__(self, answer: Answer[Any, Any], now_ms: Callable[[], int]) -> None:
        self._answer = answer
        self._now_ms = now_ms
        self._context = copy_context()
        self._waiting: deque[Request] = deque()
        self._working: dict[asyncio.Task[None], None] = {}
        self._idle = Bell()
        self.subject = question(answer.question.actor, answer.question.verb)

    def offer(self, request: Request) -> None:
        """Take it, or answer `TooManyRequests` at once."""
        if len(self._working) < self._answer.concurrency:
            self._start(request)
        elif len(self._waiting) < self._answer.mailbox:
            self._waiting.append(request)
        else:
            request.fail(TooManyRequests(f"the mailbox of {self.subject} is full", retry_after_s=1.0))

    async def finish(self) -> None:
        """Returns when all that was taken is answered. Bounded: every request has its deadline."""
        while self._working:
            await self._idle.wait()

    def abort(self) -> None:
        """The process is gone: nothing is answered any more."""
        self._waiting.clear()
        for task in self._working:
            task.cancel()

    def _start(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._work(request), context=self._context.copy())
        self._working[task] = None
        task.add_done_callback(self._next)

    def _next(self, task: asyncio.Task[None]) -> None:
        del self._working[task]
        if self._waiting:
            self._start(self._waiting.popleft())
        if not self._working:
            self._idle.ring()

    async def _work(self, request: Request) -> None:
        left_s = (request.call.deadline_ms - self._now_ms()) / 1000
        late = DeadlineExceeded(f"{self.subject} was not answered by its deadline")
        if left_s <= 0:
            request.fail(late)
            return
        try:
            async with timeout(left_s) as limit:
                asked = decode(request.data, self._answer.question.request)
                reply = await self._answer.handler(asked, request.call)
        except AionError as error:
            request.fail(error)
        except Exception as error:
            request.fail(late if limit.expired() else AionError(f"{self.subject} failed: {type(error).__name__}"))
        else:
            if not request.reply.done():
                request.reply.set_result(encode(reply))


@dataclass(slots=True)
class Served:
    """One instance that appears in discovery."""

    service: Service
    endpoints: tuple[Endpoint, ...]


class Services:
    """Who is there, and whose turn it is."""

    def __init__(self) -> None:
        self.served: dict[object, Served] = {}
        self._endpoints: dict[str, deque[Endpoint]] = {}

    def open(self, endpoint: Endpoint) -> None:
        """Begin to route questions to it."""
        self._endpoints.setdefault(endpoint.subject, deque()).append(endpoint)

    def close(self, endpoint: Endpoint) -> None:
        """Route no more to it; idempotent."""
        group = self._endpoints.get(endpoint.subject)
        if group is not None and endpoint in group:
            group.remove(endpoint)

    def pick(self, subject: str) -> Endpoint | None:
        """The next of the queue group, None when it is empty."""
        group = self._endpoints.get(subject)
        if not group:
            return None
        group.rotate(-1)
        return group[-1]
