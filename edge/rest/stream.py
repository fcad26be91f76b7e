"""Server-sent events (WHATWG HTML section 9.2): a task's history and future as one resumable stream."""

import asyncio

from edge.http.sse import Writer, comment
from edge.tasks.bookmark import START, Bookmark
from edge.tasks.following import Following
from edge.tasks.items import Item, told


def frame(item: Item) -> bytes:
    """One event of the stream, with its resume id."""
    name, data = told(item)
    return named(name, data, item.mark)


def named(name: str, data: bytes, mark: Bookmark = START) -> bytes:
    """A frame by hand; `data` is JSON on one line."""
    head = f"id: {mark}\nevent: {name}\n" if mark.sequence else f"event: {name}\n"
    return head.encode() + b"data: " + data + b"\n\n"


async def pump(following: Following, writer: Writer, draining: asyncio.Event, *, heartbeat_s: float) -> None:
    """Write every item to the end, a comment whenever it is quiet, and a last one with the resume id on a drain.

    Items that are there together are sent together, before anything is waited for.
    """
    stop = asyncio.ensure_future(draining.wait())
    stop.add_done_callback(lambda _: following.leave())
    try:
        while not (following.ended or stop.done()):
            item = await following.next(0 if writer.holds else heartbeat_s)
            if item is not None:
                await writer.add(frame(item))
            elif writer.holds:
                await writer.flush()
            elif not stop.done():
                await writer.write(comment("alive"))
        if not following.ended:
            await writer.add(comment(f"draining: reconnect with Last-Event-ID {following.mark}"))
        await writer.finish()
    finally:
        stop.cancel()
