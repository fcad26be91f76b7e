"""A reply as a stream of `data:` frames: `[DONE]` comes after a whole answer only, after a failure an error does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Final

from edge.http.sse import Writer, comment
from edge.openai.chat import Reply
from edge.openai.dialects import Dialect, Head
from edge.openai.errors import Unanswered, described
from schemas.message import encode

PIECE_CHARS: Final = 512
"""Of a text that is known as a whole already."""

_DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Telling:
    """How one answer is told."""

    dialect: Dialect
    head: Head
    include_usage: bool
    heartbeat_s: float

    async def tell(self, ending: Awaitable[Reply], writer: Writer) -> None:
        """Write the whole stream; `ending` may raise `Unanswered`. Raises what `Writer.write` raises."""
        await writer.write(self._framed(*self.dialect.opening(self.head)) or comment("accepted"))
        try:
            async for piece in self._pieces(ending):
                if isinstance(piece, Reply):
                    await writer.write(self._last(piece))
                else:
                    await writer.write(self._framed(self.dialect.text(self.head, piece)) if piece else comment("alive"))
        except Unanswered as failure:
            await writer.write(frame(described(failure.error)))

    async def _pieces(self, ending: Awaitable[Reply]) -> AsyncIterator[str | Reply]:
        """The text in pieces ("" when it is quiet), then the reply. Raises `Unanswered`.

        THE PLACE WHERE DELTAS COME IN: an engine's deltas of the task (`edge.tasks.following`) are yielded as they
        come, and of the reply's text only what they did not say.
        """
        end = asyncio.ensure_future(ending)
        try:
            while not (await asyncio.wait({end}, timeout=self.heartbeat_s))[0]:
                yield ""
            reply = end.result()
            for start in range(0, len(reply.text), PIECE_CHARS):
                yield reply.text[start : start + PIECE_CHARS]
            yield reply
        finally:
            end.cancel()
            await asyncio.gather(end, return_exceptions=True)

    def _last(self, reply: Reply) -> bytes:
        usage = frame(self.dialect.usage(self.head, reply)) if self.include_usage else b""
        return self._framed(*self.dialect.closing(self.head, reply)) + usage + _DONE

    def _framed(self, *chunks: dict[str, object]) -> bytes:
        """With usage asked for, every chunk but the one that has it says that it has none."""
        none: dict[str, object] = {"usage": None} if self.include_usage else {}
        return b"".join(frame(chunk | none) for chunk in chunks)


def frame(chunk: dict[str, object]) -> bytes:
    """One event. It has no name and no id: OpenAI's streams cannot be resumed."""
    return b"data: " + encode(chunk) + b"\n\n"
