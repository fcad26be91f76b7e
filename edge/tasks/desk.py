"""What every door may do with tasks that exist, within the edge's bounds; taking new ones in is `Intake`'s."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from actors.runtime import Context
from bus.questions import LEDGER_LIST
from edge.settings import EdgeSettings
from edge.tasks import following, reading
from edge.tasks.bookmark import START, Bookmark
from edge.tasks.bulkhead import Bulkhead
from edge.tasks.cancel import cancel
from schemas.errors import BusDisconnected, DeadlineExceeded, Unavailable
from schemas.ids import TaskId, TenantId
from schemas.ledger import LedgerList, LedgerPage


class Desk:
    """Reads, cancels and follows; the tenant is part of every look-up, so no check can be forgotten.

    Each call raises `TooManyRequests` at its bound and `BusDisconnected` without a bus, both at once.
    """

    def __init__(self, context: Context, settings: EdgeSettings) -> None:
        self._context = context
        self._settings = settings
        self._reads = Bulkhead("reads", settings.max_reading, settings.tenant_share)
        self.streams = Bulkhead("streams", settings.max_open_streams, settings.tenant_share)

    async def find(self, tenant_id: TenantId, task_id: TaskId) -> reading.Seen:
        """The newest of the task. Raises `NotFound`, alike for unknown tasks and for other tenants', `Unavailable`."""
        with self._reading(tenant_id):
            return await reading.find(self._context.bus, tenant_id, task_id)

    async def history(self, tenant_id: TenantId, task_id: TaskId) -> list[dict[str, Any]]:
        """The task's events that are still in the log, without their params. Raises `NotFound`."""
        with self._reading(tenant_id):
            return await reading.history(self._context.bus, tenant_id, task_id)

    async def page(self, asked: LedgerList) -> LedgerPage:
        """A page of a tenant's tasks from the ledger. Raises `InvalidRequest` for a forged cursor, `Unavailable`."""
        with self._reading(TenantId(asked.tenant_id)):
            try:
                return await self._context.bus.rpc.ask(LEDGER_LIST, asked)
            except DeadlineExceeded as error:
                raise Unavailable("the ledger did not answer in time: ask again", retry_after_s=1.0) from error

    async def cancel(self, tenant_id: TenantId, task_id: TaskId) -> bytes:
        """The canonical result of the task, ended as CANCELED. Raises `CancelTooLate`, `NotFound`, `Unavailable`."""
        with self._reading(tenant_id):
            return await cancel(self._context, tenant_id, task_id, self._settings.accept_timeout_s)

    @contextmanager
    def streaming(self, tenant_id: TenantId) -> Iterator[None]:
        """Room for one stream of the tenant. Raises `Unavailable` on a drain besides."""
        if self._context.draining.is_set():
            raise Unavailable("this edge is draining: connect again, another takes it", retry_after_s=1)
        with self.streams.place(tenant_id):
            self._check_connected()
            yield

    def follow(
        self, tenant_id: TenantId, task_id: TaskId, after: Bookmark = START
    ) -> AbstractAsyncContextManager[following.Following]:
        """The task's stream behind `after`. Raises `NotFound`, alike for unknown tasks and others', `Unavailable`."""
        return following.follow(self._context.bus, tenant_id, task_id, after)

    @contextmanager
    def _reading(self, tenant_id: TenantId) -> Iterator[None]:
        with self._reads.place(tenant_id):
            self._check_connected()
            yield

    def _check_connected(self) -> None:
        if not self._context.bus.connected:
            raise BusDisconnected("the bus is away: try again", retry_after_s=2)
