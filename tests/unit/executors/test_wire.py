"""The parent's end of a cell's socket, with a socket pair in place of a cell."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from executors.wasm.frames import CHUNK_BYTES, LENGTH, MAX_FRAME_BYTES, FrameError
from executors.wasm.wire import Wire


def frame(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


class Heard:
    """What a wire told."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.ended = asyncio.Event()

    def body(self, body: bytes) -> None:
        if body == b"nonsense":
            raise FrameError("nonsense")
        self.bodies.append(body)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def opened(ours: socket.socket) -> tuple[Wire, Heard]:
    heard = Heard()
    return Wire(ours, heard.body, heard.ended.set), heard


async def test_frames_cut_anywhere_come_out_whole(pair: tuple[socket.socket, socket.socket]) -> None:
    wire, heard = opened(pair[0])
    for byte in frame(b"one") + frame(b"") + frame(b"three"):
        pair[1].send(bytes([byte]))
        await asyncio.sleep(0)
    pair[1].close()
    await heard.ended.wait()
    assert heard.bodies == [b"one", b"", b"three"]
    wire.close()


async def test_the_end_comes_after_the_last_reply_even_when_a_write_failed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    wire, heard = opened(pair[0])
    pair[1].sendall(frame(b"finished"))
    pair[1].close()
    wire.send([frame(b"too late")])
    await heard.ended.wait()
    assert heard.bodies == [b"finished"]


async def test_what_the_socket_does_not_take_at_once_follows(pair: tuple[socket.socket, socket.socket]) -> None:
    wire, _ = opened(pair[0])
    large = bytes(CHUNK_BYTES * 32)
    wire.send([frame(large)])
    wire.send([frame(b"after")])
    received = b""
    pair[1].setblocking(False)
    while len(received) < len(large) + len(b"after") + 2 * LENGTH.size:
        await asyncio.sleep(0)
        try:
            received += pair[1].recv(CHUNK_BYTES)
        except BlockingIOError:
            continue
    assert received == frame(large) + frame(b"after")
    wire.close()


@pytest.mark.parametrize("raw", [frame(b"nonsense"), LENGTH.pack(MAX_FRAME_BYTES + 1)])
async def test_a_malformed_frame_is_the_end_but_not_of_what_came_before(
    pair: tuple[socket.socket, socket.socket], raw: bytes
) -> None:
    _, heard = opened(pair[0])
    pair[1].sendall(frame(b"good") + raw)
    await heard.ended.wait()
    assert heard.bodies == [b"good"]


async def test_a_closed_wire_tells_nothing_more(pair: tuple[socket.socket, socket.socket]) -> None:
    wire, heard = opened(pair[0])
    pair[1].sendall(frame(b"unheard"))
    wire.close()
    wire.close()
    wire.send([frame(b"unsent")])
    await asyncio.sleep(0)
    assert (heard.bodies, heard.ended.is_set()) == ([], False)
