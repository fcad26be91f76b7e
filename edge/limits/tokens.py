"""Tokens of language models: reserved before a task is accepted, settled when it has ended.

A request says how many it needs only roughly, so it is debited an estimate, and corrected by what the end reports.
Every edge hears of every end, so it settles what it reserved whether somebody waits or not. What it does not hear of
stays counted as it was estimated (the edge was restarted, or away from the bus at that moment): never for free.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from edge.limits.bucket import Reservation
from edge.limits.limits import Limits
from edge.tasks.acceptance import Taken
from edge.tasks.catalogue import Catalogue, Speech
from schemas.errors import Conflict, InvalidRequest, LogFull
from schemas.events import Accepted, EndedInBrief, Outcome, read_ended_in_brief
from schemas.ids import TaskId, TenantId
from schemas.message import Unreadable, encode

BYTES_OF_TOKEN: Final = 3
"""Of UTF-8: English has about four, Chinese and Japanese three, source code less than four."""
MOST: Final = 20_000
"""Reservations that wait for their task's end; of more the oldest stays as it was estimated."""
AT_ONCE: Final = 64


def estimate(params: dict[str, Any], speech: Speech, answer_tokens: int) -> int:
    """Tokens of a request, at least 1: its params as text, and the longest answer it allows, else `answer_tokens`."""
    asked = math.ceil(len(encode(params)) / BYTES_OF_TOKEN)
    if speech == "reads":
        return asked
    for name in ("max_completion_tokens", "max_tokens"):
        most = params.get(name)
        if isinstance(most, int) and not isinstance(most, bool) and most > 0:
            return asked + most
    return asked + answer_tokens


def used_of(ended: EndedInBrief, reserved: int) -> int:
    """What a task counts for. Of an engine that did not come to an end nobody knows what it used before."""
    if ended.outcome is Outcome.COMPLETED or ended.engine_name is None:
        return ended.usage.tokens
    return max(ended.usage.tokens, reserved)


class _Held:
    """A reservation between acceptance and end, which may be heard of in either order."""

    __slots__ = ("accepted", "reservation", "used")

    def __init__(self, reservation: Reservation) -> None:
        self.reservation = reservation
        self.accepted = False
        self.used: int | None = None


class TokenAllowance:
    """An `edge.tasks.allowance.Allowance`; `watch` must run for anything to be settled."""

    def __init__(self, limits: Limits, catalogue: Catalogue, answer_tokens: int) -> None:
        self._limits = limits
        self._catalogue = catalogue
        self._answer_tokens = answer_tokens
        self._held: dict[str, list[_Held]] = {}
        self._due: list[tuple[Reservation, int]] = []
        self._wake = asyncio.Event()

    async def accept(self, event: Accepted, accept: Callable[[], Awaitable[Taken]]) -> Taken:
        """A replay and a definite refusal give all back; what may have been stored counts."""
        speech = self._catalogue.speech(event.brief.intent)
        if speech is None:
            return await accept()
        tokens = estimate(event.params, speech, self._answer_tokens)
        held = _Held(await self._limits.reserve(event.tenant_id, tokens))
        task, counts = f"{event.tenant_id}.{event.task_id}", True
        self._hold(task, held)
        try:
            taken = await accept()
            counts = not taken.replayed
        except (Conflict, InvalidRequest, LogFull):
            counts = False
            raise
        finally:
            self._decide(task, held, counts=counts)
        return taken

    def ended(self, tenant_id: TenantId, task_id: TaskId, data: bytes) -> None:
        """The live feed's callback."""
        task = f"{tenant_id}.{task_id}"
        waiting = self._held.get(task)
        if not waiting:
            return
        try:
            ended = read_ended_in_brief(data)
        except Unreadable:
            return
        for held in tuple(waiting):
            held.used = used_of(ended, held.reservation.bucket.cost)
            if held.accepted:
                self._settle(task, held, held.used)

    async def watch(self) -> None:
        """Settle what is due, some at a time, so that they share a round to Redis."""
        while True:
            await self._wake.wait()
            now, self._due = self._due[:AT_ONCE], self._due[AT_ONCE:]
            if not self._due:
                self._wake.clear()
            async with asyncio.TaskGroup() as group:
                for reservation, used in now:
                    group.create_task(self._limits.settle(reservation, used))

    def _hold(self, task: str, held: _Held) -> None:
        self._held.setdefault(task, []).append(held)
        while len(self._held) > MOST:
            del self._held[next(iter(self._held))]

    def _decide(self, task: str, held: _Held, *, counts: bool) -> None:
        """The task is this submission's, or it is not; its end may have been heard of already."""
        held.accepted = True
        used = held.used if counts else 0
        if used is not None:
            self._settle(task, held, used)

    def _settle(self, task: str, held: _Held, used: int) -> None:
        waiting = self._held.get(task, [])
        if held in waiting:
            waiting.remove(held)
            if not waiting:
                del self._held[task]
            self._due.append((held.reservation, used))
            self._wake.set()
