"""When a signing key signs and until when it is believed: pure arithmetic, in Unix milliseconds.

    published ── lead ──> signs ────────────> the next one signs ── access_ttl + leeway ──> gone

No token is ever refused for the rotation: an edge knows a key before the first token that it signs, and until after the
last one has expired.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.identity import LEEWAY_S
from schemas.message import changed
from schemas.registry import SigningKeyRecord


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The lifetimes of `actors.auth.settings.AuthSettings`."""

    access_ms: int
    rotate_every_ms: int
    lead_ms: int

    @property
    def tail_ms(self) -> int:
        """How long after its last signature a key is still needed."""
        return self.access_ms + 2 * LEEWAY_S * 1000


def fresh(kid: str, issuer: str, x: str, now_ms: int, signs_from_ms: int, rhythm: Rhythm) -> SigningKeyRecord:
    """A new key's record. It runs out by itself, so that a key whose owner vanished does not stay for ever."""
    return SigningKeyRecord(
        kid=kid,
        issuer=issuer,
        x=x,
        created_at_ms=now_ms,
        signs_from_ms=signs_from_ms,
        verifies_until_ms=signs_from_ms + rhythm.rotate_every_ms + 2 * rhythm.lead_ms + rhythm.tail_ms,
    )


def signer(records: Iterable[SigningKeyRecord], now_ms: int, rhythm: Rhythm) -> SigningKeyRecord | None:
    """The newest key that may sign now and will outlive what it signs, None when there is none."""
    able = [
        record
        for record in records
        if record.signs_from_ms <= now_ms and now_ms + rhythm.tail_ms <= record.verifies_until_ms
    ]
    return max(able, key=lambda record: (record.signs_from_ms, record.kid), default=None)


def is_due(records: Sequence[SigningKeyRecord], now_ms: int, rhythm: Rhythm) -> bool:
    """Whether the newest key is old enough to be followed by another."""
    return max((record.signs_from_ms for record in records), default=0) + rhythm.rotate_every_ms <= now_ms


def retired(records: Iterable[SigningKeyRecord], next_ms: int, rhythm: Rhythm) -> list[SigningKeyRecord]:
    """Those that are followed by a key which signs from `next_ms` on, with the end that this gives them."""
    ends_ms = next_ms + rhythm.tail_ms
    return [changed(record, verifies_until_ms=ends_ms) for record in records if record.verifies_until_ms > ends_ms]


def over(record: SigningKeyRecord, now_ms: int) -> bool:
    """Whether nobody needs it any more."""
    return now_ms >= record.verifies_until_ms
