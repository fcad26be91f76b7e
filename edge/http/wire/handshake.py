"""TLS for a connection that has its place already.

A loop that listens with TLS tells of a connection once hands were shaken; of one that never does it tells nobody, so
that nobody could count it.
"""

import asyncio
import os
import socket
import ssl
from typing import cast

from edge.http.wire.connection import Connection


class Handshake(asyncio.Protocol):
    """Takes a place for `connection`, and shakes hands for it; without a place the client goes unheard."""

    def __init__(
        self, connection: Connection, tls: ssl.SSLContext, timeout_s: float, shaking: set[asyncio.Task[None]]
    ) -> None:
        self._connection = connection
        self._tls = tls
        self._timeout_s = timeout_s
        self._shaking = shaking

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Go on with the socket, of which nothing was read yet, in another transport."""
        try:
            if self._connection.take_place(transport):
                self._go_on(socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())))
            else:
                self._connection.give_back()
        except OSError:
            self._connection.give_back()
        cast("asyncio.Transport", transport).abort()

    def _go_on(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._shake(accepted))
        self._shaking.add(task)
        task.add_done_callback(self._shaking.discard)

    async def _shake(self, accepted: socket.socket) -> None:
        """The place is given back when no connection came of it."""
        connection, loop = self._connection, asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=self._timeout_s
            )
        except OSError:
            pass  # of the client's making
        finally:
            if connection.transport is None:
                connection.give_back()
