"""A bound on how many requests of one kind are open at once, over all and for each tenant or address."""

import asyncio

from schemas.errors import TooManyRequests


class Bulkhead:
    """Counts what is inside and refuses at once when full; nothing queues here.

    `share` of the places, at least one, may be one owner's: the rest stays for the others. `whose` names owners.
    """

    def __init__(self, kind: str, limit: int, share: float, *, whose: str = "tenant") -> None:
        self._kind = kind
        self._whose = whose
        self._limit = limit
        self._limit_of_one = max(1, int(limit * share))
        self._of_owner: dict[str, int] = {}
        self.inside = 0
        self._left = asyncio.Event()

    def place(self, owner: str) -> "Place":
        """A place while in the block, which raises `TooManyRequests` with `Retry-After` when there is none."""
        return Place(self, owner)

    def enter(self, owner: str) -> None:
        """Take a place, to be given back by `leave`. Raises `TooManyRequests` as `place` does."""
        if self.inside >= self._limit:
            raise TooManyRequests(f"{self._limit} {self._kind} are open, the limit: come back later", retry_after_s=1)
        inside = self._of_owner.get(owner, 0)
        if inside >= self._limit_of_one:
            message = f"{inside} {self._kind} of this {self._whose} are open, the limit of one: come back later"
            raise TooManyRequests(message, retry_after_s=1)
        self._of_owner[owner] = inside + 1
        self.inside += 1

    def leave(self, owner: str) -> None:
        """Give the place back."""
        self.inside -= 1
        inside = self._of_owner.pop(owner) - 1
        if inside:
            self._of_owner[owner] = inside
        self._left.set()

    async def empty(self) -> None:
        """Returns once nothing is inside."""
        while self.inside:
            self._left.clear()
            await self._left.wait()


class Place:
    """One of an owner's, held by `with`."""

    __slots__ = ("_bulkhead", "_owner")

    def __init__(self, bulkhead: Bulkhead, owner: str) -> None:
        self._bulkhead = bulkhead
        self._owner = owner

    def __enter__(self) -> None:
        """Take it. Raises as `Bulkhead.enter`."""
        self._bulkhead.enter(self._owner)

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self._bulkhead.leave(self._owner)
