"""What a guest says while it works, told to whoever follows its task: at most one delta every 30 ms."""

import asyncio
import codecs
from typing import Final

from bus.port import Delivery, Tokens
from schemas.delta import MAX_TEXT_CHARS, Delta, first_number
from schemas.errors import AionError
from schemas.events import Routed
from schemas.message import encode

PAUSE_S: Final = 0.03


class Telling:
    """One run's text. A delta that the bus does not take is lost, and its number tells the followers so."""

    __slots__ = ("_decoder", "_due_s", "_event", "_lease", "_number", "_task", "_text", "_tokens")

    def __init__(self, tokens: Tokens, event: Routed, delivery: Delivery) -> None:
        self._tokens = tokens
        self._event = event
        self._lease = delivery.entry.sequence
        self._number = first_number(delivery.delivered)
        self._task: asyncio.Task[None] | None = None

    def say(self, data: bytes) -> None:
        """More text, in UTF-8; a character may be split between two calls."""
        if self._task is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self._text, self._due_s = "", 0.0
        self._text += self._decoder.decode(data)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell(), name="wasm.telling")

    @property
    def begun(self) -> bool:
        """Whether anything was said."""
        return self._task is not None

    async def finish(self) -> None:
        """Tell the rest, so that all that was said precedes the end."""
        self.stop()
        await self._send()

    def stop(self) -> None:
        """Say no more; safe at any time."""
        if self._task is not None:
            self._task.cancel()

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        while self._text:
            await asyncio.sleep(max(0.0, self._due_s - loop.time()))
            self._due_s = loop.time() + PAUSE_S
            await self._send()

    async def _send(self) -> None:
        while self._text:
            piece, self._text = self._text[:MAX_TEXT_CHARS], self._text[MAX_TEXT_CHARS:]
            delta, self._number = Delta(lease=self._lease, number=self._number, text=piece), self._number + 1
            try:
                await self._tokens.publish(self._event.tenant_id, self._event.task_id, encode(delta))
            except AionError:
                return
