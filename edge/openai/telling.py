"""A reply as a stream of `data:` frames: `[DONE]` comes after a whole answer only, after a failure an error does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Final

from edge.http.sse import Writer, comment
from edge.openai.chat import Reply
from edge.openai.dialects import Dialect, Head
from edge.openai.errors import Unanswered, described
from edge.tasks.following import Following
from edge.tasks.items import Missed, Said
from schemas.errors import Unavailable
from schemas.message import encode

BEGUN_ANEW: Final = Unavailable("the attempt that said this was given up, another answers otherwise: ask again")
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

    async def tell(self, ending: Awaitable[Reply], following: Following, writer: Writer) -> None:
        """Write the whole stream; `ending` may raise `Unanswered`. Raises what `Writer.write` raises."""
        await writer.write(self._framed(*self.dialect.opening(self.head)) or comment("accepted"))
        end = asyncio.ensure_future(ending)
        end.add_done_callback(lambda _: following.leave())
        said = ""
        try:
            async for piece in self._said(end, following):
                said += piece
                await writer.write(self._framed(self.dialect.text(self.head, piece)) if piece else comment("alive"))
            await self._tell_rest(await end, said, writer)
        except Unanswered as failure:
            await writer.add(frame(described(failure.error)))
        finally:
            end.cancel()
            await asyncio.gather(end, return_exceptions=True)
        await writer.finish()

    async def _tell_rest(self, reply: Reply, said: str, writer: Writer) -> None:
        """What is known as a whole now goes together. Raises `Unanswered` when `said` was something else."""
        if not reply.text.startswith(said):
            raise Unanswered(BEGUN_ANEW, self.head.id, once=True)
        for start in range(len(said), len(reply.text), PIECE_CHARS):
            await writer.add(self._framed(self.dialect.text(self.head, reply.text[start : start + PIECE_CHARS])))
        await writer.add(self._last(reply))

    async def _said(self, end: "asyncio.Future[Reply]", following: Following) -> AsyncIterator[str]:
        """Text as it comes, "" when it is quiet, until the reply is there or `end` has failed.

        What took the text's place, or has a hole before it, is left to the reply.
        """
        begun = False
        while not end.done() and not following.ended:
            try:
                item = await following.next(self.heartbeat_s)
            except Unavailable:
                break
            if isinstance(item, Said) and not (begun and item.fresh):
                begun = True
                yield item.text
            elif isinstance(item, Said | Missed):
                break
            elif item is None:
                yield ""
        while not (await asyncio.wait({end}, timeout=self.heartbeat_s))[0]:
            yield ""

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
