"""The lease of a delivery: the sequence of the event it answers (DESIGN section 1)."""

from bus.port import Delivery, Log
from schemas.ids import TaskId, TenantId

FRESH_S = 5.0


async def still_due(log: Log, delivery: Delivery, tenant_id: TenantId, task_id: TaskId, now_ns: int) -> bool:
    """Whether the delivered event is still the task's last, so that its work is still to be done.

    A first delivery of a young event is taken on trust, without a round trip: the append that answers it is
    guarded by compare-and-set all the same, so trust costs at most wasted work.
    """
    young = now_ns - delivery.entry.at_ns < FRESH_S * 1e9
    if delivery.delivered == 1 and young:
        return True
    last = await log.last(tenant_id, task_id)
    return last is None or last.sequence <= delivery.entry.sequence  # older only where a replica lags behind
