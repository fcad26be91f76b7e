"""The one connection of a bus: sizes checked, questions matched with their answers, errors that are AION's.

Nothing is buffered while disconnected: a refused publish is known at once, a buffered one would be stored
minutes after its caller was told 503. Size is checked over headers and payload, because the server hangs up on
who sends too much.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from bus.clock import ServerClock
from bus.deadlines import Deadlines
from bus.nats.client import Client, OnMessage, Subscription
from bus.nats.message import Message
from bus.settings import BusSettings
from schemas.errors import (
    AionError,
    BusDisconnected,
    NoResponders,
    PayloadTooLarge,
    ServerIncompatible,
    Unavailable,
)

MINIMUM_VERSION = (2, 12)
WRONG_SEQUENCE = frozenset({10071, 10164})
"""By these the server refuses what was to follow another message than the newest (server/errors.json)."""
WRITABLE_S = 5.0
_FRAMING = 64  # an upper bound of the bytes that framing adds, subject excluded

Replied = Callable[[Message | None], None]
"""Told the one reply, or None when the link was lost before it came."""


class Connection:
    """Publish, subscribe and ask; also the `Listener` of its client."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()
        self.clock = ServerClock()
        self.reconnects = 0
        self._reconnected: list[Callable[[], None]] = []
        self._asked: dict[str, Replied] = {}
        self._loop = asyncio.get_running_loop()
        self._deadlines: Deadlines[asyncio.Future[Message | None]] = Deadlines(_expire)
        self._inbox = f"_INBOX.{os.urandom(12).hex()}"
        self._next_reply = 0
        self._client: Client
        self._budget = 0

    async def use(self, client: Client) -> None:
        """Take the connected client, once, before anything else."""
        self._client = client
        self._budget = int(client.max_payload * 0.9)
        await client.subscribe(f"{self._inbox}.*", self._on_reply, "")

    @property
    def connected(self) -> bool:
        """Whether the socket is up now."""
        return self._client.connected

    async def closed(self) -> None:
        """Returns when the client gave up for good."""
        await self._closed.wait()

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each reconnect; returns what removes it."""
        self._reconnected.append(callback)
        return lambda: self._reconnected.remove(callback) if callback in self._reconnected else None

    def link_lost(self) -> None:
        """See `Listener`: who waits for an answer is told that none will come."""
        asked, self._asked = self._asked, {}
        for replied in asked.values():
            replied(None)

    def link_restored(self) -> None:
        """See `Listener`."""
        self.reconnects += 1
        for callback in tuple(self._reconnected):
            callback()

    def link_closed(self) -> None:
        """See `Listener`."""
        self._closed.set()

    def check(self, subject: str, payload: bytes, head: bytes = b"", spare_bytes: int = 0) -> None:
        """Raise `BusDisconnected` or `PayloadTooLarge` for a message that must not be sent, `spare_bytes` added."""
        if not self._client.connected:
            raise BusDisconnected("the bus is unreachable; it is being reconnected", retry_after_s=1.0)
        size = len(subject) + len(payload) + len(head) + _FRAMING + spare_bytes
        if size > self._budget:
            raise PayloadTooLarge(f"a message of {size} bytes on {subject} is over the bus's limit of {self._budget}")

    def post(self, subject: str, payload: bytes, *, reply: str = "", head: bytes = b"") -> None:
        """Send one message with everything else of this turn of the loop; for callers that bound what they send.

        `head` is what `bus.nats.message.encode_headers` made.
        """
        self.check(subject, payload, head)
        self._client.publish(subject, payload, reply, head)

    def post_lazily(self, subject: str, payload: bytes) -> None:
        """As `post`, for what nobody waits for."""
        self.check(subject, payload)
        self._client.publish_lazily(subject, payload)

    async def publish(self, subject: str, payload: bytes, *, reply: str = "", head: bytes = b"") -> None:
        """As `post`, and waits while the socket is congested."""
        self.post(subject, payload, reply=reply, head=head)
        if self._client.congested:
            await self.writable()

    @property
    def congested(self) -> bool:
        """Whether more is written than the socket takes."""
        return self._client.congested

    async def writable(self) -> None:
        """Returns when the socket takes more; raises `BusDisconnected` when it does not in time."""
        await self._client.writable(WRITABLE_S)

    def ask(self, subject: str, payload: bytes, replied: Replied, *, head: bytes = b"") -> str:
        """Post a request and call `replied` at most once; returns what `forget` takes."""
        self._next_reply += 1
        reply = f"{self._inbox}.{self._next_reply}"
        self.post(subject, payload, reply=reply, head=head)
        self._asked[reply] = replied
        return reply

    def forget(self, reply: str) -> None:
        """Nobody waits for this answer any more."""
        self._asked.pop(reply, None)

    def _on_reply(self, message: Message) -> None:
        replied = self._asked.pop(message.subject, None)
        if replied is not None:
            replied(message)

    async def request(self, subject: str, payload: bytes, *, timeout_s: float, head: bytes = b"") -> Message:
        """The one reply. Raises `NoResponders`, `BusDisconnected`, or `Unavailable` (outcome unknown)."""
        future: asyncio.Future[Message | None] = self._loop.create_future()
        reply = self.ask(subject, payload, partial(_give, future), head=head)
        self._deadlines.add(future, timeout_s)
        try:
            answer = await future
        except TimeoutError as error:
            raise Unavailable(f"no answer on {subject} within {timeout_s:g} s", retry_after_s=1.0) from error
        finally:
            self._deadlines.drop(future)
            self.forget(reply)
        return answered(answer, subject)

    async def subscribe(self, subject: str, callback: OnMessage, *, queue: str = "") -> Subscription:
        """Call `callback` for each message, in order; it may not block. No message is ever dropped here.

        What bounds the backlog is what was asked for: pull batches, mailboxes and slots.
        """
        return await self._client.subscribe(subject, callback, queue)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Stop delivery; fine on a dead connection."""
        await self._client.unsubscribe(subscription)

    async def drain(self, subscription: Subscription, timeout_s: float = 2.0) -> None:
        """Stop delivery, and return once all that the server had sent was delivered; fine on a dead connection."""
        await self._client.drain(subscription, timeout_s)

    def inbox(self) -> str:
        """A fresh private subject."""
        return f"_INBOX.{os.urandom(12).hex()}"

    async def flush(self, timeout_s: float) -> None:
        """Wait until the server has seen all that was published."""
        await self._client.flush(timeout_s)

    async def api(self, verb: str, body: Mapping[str, Any] | None, *, timeout_s: float) -> dict[str, Any]:
        """One JetStream API call; raises `ApiError` with the server's error code."""
        payload = b"" if body is None else json.dumps(body).encode()
        reply = await self.request(f"$JS.API.{verb}", payload, timeout_s=timeout_s)
        answer: dict[str, Any] = json.loads(reply.data)
        error = answer.get("error")
        if error:
            raise ApiError(verb, int(error.get("err_code", 0)), str(error.get("description", "")))
        return answer


def _give(future: "asyncio.Future[Message | None]", message: Message | None) -> None:
    if not future.done():
        future.set_result(message)


def _expire(future: "asyncio.Future[Message | None]") -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def answered(reply: Message | None, subject: str) -> Message:
    """The reply itself. Raises `Unavailable` when the link was lost, `NoResponders` when nobody listens (ADR-32)."""
    if reply is None:
        raise Unavailable(f"the link was lost before {subject} was answered", retry_after_s=1.0)
    if reply.status == "503":
        raise NoResponders(f"nobody answers {subject}", retry_after_s=1.0)
    return reply


class ApiError(AionError):
    """The server refused a JetStream API call; `err_code` is its own (server/errors.json)."""

    code = "bus_api"

    def __init__(self, verb: str, err_code: int, description: str) -> None:
        super().__init__(f"{verb}: {description} (err_code {err_code})")
        self.err_code = err_code
        self.description = description


def _check_server(client: Client, url: str) -> None:
    if client.version[:2] < MINIMUM_VERSION:
        found, wanted = ".".join(map(str, client.version)), ".".join(map(str, MINIMUM_VERSION))
        raise ServerIncompatible(f"nats-server {found} at {url} is too old: install {wanted} or newer")


@asynccontextmanager
async def connect(settings: BusSettings) -> AsyncIterator[Connection]:
    """A connection that reconnects for ever; leaving flushes and closes it."""
    connection = Connection()
    async with _client(settings, connection) as client:
        _check_server(client, settings.url)
        await connection.use(client)
        yield connection


def _client(settings: BusSettings, listener: Connection) -> AbstractAsyncContextManager[Client]:
    """The client that `nats.client` names, imported here so that the other is not."""
    if settings.client == "nats-py":
        from bus.nats.pynats import open_pynats

        return open_pynats(settings, listener)
    from bus.nats.wire import open_wire

    return open_wire(settings, listener)
