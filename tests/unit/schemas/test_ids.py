import re
import uuid
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.errors import InvalidRequest
from schemas.ids import Name, TaskId, TenantId, Token, keyed_task_id, subject_token, uuid7
from schemas.message import Unreadable, decode, encode


def read_both(value: str, kind: Any) -> str:
    """What pydantic and msgspec make of it, which is the same."""
    try:
        decoded = decode(encode(value), kind)
    except Unreadable:
        decoded = None
    try:
        validated = TypeAdapter(kind).validate_python(value)
    except ValidationError:
        assert decoded is None
        raise
    assert validated == decoded
    return str(validated)


good = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
millis = st.integers(min_value=0, max_value=(1 << 48) - 1)


@given(good)
def test_a_good_token_passes_unchanged(value: str) -> None:
    assert subject_token(value) == value
    assert read_both(value, Token) == value


@given(st.text(max_size=80))
def test_nothing_else_gets_into_a_subject(value: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value, re.ASCII):
        assert subject_token(value) == value
        return
    with pytest.raises(InvalidRequest):
        subject_token(value)
    with pytest.raises(ValidationError):
        read_both(value, Token)


@given(good, st.sampled_from([".", "*", ">", " ", "\n", "\r", "\t", "\x00", "ü", "/", "٣"]), st.integers(0, 64))
def test_one_bad_character_anywhere_is_refused(value: str, bad: str, place: int) -> None:
    broken = value[:place] + bad + value[place:]
    with pytest.raises(InvalidRequest):
        subject_token(broken)
    with pytest.raises(ValidationError):
        read_both(broken, Token)


def test_a_refusal_names_the_value_but_never_all_of_a_long_one() -> None:
    with pytest.raises(InvalidRequest, match=r"'a\.b'"):
        subject_token("a.b")
    with pytest.raises(InvalidRequest) as raised:
        subject_token("." * 10_000)
    assert len(raised.value.message) < 200


@pytest.mark.parametrize("value", ["a", "summarize", "text-to_speech2", "a" * 64])
def test_a_name_is_lower_case_and_starts_with_a_letter(value: str) -> None:
    assert read_both(value, Name) == value


@pytest.mark.parametrize("value", ["", "A", "1a", "-a", "_a", "a.b", "a\n", "a" * 65, "ä", "a b"])
def test_what_is_no_name_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        read_both(value, Name)


@given(millis, st.binary(min_size=10, max_size=10))
def test_a_uuid7_holds_its_time_version_and_variant(at_ms: int, random_bytes: bytes) -> None:
    value = uuid.UUID(uuid7(at_ms, random_bytes))
    assert value.int >> 80 == at_ms
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert subject_token(str(value)) == str(value)


@given(millis, millis, st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_uuid7_text_sorts_by_time(one_ms: int, two_ms: int, one: bytes, two: bytes) -> None:
    if one_ms < two_ms:
        assert uuid7(one_ms, one) < uuid7(two_ms, two)


@given(st.integers(0, (1 << 74) - 1), st.integers(0, (1 << 74) - 1))
@example(0, 1)
@example(0, 1 << 73)
def test_a_uuid7_loses_none_of_its_74_random_bits(one: int, two: int) -> None:
    same = uuid7(5, one.to_bytes(10, "big")) == uuid7(5, two.to_bytes(10, "big"))
    assert same == (one == two)


def test_uuid7_without_bytes_is_random() -> None:
    assert len({uuid7(1_700_000_000_000) for _ in range(500)}) == 500


@given(good, st.text(max_size=80), good, st.text(max_size=80))
def test_a_keyed_id_is_the_same_for_the_same_tenant_and_key_only(
    tenant: str, key: str, other_tenant: str, other_key: str
) -> None:
    mine = keyed_task_id(TenantId(tenant), key)
    assert mine == keyed_task_id(TenantId(tenant), key)
    same = (tenant, key) == (other_tenant, other_key)
    assert (mine == keyed_task_id(TenantId(other_tenant), other_key)) == same


def test_a_keyed_id_is_a_uuid8_and_never_changes_between_releases() -> None:
    value = keyed_task_id(TenantId("acme"), "order-17")
    parsed = uuid.UUID(value)
    assert (parsed.version, parsed.variant) == (8, uuid.RFC_4122)
    assert subject_token(value) == TaskId(value)
    assert value == "4cde1256-862b-883c-91a0-f0704de0dbb4"
