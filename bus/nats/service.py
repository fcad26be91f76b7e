"""One served actor: its endpoints, their mailboxes, and what discovery asks of it (ADR-32)."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from bus.codec import decode_body, decode_call
from bus.nats.client import Subscription
from bus.nats.connection import Connection
from bus.nats.message import Message
from bus.port import Answer, Service, ServiceSeen
from bus.subjects import question as question_subject
from bus.waiting import timeout
from schemas.errors import AionError, DeadlineExceeded, TooManyRequests
from schemas.message import encode

_CLOSE_S = 20.0


@dataclass(slots=True)
class _Figures:
    requests: int = 0
    errors: int = 0
    processing_ns: int = 0
    last_error: str = ""


class Served:
    """Endpoints in a queue group named like the actor; leaving finishes what was taken."""

    def __init__(self, connection: Connection, service: Service, answers: Sequence[Answer[Any, Any]]) -> None:
        self._connection = connection
        self._service = service
        self._endpoints = [_Endpoint(connection, answer) for answer in answers]
        self._discovered: list[Subscription] = []
        self._asked: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def open(self) -> None:
        """Subscribe to discovery, then to the questions: who is found can answer."""
        name, instance = self._service.name, self._service.instance
        for verb, body in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{name}", f"$SRV.{verb}.{name}.{instance}"):
                self._discovered.append(await self._connection.subscribe(subject, self._discovery(body)))
        for endpoint in self._endpoints:
            self._asked.append(await self._connection.subscribe(endpoint.subject, self._take(endpoint), queue=name))
        await self._connection.flush(5.0)

    async def close(self) -> None:
        """Stop taking, answer what is in the mailboxes, then disappear."""
        await asyncio.gather(*(self._connection.drain(subscription) for subscription in self._asked))
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for subscription in self._discovered:
            await self._connection.unsubscribe(subscription)

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, endpoint: "_Endpoint") -> Any:
        def take(message: Message) -> None:
            self._spawn(asyncio.get_running_loop().create_task(endpoint.receive(message)))

        return take

    def _discovery(self, body: Any) -> Any:
        async def reply(message: Message) -> None:
            try:
                await self._connection.publish(message.reply, json.dumps(body()).encode())
            except AionError:
                return

        def take(message: Message) -> None:
            if message.reply:
                self._spawn(asyncio.get_running_loop().create_task(reply(message)))

        return take

    def _identity(self, kind: str) -> dict[str, object]:
        return {
            "type": f"io.nats.micro.v1.{kind}_response",
            "name": self._service.name,
            "id": self._service.instance,
            "version": self._service.version,
            "metadata": dict(self._service.metadata),
        }

    def _ping(self) -> Mapping[str, object]:
        return self._identity("ping")

    def _info(self) -> Mapping[str, object]:
        endpoints = [endpoint.info(self._service.name) for endpoint in self._endpoints]
        return {**self._identity("info"), "description": self._service.description, "endpoints": endpoints}

    def _stats(self) -> Mapping[str, object]:
        data = dict(self._service.status()) if self._service.status else {}
        endpoints = [endpoint.stats(self._service.name, data) for endpoint in self._endpoints]
        return {**self._identity("stats"), "started": self._started, "endpoints": endpoints, "data": data}


class _Endpoint:
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


def parse_stats(data: bytes) -> ServiceSeen | None:
    """A `$SRV.STATS` answer of anybody's service, None when it is none."""
    try:
        body = json.loads(data)
        seen = body.get("data")
        return ServiceSeen(
            str(body["name"]),
            str(body["version"]),
            str(body["id"]),
            dict(body.get("metadata") or {}),
            dict(seen) if isinstance(seen, dict) else {},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
