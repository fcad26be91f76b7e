"""An event loop without sockets, threads or real time: virtual seconds, and a seed that says whose turn it is.

Callbacks belong to processes (`Process`), by the context they run in. Each process runs its own callbacks in the order
asyncio promises; which process goes next is drawn from the seed. A process can be stopped, as by SIGSTOP, and killed:
from one callback to the next it does nothing more.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

from simulation.network import Network

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEP_S = 2e-6
"""What one callback takes. Time passes even where nobody waits, so a loop that spins is seen by its timers."""
MOST_STEPS = 200_000
"""Far more than any seed needs: past it something spins."""


FINISH_S = 600.0


class Stuck(Exception):
    """Nothing can happen any more, or the same things happen for ever."""


class Process:
    """What runs and dies together. `ready` keeps what it would do next, also while it is stopped or dead."""

    __slots__ = ("dead", "die", "halted", "name", "ready", "resumed", "steps")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Turn] = deque()
        self.halted = False
        self.dead = False
        self.resumed = 0
        self.steps = 0
        self.die: Callable[[str], None] = lambda _: None
        """What its own work does to it, by name."""

    def worked_s(self) -> float:
        """What its callbacks have taken so far."""
        return self.steps * STEP_S

    def context(self) -> Context:
        """A context whose callbacks belong to this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return context


PROCESS: ContextVar[Process] = ContextVar("process")


class Turn(asyncio.TimerHandle):
    """A callback in its process's line; asyncio's own handles keep more than is asked for here."""

    __slots__ = ("arguments", "callback", "context", "due_s", "process")

    def __init__(
        self, due_s: float, callback: Callable[..., object], arguments: Sequence[Any], context: Context | None
    ) -> None:
        self.due_s = due_s
        self.callback = callback
        self.arguments = arguments
        self.context = context or copy_context()
        self.process = self.context[PROCESS]
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self.due_s


class NumberedTask(asyncio.Task[T]):
    """A task that hashes by number, not by address: sets of tasks are walked in the same order in every run."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], number: int, **kwargs: Any) -> None:
        self._number = number
        self.process = (kwargs.get("context") or copy_context())[PROCESS]
        super().__init__(coroutine, **kwargs)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """`asyncio` on virtual time. Only what actors need is there: reaching for a socket or a thread raises."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._random = rng.random
        self._now_s = 0.0
        self._outside = Process("outside").context()
        self._turns: list[Process] = []  # running, with something ready
        self._due: list[tuple[float, int, Turn]] = []
        self._over = False
        self._numbers = 0
        self._every_task: list[NumberedTask[Any]] = []
        self._halted: list[Process] = []
        self.network = Network(self)
        self.steps = 0
        self._most_steps = MOST_STEPS
        self.unhandled: list[str] = []
        """What nobody caught: exceptions in callbacks, and of tasks that nobody asked."""
        self.set_exception_handler(lambda _, about: self.unhandled.append(_described(about)))

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See `asyncio.loop.call_soon`; first in, first out within one process only."""
        turn = Turn(self._now_s, callback, args, context)
        self._enqueue(turn)
        return turn

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_at`."""
        turn = Turn(when, callback, args, context)
        self._numbers += 1
        heapq.heappush(self._due, (when, self._numbers, turn))
        return turn

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_later`."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> Any:
        """See `asyncio.loop.create_task`."""
        self._numbers += 1
        name = name or f"t{self._numbers}"
        task: NumberedTask[Any] = NumberedTask(coro, self._numbers, loop=self, name=str(name), context=context)
        self._every_task.append(task)
        return task

    def stop(self) -> None:
        """See `asyncio.loop.stop`."""
        super().stop()
        self._over = True

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], Any], *args: *Ts) -> Any:
        """Threads run in an order that no seed decides."""
        raise RuntimeError(f"{func} was to run in a thread: a simulation has none")

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Listen in the virtual network."""
        return self.network.listen(protocol_factory, str(host), int(port))

    def stop_process(self, process: Process) -> None:
        """SIGSTOP."""
        self._halt(process)

    def resume_process(self, process: Process) -> int:
        """SIGCONT: how many callbacks had been waiting. Nobody told the process that time went by."""
        if process.dead or not process.halted:
            return 0
        process.halted = False
        process.resumed += 1
        if process.ready:
            self._turns.append(process)
        return len(process.ready)

    def kill_process(self, process: Process) -> None:
        """SIGKILL."""
        process.dead = True
        self._halt(process)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What `coroutine` returns, run in a process that nothing happens to."""
        return self._outside.run(self.run_until_complete, coroutine)

    def finish(self) -> list[str]:
        """End every task, also of dead processes, so that none is destroyed while it waits: what was unhandled."""
        for process in self._halted:
            if process.halted:
                process.halted = False
                if process.ready:
                    self._turns.append(process)
        for task in self._every_task:
            if task.done() and not task.cancelled() and task._log_traceback and not task.process.dead:
                self.unhandled.append(f"{_name(task)}: {task.exception()!r}")
        unhandled = self.unhandled[:]
        left = [task for task in self._every_task if not task.done()]
        for task in left:
            task.cancel()
        self._most_steps = self.steps + MOST_STEPS
        if left:
            self.run(asyncio.wait(left, timeout=FINISH_S))
        unhandled += [f"{_name(task)} does not end when it is cancelled" for task in left if not task.done()]
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()  # nobody will ask any more
        self._every_task.clear()
        return unhandled

    def _halt(self, process: Process) -> None:
        process.halted = True
        self._halted.append(process)
        if process in self._turns:
            self._turns.remove(process)

    def _enqueue(self, turn: Turn) -> None:
        process = turn.process
        process.ready.append(turn)
        if len(process.ready) == 1 and not process.halted:
            self._turns.append(process)

    def _run_once(self) -> None:
        """What `run_forever` calls: goes on until `stop`."""
        turns, due, random = self._turns, self._due, self._random
        while not self._over:
            if due and (not turns or due[0][0] <= self._now_s):
                self._wake()
                continue
            if not turns:
                raise Stuck("nothing is left to run")
            index = int(random() * len(turns))
            process = turns[index]
            turn = process.ready.popleft()
            if not process.ready:
                turns[index] = turns[-1]
                turns.pop()
            if not turn._cancelled:
                self._take(turn)
        self._over = False

    def _take(self, turn: Turn) -> None:
        self._now_s += STEP_S
        self.steps += 1
        turn.process.steps += 1
        try:
            turn.context.run(turn.callback, *turn.arguments)
        except Exception as error:
            self.unhandled.append(f"{turn.process.name}: {error!r} in {turn.callback}")
        if self.steps > self._most_steps:
            raise Stuck(f"{MOST_STEPS} callbacks ran: something spins, last in {turn.process.name}")

    def _wake(self) -> None:
        """Go to the next moment for which something was planned."""
        when, _, turn = heapq.heappop(self._due)
        if not turn._cancelled:
            self._now_s = max(self._now_s, when)
            self._enqueue(turn)


def _name(task: NumberedTask[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_name()))


def _described(about: dict[str, Any]) -> str:
    error = about.get("exception")
    return f"{about.get('message')}: {error!r}" if error is not None else str(about.get("message"))
