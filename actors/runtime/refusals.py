"""Who was refused, as audit events: counted and told together, so that noise costs the log next to nothing."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from actors.runtime.actor import Context
from schemas.errors import AionError, Forbidden, Unauthenticated
from schemas.events import AuditEvent
from schemas.identity import SYSTEM
from schemas.ids import TenantId

TELL_S: Final = 10.0
MOST: Final = 32
"""Audit events of one telling. What is past it is counted under one name."""


class Refusal(NamedTuple):
    """Whose credential was refused, as far as that is certain, and why; nothing that a stranger could choose."""

    tenant_id: TenantId
    subject: str
    reason: str


ANONYMOUS: Final = "anonymous"
OTHERS: Final = Refusal(SYSTEM, "others", "more than can be told apart")


def stranger(reason: str) -> Refusal:
    """A refusal of somebody of whom nothing is known."""
    return Refusal(SYSTEM, ANONYMOUS, reason)


class Bearer:
    """Whose credential is being looked at: a stranger's, until a secret or a signature proves more."""

    def __init__(self) -> None:
        self.tenant_id = SYSTEM
        self.subject = ANONYMOUS

    def is_proven(self, tenant_id: str, subject: str) -> None:
        """It is genuine, whether it is still good or not."""
        self.tenant_id, self.subject = TenantId(tenant_id), subject


class Refusals:
    """Counts refusals, and appends at most `MOST` audit events `refused` every `TELL_S`, each with its count."""

    def __init__(self, context: Context, actor: str) -> None:
        self._context = context
        self._actor = actor
        self._counts: Counter[Refusal] = Counter()
        self._untold: AuditEvent | None = None
        self.total = 0

    def note(self, refusal: Refusal) -> None:
        """Count one; asks nobody."""
        self.total += 1
        room = len(self._counts) < MOST - 1 or refusal in self._counts
        self._counts[refusal if room else OTHERS] += 1

    @contextmanager
    def noting(self, doing: str) -> Iterator[Bearer]:
        """Count the refusal that the block raises, as that of whoever was proven in it; of strangers only its code."""
        bearer = Bearer()
        try:
            yield bearer
        except (Unauthenticated, Forbidden) as error:
            reason = error.code if bearer.tenant_id == SYSTEM else error.message
            self.note(Refusal(bearer.tenant_id, bearer.subject, f"{doing}: {reason}"))
            raise

    async def watch(self) -> None:
        """Tell again and again, and once more at the end."""
        try:
            while True:
                await asyncio.sleep(TELL_S)
                await self.tell()
        finally:
            await self.tell()

    async def tell(self) -> None:
        """Append what was counted since the last time. An event that may not be stored is told again, the same."""
        while self._untold is not None or self._counts:
            event = self._untold = self._untold or self._event(*self._counts.popitem())
            try:
                await self._context.bus.log.audit(event)
            except AionError as error:
                self._context.log.warning("refusals_untold", code=error.code, kinds=len(self._counts) + 1)
                return
            self._untold = None

    def _event(self, refusal: Refusal, count: int) -> AuditEvent:
        return AuditEvent(
            event_id=self._context.new_event_id(),
            tenant_id=refusal.tenant_id,
            kind="refused",
            at_ms=self._context.now_ms(),
            actor=self._actor,
            subject=refusal.subject,
            detail={"reason": refusal.reason, "count": str(count)},
        )
