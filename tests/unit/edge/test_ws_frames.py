"""Frames are read strictly, credit is counted, and a frame without a mask never reaches aiohttp's reader."""

import json
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.wire.masks import STRANGER_BYTES, Masks
from edge.tasks.bookmark import Bookmark
from edge.tasks.items import Finished, Happened, Missed, Said
from edge.ws import wording
from edge.ws.credit import Credit
from edge.ws.endings import ending_of
from edge.ws.frames import FORMS, FrameInvalid, Hello, NotJson, Ping, Submit, Subscribe, read_frame
from schemas import errors

GOOD: dict[str, dict[str, Any]] = {
    "hello": {"type": "hello", "authorization": "Bearer aion_x", "after": "17.3"},
    "submit": {"type": "submit", "id": "1", "task": {"intent": "greet"}, "idempotency_key": "k", "wait_s": 5},
    "subscribe": {"type": "subscribe", "id": "s", "task_id": "t-1", "after": "17", "credit": 0},
    "unsubscribe": {"type": "unsubscribe", "id": "s"},
    "cancel": {"type": "cancel", "id": "2", "task_id": "t-1"},
    "credit": {"type": "credit", "id": "s", "credit": 8},
    "ping": {"type": "ping"},
}


@pytest.mark.parametrize("kind", FORMS)
def test_every_kind_of_frame_is_read(kind: str) -> None:
    assert isinstance(read_frame(json.dumps(GOOD[kind]).encode(), 32), FORMS[kind])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b'"ping"', b"nothing", b"\xff", b'{"type": "ping", "id": "\xff"}', b'{"type": NaN}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"type": "ping"} {}',
    ],
)  # fmt: skip
def test_what_is_no_object_is_answered_by_nobody(data: bytes) -> None:
    with pytest.raises(NotJson) as refused:
        read_frame(data, 32)
    assert ending_of(refused.value).code == 1007


FAULTS: dict[str, tuple[Any, str, str | None]] = {
    "no type": ({"id": "7"}, "/type", "7"),
    "another type": ({"type": "welcome", "id": "7"}, "/type", "7"),
    "a type of another type": ({"type": ["ping"], "id": "7"}, "/type", "7"),
    "an id of another type": ({"type": "unsubscribe", "id": 7}, "/id", None),
    "an id that is too long": ({"type": "unsubscribe", "id": "x" * 65}, "/id", None),
    "an id with a line": ({"type": "unsubscribe", "id": "x\n"}, "/id", "x\n"),
    "no id": ({"type": "cancel", "task_id": "t"}, "/id", None),
    "an unknown field": (GOOD["ping"] | {"more": 1}, "/more", None),
    "a wrong type": (GOOD["subscribe"] | {"credit": "8"}, "/credit", "s"),
    "negative credit": (GOOD["subscribe"] | {"credit": -1}, "/credit", "s"),
    "no more credit": (GOOD["credit"] | {"credit": 0}, "/credit", "s"),
    "a bad task": (GOOD["submit"] | {"task": {"intent": "Greet me"}}, "/task/intent", "1"),
    "a bad task id": (GOOD["cancel"] | {"task_id": "a.*"}, "/task_id", "2"),
    "too deep": (GOOD["submit"] | {"task": {"intent": "greet", "params": {"a": [[[[1]]]]}}}, "", "1"),
    "an endless wait": (GOOD["submit"] | {"wait_s": 1e9}, "/wait_s", "1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_frame_is_refused_with_a_pointer_and_its_own_id(name: str) -> None:
    frame, pointer, frame_id = FAULTS[name]
    with pytest.raises(FrameInvalid) as refused:
        read_frame(json.dumps(frame).encode(), 5)
    assert pointer in [fault.pointer for fault in refused.value.errors]
    assert refused.value.frame_id == frame_id


def test_a_key_that_comes_twice_is_refused_and_no_credential_is_repeated() -> None:
    with pytest.raises(FrameInvalid) as refused:
        read_frame(b'{"type": "hello", "authorization": "secret", "authorization": "secret"}', 32)
    with pytest.raises(FrameInvalid) as other:
        read_frame(json.dumps({"type": "hello", "authorization": ["secret"], "token": "secret"}).encode(), 32)
    assert "secret" not in f"{refused.value} {refused.value.errors} {other.value} {other.value.errors}"


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reading(data: bytes) -> None:
    with suppress(NotJson, FrameInvalid):
        assert isinstance(read_frame(data, 32), Hello | Ping | Submit | Subscribe)


@given(st.integers(0, 8), st.lists(st.integers(0, 6), max_size=20))
def test_credit_never_passes_its_bound_nor_falls_below_nothing(left: int, grants: list[int]) -> None:
    """0 stands for an event that wants to go out."""
    credit, expected = Credit(left, 8), left
    for more in grants:
        if more == 0:
            assert bool(credit) == (expected > 0)
            if credit:
                credit.take()
                expected -= 1
        elif expected + more > 8:
            with pytest.raises(errors.InvalidRequest):
                credit.grant(more)
        else:
            credit.grant(more)
            expected += more
        assert credit.left == expected


def test_more_credit_than_there_may_be_is_refused_at_once_and_none_at_all_never_ends() -> None:
    with pytest.raises(errors.InvalidRequest):
        Credit(9, 8)
    unbounded = Credit(None, 0)
    for _ in range(5):
        unbounded.take()
    unbounded.grant(1)
    assert unbounded


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (Happened(Bookmark(1), "accepted", b"{}"), ("accepted", "1", {})),
        (Said(Bookmark(2, 3), "ä\n", False), ("token", "2.3", {"attempt": 2, "run": 1, "text": "ä\n"})),
        (Said(Bookmark(2, 3), "a", True), ("partial", "2.3", {"attempt": 2, "run": 1, "text": "a"})),
        (Missed(Bookmark(2, 3), 1), ("gap", "2.3", {"attempt": 2, "run": 1, "missing": 1})),
        (Finished(Bookmark(), b'{"a": 1}'), ("done", None, {"a": 1})),
    ],
)
def test_an_item_is_told_as_over_sse(item: Any, shown: tuple[str, str | None, Any]) -> None:
    frame = json.loads(wording.event("s", item))
    assert (frame["type"], frame["id"]) == ("event", "s")
    assert (frame["event"], frame.get("event_id"), frame["data"]) == shown
    assert "id" not in json.loads(wording.event(None, item))


def test_a_problem_says_when_to_come_back() -> None:
    assert wording.problem_of(errors.TooManyRequests("full", retry_after_s=1.2), "r")["retry_after_s"] == 2
    assert "retry_after_s" not in wording.problem_of(errors.NotFound("no"), "r")


CODES = [
    (errors.Unauthenticated, 4401), (errors.Forbidden, 4403), (errors.InsufficientScope, 4403), (errors.NotFound, 4404),
    (errors.TooManyRequests, 4429), (errors.BusDisconnected, 1013), (errors.InvalidRequest, 1008),
    (errors.PayloadTooLarge, 1008), (errors.DeadlineExceeded, 1011),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), CODES)
def test_an_error_that_ends_a_socket_has_a_close_code_and_a_short_reason(
    kind: type[errors.AionError], code: int
) -> None:
    ending = ending_of(kind("why"))
    assert (ending.code, ending.reason) == (code, kind.code)
    assert len(ending.reason.encode()) <= 123


def head(length: int, *, opcode: int = 1, masked: bool = True) -> bytes:
    mask = 0x80 if masked else 0
    if length < 126:
        return bytes((0x80 | opcode, mask | length))
    if length < 65536:
        return bytes((0x80 | opcode, mask | 126)) + struct.pack("!H", length)
    return bytes((0x80 | opcode, mask | 127)) + struct.pack("!Q", length)


def masked(payload: bytes, opcode: int = 1) -> bytes:
    return head(len(payload), opcode=opcode) + bytes(4) + payload


class Recorder:
    def __init__(self) -> None:
        self.seen = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.seen += data
        return False, b""

    def feed_eof(self) -> None:
        pass


@given(
    st.lists(st.sampled_from([0, 1, 125, 126, 300, 65536]), max_size=4),
    st.lists(st.integers(1, 70_000), max_size=12),
    st.booleans(),
)
def test_masked_frames_pass_however_they_are_cut_and_nothing_behind_a_bare_one_does(
    sizes: list[int], cuts: list[int], bare: bool
) -> None:
    good = b"".join(masked(b"x" * size) for size in sizes)
    data = good + (head(5, masked=False) + b"hello" if bare else b"")
    recorder, at = Recorder(), 0
    masks = Masks(recorder)
    masks.known = True
    for cut in [*cuts, len(data)]:
        masks.feed_data(data[at : at + cut])
        at += cut
        if bare and b"\xf0\x80" in recorder.seen:
            break
    assert recorder.seen == (good + b"\xf0\x80" if bare else data)


@pytest.mark.parametrize("sizes", [[STRANGER_BYTES + 1], [STRANGER_BYTES, 1], [125] * 132])
def test_a_stranger_may_say_so_much_and_whoever_is_known_more(sizes: list[int]) -> None:
    stranger, known = Recorder(), Recorder()
    told = Masks(known)
    told.known = True
    frames = [masked(b"x" * size) for size in sizes]
    Masks(stranger).feed_data(b"".join(frames))
    told.feed_data(b"".join(frames))
    assert known.seen == b"".join(frames)
    good = b"".join(frames[:-1])
    assert stranger.seen == good + frames[-1][:1] + b"\xff" + (1 << 62).to_bytes(8, "big")


def test_a_head_that_comes_byte_by_byte_is_looked_at_when_it_is_whole() -> None:
    recorder = Recorder()
    masks, data = Masks(recorder), masked(b"a" * 300) + masked(b"b") + head(3, masked=False)
    for number in range(len(data)):
        masks.feed_data(data[number : number + 1])
    assert recorder.seen == masked(b"a" * 300) + masked(b"b") + b"\xf0\x80"
