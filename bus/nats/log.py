"""The log over JetStream stream `LOG`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from bus.nats.appender import Appender
from bus.nats.connection import Connection
from bus.nats.direct import direct_entry, read_batch
from bus.nats.layout import SECOND_NS
from bus.nats.message import Message
from bus.nats.reader import EntryReader, Start, open_reader
from bus.port import DEFAULT_TIMEOUT_S, Entry, Heard, LogInfo, Reader
from bus.subjects import LOG_STREAM, live_of_event, live_of_task, of_event, of_task, of_task_event, task_of
from bus.waiting import wait_at_most
from schemas.errors import Unavailable, WrongSequence
from schemas.events import AuditEvent, TaskEvent
from schemas.ids import TaskId, TenantId
from schemas.message import encode

_MAX_EVENTS = 256
_LIVE_SAFETY_S = 2.0


class NatsLog:
    """`bus.port.Log` on the real server."""

    def __init__(self, connection: Connection, appender: Appender) -> None:
        self._connection = connection
        self._appender = appender

    async def append(self, event: TaskEvent, *, after: int, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Log.append`."""
        subject, guard = of_task_event(event)
        try:
            return await self._appender.append(subject, encode(event), guard=guard, after=after, timeout_s=timeout_s)
        except WrongSequence:
            own = await self._own_append(event, timeout_s)
            if own is None:
                raise
            return own

    async def _own_append(self, event: TaskEvent, timeout_s: float) -> int | None:
        """Where this very event already stands: the refusal was of a repeat whose first ack was lost."""
        needle = event.event_id.encode()
        for stored in await self.events(event.tenant_id, event.task_id, timeout_s=timeout_s):
            if needle in stored.data and stored.event().event_id == event.event_id:
                return stored.sequence
        return None

    async def audit(self, event: AuditEvent, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Log.audit`. The event is the first and last of its subject, so a repeat is refused."""
        subject, data = of_event(event), encode(event)
        try:
            return await self._appender.append(subject, data, guard=subject, after=0, timeout_s=timeout_s)
        except WrongSequence:
            stored = await self._last(subject, timeout_s)
            if stored is None:
                raise Unavailable(f"{subject} is just leaving the log", retry_after_s=1.0) from None
            return stored.sequence

    async def last(self, tenant_id: TenantId, task_id: TaskId, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Entry | None:
        """See `bus.port.Log.last`."""
        return await self._last(of_task(tenant_id, task_id), timeout_s)

    async def _last(self, subject: str, timeout_s: float) -> Entry | None:
        body = json.dumps({"last_by_subj": subject}).encode()
        message = await self._connection.request(f"$JS.API.DIRECT.GET.{LOG_STREAM}", body, timeout_s=timeout_s)
        return direct_entry(message)

    async def events(
        self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[Entry, ...]:
        """See `bus.port.Log.events`."""
        body = {"seq": after + 1, "next_by_subj": of_task(tenant_id, task_id), "batch": _MAX_EVENTS}
        return await read_batch(self._connection, LOG_STREAM, body, timeout_s)

    def read(self, after: int, *, batch: int = 1000, linger_s: float = 0.0) -> AbstractAsyncContextManager[Reader]:
        """See `bus.port.Log.read`."""
        return self._read(after, batch, linger_s)

    @asynccontextmanager
    async def _read(self, after: int, batch: int, linger_s: float) -> AsyncIterator[Reader]:
        async with open_reader(self._connection, LOG_STREAM, Start(after=after), batch, linger_s) as reader:
            yield EntryReader(reader)

    async def follow(self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0) -> AsyncIterator[Entry]:
        """See `bus.port.Log.follow`.

        The live feed only wakes; every entry handed out was read from the log, so a missed wake-up costs
        `_LIVE_SAFETY_S` and never an event.
        """
        woken = asyncio.Event()
        position = after
        async with self.watch(tenant_id, task_id, woken.set):
            while True:
                woken.clear()
                for entry in await self._patiently_read(tenant_id, task_id):
                    if entry.sequence > position:
                        position = entry.sequence
                        yield entry
                    if entry.subject.startswith("aion.task.ended."):
                        return
                await wait_at_most(woken, _LIVE_SAFETY_S)

    @asynccontextmanager
    async def watch(self, tenant_id: TenantId, task_id: TaskId, stirred: Callable[[], None]) -> AsyncIterator[None]:
        """See `bus.port.Log.watch`."""
        subscription = await self._connection.subscribe(live_of_task(tenant_id, task_id), lambda _: stirred())
        try:
            yield
        finally:
            await self._connection.unsubscribe(subscription)

    async def _patiently_read(self, tenant_id: TenantId, task_id: TaskId) -> tuple[Entry, ...]:
        try:
            return await self.events(tenant_id, task_id)
        except Unavailable:
            return ()  # the bus is away for a moment; the next round reads again

    def live(self, event: str, callback: Heard) -> AbstractAsyncContextManager[None]:
        """See `bus.port.Log.live`."""
        return self._live(event, callback)

    @asynccontextmanager
    async def _live(self, event: str, callback: Heard) -> AsyncIterator[None]:
        def deliver(message: Message) -> None:
            callback(*task_of(message.subject), message.data)

        subscription = await self._connection.subscribe(live_of_event(event), deliver)
        await self._connection.flush(DEFAULT_TIMEOUT_S)
        try:
            yield
        finally:
            await self._connection.unsubscribe(subscription)

    async def info(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> LogInfo:
        """See `bus.port.Log.info`."""
        answer = await self._connection.api(f"STREAM.INFO.{LOG_STREAM}", None, timeout_s=timeout_s)
        state: dict[str, Any] = answer["state"]
        max_age_ns = int(answer["config"].get("max_age", 0))
        max_bytes = int(answer["config"].get("max_bytes", -1))
        return LogInfo(
            created=answer["created"],
            first=int(state["first_seq"]),
            last=int(state["last_seq"]),
            size_bytes=int(state["bytes"]),
            max_age_s=max_age_ns / SECOND_NS if max_age_ns else None,
            max_bytes=max_bytes if max_bytes > 0 else None,
        )

    async def set_window(self, max_age_s: float | None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """See `bus.port.Log.set_window`."""
        answer = await self._connection.api(f"STREAM.INFO.{LOG_STREAM}", None, timeout_s=timeout_s)
        config: dict[str, Any] = answer["config"]
        max_age_ns = int((max_age_s or 0) * SECOND_NS)
        if config.get("max_age", 0) != max_age_ns:
            update = {**config, "max_age": max_age_ns}
            await self._connection.api(f"STREAM.UPDATE.{LOG_STREAM}", update, timeout_s=timeout_s)
