"""One task followed on a socket: read and sent item by item, while there is credit and the client takes more."""

import asyncio

from bus.waiting import wait_at_most
from edge.tasks.bookmark import Bookmark
from edge.tasks.following import Following
from edge.ws import wording
from edge.ws.credit import Credit
from edge.ws.endings import Quiet
from edge.ws.socket import Socket


class Subscription:
    """What a client follows under `frame_id` (None: the one task of its socket), from `after` on.

    Without credit nothing is read or kept but what `Following` holds for everybody. `mark` is behind what was
    handed over whole, so that an end in the middle of anything names the right place.
    """

    def __init__(self, frame_id: str | None, after: Bookmark, credit: Credit, patience_s: float) -> None:
        self._frame_id = frame_id
        self._patience_s = patience_s
        self._credit = credit
        self._granted = asyncio.Event()
        self.mark = after

    def grant(self, more: int) -> None:
        """So many events more. Raises `InvalidRequest` for more than there may be."""
        self._credit.grant(more)
        self._granted.set()

    async def pump(self, following: Following, socket: Socket, turn: asyncio.Lock) -> None:
        """To the task's end. Only who holds the socket's `turn` reads, and it ends with nothing read ahead: of all its
        subscriptions one may hold a result.

        Raises `Quiet` when no credit came in time, and what `Following.next` and `Socket.say` raise.
        """
        while not following.ended:
            await self._until_credit(following)
            await following.stirred()
            async with turn:
                await self._say_one(following, socket)
                while following.ahead and self._credit:
                    await self._say_one(following, socket)

    async def _say_one(self, following: Following, socket: Socket) -> None:
        await socket.writable()
        item = await following.next(0)
        if item is None:
            return
        await socket.say(wording.event(self._frame_id, item))
        self.mark = item.mark if item.mark.sequence else self.mark
        self._credit.take()

    async def _until_credit(self, following: Following) -> None:
        while not self._credit:
            following.put_back()
            self._granted.clear()
            if not await wait_at_most(self._granted, self._patience_s):
                raise Quiet(f"no credit came for {self._patience_s:g} s: subscribe again behind after")
