"""What a client sends is read strictly, or refused by name."""

import json
import time
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.headers import read_prefer
from edge.tasks.errors import BodyInvalid
from edge.tasks.request import (
    check_depth,
    check_timeout,
    fingerprint,
    name_task,
    read_request,
)
from edge.tasks.trace import RequestIds, is_request_id, read_traceparent
from schemas.errors import InvalidRequest
from schemas.ids import TenantId, keyed_task_id

TENANT = TenantId("acme")


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    check_depth(json.dumps({"a": "[[[[{{{{" + '\\"' + "[" * 100}).encode(), 2)
    with pytest.raises(BodyInvalid, match="deeper than 2"):
        check_depth(b'{"a": "]]]", "b": [[1]]}', 2)


def test_a_string_without_an_end_is_read_once() -> None:
    """It took minutes, when each quote began another look to the end."""
    body = b'[[[[["' + b'\\"' * (1 << 17)
    began_s = time.perf_counter()
    with pytest.raises(BodyInvalid, match="deeper than 4"):
        check_depth(body, 4)
    check_depth(b'[[[[["[' + b'\\"' * (1 << 17), 5)
    assert time.perf_counter() - began_s < 1.0


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)))
def test_depth_is_counted_as_a_parser_would(value: object) -> None:
    body = json.dumps(value).encode()
    depth = nesting(value)
    check_depth(body, depth)
    if depth:
        with pytest.raises(BodyInvalid):
            check_depth(body, depth - 1)


def nesting(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(nesting, value.values()), default=0)
    return 1 + max(map(nesting, value), default=0) if isinstance(value, list) else 0


@given(st.binary(max_size=200))
def test_any_bytes_are_a_task_or_a_refusal(body: bytes) -> None:
    with suppress(BodyInvalid):
        assert read_request(body, 32).intent


def test_the_fingerprint_ignores_order_spacing_and_defaults_but_no_value() -> None:
    one = read_request(b'{"intent":"a","params":{"x":1,"y":[2]}}', 32)
    same = read_request(b' {"params": {"y": [2], "x": 1}, "priority": "normal", "intent": "a"}', 32)
    other = read_request(b'{"intent":"a","params":{"x":1,"y":["2"]}}', 32)
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


def test_more_time_than_the_log_can_hold_a_task_is_refused_by_naming_the_cap() -> None:
    asked = read_request(b'{"intent":"a","sla":{"timeout_s":61}}', 32)
    check_timeout(asked, 61)
    check_timeout(read_request(b'{"intent":"a"}', 32), 5)
    with pytest.raises(BodyInvalid, match=r"61 s is longer .*: 60 s") as caught:
        check_timeout(asked, 60)
    assert [fault.pointer for fault in caught.value.errors] == ["/sla/timeout_s"]


def test_a_key_names_the_task_of_its_tenant() -> None:
    request = read_request(b'{"intent":"a"}', 32)
    naming = name_task("k", request, TENANT)
    assert (naming.chosen, naming.keyed) == (keyed_task_id(TENANT, "k"), True)
    assert name_task(None, request, TENANT).chosen is None


@pytest.mark.parametrize("key", ["", "a b", "ä", "k" * 256, "a\x7f"])
def test_a_key_that_is_not_visible_ascii_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        name_task(key, read_request(b'{"intent":"a"}', 32), TENANT)


@pytest.mark.parametrize(
    ("values", "wait_s", "applied"),
    [
        ([], 30, None),
        (["respond-async"], 0, "respond-async"),
        (["Wait=5"], 5, "wait=5"),
        (["respond-async, wait=7"], 7, "wait=7"),
        (["wait=999"], 60, "wait=60"),
        (["handling=lenient; x=1", 'wait="3"'], 3, "wait=3"),
    ],
)
def test_prefer_is_read_as_rfc_7240_says(values: list[str], wait_s: float, applied: str | None) -> None:
    found = read_prefer(values, 30, 60)
    assert (found.wait_s, found.applied) == (wait_s, applied)


@pytest.mark.parametrize("value", ["wait=-1", "wait=", "wait=1.5", "wait=nan"])
def test_a_wait_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        read_prefer([value], 30, 60)


def test_only_a_valid_trace_context_is_taken_over() -> None:
    good = f"00-{'a' * 32}-{'b' * 16}-01"
    assert read_traceparent(good, bytes(24)) == good
    minted = read_traceparent(None, bytes(range(1, 25)))
    assert read_traceparent(minted, bytes(24)) == minted
    later = f"01{good[2:]}-what may come"
    assert read_traceparent(later, bytes(24)) == later
    wrong = (f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01", good + "-x", good.upper(), "x")
    for bad in (*wrong, later + "\udcff", later + "\xe4", later + "\x7f", later + "\t"):
        assert read_traceparent(bad, bytes(range(1, 25))) == minted


def test_a_request_id_is_repeated_only_when_harmless() -> None:
    ids = RequestIds(0, Random(1))
    assert ids.read("abc-1") == "abc-1"
    fresh = [ids.read(asked) for asked in ("a b\r\n", "x" * 129, "", None)]
    assert len(set(fresh)) == 4
    assert all(map(is_request_id, fresh))
