"""One question as it is served: its mailbox, its handlers, its figures (ADR-32)."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from bus.codec import decode_body, decode_call
from bus.deadlines import Deadlines, Limit
from bus.nats.connection import Connection
from bus.nats.message import Message, encode_headers
from bus.port import Answer
from bus.subjects import question as question_subject
from schemas.errors import AionError, BusDisconnected, DeadlineExceeded, TooManyRequests
from schemas.message import encode

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a worker to its end; the owner of the endpoint waits for it."""


@dataclass(slots=True)
class _Figures:
    requests: int = 0
    errors: int = 0
    processing_ns: int = 0
    last_error: str = ""


class Endpoint:
    """A bounded mailbox, and workers that go through it: at most one for each handler that may run at once.

    A task for each question costs more than a short handler, so one worker answers what came together for as long as
    its handlers do not wait; what it leaves behind when one does is given to as many workers as there may be.
    """

    def __init__(self, connection: Connection, answer: Answer[Any, Any], spawn: Spawn) -> None:
        self.subject = question_subject(answer.question.actor, answer.question.verb)
        self._connection = connection
        self._answer = answer
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(Limit.expire)
        self._mailbox: deque[Message] = deque()
        self._inside = 0
        self._working = 0
        self._looked_after = False
        self._figures = _Figures()

    def take(self, message: Message) -> None:
        """Have one question answered, or refuse it at once when the mailbox is full."""
        if not message.reply:
            return
        self._figures.requests += 1
        if self._inside >= self._answer.concurrency + self._answer.mailbox:
            full = TooManyRequests(f"{self.subject}: {self._answer.mailbox} questions wait already", retry_after_s=1.0)
            self._refuse(message, full)
            return
        self._inside += 1
        self._mailbox.append(message)
        if not self._looked_after:
            self._start(1)

    def clear(self) -> None:
        """Forget what waits: nobody will answer it any more."""
        self._mailbox.clear()

    def _start(self, workers: int) -> None:
        """Start up to `workers`; once they have ended or wait, see whether they left something in the mailbox."""
        workers = min(workers, self._answer.concurrency - self._working)
        if workers < 1:
            return  # all that may work do, and go on with the mailbox themselves
        self._working += workers
        for _ in range(workers):
            self._spawn(self._work())
        self._looked_after = True
        self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        self._looked_after = False
        if self._mailbox:
            self._start(len(self._mailbox))

    async def _work(self) -> None:
        try:
            while self._mailbox:
                await self._handle(self._mailbox.popleft())
                if self._connection.congested:
                    await self._until_writable()
        finally:
            self._working -= 1

    async def _until_writable(self) -> None:
        """Take no further question while the socket takes no answers; a lost one is found out by the next answer."""
        with suppress(BusDisconnected):
            await self._connection.writable()

    async def _handle(self, message: Message) -> None:
        started = time.perf_counter_ns()
        try:
            self._connection.post(message.reply, await self._reply(message.data))
        except AionError as error:
            self._refuse(message, error)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            # The asker must hear of any failure; what failed is logged here and nowhere else.
            structlog.get_logger("bus").exception("answer_failed", subject=self.subject)
            self._refuse(message, AionError("the answering actor failed; its log says why"))
        finally:
            self._inside -= 1
            self._figures.processing_ns += time.perf_counter_ns() - started

    async def _reply(self, data: bytes) -> bytes:
        call, body = decode_call(data)
        remaining_s = (call.deadline_ms - self._connection.clock.now_ms()) / 1000
        if remaining_s <= 0:
            raise DeadlineExceeded(f"{self.subject}: the deadline passed before work began")
        request = decode_body(body, self._answer.question.request)
        try:
            with Limit(self._deadlines, remaining_s):
                reply = await self._answer.handler(request, call)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.subject}: the deadline passed while working") from error
        return encode(reply)

    def _refuse(self, message: Message, error: AionError) -> None:
        self._figures.errors += 1
        self._figures.last_error = error.code
        headers = {
            "Nats-Service-Error": str(error).replace("\r", " ").replace("\n", " ")[:1024],
            "Nats-Service-Error-Code": str(error.http_status),
            "Aion-Code": error.code,
        }
        if error.retry_after_s is not None:
            headers["Aion-Retry-After"] = f"{error.retry_after_s:g}"
        try:
            self._connection.post(message.reply, b"", head=encode_headers(headers))
        except AionError as gone:
            structlog.get_logger("bus").warning("reply_dropped", subject=self.subject, error=gone.code)

    def info(self, group: str) -> dict[str, object]:
        """The endpoint as `$SRV.INFO` shows it."""
        return {"name": self._answer.question.verb, "subject": self.subject, "queue_group": group, "metadata": {}}

    def stats(self, group: str, data: Mapping[str, object]) -> dict[str, object]:
        """The endpoint as `$SRV.STATS` shows it; times in nanoseconds."""
        figures = self._figures
        return {
            "name": self._answer.question.verb,
            "subject": self.subject,
            "queue_group": group,
            "num_requests": figures.requests,
            "num_errors": figures.errors,
            "last_error": figures.last_error,
            "processing_time": figures.processing_ns,
            "average_processing_time": figures.processing_ns // max(1, figures.requests),
            "data": {"in_flight": self._inside, **data},
        }


def _cancelled() -> bool:
    """Whether this task shall end, and not merely something that its handler waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
