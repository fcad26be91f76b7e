"""The one write that may be under way while the next batch is read and prepared."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Writing:
    """At most one write at a time. What it raises is raised by whichever call comes next, or is waiting."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._write: asyncio.Task[None] | None = None

    async def beside(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, while the write goes on. When the write fails first, `work` is cancelled."""
        if self._write is None:
            return await work
        beside = asyncio.create_task(work, name=f"{self._name}-next")
        try:
            await asyncio.wait((beside, self._write), return_when=asyncio.FIRST_COMPLETED)
            if self._write.done():
                await self.done()
            return await beside
        finally:
            await _end(beside)

    def begin(self, write: Coroutine[Any, Any, None]) -> None:
        """Begin `write`; the one before must be `done`."""
        self._write = asyncio.create_task(write, name=f"{self._name}-write")

    async def done(self) -> None:
        """Return once nothing is being written."""
        if self._write is not None:
            await self._write
            self._write = None

    async def cut(self) -> None:
        """Cancel the write; its outcome is unknown."""
        if self._write is not None:
            await _end(self._write)


async def _end(task: "asyncio.Task[Any]") -> None:
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def one_write_at_a_time(name: str) -> AsyncIterator[Writing]:
    """Leaving waits for the write under way; leaving by an exception cancels it."""
    writing = Writing(name)
    try:
        yield writing
        await writing.done()
    finally:
        await writing.cut()
