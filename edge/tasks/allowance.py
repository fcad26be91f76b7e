"""Whoever counts what tasks use stands around their acceptance."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from edge.tasks.acceptance import Taken
from schemas.events import Accepted


class Allowance(Protocol):
    """Reserves what a task may use before it is accepted, and learns whether it was."""

    async def accept(self, event: Accepted, accept: Callable[[], Awaitable[Taken]]) -> Taken:
        """What `accept` gives. Raises what it raises, `TooManyRequests` with `Retry-After`, and `InvalidRequest`."""
        ...
