"""A command's short visit to the bus."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from actors.cli.environment import environment
from actors.runtime.settings import Settings, read_settings
from bus import Bus, BusSettings, open_bus
from bus.port import Question
from bus.waiting import timeout
from schemas.errors import BusDisconnected, DeadlineExceeded, NoResponders, NotFound
from schemas.message import Message

T = TypeVar("T")
Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)
VISIT_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 2.0
"""A person waits, and a server that is there answers in milliseconds."""
ASK_TIMEOUT_S = 10.0
_ASK_AGAIN_S = 0.2


def visit(work: Callable[[Bus], Awaitable[T]], *, timeout_s: float = VISIT_TIMEOUT_S) -> T:
    """What `work` returns for the configured bus. Raises its errors, `Unavailable` and `DeadlineExceeded`."""
    settings = read_settings(environment()).load("nats", BusSettings)
    patience_s = min(CONNECT_TIMEOUT_S, settings.connect_timeout_s)
    try:
        return asyncio.run(within(settings.model_copy(update={"connect_timeout_s": patience_s}), work, timeout_s))
    except BusDisconnected as error:
        raise BusDisconnected(f"{error.message}. Nothing runs here? make run starts it, in AION's folder") from error


async def within(settings: BusSettings, work: Callable[[Bus], Awaitable[T]], timeout_s: float) -> T:
    """As `visit`, for a caller that has a loop and settings."""
    try:
        async with timeout(timeout_s), open_bus(settings) as bus:
            return await work(bus)
    except TimeoutError as error:
        raise DeadlineExceeded(f"no answer within {timeout_s:g} s: is the bus under load? try again") from error


async def ask(bus: Bus, question: Question[Req, Rep], request: Req, *, wait_s: float) -> Rep:
    """The answer, waiting at most `wait_s` for an actor that answers such questions to be there.

    Raises `NoResponders` naming the actor to start, else what the actor raised.
    """
    until_s = time.monotonic() + wait_s
    while True:
        try:
            return await bus.rpc.ask(question, request, timeout_s=ASK_TIMEOUT_S)
        except NoResponders as error:
            if time.monotonic() >= until_s:
                raise NoResponders(f"no {question.actor} actor answers: aionctl run {question.actor}") from error
        await asyncio.sleep(_ASK_AGAIN_S)


def tool(name: str) -> Any:
    """A function that an actor's room offers to the command line. Raises `NotFound` naming what to install."""
    for found in entry_points(group="aion.tools", name=name):
        try:
            return found.load()
        except ModuleNotFoundError as error:
            raise NotFound(f"{name} needs {error.name}: pip install 'aion[all]'") from error
    raise NotFound(f"nothing installed offers {name}: pip install 'aion[all]'")


def section(settings: Settings, name: str) -> Any:
    """A section by its own class, which the command line does not import."""
    return settings.load(name, settings.sections[name]())
