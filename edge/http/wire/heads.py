"""The connections of an edge: so many in all and of one address, and a whole head of each in time (slowloris).

Of IPv6, the addresses of one /64 are one address.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from edge.http.clients import network_of
from edge.http.turnstile import Turnstile
from edge.http.wire.connection import Connection
from edge.http.wire.handshake import Handshake

LOOKS = 4
"""How often within the deadline each connection is looked at: it ends a quarter late at most."""


class Heads:
    """All connections that are open. `unbounded` says which addresses may have any number of them: trusted proxies."""

    def __init__(
        self, timeout_s: float, *, most: int, most_of_one: int, unbounded: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.timeout_s = timeout_s
        self._most = most
        self._most_of_one = most_of_one
        self._unbounded = unbounded
        self._open: set[Connection] = set()
        self._of_one: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self.cut = 0
        """How many took too long for a head."""
        self.slow_readers = 0
        """How many did not take their answer."""
        self.turned_away = 0

    @property
    def open(self) -> int:
        """How many there are now."""
        return len(self._open)

    def made(self, connection: Connection, peer: str) -> bool:
        """It was taken: whether it may stay."""
        name, unbounded = self._counted_as(peer)
        self._open.add(connection)
        self._of_one[name] += 1
        if self._timer is None:
            self._look_later()
        crowded = self._of_one[name] > self._most_of_one and not unbounded
        if crowded or len(self._open) > self._most:
            self.turned_away += 1
            return False
        return True

    def lost(self, connection: Connection, peer: str) -> None:
        """It is gone."""
        self._open.discard(connection)
        name, _ = self._counted_as(peer)
        self._of_one[name] -= 1
        if not self._of_one[name]:
            del self._of_one[name]

    def cut_off(self) -> None:
        """One ends because its client does not take its answer."""
        self.slow_readers += 1

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _counted_as(self, peer: str) -> tuple[str, bool]:
        """Whose it is, and whether that one may have any number: a proxy is not counted with its neighbours."""
        unbounded = self._unbounded(peer)
        return peer if unbounded else network_of(peer), unbounded

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.timeout_s / LOOKS, self._look)

    def _look(self) -> None:
        begun_before_s = asyncio.get_running_loop().time() - self.timeout_s
        for connection in [c for c in self._open if c.since_s and not c.busy and c.since_s < begun_before_s]:
            self.cut += 1
            connection.force_close()
        self._timer = None
        if self._open:
            self._look_later()


class HeadsSite(web.BaseSite):
    """`web.TCPSite`, with `Heads` looking at each connection. `settings` are `web.RequestHandler`'s."""

    def __init__(
        self,
        runner: web.BaseRunner,
        host: str,
        port: int,
        heads: Heads,
        turnstile: Turnstile,
        tls: ssl.SSLContext | None = None,
        *,
        reuse_port: bool,
        settings: Mapping[str, Any],
    ) -> None:
        super().__init__(runner, backlog=1024, ssl_context=tls)
        self._address = host, port
        self._heads = heads
        self._turnstile = turnstile
        self._reuse_port = reuse_port or None
        self._settings = settings
        self._shaking: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """Where it listens, as asked for."""
        host, port = self._address
        return f"{'http' if self._ssl_context is None else 'https'}://{host}:{port}"

    async def start(self) -> None:
        """Listen. Raises `OSError`."""
        await super().start()
        server = self._runner.server
        assert server is not None  # noqa: S101  # the runner was set up

        tls, heads = self._ssl_context, self._heads

        def take() -> asyncio.Protocol:
            connection = Connection(server, heads, self._turnstile, **self._settings)
            return connection if tls is None else Handshake(connection, tls, heads.timeout_s, self._shaking)

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            take, *self._address, backlog=self._backlog, reuse_port=self._reuse_port
        )

    async def stop(self) -> None:
        """Listen no more; who has not shaken hands goes."""
        for task in self._shaking:
            task.cancel()
        await super().stop()
