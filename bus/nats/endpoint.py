"""One question as it is served: its mailbox, its handlers, its figures (ADR-32)."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from bus.codec import decode_body, decode_call
from bus.nats.connection import Connection
from bus.nats.message import Message
from bus.port import Answer
from bus.subjects import question as question_subject
from bus.waiting import timeout
from schemas.errors import AionError, DeadlineExceeded, TooManyRequests
from schemas.message import encode


@dataclass(slots=True)
class _Figures:
    requests: int = 0
    errors: int = 0
    processing_ns: int = 0
    last_error: str = ""


class Endpoint:
    """One question: a bounded mailbox in front of a bounded number of handlers."""

    def __init__(self, connection: Connection, answer: Answer[Any, Any]) -> None:
        self.subject = question_subject(answer.question.actor, answer.question.verb)
        self._connection = connection
        self._answer = answer
        self._slots = asyncio.Semaphore(answer.concurrency)
        self._inside = 0
        self._figures = _Figures()

    async def receive(self, message: Message) -> None:
        """Answer one question, or refuse it at once when the mailbox is full."""
        if not message.reply:
            return
        self._figures.requests += 1
        if self._inside >= self._answer.concurrency + self._answer.mailbox:
            full = TooManyRequests(f"{self.subject}: {self._answer.mailbox} questions wait already", retry_after_s=1.0)
            await self._refuse(message, full)
            return
        self._inside += 1
        try:
            async with self._slots:
                await self._handle(message)
        finally:
            self._inside -= 1

    async def _handle(self, message: Message) -> None:
        started = time.perf_counter_ns()
        try:
            reply = await self._reply(message.data)
        except AionError as error:
            await self._refuse(message, error)
        except Exception:
            # The asker must hear of any failure; what failed is logged here and nowhere else.
            structlog.get_logger("bus").exception("answer_failed", subject=self.subject)
            await self._refuse(message, AionError("the answering actor failed; its log says why"))
        else:
            await self._send(message.reply, reply, None)
        finally:
            self._figures.processing_ns += time.perf_counter_ns() - started

    async def _reply(self, data: bytes) -> bytes:
        call, body = decode_call(data)
        remaining_s = call.deadline_ms / 1000 - time.time()
        if remaining_s <= 0:
            raise DeadlineExceeded(f"{self.subject}: the deadline passed before work began")
        request = decode_body(body, self._answer.question.request)
        try:
            async with timeout(remaining_s):
                reply = await self._answer.handler(request, call)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.subject}: the deadline passed while working") from error
        return encode(reply)

    async def _refuse(self, message: Message, error: AionError) -> None:
        self._figures.errors += 1
        self._figures.last_error = error.code
        headers = {
            "Nats-Service-Error": str(error).replace("\r", " ").replace("\n", " ")[:1024],
            "Nats-Service-Error-Code": str(error.http_status),
            "Aion-Code": error.code,
        }
        if error.retry_after_s is not None:
            headers["Aion-Retry-After"] = f"{error.retry_after_s:g}"
        await self._send(message.reply, b"", headers)

    async def _send(self, reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        try:
            await self._connection.publish(reply, data, headers=headers)
        except AionError as error:
            structlog.get_logger("bus").warning("reply_dropped", subject=self.subject, error=error.code)

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
