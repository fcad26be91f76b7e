"""A connection must show the head of its first request in time (slowloris).

aiohttp 3.14 has no such deadline: who sends a head byte by byte is ended by `keepalive_timeout` alone, 75 s here, as is
a later head on the same connection.
"""

import asyncio
import ssl

from aiohttp import web


class Heads:
    """The connections that have not shown a whole head yet, each with its time."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._waiting: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        self.cut = 0
        """How many took too long."""

    def begin(self, connection: web.RequestHandler) -> None:
        """It was just taken."""
        timer = asyncio.get_running_loop().call_later(self.timeout_s, self._expire, connection)
        self._waiting[connection] = timer

    def shown(self, connection: web.RequestHandler) -> None:
        """A request of it is handled: its head is whole."""
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Forget all."""
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def _expire(self, connection: web.RequestHandler) -> None:
        del self._waiting[connection]
        if connection.transport is not None:  # else the client left by itself
            self.cut += 1
            connection.force_close()


class HeadsSite(web.BaseSite):
    """`web.TCPSite`, with `Heads` looking at each connection."""

    def __init__(
        self,
        runner: web.BaseRunner,
        host: str,
        port: int,
        heads: Heads,
        tls: ssl.SSLContext | None = None,
        *,
        reuse_port: bool,
    ) -> None:
        super().__init__(runner, backlog=1024, ssl_context=tls)
        self._address = host, port
        self._heads = heads
        self._reuse_port = reuse_port or None

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

        def take() -> web.RequestHandler:
            connection = server()
            self._heads.begin(connection)
            return connection

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            take,
            *self._address,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=None if self._ssl_context is None else self._heads.timeout_s,
        )
