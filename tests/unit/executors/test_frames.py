"""Frames between parent and cell."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.wasm.frames import (
    LENGTH,
    MAX_FRAME_BYTES,
    FrameError,
    Limits,
    Load,
    Reply,
    Run,
    Verdict,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    frame_length,
)

KEY = bytes(range(32))


def body(frame: bytes) -> bytes:
    assert frame_length(frame[: LENGTH.size]) == len(frame) - LENGTH.size
    return frame[LENGTH.size :]


@pytest.mark.parametrize("abi", ["stdio", "reactor", "component"])
@pytest.mark.parametrize("metered", [True, False])
def test_a_load_comes_back(abi: str, metered: bool) -> None:
    request = Load(abi, KEY, metered, "/кэш/a.aot")
    assert decode_request(body(encode_request(request))) == request


@given(st.binary(max_size=300), st.integers(1, 2**40), st.integers(0, 2**62))
def test_a_run_comes_back(payload: bytes, timeout_us: int, fuel: int) -> None:
    request = Run("reactor", KEY, 7 * timeout_us, Limits(timeout_us, 2**26, 4096, fuel), payload)
    assert decode_request(body(encode_request(request))) == request


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_reply_comes_back(verdict: Verdict) -> None:
    reply = Reply(verdict, b"bytes", 1, 2, 3)
    assert decode_reply(body(encode_reply(reply))) == reply


@given(st.binary(max_size=100))
def test_any_bytes_decode_or_are_a_frame_error(raw: bytes) -> None:
    for decode in (decode_request, decode_reply):
        try:
            decode(raw)
        except FrameError:
            continue


def test_an_announced_length_over_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match="over the"):
        frame_length(struct.pack("!I", MAX_FRAME_BYTES + 1))


def test_a_frame_over_the_bound_is_not_sent() -> None:
    with pytest.raises(FrameError):
        encode_reply(Reply(Verdict.OK, bytes(MAX_FRAME_BYTES)))
