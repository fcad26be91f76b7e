"""What the auth actor decided, for auditors."""

from actors.runtime import Context
from schemas.events import AuditEvent
from schemas.ids import TenantId


class Audit:
    """Appends audit events. What is issued is told before it exists, so nothing is issued that cannot be told."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def tell(self, kind: str, tenant_id: str, subject: str, **detail: str) -> None:
        """Return once it is stored. Raises `LogFull`, `Unavailable`. No secret may be in `detail`."""
        event = AuditEvent(
            event_id=self._context.new_event_id(),
            tenant_id=TenantId(tenant_id),
            kind=kind,
            at_ms=self._context.now_ms(),
            actor="auth",
            subject=subject,
            detail=detail,
        )
        await self._context.bus.log.audit(event)
