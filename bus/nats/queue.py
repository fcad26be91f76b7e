"""The work queue: durable pull consumers on the log, shared by all replicas of an actor."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from bus.nats.client import Subscription
from bus.nats.connection import Connection
from bus.nats.layout import SECOND_NS
from bus.nats.message import Message
from bus.nats.stored import entry, place
from bus.port import DEFAULT_TIMEOUT_S, Delivery, Entry, Taker, TakerStopped
from bus.subjects import LOG_STREAM, Cursor, is_work
from schemas.errors import AionError, ServerIncompatible, Unavailable

_EXPIRES_S = 30.0
_HEARTBEAT_S = 1.0
_SILENCE_S = 3 * _HEARTBEAT_S
_PROGRESS = b"+WPI"
_ACK = b"+ACK"
_FULL_S = 0.1


@dataclass(eq=False, slots=True)
class NatsDelivery:
    """`bus.port.Delivery`; acks are not waited for, because a lost one is only a redelivery."""

    entry: Entry
    delivered: int
    _ack_subject: str
    _taker: "NatsTaker"

    async def done(self) -> None:
        """See `bus.port.Delivery.done`."""
        self._answer(_ACK)

    async def give_back(self, delay_s: float = 0.0) -> None:
        """See `bus.port.Delivery.give_back`."""
        self._answer(_nak(delay_s))

    def progress(self) -> None:
        """Tell the server that this one is still being worked on."""
        self._taker.send(self._ack_subject, _PROGRESS)

    def _answer(self, payload: bytes) -> None:
        self._taker.send(self._ack_subject, payload)
        self._taker.release(self)


class NatsTaker:
    """`bus.port.Taker`: asks for exactly as many as it has free slots."""

    def __init__(
        self, connection: Connection, cursor: Cursor, slots: int, ensure: Callable[[], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._cursor = cursor
        self._slots = slots
        self._ensure = ensure
        self._doubtful = False
        self._inbox = connection.inbox()
        self._held: set[NatsDelivery] = set()
        self._ready: asyncio.Queue[NatsDelivery | None] = asyncio.Queue()
        self._outstanding = 0
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._stopped = False
        self._subscription: Subscription | None = None
        self._failure: BaseException | None = None

    async def get(self) -> Delivery:
        """See `bus.port.Taker.get`."""
        if self._stopped:
            raise TakerStopped(self._cursor.name)
        delivery = await self._ready.get()
        if delivery is None:
            self._ready.put_nowait(None)
            raise self._failure or TakerStopped(self._cursor.name)
        return delivery

    def loop_ended(self, loop: asyncio.Task[None]) -> None:
        """A loop of ours that broke must not leave its owner waiting for deliveries that never come."""
        if not loop.cancelled() and loop.exception() is not None:
            self._failure = loop.exception()
            self._ready.put_nowait(None)

    async def stop(self) -> None:
        """See `bus.port.Taker.stop`."""
        if self._stopped:
            return
        self._stopped = True
        if self._subscription is not None:
            await self._connection.drain(self._subscription)  # open requests end here, what they brought goes back
        while not self._ready.empty():
            delivery = self._ready.get_nowait()
            if delivery is not None:
                await delivery.give_back()
        self._ready.put_nowait(None)

    async def give_back_all(self) -> None:
        """Return everything that is still unanswered."""
        for delivery in tuple(self._held):
            await delivery.give_back()

    def release(self, delivery: NatsDelivery) -> None:
        """Free the slot of an answered delivery, and ask for another."""
        self._held.discard(delivery)
        self._pull()

    def send(self, subject: str, payload: bytes) -> None:
        """Publish an ack; while disconnected it is dropped, which costs one redelivery."""
        post = self._connection.post if self._crowded() else self._connection.post_lazily
        try:
            post(subject, payload)
        except AionError as error:
            structlog.get_logger("bus").info("ack_dropped", cursor=self._cursor.name, error=error.code)

    def _crowded(self) -> bool:
        """Whether others may wait for a place that an ack frees: then it must not wait for company itself."""
        return len(self._held) * 2 >= self._cursor.max_ack_pending

    async def pull_forever(self) -> None:
        """Keep as many requests open as there are free slots; asks again after silence or a reconnect.

        A cursor that refuses or is silent may be gone, with the log or alone: then it is made again.
        """
        self._subscription = subscription = await self._connection.subscribe(self._inbox, self.on_message)
        forget = self._connection.on_reconnect(self._reset)
        try:
            while not self._stopped:
                if self._doubtful and self._connection.connected:
                    await self._restore()
                self._pull()
                await asyncio.sleep(_HEARTBEAT_S)
                if self._outstanding and self._loop.time() - self._heard_at > _SILENCE_S:
                    self._doubtful = True
                    self._reset()
        finally:
            forget()
            await self._connection.unsubscribe(subscription)

    async def progress_forever(self) -> None:
        """Every third of the ack wait, say that what is held is alive."""
        while True:
            await asyncio.sleep(self._cursor.ack_wait_s / 3)
            for delivery in tuple(self._held):
                delivery.progress()

    async def _restore(self) -> None:
        try:
            await self._ensure()
        except Unavailable as error:
            structlog.get_logger("bus").warning("cursor_waits", cursor=self._cursor.name, error=error.code)
        else:
            self._doubtful = False

    def _reset(self) -> None:
        self._outstanding = 0
        self._heard_at = self._loop.time()
        self._pull()

    def _pull(self) -> None:
        free = self._slots - len(self._held) - self._outstanding
        if free < max(1, self._slots // 4) and self._outstanding:
            return  # ask in handfuls, but never leave the server without a request while a slot is free
        if free < 1 or self._stopped or self._subscription is None or not self._connection.connected:
            return
        body = {
            "batch": free,
            "expires": int(_EXPIRES_S * SECOND_NS),
            "idle_heartbeat": int(_HEARTBEAT_S * SECOND_NS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{LOG_STREAM}.{self._cursor.name}"
        try:
            self._connection.post(subject, json.dumps(body).encode(), reply=self._inbox)
        except AionError:
            return
        self._outstanding += free

    def on_message(self, message: Message) -> None:
        """A delivery or a status came on our inbox."""
        self._heard_at = self._loop.time()
        code = message.status
        if code is not None:
            self._on_status(code, message)
            return
        self._outstanding = max(0, self._outstanding - 1)
        if len(self._held) >= self._slots:  # of requests that were given up and answered all the same
            self.send(message.reply, _nak(_FULL_S))
            return
        at = place(message.reply)
        delivery = NatsDelivery(entry(message, at), at.delivered, message.reply, self)
        self._held.add(delivery)
        self._ready.put_nowait(delivery)

    def _on_status(self, code: str, message: Message) -> None:
        if code == "100":
            return
        left = message.headers.get("Nats-Pending-Messages")
        self._outstanding = 0 if left is None else max(0, self._outstanding - int(left))
        if code == "408":
            self._pull()
        else:  # waits for the next heartbeat, so that a missing server is not asked in a tight loop
            self._doubtful = True


class NatsQueue:
    """`bus.port.Queue` on the real server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, cursor: Cursor, *, slots: int) -> AbstractAsyncContextManager[Taker]:
        """See `bus.port.Queue.take`."""
        return self._take(cursor, slots)

    @asynccontextmanager
    async def _take(self, cursor: Cursor, slots: int) -> AsyncIterator[Taker]:
        await self._ensure(cursor)
        taker = NatsTaker(self._connection, cursor, slots, partial(self._ensure, cursor))
        loops = [asyncio.create_task(taker.pull_forever()), asyncio.create_task(taker.progress_forever())]
        for loop in loops:
            loop.add_done_callback(taker.loop_ended)
        try:
            yield taker
        finally:
            await taker.stop()
            await taker.give_back_all()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def pending(self, cursor: Cursor, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Queue.pending`."""
        await self._ensure(cursor)
        answer = await self._connection.api(f"CONSUMER.INFO.{LOG_STREAM}.{cursor.name}", None, timeout_s=timeout_s)
        return int(answer["num_pending"])

    async def backlog(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Queue.backlog`."""
        found, unanswered = 0, 0
        while True:
            answer = await self._connection.api(f"CONSUMER.LIST.{LOG_STREAM}", {"offset": found}, timeout_s=timeout_s)
            consumers = answer.get("consumers") or []
            found += len(consumers)
            unanswered += sum(_unanswered(info) for info in consumers)
            if not consumers or found >= int(answer["total"]):
                return unanswered

    async def _ensure(self, cursor: Cursor) -> None:
        config: dict[str, Any] = {
            "durable_name": cursor.name,
            "name": cursor.name,
            "filter_subject": cursor.filter,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(cursor.ack_wait_s * SECOND_NS),
            "max_deliver": -1,
            "max_ack_pending": cursor.max_ack_pending,
            "max_waiting": 512,
            "replay_policy": "instant",
        }
        answer = await self._connection.api(
            f"CONSUMER.CREATE.{LOG_STREAM}.{cursor.name}",
            {"stream_name": LOG_STREAM, "config": config},
            timeout_s=DEFAULT_TIMEOUT_S * 2,
        )
        ignored = sorted(key for key, value in config.items() if answer["config"].get(key) != value)
        if ignored:
            raise ServerIncompatible(f"cursor {cursor.name}: the server did not take {', '.join(ignored)}")


def _nak(delay_s: float) -> bytes:
    return b'-NAK {"delay": %d}' % int(delay_s * SECOND_NS)


def _unanswered(info: Mapping[str, Any]) -> int:
    """What a work cursor has not delivered, and what was delivered and not answered; none of any other consumer."""
    if not is_work(str(info["config"].get("durable_name", ""))):
        return 0
    return int(info["num_pending"]) + int(info["num_ack_pending"])
