"""Frames between parent and cell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.wasm.frames import (
    LENGTH,
    MAX_FRAME_BYTES,
    FrameError,
    Frames,
    Limits,
    Load,
    Reply,
    Run,
    Verdict,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)

KEY = bytes(range(32))


def body(frame: bytes) -> bytes:
    frames = Frames()
    frames.feed(frame)
    found = frames.next()
    assert found is not None
    assert not frames
    return found


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
    frames = Frames()
    frames.feed(LENGTH.pack(MAX_FRAME_BYTES + 1))
    with pytest.raises(FrameError, match="over the"):
        frames.next()


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_bodies_come_out_whole_however_the_stream_was_cut(bodies: list[bytes], step: int) -> None:
    stream = b"".join(LENGTH.pack(len(one)) + one for one in bodies)
    frames, found = Frames(), []
    for at in range(0, len(stream), step):
        frames.feed(stream[at : at + step])
        while (one := frames.next()) is not None:
            found.append(one)
    assert (found, bool(frames)) == (bodies, False)


def test_a_frame_over_the_bound_is_not_sent() -> None:
    with pytest.raises(FrameError):
        encode_reply(Reply(Verdict.OK, bytes(MAX_FRAME_BYTES)))
