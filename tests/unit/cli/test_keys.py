"""API keys: what is minted parses and verifies, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import keys
from schemas.errors import Misconfigured, Unauthenticated, Unavailable
from schemas.ids import TenantId
from schemas.message import changed, encode

RANDOM = bytes(range(keys.RANDOM_BYTES))
TENANT = TenantId("demo")


@given(st.binary(min_size=keys.RANDOM_BYTES, max_size=keys.RANDOM_BYTES))
def test_a_minted_key_parses_and_verifies(random_bytes: bytes) -> None:
    text, record = keys.mint(TENANT, 1000, random_bytes)
    parsed = keys.parse(text)
    assert parsed.key_id == record.key_id
    keys.verify(parsed, record, 2000)


@given(st.integers(min_value=0, max_value=68), st.sampled_from("0AZaz_ \n-"))
def test_one_changed_character_is_refused_without_a_look_up(position: int, character: str) -> None:
    text, _ = keys.mint(TENANT, 1000, RANDOM)
    changed = text[:position] + character + text[position + 1 :]
    if changed != text:
        with pytest.raises(Unauthenticated):
            keys.parse(changed)


@pytest.mark.parametrize(
    "text", ["", "aion", "aion_a_b_c", "sk-" + "a" * 48, "aion_" + "é" * 13 + "_" + "a" * 43 + "_000000"]
)
def test_text_that_is_no_key_is_unauthenticated(text: str) -> None:
    with pytest.raises(Unauthenticated):
        keys.parse(text)


def test_the_secret_is_in_neither_the_record_nor_the_repr() -> None:
    text, record = keys.mint(TENANT, 1000, RANDOM)
    secret = text.split("_")[2]
    assert secret not in encode(record).decode()
    assert secret not in repr(keys.parse(text))


def test_a_key_with_another_secret_is_unknown() -> None:
    text, _ = keys.mint(TENANT, 1000, RANDOM)
    _, other = keys.mint(TENANT, 1000, RANDOM[: keys.ID_BYTES] + bytes(keys.SECRET_BYTES))
    with pytest.raises(Unauthenticated, match="not known"):
        keys.verify(keys.parse(text), other, 2000)


def test_a_key_without_a_record_is_unknown() -> None:
    text, _ = keys.mint(TENANT, 1000, RANDOM)
    with pytest.raises(Unauthenticated, match="not known"):
        keys.verify(keys.parse(text), None, 2000)


def test_a_key_ends_at_its_expiry() -> None:
    text, record = keys.mint(TENANT, 1000, RANDOM, expires_at_ms=5000)
    keys.verify(keys.parse(text), record, 4999)
    with pytest.raises(Unauthenticated, match="expired"):
        keys.verify(keys.parse(text), record, 5000)


def test_a_revoked_key_is_refused() -> None:
    text, record = keys.mint(TENANT, 1000, RANDOM)
    with pytest.raises(Unauthenticated, match="revoked"):
        keys.verify(keys.parse(text), changed(record, revoked=True), 2000)


PEPPERS = keys.read_peppers("the-newest-pepper-of-the-installation  the-pepper-that-was-used-before-it")


def test_a_peppered_key_is_good_under_its_pepper_alone() -> None:
    newest, before = PEPPERS
    text, record = keys.mint(TENANT, 1000, RANDOM, pepper=before)
    keys.verify(keys.parse(text), record, 2000, PEPPERS)
    for peppers in ((), (newest,)):
        with pytest.raises(Unavailable, match="key_pepper"):
            keys.verify(keys.parse(text), record, 2000, peppers)
    with pytest.raises(Unauthenticated):
        keys.verify(keys.parse(text), changed(record, pepper_id=newest.pepper_id), 2000, PEPPERS)
    with pytest.raises(Unauthenticated):
        keys.verify(keys.parse(text), changed(record, pepper_id=None), 2000, PEPPERS)


def test_who_reads_the_bucket_cannot_tell_whether_a_secret_fits() -> None:
    _, plain = keys.mint(TENANT, 1000, RANDOM)
    _, peppered = keys.mint(TENANT, 1000, RANDOM, pepper=PEPPERS[0])
    assert peppered.secret_sha256 != plain.secret_sha256
    assert "newest" not in repr(PEPPERS)


def test_a_short_pepper_is_no_pepper() -> None:
    with pytest.raises(Misconfigured):
        keys.read_peppers("short")
