"""The port of the HTTP side."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from edge.http.turnstile import Turnstile
from edge.http.wire.heads import Heads, HeadsSite
from edge.settings import EdgeSettings
from schemas.errors import Misconfigured

KEEPALIVE_S: Final = 75.0
CLOSE_S: Final = 2.0
"""What is answered while the server closes has so long."""


async def listen(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    limits: EdgeSettings,
    heads: Heads,
    turnstile: Turnstile,
    tls: ssl.SSLContext | None,
) -> web.ServerRunner:
    """A server that answers with `handle`; the caller cleans it up. Raises `Misconfigured` for a port that is taken."""
    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=CLOSE_S)
    await runner.setup()
    settings: dict[str, Any] = {
        "access_log": None,
        "auto_decompress": False,
        "keepalive_timeout": KEEPALIVE_S,
        "max_headers": limits.max_headers,
        "write_timeout_s": limits.write_timeout_s,
    }
    address = limits.host, limits.port
    site = HeadsSite(runner, *address, heads, turnstile, tls, reuse_port=limits.reuse_port, settings=settings)
    try:
        await site.start()
    except BaseException as error:
        await runner.cleanup()
        if isinstance(error, OSError):
            where = f"{limits.host}:{limits.port}"
            raise Misconfigured(f"{where} cannot be opened ({error.strerror}): set AION_EDGE__PORT") from error
        raise
    return runner
