"""The WebSocket door: from an upgrade to a socket with a guest on it."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final, TypeAlias

from aiohttp import web

from bus.waiting import timeout, wait_at_most
from edge.http.answer import REQUEST_ID
from edge.http.front import TASK_ID
from edge.tasks.bookmark import read_bookmark
from edge.tasks.bulkhead import Bulkhead
from edge.tasks.request import read_task_id
from edge.ws import wording
from edge.ws.endings import Draining, NoHello, ending_of
from edge.ws.frames import Hello, read_frame
from edge.ws.guest import Guest, stranger
from edge.ws.handshake import accept, check, is_current, upgrade_required
from edge.ws.many import ManyTasks
from edge.ws.one import OneTask
from edge.ws.session import House, Session, Talk
from edge.ws.socket import CLOSE_S, Left, SlowReader, Socket
from schemas.errors import AionError

TICK_S: Final = 1.0
"""How often every socket is looked at: what was revoked has left a tick and a close later."""

STRANGER_SHARE: Final = 0.25
"""Of the places for strangers, for one address."""

Talking: TypeAlias = Callable[[Session, Hello | None], Talk]


class WsDoor:
    """One instance serves all upgrades of an edge."""

    def __init__(self, house: House) -> None:
        self._house = house
        settings = house.settings
        self._settings = settings
        self._open: dict[Session, Talk] = {}
        self.sockets = Bulkhead("sockets", settings.ws.max_sockets, settings.tenant_share)
        self._strangers = Bulkhead("unknown sockets", settings.ws.max_strangers, STRANGER_SHARE, whose="address")
        self.dropped = 0
        """Sockets that were cut off because their client took nothing."""

    async def plain(self, request: web.BaseRequest) -> web.Response:
        """`GET /v1/ws` without an upgrade."""
        return upgrade_required(request)

    async def many(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /v1/ws` by upgrade."""
        check(request)
        return await self._serve(request, lambda session, _hello: ManyTasks(session))

    async def one(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /v1/stream/{id}` by upgrade. Of several resume ids the hello's counts, then the header's."""
        check(request, parameters=("after",))
        task_id = read_task_id(request[TASK_ID])
        last = request.headers.get("Last-Event-ID") or request.query.get("after")
        read_bookmark(last)

        def talk(session: Session, hello: Hello | None) -> Talk:
            said = hello.after if hello is not None else None
            return OneTask(session, task_id, read_bookmark(said or last))

        return await self._serve(request, talk)

    async def watch(self) -> None:
        """Look at every socket again and again; on a drain all of them end."""
        draining = self._house.context.draining
        while not await wait_at_most(draining, TICK_S):
            now_s = asyncio.get_running_loop().time()
            for session, talk in list(self._open.items()):
                session.tick(talk, now_s)
        for session in list(self._open):
            session.socket.end(ending_of(_leaving()))

    async def _serve(self, request: web.BaseRequest, talking: Talking) -> web.StreamResponse:
        if not is_current(request):
            return upgrade_required(request)
        guest = self._house.entry.known(request)
        with ExitStack() as stack, ExitStack() as unknown:
            if guest is not None:
                self._enter(stack, guest)
            else:
                unknown.enter_context(self._strangers.place(self._house.entry.address_of(request)))
            response, socket = await accept(
                request,
                max_frame_bytes=self._settings.max_body_bytes,
                write_timeout_s=self._settings.write_timeout_s,
            )
            hello = None
            try:
                if guest is None:
                    guest, hello = await self._greet(request, socket)
                    unknown.close()
                    self._enter(stack, guest)
                socket.know()
                session = Session(self._house, request, socket, guest)
                talk = talking(session, hello)
            except AionError as error:
                await self._turn_away(request, socket, error)
            except (Left, SlowReader):
                socket.cut()
            else:
                await self._run(session, talk)
            return response

    async def _run(self, session: Session, talk: Talk) -> None:
        self._open[session] = talk
        try:
            await session.run(talk)
        finally:
            del self._open[session]
            self.dropped += session.dropped

    def _enter(self, stack: ExitStack, guest: Guest) -> None:
        """A place for a socket. Raises `Draining`, `TooManyRequests`."""
        if self._house.context.draining.is_set():
            raise _leaving()
        stack.enter_context(self.sockets.place(guest.caller.tenant_id))

    async def _greet(self, request: web.BaseRequest, socket: Socket) -> tuple[Guest, Hello]:
        """Who comes without a credential in the upgrade says who it is. Raises `NoHello`, `Unauthenticated` ..."""
        within_s = self._settings.ws.hello_timeout_s
        try:
            async with timeout(within_s):
                frame = read_frame(await socket.receive(), self._settings.max_depth)
        except TimeoutError:
            raise NoHello(f"nobody said hello within {within_s:g} s") from None
        if not isinstance(frame, Hello):
            raise stranger(frame.type)
        return await self._house.entry.greet(request, frame), frame

    async def _turn_away(self, request: web.BaseRequest, socket: Socket, error: AionError) -> None:
        with suppress(Left, SlowReader, TimeoutError):
            async with timeout(CLOSE_S):
                await socket.say(wording.error(None, wording.problem_of(error, request[REQUEST_ID])))
        await socket.close(ending_of(error))


def _leaving() -> Draining:
    return Draining("this edge is draining: connect again, another takes it", retry_after_s=1)
