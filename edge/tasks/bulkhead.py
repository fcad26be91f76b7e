"""A bound on how many requests of one kind are open at once."""

import asyncio

from schemas.errors import TooManyRequests


class Bulkhead:
    """Counts what is inside (`with bulkhead:`) and refuses at once when full; nothing queues here."""

    def __init__(self, kind: str, limit: int) -> None:
        self._kind = kind
        self._limit = limit
        self.inside = 0
        self._left = asyncio.Event()

    def __enter__(self) -> None:
        """Take a place. Raises `TooManyRequests` with `Retry-After` when there is none."""
        if self.inside >= self._limit:
            raise TooManyRequests(f"{self._limit} {self._kind} are open, the limit: come back later", retry_after_s=1)
        self.inside += 1

    def __exit__(self, *_: object) -> None:
        """Give the place back."""
        self.inside -= 1
        self._left.set()

    async def empty(self) -> None:
        """Returns once nothing is inside."""
        while self.inside:
            self._left.clear()
            await self._left.wait()
