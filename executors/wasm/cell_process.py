"""The parent's side of one cell: a process, its socket, its line, and which packages it has loaded."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from bus.waiting import timeout
from executors.wasm.child import start_child
from executors.wasm.frames import FrameError, Verdict, decode_reply, encode_request
from executors.wasm.line import Line, Place
from executors.wasm.request import Request
from executors.wasm.wire import Wire
from schemas.errors import AionError, Unavailable

SPAWN_TIMEOUT_S = 20.0
LOAD_TIMEOUT_S = 20.0
REAP_TIMEOUT_S = 5.0
DYING_S = 0.05
LINE_DEPTH = 4
"""Requests at one cell: enough that it never waits for its parent, few enough that little waits behind a slow guest."""


class Doom(NamedTuple):
    """Why a cell was killed: for whose sake, and the error that this request gets if it still runs by then."""

    request: Request
    error: AionError


class CellProcess:
    """A live cell. `on_reply` is called after every reply, `on_end` once it has died and its last reply was heard."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        peer: socket.socket,
        on_reply: Callable[[], None],
        on_end: Callable[["CellProcess"], None],
    ) -> None:
        self.line: Line[Request] = Line(LINE_DEPTH)
        self.suspect: Place[Request] | None = None
        self.doom: Doom | None = None
        self._process = process
        self._on_reply = on_reply
        self._on_end = on_end
        self._loaded: set[bytes] = set()
        self._frames: list[bytes] = []
        self._ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._wire = Wire(peer, self._hear, self._end)

    @classmethod
    async def spawn(cls, on_reply: Callable[[], None], on_end: Callable[["CellProcess"], None]) -> "CellProcess":
        """Start a cell and wait until it is ready; `Unavailable` when it is not in time."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await start_child(
                    "executors.wasm.cell", str(theirs.fileno()),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=None, pass_fds=(theirs.fileno(),),
                )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        cell = cls(process, ours, on_reply, on_end)
        try:
            async with timeout(SPAWN_TIMEOUT_S):
                started = await cell._ready
        except BaseException as error:
            await cell.reap()
            if isinstance(error, TimeoutError):
                raise Unavailable(f"a WASM cell did not start within {SPAWN_TIMEOUT_S:g} s") from error
            raise
        if not started:
            raise Unavailable(f"a WASM cell did not start: {await cell.reap()}")
        return cell

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def put(self, request: Request, now: float) -> None:
        """Put it at the end of the line, behind a load if it is the first of its package; `flush` sends it."""
        if request.package.key not in self._loaded:
            self._loaded.add(request.package.key)
            self.line.add(Place(request, LOAD_TIMEOUT_S, is_load=True), now)
            self._frames.append(encode_request(request.load()))
        timeout_s = request.package.manifest.spec.limits.timeout_ms / 1000
        self.line.add(Place(request, timeout_s, request.deadline), now)
        self._frames.append(encode_request(request.run()))

    def flush(self) -> None:
        """Send what was put since, in one write."""
        self._wire.send(self._frames)
        self._frames.clear()

    def kill(self, doom: Doom | None = None) -> None:
        """End it now, because of `doom`; `on_end` follows. Safe at any time and more than once."""
        self.doom = self.doom or doom
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def reap(self) -> str:
        """Kill it, collect the process, close the socket, and say how it ended."""
        if self.doom is None:
            await self._exited(DYING_S)  # it hung up by itself just now: let it say how it ended
        self.kill()
        await self._exited(REAP_TIMEOUT_S)
        self._wire.close()
        status = self._process.returncode
        return f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"

    async def _exited(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with timeout(timeout_s):
                await self._process.wait()

    def _hear(self, body: bytes) -> None:
        reply = decode_reply(body)
        if not self._ready.done():
            self._ready.set_result(True)
            return
        if reply.verdict is Verdict.SAID:
            self._hear_saying(reply.payload)
            return
        try:
            place = self.line.answered(time.monotonic())
        except IndexError as error:
            raise FrameError("a reply that nothing was asked for") from error
        if not place.is_load:
            place.owner.succeed(reply)
        self._on_reply()

    def _hear_saying(self, text: bytes) -> None:
        head = self.line.head
        if head is None or head.is_load:
            raise FrameError("a saying while nothing runs")
        if head.owner.said is not None and not head.abandoned:
            head.owner.said(text)

    def _end(self) -> None:
        if self._ready.done():
            self._on_end(self)
        else:
            self._ready.set_result(False)
