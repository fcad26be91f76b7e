"""The cells of a pool: so many at work, one spare, and a new one started for each that dies."""

import asyncio
from collections.abc import Callable

from executors.wasm.cell_process import CellProcess
from schemas.errors import Unavailable

RESPAWN_DELAYS_S = (0.05, 0.2, 1.0)


class CellCrew:
    """`active` cells take requests. `on_room` is called when one may take more, `on_end` when one is gone."""

    def __init__(self, size: int, on_room: Callable[[], None], on_end: Callable[[CellProcess], None]) -> None:
        self.active: list[CellProcess] = []
        self._size = size
        self._on_room = on_room
        self._on_end = on_end
        self._spares: list[CellProcess] = []
        self._cells: set[CellProcess] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def cells(self) -> tuple[CellProcess, ...]:
        """All cells, also the spare and those that are dying."""
        return tuple(self._cells)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of all cells, the spare included."""
        return tuple(sorted(cell.pid for cell in self._cells))

    async def start(self) -> None:
        """Start all of them; raises the first error when one cannot be started."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._size + 1):
                    group.create_task(self._add())
        except BaseException as error:
            await self.close()
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from error
            raise

    def retire(self, cell: CellProcess) -> None:
        """Give it no more work; the spare takes its place at once."""
        for group in (self.active, self._spares):
            if cell in group:
                group.remove(cell)
        if self._spares and len(self.active) < self._size:
            self.active.append(self._spares.pop())
            self._on_room()

    def replace(self, cell: CellProcess, on_reaped: Callable[[str], None]) -> None:
        """Collect the dead cell, tell how it ended, and start another; nothing of that once closed."""
        if self._closed:
            return
        self.retire(cell)
        task = asyncio.get_running_loop().create_task(self._replace(cell, on_reaped), name="cell-respawn")
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def close(self) -> None:
        """Kill all of them, for good."""
        self._closed = True
        replacing = tuple(self._replacing)
        for task in replacing:
            task.cancel()
        await asyncio.gather(*replacing, return_exceptions=True)
        for cell in self._cells:
            cell.kill()
        await asyncio.gather(*(cell.reap() for cell in self._cells))
        self._cells.clear()
        self.active.clear()
        self._spares.clear()

    async def _add(self) -> None:
        cell = await CellProcess.spawn(self._on_room, self._on_end)
        self._cells.add(cell)
        if len(self.active) < self._size:
            self.active.append(cell)
            self._on_room()
        else:
            self._spares.append(cell)

    async def _replace(self, dead: CellProcess, on_reaped: Callable[[str], None]) -> None:
        how = "stopped"
        try:
            how = await dead.reap()
        finally:  # also when the crew is closed meanwhile: somebody waits to hear it
            on_reaped(how)
        self._cells.discard(dead)
        attempt = 0
        while True:
            try:
                return await self._add()
            except (OSError, Unavailable):
                await asyncio.sleep(RESPAWN_DELAYS_S[min(attempt, len(RESPAWN_DELAYS_S) - 1)])
                attempt += 1
