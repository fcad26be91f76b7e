"""One task's stream on a socket of its own: `/v1/stream/{id}` by upgrade."""

import asyncio

from edge.tasks.bookmark import Bookmark
from edge.ws import wording
from edge.ws.credit import Credit
from edge.ws.endings import GONE, RESTART, Ending
from edge.ws.frames import Frame, Hello, Ping
from edge.ws.session import Session
from edge.ws.subscription import Subscription
from schemas import scopes
from schemas.errors import InvalidRequest
from schemas.ids import TaskId


class OneTask:
    """What SSE says, in frames without ids. It flows as fast as the client takes it; credit is not asked for."""

    def __init__(self, session: Session, task_id: TaskId, after: Bookmark) -> None:
        self._session = session
        self._task_id = task_id
        patience_s = session.house.settings.ws.idle_timeout_s
        self._subscription = Subscription(None, after, Credit(None, 0), patience_s)
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """See `Talk`."""
        return self._task is not None and not self._task.done()

    async def begin(self) -> None:
        """See `Talk`."""
        self._task = self._session.begin(self._follow(), self._session.end_for)

    async def take(self, frame: Frame, size_bytes: int) -> None:
        """See `Talk`."""
        match frame:
            case Ping():
                await self._session.socket.say(wording.plain("pong", frame.id))
            case Hello():
                if frame.after is not None:
                    raise InvalidRequest("this stream has begun: open another to resume elsewhere")
                self._session.guest.renew(frame.authorization)
            case _:
                raise InvalidRequest("this socket is one task's stream: open /v1/ws for everything else")

    async def leave(self, ending: Ending) -> None:
        """See `Talk`."""
        if self._task is None or not self.busy:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        reason = "draining" if ending.code == RESTART else "closing"
        await self._session.socket.say(wording.end(None, reason, self._subscription.mark))

    async def _follow(self) -> None:
        session, desk = self._session, self._session.house.desk
        tenant_id = session.guest.allow(scopes.READ).tenant_id
        with desk.streaming(tenant_id):
            async with desk.follow(tenant_id, self._task_id, self._subscription.mark) as following:
                if following.ended:
                    await session.socket.say(wording.end(None, "seen", self._subscription.mark))
                await self._subscription.pump(following, session.socket, session.turn)
        session.socket.end(GONE)
