"""What time the server has: read when a bus opens, after each reconnect, and now and then."""

import asyncio
from datetime import datetime

import structlog

from bus.nats.connection import Connection
from bus.subjects import LOG_STREAM
from bus.waiting import wait_at_most
from schemas.errors import AionError

EVERY_S = 15.0
"""Two quartz clocks drift apart by less than 2 ms in it."""
QUICK_S = 0.02
"""An answer that took so long cannot leave the clock wrong by more."""
_READINGS = 3
SAID_FROM_S = 1.0
"""A clock that was this far off is worth a line in the log."""
_TIMEOUT_S = 5.0


async def read_time(connection: Connection) -> None:
    """Set the connection's clock by the server's, which stamps the log; at most `_READINGS` until one took `QUICK_S`.

    Raises what `Connection.api` raises.
    """
    clock, moved_s = connection.clock, 0.0
    for _ in range(_READINGS):
        asked_ns = clock.asked()
        answer = await connection.api(f"STREAM.INFO.{LOG_STREAM}", None, timeout_s=_TIMEOUT_S)
        moved_s += clock.told(_unix_ns(answer["ts"]), asked_ns)
        if clock.asked() - asked_ns < QUICK_S * 1e9:
            break
    if abs(moved_s) > SAID_FROM_S:
        structlog.get_logger("bus").warning("clock_corrected", by_s=round(moved_s, 3))


async def keep_time(connection: Connection) -> None:
    """Until cancelled: read it every `EVERY_S`, and at once after a reconnect. What fails is tried again then."""
    due = asyncio.Event()
    forget = connection.on_reconnect(due.set)
    try:
        while True:
            await wait_at_most(due, EVERY_S)
            due.clear()
            try:
                await read_time(connection)
            except AionError as error:
                structlog.get_logger("bus").info("server_time_not_read", code=error.code)
    finally:
        forget()


def _unix_ns(text: str) -> int:
    """Of RFC 3339, to the microsecond."""
    return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000
