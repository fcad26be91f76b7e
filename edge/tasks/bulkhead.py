"""A bound on how many requests of one kind are open at once, over all tenants and for each of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import TooManyRequests
from schemas.ids import TenantId


class Bulkhead:
    """Counts what is inside and refuses at once when full; nothing queues here.

    `share` of the places, at least one, may be one tenant's: the rest stays for the others.
    """

    def __init__(self, kind: str, limit: int, share: float) -> None:
        self._kind = kind
        self._limit = limit
        self._limit_of_one = max(1, int(limit * share))
        self._of_tenant: dict[TenantId, int] = {}
        self.inside = 0
        self._left = asyncio.Event()

    @contextmanager
    def place(self, tenant_id: TenantId) -> Iterator[None]:
        """A place while in the block. Raises `TooManyRequests` with `Retry-After` when there is none."""
        self.enter(tenant_id)
        try:
            yield
        finally:
            self.leave(tenant_id)

    def enter(self, tenant_id: TenantId) -> None:
        """Take a place, to be given back by `leave`. Raises `TooManyRequests` as `place` does."""
        if self.inside >= self._limit:
            raise TooManyRequests(f"{self._limit} {self._kind} are open, the limit: come back later", retry_after_s=1)
        inside = self._of_tenant.get(tenant_id, 0)
        if inside >= self._limit_of_one:
            message = f"{inside} {self._kind} of this tenant are open, the limit of one: come back later"
            raise TooManyRequests(message, retry_after_s=1)
        self._of_tenant[tenant_id] = inside + 1
        self.inside += 1

    def leave(self, tenant_id: TenantId) -> None:
        """Give the place back."""
        self.inside -= 1
        inside = self._of_tenant.pop(tenant_id) - 1
        if inside:
            self._of_tenant[tenant_id] = inside
        self._left.set()

    async def empty(self) -> None:
        """Returns once nothing is inside."""
        while self.inside:
            self._left.clear()
            await self._left.wait()
