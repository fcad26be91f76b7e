"""Server-sent events (WHATWG HTML section 9.2): a task's history and future as one resumable stream."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from bus.port import Entry
from edge.http.sse import Writer, comment
from edge.tasks.reading import seen, state_of, without_params


def frame(entry: Entry) -> bytes:
    """One event of the stream. The terminal one is named `done` and carries the canonical result."""
    if state_of(entry) == "ended":
        return named("done", seen(entry).result or b"{}", entry.sequence)
    body = json.dumps(without_params(entry), separators=(",", ":")).encode()
    return named(state_of(entry), body, entry.sequence)


def named(name: str, data: bytes, sequence: int | None = None) -> bytes:
    """A frame by hand; `data` is JSON on one line."""
    head = f"id: {sequence}\nevent: {name}\n" if sequence is not None else f"event: {name}\n"
    return head.encode() + b"data: " + data + b"\n\n"


async def pump(entries: AsyncIterator[Entry], writer: Writer, draining: asyncio.Event, *, heartbeat_s: float) -> None:
    """Write every entry until the iterator ends, a comment whenever it is quiet, and a last one on a drain."""
    stop = asyncio.ensure_future(draining.wait())
    coming = asyncio.ensure_future(_next(entries))
    try:
        while True:
            await asyncio.wait({coming, stop}, timeout=heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                entry = coming.result()
                if entry is None:
                    break
                await writer.write(frame(entry))
                coming = asyncio.ensure_future(_next(entries))
            elif stop.done():
                await writer.write(comment("draining: reconnect with Last-Event-ID"))
                break
            else:
                await writer.write(comment("alive"))
    finally:
        await _cancelled(stop, coming)
        if isinstance(entries, AsyncGenerator):
            await entries.aclose()


async def _next(entries: AsyncIterator[Entry]) -> Entry | None:
    return await anext(entries, None)


async def _cancelled(*tasks: "asyncio.Future[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
