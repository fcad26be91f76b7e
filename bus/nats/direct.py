"""Direct gets (ADR-31): stored messages straight from a stream, without a consumer."""

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bus.nats.connection import Connection
from bus.nats.layout import SECOND_NS
from bus.nats.message import Message
from bus.port import Entry
from bus.waiting import timeout
from schemas.errors import Unavailable

_END_OF_BATCH = ("204", "404")
"""All were sent; there is none. Anything else, 503 while the stream has no leader, is not an empty answer (ADR-31)."""


async def read_batch(
    connection: Connection, stream: str, body: Mapping[str, Any], timeout_s: float
) -> tuple[Entry, ...]:
    """What a batched get of `body` finds, in order. Raises `Unavailable`."""
    found: list[Entry] = []
    ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def collect(message: Message) -> None:
        entry = direct_entry(message)
        if entry is not None:
            found.append(entry)
        elif not ended.done():
            ended.set_result(message.status)

    inbox = connection.inbox()
    subscription = await connection.subscribe(inbox, collect)
    try:
        await connection.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(body).encode(), reply=inbox)
        async with timeout(timeout_s):
            code = await ended
    except TimeoutError as error:
        raise Unavailable(f"{stream} did not answer within {timeout_s:g} s", retry_after_s=1.0) from error
    finally:
        await connection.unsubscribe(subscription)
    if code not in _END_OF_BATCH:
        raise Unavailable(f"{stream} cannot be read now (status {code})", retry_after_s=1.0)
    return tuple(found)


def direct_entry(message: Message) -> Entry | None:
    """The entry of a direct get (ADR-31), None for `not found` and for the end of a batch."""
    headers = message.headers
    if "Nats-Sequence" not in headers:
        return None
    at_ns = _nanoseconds(headers["Nats-Time-Stamp"])
    return Entry(int(headers["Nats-Sequence"]), at_ns, headers["Nats-Subject"], message.data)


def _nanoseconds(timestamp: str) -> int:
    """RFC 3339 with up to nine fractional digits, which `datetime` alone would cut to six."""
    whole, _, fraction = timestamp.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * SECOND_NS + int(fraction.ljust(9, "0")[:9] or 0)
