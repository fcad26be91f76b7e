"""The client over the wire: subscriptions that outlive their link, and a link that is always being restored."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

import structlog

from bus.nats.client import Listener, OnMessage, Subscription, loop_ended
from bus.nats.message import Message
from bus.nats.wire.handshake import Refused, servers_of, shake_hands
from bus.nats.wire.link import Link
from bus.settings import BusSettings
from bus.waiting import timeout
from schemas.errors import BusDisconnected, Unavailable

_ATTEMPT_S = 2.0
_AGAIN_S = 0.2
_PING_EVERY_S = 5.0
_PING_ANSWER_S = 5.0
_CLOSE_S = 2.0


class WireClient:
    """`bus.nats.client.Client`. Open it with `open_wire`, which owns its one task."""

    def __init__(self, settings: BusSettings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._link: Link | None = None
        self._info: dict[str, Any] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._next_sid = 0
        self._servers = list(servers_of(settings))
        self._gossiped: tuple[str, ...] = ()
        self._next_server = 0
        self._log = structlog.get_logger("bus")

    @property
    def connected(self) -> bool:
        """See `Client.connected`."""
        return self._link is not None

    @property
    def max_payload(self) -> int:
        """See `Client.max_payload`."""
        return int(self._info.get("max_payload", 1 << 20))

    @property
    def version(self) -> tuple[int, int, int]:
        """See `Client.version`."""
        text = str(self._info.get("version", "0.0.0")).partition("-")[0]
        major, minor, patch = (int(part) for part in (text + ".0.0").split(".")[:3])
        return major, minor, patch

    @property
    def congested(self) -> bool:
        """See `Client.congested`."""
        return self._link is not None and self._link.congested

    async def writable(self, timeout_s: float) -> None:
        """See `Client.writable`."""
        try:
            async with timeout(timeout_s):
                await self._up().writable()
        except TimeoutError as error:
            raise BusDisconnected(f"the bus took nothing for {timeout_s:g} s", retry_after_s=1.0) from error
        self._up()

    def publish(self, subject: str, payload: bytes, reply: str, head: bytes) -> None:
        """See `Client.publish`."""
        self._up().write(_pub(subject, payload, reply, head))

    def publish_lazily(self, subject: str, payload: bytes) -> None:
        """See `Client.publish_lazily`."""
        self._up().write_lazily(_pub(subject, payload, "", b""))

    async def subscribe(self, subject: str, callback: OnMessage, queue: str) -> Subscription:
        """See `Client.subscribe`. While disconnected it is made with the next link."""
        self._next_sid += 1
        subscription = Subscription(self._next_sid, subject, queue, callback)
        self._subscriptions[subscription.sid] = subscription
        if self._link is not None:
            self._link.write(_sub(subscription))
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """See `Client.unsubscribe`."""
        if self._subscriptions.pop(subscription.sid, None) is not None and self._link is not None:
            self._link.write(b"UNSUB %d\r\n" % subscription.sid)

    async def drain(self, subscription: Subscription, timeout_s: float) -> None:
        """See `Client.drain`. The PONG comes after everything that the server had sent before it."""
        link = self._link
        if link is not None and subscription.sid in self._subscriptions:
            link.write(b"UNSUB %d\r\n" % subscription.sid)
            try:
                async with timeout(timeout_s):
                    await link.pong()
            except (TimeoutError, ConnectionResetError):
                self._log.info("drain_cut_short", subject=subscription.subject)
        self._subscriptions.pop(subscription.sid, None)

    async def flush(self, timeout_s: float) -> None:
        """See `Client.flush`."""
        try:
            async with timeout(timeout_s):
                await self._up().pong()
        except (TimeoutError, ConnectionResetError) as error:
            raise Unavailable(f"the bus did not answer within {timeout_s:g} s", retry_after_s=1.0) from error

    async def close(self) -> None:
        """See `Client.close`."""
        link, self._link = self._link, None
        if link is None:
            return
        try:
            async with timeout(_CLOSE_S):
                await link.pong()
        except (TimeoutError, ConnectionResetError):
            self._log.warning("bus_close_failed")
        link.abort("closed")

    async def open(self) -> None:
        """Connect to the first server that lets us in. Raises `BusDisconnected` after `connect_timeout_s`."""
        why = "no answer"
        try:
            async with timeout(self._settings.connect_timeout_s):
                while True:
                    try:
                        return await self._connect()
                    except (Refused, OSError, TimeoutError) as error:
                        why = str(error) or "no answer"
                    await asyncio.sleep(_AGAIN_S)
        except TimeoutError as error:
            text = f"no NATS server answers well at {self._settings.url} ({why}): start one or set AION_NATS__URL"
            raise BusDisconnected(text) from error

    async def keep(self) -> None:
        """Watch the link, and restore it for ever."""
        while True:
            why = await self._until_lost()
            self._link = None
            self._log.warning("bus_disconnected", why=why)
            self._listener.link_lost()
            await self._restore()
            self._log.info("bus_reconnected")
            self._listener.link_restored()

    async def _until_lost(self) -> str:
        """Why the link is of no use any more; a server that answers no PING counts as gone."""
        link = self._up()
        while True:
            done, _ = await asyncio.wait([link.lost], timeout=_PING_EVERY_S)
            if done:
                return link.lost.result()
            try:
                async with timeout(_PING_ANSWER_S):
                    await link.pong()
            except TimeoutError:
                link.abort("the server does not answer PING")
            except ConnectionResetError:
                continue

    async def _restore(self) -> None:
        while True:
            try:
                return await self._connect()
            except (Refused, OSError, TimeoutError) as error:
                self._log.debug("bus_reconnects", error=str(error) or type(error).__name__)
            await asyncio.sleep(_AGAIN_S * random.uniform(0.5, 1.5))  # noqa: S311  # spreads clients, guards nothing

    async def _connect(self) -> None:
        """A link to the next server of the list, with every subscription on it before it is used."""
        address = self._address()
        async with timeout(_ATTEMPT_S):
            link = await shake_hands(address, self._settings, self._on_message)
        self._info = link.info.result()
        self._learn(self._info)
        link.on_info = self._learn
        for subscription in self._subscriptions.values():
            link.write(_sub(subscription))
        self._link = link

    def _address(self) -> SplitResult:
        known = [*self._servers, *(urlsplit(f"{self._servers[0].scheme}://{host}") for host in self._gossiped)]
        address = known[self._next_server % len(known)]
        self._next_server += 1
        return address

    def _learn(self, info: dict[str, Any]) -> None:
        """The other servers of a cluster; one that is about to stop is left before it hangs up (`ldm`)."""
        if info.get("connect_urls"):
            self._gossiped = tuple(str(url) for url in info["connect_urls"])
        if info.get("ldm") and self._link is not None and len(self._servers) + len(self._gossiped) > 1:
            self._link.abort("the server is about to stop")

    def _on_message(self, sid: int, message: Message) -> None:
        subscription = self._subscriptions.get(sid)
        if subscription is None:
            return
        try:
            subscription.callback(message)
        except Exception:
            # A callback that fails must not end the connection that all others share.
            self._log.exception("callback_failed", subject=subscription.subject)

    def _up(self) -> Link:
        if self._link is None:
            raise BusDisconnected("the bus is unreachable; it is being reconnected", retry_after_s=1.0)
        return self._link


def _pub(subject: str, payload: bytes, reply: str, head: bytes) -> bytes:
    if not head:
        return b"%b%b\r\n" % (f"PUB {subject} {reply} {len(payload)}\r\n".encode(), payload)
    line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n"
    return b"%b%b%b\r\n" % (line.encode(), head, payload)


def _sub(subscription: Subscription) -> bytes:
    return f"SUB {subscription.subject} {subscription.queue} {subscription.sid}\r\n".encode()


@asynccontextmanager
async def open_wire(settings: BusSettings, listener: Listener) -> AsyncIterator[WireClient]:
    """A connected client; leaving flushes and closes it. Raises `BusDisconnected` when no server lets us in."""
    client = WireClient(settings, listener)
    await client.open()
    keeper = asyncio.create_task(client.keep(), name="bus.keep")
    keeper.add_done_callback(partial(loop_ended, listener))
    try:
        yield client
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await client.close()
