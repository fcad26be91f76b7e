"""The actor: what a room implements, and what the runtime gives it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from structlog.typing import FilteringBoundLogger

from bus.port import Answer, Bus, Delivery
from bus.settings import KEEP_S
from bus.subjects import Cursor
from schemas.ids import EventId, uuid7


class GiveBack(Exception):
    """Raised by a handler: not now, let any replica try again after `delay_s`."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"again in {delay_s} s")
        self.delay_s = delay_s


@dataclass(frozen=True, slots=True)
class Work:
    """A share of the work queue: the runtime takes up to `slots` deliveries and runs `handler` on each.

    Returning answers the delivery, after the handler appended what the work caused. `GiveBack` returns it; any
    other exception is logged and returns it with a growing delay. Where there is a `give_up`, it answers what several
    processes were lost with (`actors.runtime.suspects`).
    """

    cursor: Cursor
    handler: Callable[[Delivery], Awaitable[None]]
    slots: int
    give_up: Callable[[Delivery], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What every actor is given: ports, time, randomness and a logger. Nothing else reaches outside."""

    bus: Bus
    instance: str
    log: FilteringBoundLogger
    now_ms: Callable[[], int]
    rng: random.Random = field(default_factory=random.Random)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    keep_s: float = KEEP_S
    """The log's window (`AION_NATS__KEEP_S`)."""
    worked_s: Callable[[], float] = time.thread_time
    """Seconds that this process has worked, for whoever measures itself: on a loop in virtual time they are too."""

    @property
    def longest_task_s(self) -> float:
        """The most time a task may have: half of the window, so that no open task leaves the log (DESIGN section 1)."""
        return self.keep_s / 2

    def new_event_id(self) -> EventId:
        """A fresh time-ordered id."""
        return EventId(uuid7(self.now_ms(), self.rng.randbytes(10)))


class NoSettings(BaseModel):
    """The settings of an actor that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Actor:
    """One independent role on the bus. Subclasses override what they need; the defaults do nothing.

    The supervisor enters `lifespan`, appears in discovery, serves `answers`, takes `works`, and runs `run`.
    On drain it sets `context.draining`, stops taking, finishes what is in flight within the grace, gives the
    rest back, ends `run`, and leaves `lifespan`.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""
    settings_type: ClassVar[type[BaseModel]] = NoSettings
    section: ClassVar[str | None] = None
    """Where its settings stand (`AION_<SECTION>__<FIELD>`); None: under the actor's name."""
    further: ClassVar[Mapping[str, type[BaseModel]]] = {}
    """Further sections that it reads; its constructor takes them after its own settings, in this order."""

    def __init__(self, context: Context, settings: Any) -> None:
        self.context = context
        self.settings = settings

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open what the actor owns alone; left only after the drain."""
        yield

    def works(self) -> Sequence[Work]:
        """The cursors to take from; asked once, inside `lifespan`."""
        return ()

    def answers(self) -> Sequence[Answer[Any, Any]]:
        """The questions to answer; asked once, inside `lifespan`."""
        return ()

    async def run(self) -> None:
        """A loop of the actor's own. It must return soon after `context.draining` is set, else it is cancelled.

        Returning earlier is fine; raising ends the process, which its supervisor starts again.
        """

    def ready(self) -> str | None:
        """None when the actor can do its work, else what it waits for."""
        return None

    def status(self) -> Mapping[str, object]:
        """Figures for discovery (`nats micro stats`, `aionctl ls`)."""
        return {}
