"""One served actor: its endpoints, and what discovery asks of it (ADR-32)."""

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bus.nats.client import Subscription
from bus.nats.connection import Connection
from bus.nats.endpoint import Endpoint
from bus.nats.message import Message
from bus.port import Answer, Service, ServiceSeen
from schemas.errors import AionError

_CLOSE_S = 20.0


class Served:
    """Endpoints in a queue group named like the actor; leaving finishes what was taken."""

    def __init__(self, connection: Connection, service: Service, answers: Sequence[Answer[Any, Any]]) -> None:
        self._connection = connection
        self._service = service
        self._endpoints = [Endpoint(connection, answer, self._spawn) for answer in answers]
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
            self._asked.append(await self._connection.subscribe(endpoint.subject, endpoint.take, queue=name))
        await self._connection.flush(5.0)

    async def close(self) -> None:
        """Stop taking, answer what is in the mailboxes, then disappear."""
        await asyncio.gather(*(self._connection.drain(subscription) for subscription in self._asked))
        await self._finish()
        for subscription in self._discovered:
            await self._connection.unsubscribe(subscription)

    async def _finish(self) -> None:
        """Wait for the workers, who may start others, and cancel them when it takes too long."""
        until_s = asyncio.get_running_loop().time() + _CLOSE_S
        while self._tasks and (left_s := until_s - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        for endpoint in self._endpoints:
            endpoint.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _discovery(self, body: Any) -> Any:
        async def reply(message: Message) -> None:
            try:
                await self._connection.publish(message.reply, json.dumps(body()).encode())
            except AionError:
                return

        def take(message: Message) -> None:
            if message.reply:
                self._spawn(reply(message))

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
