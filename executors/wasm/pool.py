"""A bounded pool of cells: the emptiest gets the next request; a hanging guest costs no other request its answer."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType

from executors.wasm.cell_process import CellProcess, Doom
from executors.wasm.crew import CellCrew
from executors.wasm.frames import MAX_FRAME_BYTES
from executors.wasm.line import Place
from executors.wasm.request import Output, Request, judged
from executors.wasm.store import InstalledPackage
from schemas.errors import DeadlineExceeded, ModuleTimeout, ModuleTrap, PayloadTooLarge, Unavailable

MAX_INPUT_BYTES = MAX_FRAME_BYTES // 2
MAX_WAITING_PER_CELL = 256
MAX_LOADS = 2
PATROL_S = 0.02


class CellPool:
    """`size` guests run at once over `size + 1` processes; the spare hides the start of a replacement.

    Requests wait here in order; a few more wait at each cell, so that it need not wait for this process between two.
    One that a dead cell took along unstarted goes to another cell; the one that ran never does. An async context
    manager: leaving it kills every cell, whatever runs.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a cell pool of {size} cannot run anything: use at least 1")
        self.size = size
        self._crew = CellCrew(size, self._dispatch_soon, self._lost)
        self._waiting: deque[Request] = deque()
        self._dispatching: asyncio.Handle | None = None
        self._patrolling: asyncio.Handle | None = None
        self._closed = False

    async def __aenter__(self) -> "CellPool":
        """Start the cells."""
        await self._crew.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the cells; whoever still waits gets `Unavailable`."""
        self._closed = True
        for handle in (self._dispatching, self._patrolling):
            if handle:
                handle.cancel()
        for request in self._in_hand():
            request.fail(Unavailable("the WASM cells are being stopped", retry_after_s=1.0))
        await self._crew.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the live cells."""
        return self._crew.pids

    async def run(
        self,
        package: InstalledPackage,
        payload: bytes,
        timeout_s: float,
        said: Callable[[bytes], None] | None = None,
    ) -> Output:
        """Call `package` once in a fresh instance; `timeout_s` covers the wait for a cell and the call.

        `said` gets what the guest says while it runs; it may not block.

        Raises `DeadlineExceeded` (no cell in time), `Unavailable` (too many wait), `PayloadTooLarge`, `PackageInvalid`
        (it does not load), or what the guest earned: `ModuleTrap`, `ModuleTimeout`, `ModuleOutOfMemory`,
        `OutputTooLarge`. Cancelling kills the guest if it runs.
        """
        if len(payload) > MAX_INPUT_BYTES:
            raise PayloadTooLarge(f"input of {len(payload)} bytes is over the {MAX_INPUT_BYTES} a module may get")
        if self._closed or len(self._waiting) >= self.size * MAX_WAITING_PER_CELL:
            raise Unavailable(f"{len(self._waiting)} requests wait for {self.size} WASM cells", retry_after_s=1.0)
        reply = asyncio.get_running_loop().create_future()
        request = Request(package, payload, time.monotonic() + timeout_s, reply, said)
        self._waiting.append(request)
        self._dispatch_soon()
        try:
            return judged(await reply, package.name)
        except asyncio.CancelledError:
            self._withdraw(request)
            raise

    def _withdraw(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
        for cell in self._crew.active:
            if cell.line.abandon(request):
                self._stop(cell, Doom(request, ModuleTrap("cancelled")))
                return

    def _dispatch_soon(self) -> None:
        if self._dispatching is None and not self._closed:
            self._dispatching = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = None
        now = time.monotonic()
        chosen = set()
        while self._waiting and (cell := self._emptiest(now)):
            cell.put(self._waiting.popleft(), now)
            chosen.add(cell)
        for cell in chosen:
            cell.flush()
        if self._patrolling is None and (chosen or self._waiting):
            self._patrolling = asyncio.get_running_loop().call_later(PATROL_S, self._patrol)

    def _emptiest(self, now: float) -> CellProcess | None:
        best, most_room = None, 0
        for cell in self._crew.active:
            room = cell.line.room(now)
            if room > most_room:
                best, most_room = cell, room
        return best

    def _patrol(self) -> None:
        now = time.monotonic()
        for cell in tuple(self._crew.active):
            place = cell.line.overdue(now)
            # Only at the second sight: when this process was late itself, the reply may lie unread.
            if place is not None and place is cell.suspect:
                self._stop(cell, Doom(place.owner, _overslept(place)))
            cell.suspect = place
            for request in cell.line.expired(now):
                cell.line.abandon(request)
                request.fail(_never_started(request))
        for request in [one for one in self._waiting if one.deadline <= now]:
            self._waiting.remove(request)
            request.fail(_never_started(request))
        busy = self._waiting or any(cell.line for cell in self._crew.active)
        self._patrolling = asyncio.get_running_loop().call_later(PATROL_S, self._patrol) if busy else None

    def _stop(self, cell: CellProcess, doom: Doom) -> None:
        cell.kill(doom)
        self._crew.retire(cell)

    def _lost(self, cell: CellProcess) -> None:
        head, again = cell.line.broken()
        if head and head.is_load and not head.abandoned:
            head.owner.loads += 1
            if head.owner.loads < MAX_LOADS:
                again.insert(0, head.owner)
                head = None
        self._waiting.extendleft(request for request in reversed(again) if not request.reply.done())
        self._crew.replace(cell, partial(_blame, head, cell.doom))
        self._dispatch_soon()

    def _in_hand(self) -> list[Request]:
        return [*self._waiting, *(request for cell in self._crew.cells for request in cell.line.owners())]


def _blame(head: Place[Request] | None, doom: Doom | None, how: str) -> None:
    if head is None:
        return
    if head.is_load:
        head.owner.fail(Unavailable(f"a WASM cell died while loading: {how}"))
    elif doom is None:
        head.owner.fail(ModuleTrap(f"the module's cell died: {how}"))
    elif doom.request is head.owner:
        head.owner.fail(doom.error)
    else:  # the doomed one had just answered: this one ran by then, and nobody runs twice here
        head.owner.fail(Unavailable("the module's cell was stopped because of another request"))


def _overslept(place: Place[Request]) -> ModuleTimeout:
    return ModuleTimeout(f"{place.owner.package.name} slept in its host past its {place.timeout_s:g} s")


def _never_started(request: Request) -> DeadlineExceeded:
    return DeadlineExceeded(f"no WASM cell got free for {request.package.name} in time")
