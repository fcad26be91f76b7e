"""A socket with a guest on it: reads frames, looks after what was begun for them, and ends in order."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from aiohttp import web

from actors.runtime import Context
from bus.waiting import timeout
from edge.http.answer import REQUEST_ID
from edge.http.problems import internal_members
from edge.settings import EdgeSettings
from edge.tasks.bookmark import Bookmark
from edge.tasks.desk import Desk
from edge.tasks.trace import place_of
from edge.ws import wording
from edge.ws.endings import CRASHED, GONE, Ending, Quiet, TooManyFaults, ending_of
from edge.ws.frames import Frame, FrameInvalid, Hello, read_frame
from edge.ws.guest import Entry, Guest
from edge.ws.socket import CLOSE_S, Left, SlowReader, Socket
from edge.ws.work import Work
from schemas.errors import AionError, Unauthenticated

Told: TypeAlias = Callable[[AionError], Coroutine[Any, Any, None]]
MAX_FAULTS: Final = 16
"""Frames of one socket that are none."""


@dataclass(frozen=True, slots=True)
class House:
    """What all sockets of an edge share."""

    context: Context
    settings: EdgeSettings
    desk: Desk
    entry: Entry
    work: Work


class Talk(Protocol):
    """What a socket is for."""

    @property
    def busy(self) -> bool:
        """Whether anything is followed or being answered."""
        ...

    async def begin(self) -> None:
        """The guest is there."""
        ...

    async def take(self, frame: Frame, size_bytes: int) -> None:
        """Do what a frame asks, or begin it. Raises `AionError` to refuse."""
        ...

    async def leave(self, ending: Ending) -> None:
        """Tell what has to be told before the socket ends so."""
        ...


class Session:
    """Runs a talk over a socket. All that is begun here ends with it."""

    def __init__(self, house: House, request: web.BaseRequest, socket: Socket, guest: Guest) -> None:
        self.house = house
        self.request = request
        self.socket = socket
        self.guest = guest
        self.turn = asyncio.Lock()
        """Held by the one of its subscriptions that reads: only one task's items are read and not sent yet."""
        self.dropped = False
        """Whether it was cut off because its client took nothing."""
        self._group = asyncio.TaskGroup()
        self._begun: set[asyncio.Task[None]] = set()
        self._faults = 0
        self._asked_s = socket.heard_s
        self._pinged = False

    async def run(self, talk: Talk) -> None:
        """Until it ends, which the client is told as far as it listens."""
        async with self._group as group:
            reading = group.create_task(self._guarded(self._read(talk), self.end_for))
            ending = await self.socket.ending
            with suppress(Left, SlowReader, TimeoutError):
                await talk.leave(ending)
                async with timeout(CLOSE_S):
                    await self._say_why(ending)
            reading.cancel()
            await asyncio.wait([reading])
            await self.socket.close(ending)
            for task in self._begun:
                task.cancel()

    def tick(self, talk: Talk, now_s: float) -> None:
        """Look whether the credential still holds, the client lives, and anything is wanted."""
        limits = self.house.settings.ws
        try:
            self.guest.check()
        except Unauthenticated as error:
            self.socket.end(ending_of(error))
        quiet_s = now_s - self.socket.heard_s
        if quiet_s > limits.ping_s + limits.pong_timeout_s:
            self.socket.end(ending_of(Quiet("no answer came to a ping: connect again")))
        elif quiet_s > limits.ping_s and not self._pinged:
            self.begin(self.socket.ping(), self.end_for)
        self._pinged = quiet_s > limits.ping_s
        if talk.busy:
            self._asked_s = now_s
        elif now_s - self._asked_s > limits.idle_timeout_s:
            self.socket.end(ending_of(Quiet("nothing was asked or followed for too long: connect when there is")))

    def begin(self, doing: Coroutine[Any, Any, None], failed: Told) -> "asyncio.Task[None]":
        """Do it beside the rest; `failed` is told of an error of AION's tree."""
        task = self._group.create_task(self._guarded(doing, failed))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    async def refuse(self, frame_id: str | None, error: AionError, mark: Bookmark | None = None) -> None:
        """Say that something was refused or went wrong. With a mark it ends a subscription."""
        problem = wording.problem_of(error, self.request[REQUEST_ID])
        await self.socket.say(wording.error(frame_id, problem, mark))

    async def end_for(self, error: AionError) -> None:
        """Let it end for this error."""
        self.socket.end(ending_of(error))

    async def _read(self, talk: Talk) -> None:
        await talk.begin()
        while True:
            data = await self.socket.receive()
            self._asked_s = self.socket.heard_s
            try:
                frame = read_frame(data, self.house.settings.max_depth)
            except FrameInvalid as error:
                await self.refuse(error.frame_id, error)
                self._count_fault()
            else:
                await self._take(talk, frame, len(data))

    async def _take(self, talk: Talk, frame: Frame, size_bytes: int) -> None:
        try:
            await talk.take(frame, size_bytes)
        except AionError as error:
            await self.refuse(None if isinstance(frame, Hello) else frame.id, error)

    async def _guarded(self, doing: Coroutine[Any, Any, None], failed: Told) -> None:
        try:
            try:
                await doing
            except AionError as error:
                await failed(error)
        except SlowReader:
            self._drop()
        except Left:
            self.socket.end(GONE)
        except Exception as error:
            self._crash(error)

    def _count_fault(self) -> None:
        self._faults += 1
        if self._faults >= MAX_FAULTS:
            raise TooManyFaults(f"{self._faults} frames were none: read docs/websocket.md")

    def _drop(self) -> None:
        after_s = self.house.settings.write_timeout_s
        self.dropped = True
        self.house.context.log.warning("edge.slow_reader_dropped", after_s=after_s)
        self.socket.cut()
        self.socket.end(GONE)

    def _crash(self, error: Exception) -> None:
        request_id, at = self.request[REQUEST_ID], place_of(error)
        self.house.context.log.error("edge.socket_crashed", request_id=request_id, error=type(error).__name__, at=at)
        self.socket.end(Ending(CRASHED))

    async def _say_why(self, ending: Ending) -> None:
        request_id = self.request[REQUEST_ID]
        if ending.error is not None:
            await self.refuse(None, ending.error)
        elif ending.code == CRASHED:
            await self.socket.say(wording.error(None, internal_members(request_id)))
