"""Many tasks on one socket: `/v1/ws`."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from bus.waiting import timeout
from edge.http.answer import REQUEST_ID
from edge.tasks.bookmark import read_bookmark
from edge.tasks.request import read_task_id
from edge.ws import wording
from edge.ws.credit import Credit
from edge.ws.endings import RESTART, Ending
from edge.ws.frames import Cancel, Frame, Grant, Hello, Ping, Submit, Subscribe, Unsubscribe
from edge.ws.handshake import PROTOCOL
from edge.ws.session import Session
from edge.ws.socket import CLOSE_S
from edge.ws.subscription import Subscription
from schemas import scopes
from schemas.errors import AionError, Conflict, InvalidRequest, NotFound, TooManyRequests


class _Followed(NamedTuple):
    subscription: Subscription
    task: "asyncio.Task[None]"


class ManyTasks:
    """Submissions, cancels and subscriptions of one socket, each within its bounds."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._house = session.house
        self._limits = session.house.settings.ws
        self._followed: dict[str, _Followed] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._request_bytes = 0

    @property
    def busy(self) -> bool:
        """See `Talk`."""
        return bool(self._followed or self._requests)

    async def begin(self) -> None:
        """See `Talk`."""
        limits = self._limits
        bounds = {
            "subscriptions": limits.max_subscriptions,
            "requests": limits.max_requests,
            "credit": limits.credit,
            "max_credit": limits.max_credit,
            "frame_bytes": self._house.settings.max_body_bytes,
        }
        request_id = self._session.request[REQUEST_ID]
        await self._say(wording.plain("welcome", None, protocol=PROTOCOL, request_id=request_id, bounds=bounds))

    async def take(self, frame: Frame, size_bytes: int) -> None:
        """See `Talk`."""
        session, work = self._session, self._house.work
        match frame:
            case Submit():
                self._ask(frame.id, size_bytes, partial(work.submit, session.request, session.guest, frame))
            case Cancel():
                self._ask(frame.id, size_bytes, partial(work.cancel, session.request, session.guest, frame))
            case Subscribe():
                self._subscribe(frame)
            case Unsubscribe():
                await self._unsubscribe(frame)
            case Grant():
                if frame.id in self._followed:  # else its last event is on the way to the client
                    self._followed[frame.id].subscription.grant(frame.credit)
            case Ping():
                await self._say(wording.plain("pong", frame.id))
            case Hello():
                if frame.after is not None:
                    raise InvalidRequest("after belongs to subscribe on this socket")
                session.guest.renew(frame.authorization)
                await self.begin()

    async def leave(self, ending: Ending) -> None:
        """Each subscription is told where to go on; on a drain what was asked is answered as far as the grace goes."""
        reason = "draining" if ending.code == RESTART else "closing"
        async with timeout(CLOSE_S):
            for frame_id in list(self._followed):
                await self._end(frame_id, reason)
        if ending.code == RESTART and self._requests:
            await asyncio.wait(self._requests, timeout=self._house.settings.drain_grace_s + CLOSE_S)

    def _ask(self, frame_id: str, size_bytes: int, ask: Callable[[], Awaitable[bytes]]) -> None:
        self._check_room(size_bytes)

        async def answer() -> None:
            await self._say(await ask())

        task = self._session.begin(answer(), partial(self._session.refuse, frame_id))
        self._requests.add(task)
        self._request_bytes += size_bytes
        task.add_done_callback(partial(self._answered, size_bytes))

    def _check_room(self, size_bytes: int) -> None:
        """Bounded by number and by bytes, of which a frame of any size fits when there is no other."""
        most = self._limits.max_requests
        if len(self._requests) >= most:
            raise TooManyRequests(f"{most} requests of this socket are open, the limit: wait for answers")
        most = self._house.settings.max_body_bytes
        if self._requests and self._request_bytes + size_bytes > most:
            raise TooManyRequests(f"the open requests of this socket are over {most} bytes together: wait for answers")

    def _answered(self, size_bytes: int, task: "asyncio.Task[None]") -> None:
        self._requests.discard(task)
        self._request_bytes -= size_bytes

    def _subscribe(self, frame: Subscribe) -> None:
        limits = self._limits
        if frame.id in self._followed:
            raise Conflict("that id is a subscription's already: take another, or unsubscribe first")
        if len(self._followed) >= limits.max_subscriptions:
            raise TooManyRequests(f"{limits.max_subscriptions} subscriptions are open on this socket, the limit")
        credit = Credit(limits.credit if frame.credit is None else frame.credit, limits.max_credit)
        subscription = Subscription(frame.id, read_bookmark(frame.after), credit, limits.idle_timeout_s)
        task = self._session.begin(self._follow(frame, subscription), partial(self._broken, frame.id, subscription))
        self._followed[frame.id] = _Followed(subscription, task)
        task.add_done_callback(lambda _: self._forget(frame.id, task))

    async def _follow(self, frame: Subscribe, subscription: Subscription) -> None:
        session, desk = self._session, self._house.desk
        caller, task_id = session.guest.allow(scopes.READ), read_task_id(frame.task_id)
        await self._house.entry.count(session.request, caller, f"GET /v1/stream/{task_id}")
        with desk.streaming(caller.tenant_id):
            async with desk.follow(caller.tenant_id, task_id, subscription.mark) as following:
                if following.ended:
                    await self._say(wording.end(frame.id, "seen", subscription.mark))
                    return
                await self._say(wording.plain("subscribed", frame.id, task_id=task_id))
                await subscription.pump(following, session.socket, session.turn)

    async def _broken(self, frame_id: str, subscription: Subscription, error: AionError) -> None:
        await self._session.refuse(frame_id, error, subscription.mark)

    async def _unsubscribe(self, frame: Unsubscribe) -> None:
        if frame.id not in self._followed:
            raise NotFound("that id is no subscription of this socket: it has ended, or never was")
        await self._end(frame.id, "asked")

    async def _end(self, frame_id: str, reason: str) -> None:
        """End it and say so; what has ended or is being ended otherwise needs nothing."""
        followed = self._followed.pop(frame_id, None)
        if followed is None:
            return
        subscription, task = followed
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            await self._say(wording.end(frame_id, reason, subscription.mark))

    def _forget(self, frame_id: str, task: "asyncio.Task[None]") -> None:
        if frame_id in self._followed and self._followed[frame_id].task is task:
            del self._followed[frame_id]

    async def _say(self, frame: bytes) -> None:
        await self._session.socket.say(frame)
