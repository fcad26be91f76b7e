"""A bounded pool of cells: one request in flight per cell, a spare kept warm, broken ones replaced behind."""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType

from executors.wasm.cell_process import CellProcess
from executors.wasm.frames import MAX_FRAME_BYTES, Limits, Reply, Verdict
from executors.wasm.store import InstalledPackage
from schemas.errors import (
    AionError,
    DeadlineExceeded,
    ModuleOutOfMemory,
    ModuleTimeout,
    ModuleTrap,
    OutputTooLarge,
    PayloadTooLarge,
    Unavailable,
)

MAX_INPUT_BYTES = MAX_FRAME_BYTES // 2
MAX_WAITING_PER_CELL = 256
RESPAWN_DELAYS_S = (0.05, 0.2, 1.0)
_FAILURES: dict[Verdict, type[AionError]] = {
    Verdict.TRAP: ModuleTrap,
    Verdict.TIMEOUT: ModuleTimeout,
    Verdict.OUT_OF_MEMORY: ModuleOutOfMemory,
    Verdict.OUTPUT_TOO_LARGE: OutputTooLarge,
    Verdict.NOT_LOADED: Unavailable,
}


@dataclass(frozen=True, slots=True)
class Output:
    """What a guest answered, and what it used inside its cell; fuel is counted only where it is limited."""

    payload: bytes
    fuel_used: int | None
    wall_s: float
    cpu_s: float


class CellPool:
    """`size` requests run at once over `size + 1` processes; the spare hides the start of a replacement.

    An async context manager. Leaving it kills every cell, whatever runs.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a cell pool of {size} cannot run anything: use at least 1")
        self.size = size
        self._slots = asyncio.Semaphore(size)
        self._idle: asyncio.Queue[CellProcess] = asyncio.Queue(maxsize=size + 1)
        self._cells: set[CellProcess] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._waiting = 0

    async def __aenter__(self) -> "CellPool":
        """Start the cells."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.size + 1):
                    group.create_task(self._add())
        except BaseException as error:
            await self._close()
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the cells."""
        await self._close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the live cells."""
        return tuple(sorted(cell.pid for cell in self._cells))

    async def run(self, package: InstalledPackage, payload: bytes, timeout_s: float) -> Output:
        """Call `package` once in a fresh instance; `timeout_s` covers the wait for a cell and the call.

        Raises `DeadlineExceeded` (no cell in time), `Unavailable` (too many wait), `PayloadTooLarge`, or what the guest
        earned: `ModuleTrap`, `ModuleTimeout`, `ModuleOutOfMemory`, `OutputTooLarge`. Cancelling kills the guest.
        """
        if len(payload) > MAX_INPUT_BYTES:
            raise PayloadTooLarge(f"input of {len(payload)} bytes is over the {MAX_INPUT_BYTES} a module may get")
        deadline = time.monotonic() + timeout_s
        await self._enter(deadline, package.name)
        try:
            cell = await self._take(deadline, package.name)
            reply = await self._call(cell, package, payload, deadline)
        finally:
            self._slots.release()
        return _judged(reply, package.name)

    async def _call(self, cell: CellProcess, package: InstalledPackage, payload: bytes, deadline: float) -> Reply:
        entry = package.manifest.spec.entry
        try:
            limits = _limits(package, deadline - time.monotonic())
            reply = await cell.run(entry.abi, package.key, str(package.artifact), limits, payload)
        except BaseException:
            self._replace(cell)
            raise
        self._idle.put_nowait(cell)
        return reply

    async def _enter(self, deadline: float, name: str) -> None:
        if self._waiting >= self.size * MAX_WAITING_PER_CELL:
            raise Unavailable(f"{self._waiting} requests wait for {self.size} WASM cells already", retry_after_s=1.0)
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._slots.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded(f"no WASM cell got free for {name} in time") from error
        finally:
            self._waiting -= 1

    async def _take(self, deadline: float, name: str) -> CellProcess:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                while not (cell := await self._idle.get()).alive:
                    self._replace(cell)
                return cell
        except TimeoutError as error:
            raise DeadlineExceeded(f"no WASM cell was ready for {name} in time") from error

    async def _add(self) -> None:
        cell = await CellProcess.spawn()
        self._cells.add(cell)
        self._idle.put_nowait(cell)

    def _replace(self, cell: CellProcess) -> None:
        cell.kill()
        task = asyncio.get_running_loop().create_task(self._respawn(cell), name="cell-respawn")
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _respawn(self, dead: CellProcess) -> None:
        await dead.reap()
        self._cells.discard(dead)
        attempt = 0
        while True:
            try:
                return await self._add()
            except (OSError, Unavailable):
                await asyncio.sleep(RESPAWN_DELAYS_S[min(attempt, len(RESPAWN_DELAYS_S) - 1)])
                attempt += 1

    async def _close(self) -> None:
        replacing = tuple(self._replacing)
        for task in replacing:
            task.cancel()
        await asyncio.gather(*replacing, return_exceptions=True)
        for cell in self._cells:
            cell.kill()
        await asyncio.gather(*(cell.reap() for cell in self._cells))
        self._cells.clear()


def _limits(package: InstalledPackage, remaining_s: float) -> Limits:
    limits = package.manifest.spec.limits
    return Limits(
        timeout_us=max(1, int(min(remaining_s, limits.timeout_ms / 1000) * 1e6)),
        memory_bytes=limits.memory_mib * 2**20,
        output_bytes=limits.output_kib * 1024,
        fuel=limits.fuel or 0,
    )


def _judged(reply: Reply, name: str) -> Output:
    failure = _FAILURES.get(reply.verdict)
    if failure:
        raise failure(f"{name}: {reply.payload.decode(errors='replace')}")
    return Output(reply.payload, reply.fuel_used or None, reply.wall_us / 1e6, reply.cpu_us / 1e6)
