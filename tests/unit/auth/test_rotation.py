"""However often and whenever keys are rotated, there is one to sign with and every good token's key is published."""

from hypothesis import given
from hypothesis import strategies as st

from actors.auth.rotation import Rhythm, fresh, is_due, over, retired, signer
from schemas.identity import LEEWAY_S
from schemas.registry import SigningKeyRecord

RHYTHM = Rhythm(access_ms=60_000, rotate_every_ms=600_000, lead_ms=10_000)


def made(kid: str, now_ms: int, from_ms: int) -> SigningKeyRecord:
    return fresh(kid, "aion", "x" * 43, now_ms, from_ms, RHYTHM)


@given(st.lists(st.tuples(st.integers(1, 700_000), st.booleans()), max_size=40))
def test_no_good_token_is_ever_without_its_key(steps: list[tuple[int, bool]]) -> None:
    """Each step lets time pass, tends the keys as the actor does, perhaps rotates by hand, and signs."""
    now, keys = 0, dict[str, SigningKeyRecord]()
    signed: list[tuple[str, int]] = []

    def add(from_ms: int) -> None:
        ended = retired(keys.values(), from_ms, RHYTHM)
        record = made(f"k{len(keys)}-{now}-{from_ms}", now, from_ms)
        keys.update({key.kid: key for key in (*ended, record)})

    for passed_ms, by_hand in steps:
        now += passed_ms
        for record in list(keys.values()):
            if over(record, now):
                del keys[record.kid]
        if signer(keys.values(), now, RHYTHM) is None:
            add(now)
        elif is_due(list(keys.values()), now, RHYTHM):
            add(now + RHYTHM.lead_ms)
        if by_hand:
            add(now + RHYTHM.lead_ms)
        chosen = signer(keys.values(), now, RHYTHM)
        assert chosen is not None
        signed.append((chosen.kid, now + RHYTHM.access_ms + LEEWAY_S * 1000))
        for kid, good_until in signed:
            assert good_until <= now or kid in keys


def test_a_key_signs_only_after_its_lead_and_the_older_one_until_then() -> None:
    old, new = made("old", 0, 0), made("new", 5_000, 15_000)
    assert [signer([old, new], at, RHYTHM) for at in (14_999, 15_000)] == [old, new]


def test_a_key_whose_owner_vanished_is_over_by_itself() -> None:
    alone = made("alone", 0, 0)
    assert not over(alone, RHYTHM.rotate_every_ms + RHYTHM.tail_ms)
    assert over(alone, RHYTHM.rotate_every_ms + 2 * RHYTHM.lead_ms + RHYTHM.tail_ms)
