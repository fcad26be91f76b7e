"""Tasks that this edge accepted and that have not ended, for each tenant: one may not fill the work queue for all."""

import asyncio
from collections.abc import Callable
from typing import Final

from schemas.errors import TooManyRequests
from schemas.events import Accepted
from schemas.ids import TaskId, TenantId

GRACE_MS: Final = 5_000
"""A task has ended so long after its deadline, whether this edge heard of it or not."""
RETRY_S: Final = 2.0
TIDY_S: Final = 60.0


class OpenTasks:
    """Counts by the tasks' own names, so that an end heard twice or never leaves nothing wrong for good.

    Each edge knows its own: after a restart it begins with none, and of N edges each lets a tenant have `most`.
    """

    def __init__(self, most: int, now_ms: Callable[[], int]) -> None:
        self._most = most
        self._now_ms = now_ms
        self._deadlines_ms: dict[TenantId, dict[TaskId, int]] = {}

    def check(self, tenant_id: TenantId) -> None:
        """Raise `TooManyRequests` with `Retry-After` when the tenant has as many as it may."""
        of_tenant = self._deadlines_ms.get(tenant_id)
        if of_tenant is None or len(of_tenant) < self._most:
            return
        self._forget_late(tenant_id, of_tenant)
        if len(of_tenant) >= self._most:
            message = f"{len(of_tenant)} tasks of this tenant are open, the limit of one: come back later"
            raise TooManyRequests(message, retry_after_s=RETRY_S)

    def add(self, event: Accepted) -> bool:
        """Count the task, before its end can be heard. False when it was counted already."""
        of_tenant = self._deadlines_ms.setdefault(event.tenant_id, {})
        if event.task_id in of_tenant:
            return False
        of_tenant[event.task_id] = event.brief.deadline_ms
        return True

    def ended(self, tenant_id: TenantId, task_id: TaskId, _data: bytes) -> None:
        """The live feed's callback."""
        self.remove(tenant_id, task_id)

    async def watch(self) -> None:
        """Forget those whose end was never heard, again and again."""
        while True:
            await asyncio.sleep(TIDY_S)
            for tenant_id, of_tenant in list(self._deadlines_ms.items()):
                self._forget_late(tenant_id, of_tenant)

    @property
    def total(self) -> int:
        """How many are counted, of all tenants."""
        return sum(map(len, self._deadlines_ms.values()))

    def of(self, tenant_id: TenantId) -> int:
        """How many of the tenant are counted."""
        return len(self._deadlines_ms.get(tenant_id, ()))

    def remove(self, tenant_id: TenantId, task_id: TaskId) -> None:
        """It has ended, or is no task of this edge after all."""
        of_tenant = self._deadlines_ms.get(tenant_id)
        if of_tenant is not None and of_tenant.pop(task_id, None) is not None and not of_tenant:
            del self._deadlines_ms[tenant_id]

    def _forget_late(self, tenant_id: TenantId, of_tenant: dict[TaskId, int]) -> None:
        past_ms = self._now_ms() - GRACE_MS
        for task_id in [task_id for task_id, deadline_ms in of_tenant.items() if deadline_ms < past_ms]:
            self.remove(tenant_id, task_id)
