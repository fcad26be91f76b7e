"""One socket to the server, with nats-py's traps shut (research: actors 4.2).

Nothing is buffered while disconnected: a refused publish is known at once, a buffered one would be stored
minutes after its caller was told 503. Size is checked over headers and payload, because the server resets a
connection that sends too much and the client then never reconnects.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

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
_HEADER_LINE = 64  # an upper bound of the bytes that framing adds, subject excluded

Headers = Mapping[str, str]


class Connection:
    """Publish, subscribe and request with deadlines; errors are AION's."""

    def __init__(self, client: Client, closed: asyncio.Event) -> None:
        self._client = client
        self._closed = closed
        self._reconnected: list[Callable[[], None]] = []
        self._budget = int(client.max_payload * 0.9)

    @property
    def connected(self) -> bool:
        """Whether the socket is up now."""
        return bool(self._client.is_connected)

    @property
    def max_message_bytes(self) -> int:
        """What headers and payload may be together: nine tenths of the server's limit."""
        return self._budget

    async def closed(self) -> None:
        """Returns when the client gave up for good."""
        await self._closed.wait()

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each reconnect; returns what removes it."""
        self._reconnected.append(callback)
        return lambda: self._reconnected.remove(callback) if callback in self._reconnected else None

    async def fire_reconnected(self) -> None:
        """Called by the client library."""
        for callback in tuple(self._reconnected):
            callback()

    def check(self, subject: str, payload: bytes, headers: Headers | None) -> None:
        """Raise `BusDisconnected` or `PayloadTooLarge` for a message that must not be sent."""
        if not self.connected:
            raise BusDisconnected("the bus is unreachable; it is being reconnected", retry_after_s=1.0)
        size = len(subject) + len(payload) + _HEADER_LINE
        if headers:
            size += sum(len(key) + len(value) + 4 for key, value in headers.items())
        if size > self._budget:
            raise PayloadTooLarge(f"a message of {size} bytes on {subject} is over the bus's limit of {self._budget}")

    async def publish(self, subject: str, payload: bytes, *, reply: str = "", headers: Headers | None = None) -> None:
        """Hand one message to the socket; no acknowledgement."""
        self.check(subject, payload, headers)
        try:
            await self._client.publish(subject, payload, reply=reply, headers=dict(headers) if headers else None)
        except NatsError as error:
            raise BusDisconnected(f"publish on {subject} failed: {error}", retry_after_s=1.0) from error

    async def request(self, subject: str, payload: bytes, *, timeout_s: float, headers: Headers | None = None) -> Msg:
        """The one reply. Raises `NoResponders`, `BusDisconnected`, or `Unavailable` (outcome unknown)."""
        self.check(subject, payload, headers)
        try:
            return await self._client.request(
                subject, payload, timeout=timeout_s, headers=dict(headers) if headers else None
            )
        except NoRespondersError as error:
            raise NoResponders(f"nobody answers {subject}", retry_after_s=1.0) from error
        except (NatsError, TimeoutError) as error:
            text = f"no answer on {subject} within {timeout_s:g} s"
            raise Unavailable(text, retry_after_s=1.0) from error

    async def subscribe(self, subject: str, callback: Callable[[Msg], None], *, queue: str = "") -> Subscription:
        """Call `callback` for each message, in order; it may not block. No message is ever dropped here.

        What bounds the backlog is what was asked for: pull batches, mailboxes and slots.
        """

        async def deliver(message: Msg) -> None:
            callback(message)

        return await self._client.subscribe(
            subject, queue=queue, cb=deliver, pending_msgs_limit=0, pending_bytes_limit=0
        )

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Stop delivery; fine on a dead connection."""
        try:
            await subscription.unsubscribe()
        except NatsError:
            return  # the subscription died with its connection

    async def drain(self, subscription: Subscription, timeout_s: float = 2.0) -> None:
        """Stop delivery, and return once all that the server had sent was delivered; fine on a dead connection."""
        try:
            if self.connected:
                async with asyncio.timeout(timeout_s):
                    await subscription.drain()  # type: ignore[no-untyped-call]
        except (NatsError, TimeoutError):
            structlog.get_logger("bus").info("drain_cut_short", subject=subscription.subject)
        await self.unsubscribe(subscription)

    def inbox(self) -> str:
        """A fresh private subject."""
        return str(self._client.new_inbox())

    async def flush(self, timeout_s: float) -> None:
        """Wait until the server has seen all that was published."""
        try:
            await self._client.flush(max(1, round(timeout_s)))
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"flush took over {timeout_s:g} s") from error

    async def api(self, verb: str, body: Mapping[str, Any] | None, *, timeout_s: float) -> dict[str, Any]:
        """One JetStream API call; raises `ApiError` with the server's error code."""
        payload = b"" if body is None else json.dumps(body).encode()
        reply = await self.request(f"$JS.API.{verb}", payload, timeout_s=timeout_s)
        answer: dict[str, Any] = json.loads(reply.data)
        error = answer.get("error")
        if error:
            raise ApiError(verb, int(error.get("err_code", 0)), str(error.get("description", "")))
        return answer


class ApiError(AionError):
    """The server refused a JetStream API call; `err_code` is its own (server/errors.json)."""

    code = "bus_api"

    def __init__(self, verb: str, err_code: int, description: str) -> None:
        super().__init__(f"{verb}: {description} (err_code {err_code})")
        self.err_code = err_code
        self.description = description


def _check_server(client: Client, url: str) -> None:
    version = client.connected_server_version
    if (version.major, version.minor) < MINIMUM_VERSION:
        found, wanted = f"{version.major}.{version.minor}.{version.patch}", ".".join(map(str, MINIMUM_VERSION))
        raise ServerIncompatible(f"nats-server {found} at {url} is too old: install {wanted} or newer")


@asynccontextmanager
async def connect(settings: BusSettings) -> AsyncIterator[Connection]:
    """A connection that reconnects for ever; leaving flushes and closes it."""
    log = structlog.get_logger("bus")
    closed = asyncio.Event()
    client = Client()
    holder: list[Connection] = []

    async def on_error(error: Exception) -> None:
        log.warning("bus_error", error=str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        if not client.is_closed and holder:
            log.warning("bus_disconnected")

    async def on_reconnect() -> None:
        log.info("bus_reconnected")
        for connection in holder:
            await connection.fire_reconnected()

    async def on_closed() -> None:
        closed.set()

    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            await client.connect(
                settings.url,
                name=settings.name,
                user=settings.user,
                password=settings.password.get_secret_value() if settings.password else None,
                token=settings.token.get_secret_value() if settings.token else None,
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_reconnect,
                closed_cb=on_closed,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds; any number works (nats-py 2.16)
                connect_timeout=2,
                ping_interval=5,
                max_outstanding_pings=2,
            )
    except (TimeoutError, OSError, NatsError) as error:
        await client.close()
        raise BusDisconnected(f"no NATS server answers at {settings.url}: start one or set AION_NATS__URL") from error
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_close, client)
        _check_server(client, settings.url)
        connection = Connection(client, closed)
        holder.append(connection)
        try:
            yield connection
        finally:
            holder.clear()


async def _close(client: Client) -> None:
    try:
        async with asyncio.timeout(5):
            if client.is_connected:
                await client.flush(2)
            await client.close()
    except (TimeoutError, NatsError):
        structlog.get_logger("bus").warning("bus_close_failed")
