"""The client over nats-py, with its traps shut (research: actors 4.2).

Slower than the wire client, and kept for what only the library has: `AION_NATS__CLIENT=nats-py` chooses it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
from nats.aio.client import Client as Library
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as LibrarySubscription
from nats.errors import Error as NatsError

from bus.nats.client import Listener, OnMessage, Subscription, loop_ended
from bus.nats.message import Message, decode_headers
from bus.nats.wire.handshake import servers_of, tls_context
from bus.settings import BusSettings
from bus.waiting import timeout
from schemas.errors import BusDisconnected, Unavailable

_MAX_UNSENT = 65_536
_CLOSE_S = 2.0


class PyNatsClient:
    """`bus.nats.client.Client`. The library sends by coroutine only, so one task sends for all, in order."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._unsent: deque[tuple[str, bytes, str, bytes]] = deque()
        self._woken = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._next_sid = 0
        self._log = structlog.get_logger("bus")

    @property
    def connected(self) -> bool:
        """See `Client.connected`."""
        return bool(self._library.is_connected)

    @property
    def max_payload(self) -> int:
        """See `Client.max_payload`."""
        return int(self._library.max_payload)

    @property
    def version(self) -> tuple[int, int, int]:
        """See `Client.version`."""
        found = self._library.connected_server_version
        return found.major, found.minor, found.patch

    @property
    def congested(self) -> bool:
        """See `Client.congested`."""
        return len(self._unsent) > _MAX_UNSENT // 8

    async def writable(self, timeout_s: float) -> None:
        """See `Client.writable`."""
        try:
            async with timeout(timeout_s):
                await self._emptied.wait()
        except TimeoutError as error:
            raise BusDisconnected(f"the bus took nothing for {timeout_s:g} s", retry_after_s=1.0) from error

    def publish(self, subject: str, payload: bytes, reply: str, head: bytes) -> None:
        """See `Client.publish`."""
        if not self.connected or len(self._unsent) >= _MAX_UNSENT:
            raise BusDisconnected("the bus is unreachable; it is being reconnected", retry_after_s=1.0)
        self._unsent.append((subject, payload, reply, head))
        self._emptied.clear()
        self._woken.set()

    def publish_lazily(self, subject: str, payload: bytes) -> None:
        """See `Client.publish_lazily`."""
        self.publish(subject, payload, "", b"")

    async def send_forever(self) -> None:
        """Hand over what `publish` took; what fails is dropped, as it is when the link is lost."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._unsent:
                await self._send(*self._unsent.popleft())
            self._emptied.set()

    async def _send(self, subject: str, payload: bytes, reply: str, head: bytes) -> None:
        headers = dict(decode_headers(head)) if head else None
        try:
            await self._library.publish(subject, payload, reply=reply, headers=headers)
        except NatsError as error:
            self._log.info("publish_dropped", subject=subject, error=type(error).__name__)

    async def subscribe(self, subject: str, callback: OnMessage, queue: str) -> Subscription:
        """See `Client.subscribe`."""

        async def deliver(message: Msg) -> None:
            try:
                callback(Message(message.subject, message.reply, message.data, headers=message.headers))
            except Exception:
                self._log.exception("callback_failed", subject=subject)

        try:
            native = await self._library.subscribe(
                subject, queue=queue, cb=deliver, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except NatsError as error:
            raise BusDisconnected(f"subscribe to {subject} failed: {error}", retry_after_s=1.0) from error
        self._next_sid += 1
        return Subscription(self._next_sid, subject, queue, callback, native)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """See `Client.unsubscribe`."""
        try:
            await _native(subscription).unsubscribe()
        except NatsError:
            return  # the subscription died with its connection

    async def drain(self, subscription: Subscription, timeout_s: float) -> None:
        """See `Client.drain`."""
        native = _native(subscription)
        try:
            if self.connected:
                async with timeout(timeout_s):
                    # Its own drain forgets the subscription at the PONG of a PING that went past the UNSUB (`_ask`):
                    # what the server sent in between is lost.
                    await self._library._send_unsubscribe(native._id)
                    await self._ask(timeout_s)
                    await native.drain()  # type: ignore[no-untyped-call]
        except (NatsError, TimeoutError):
            self._log.info("drain_cut_short", subject=subscription.subject)
        await self.unsubscribe(subscription)

    async def flush(self, timeout_s: float) -> None:
        """See `Client.flush`."""
        try:
            async with timeout(timeout_s):
                await self._emptied.wait()
                await self._ask(timeout_s)
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"the bus did not answer within {timeout_s:g} s", retry_after_s=1.0) from error

    async def _ask(self, timeout_s: float) -> None:
        """PING and PONG, behind all that was handed over: nats-py 2.16 sends a PING past what waits to be written."""
        await self._library._flush_pending(force_flush=True)
        await self._library.flush(max(1, round(timeout_s)))

    async def close(self) -> None:
        """See `Client.close`."""
        try:
            async with timeout(_CLOSE_S * 2):
                if self.connected:
                    await self.flush(_CLOSE_S)
                await self._library.close()
        except (TimeoutError, NatsError, Unavailable):
            self._log.warning("bus_close_failed")


def _native(subscription: Subscription) -> LibrarySubscription:
    assert isinstance(subscription.native, LibrarySubscription)  # noqa: S101  # made by `subscribe` above
    return subscription.native


@asynccontextmanager
async def open_pynats(settings: BusSettings, listener: Listener) -> AsyncIterator[PyNatsClient]:
    """A connected client; leaving flushes and closes it. Raises `BusDisconnected` when no server lets us in."""
    library = Library()
    await _connect(library, settings, listener)
    client = PyNatsClient(library)
    sender = asyncio.create_task(client.send_forever(), name="bus.send")
    sender.add_done_callback(partial(loop_ended, listener))
    try:
        yield client
    finally:
        await client.close()
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


async def _connect(library: Library, settings: BusSettings, listener: Listener) -> None:
    log = structlog.get_logger("bus")
    newest = "no answer"

    async def on_error(error: Exception) -> None:
        nonlocal newest
        newest = str(error) or type(error).__name__
        log.warning("bus_error", error=newest)

    async def on_disconnect() -> None:
        if not library.is_closed:
            log.warning("bus_disconnected")
            listener.link_lost()

    async def on_reconnect() -> None:
        log.info("bus_reconnected")
        listener.link_restored()

    async def on_closed() -> None:
        listener.link_closed()

    secure = settings.tls_ca is not None or any(server.scheme == "tls" for server in servers_of(settings))
    try:
        async with timeout(settings.connect_timeout_s):
            await library.connect(
                [server.geturl() for server in servers_of(settings)],
                name=settings.name,
                user=settings.user,
                password=settings.password.get_secret_value() if settings.password else None,
                token=settings.token.get_secret_value() if settings.token else None,
                tls=tls_context(settings) if secure else None,
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
        await library.close()
        text = f"no NATS server answers well at {settings.url} ({newest}): start one or set AION_NATS__URL"
        raise BusDisconnected(text) from error
