"""A request seen whole without a parser: never where the parser would see anything else."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from edge.http.wire.glance import Glance, glance

LINE = b"POST /v1/tasks HTTP/1.1"
HEAD = LINE + b"\r\nHost: edge\r\n"


def test_the_plainest_request_is_seen() -> None:
    assert glance(HEAD + b"Content-Length: 2\r\n\r\n{}") == Glance(LINE, 2, b"")


def test_an_id_is_read_as_it_was_written_or_not_at_all() -> None:
    tail = b"\r\ncontent-length: 2\r\nConnection: Keep-Alive\r\n\r\n{}"
    assert glance(HEAD + b"X-Request-ID: Ab.1" + tail) == Glance(LINE, 2, b"Ab.1")
    assert glance(HEAD + b"X-Request-ID: a b" + tail) == Glance(LINE, 2, b"")


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 2\r\n\r\n{",
        b"Content-Length: 2\r\n\r\n{}P",
        b"Content-Length: 2\r\n",
        b"\r\n{}",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length : 2\r\n\r\n{}",
        b"Content-Length: +2\r\n\r\n{}",
        b"Content-Length: 2\n\r\n{}",
        b"Content-Length: 2\r\n 3\r\n\r\n{}",
        b"X: \nContent-Length: 3\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"Content-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
        b"Content-Length: 2\r\nUpgrade: h2c\r\n\r\n{}",
        b"Content-Length: 2\r\nOrigin: https://app.example.com\r\n\r\n{}",
    ],
)
def test_nothing_is_concluded_of_any_other(rest: bytes) -> None:
    assert glance(HEAD + rest) is None


NAMES = ("Content-Length", "content-length", "Transfer-Encoding", "Connection", "X", "X-Request-Id", "Expect", "Host ")
VALUES = (
    "2",
    "3",
    "02",
    "2, 2",
    "chunked",
    "keep-alive",
    "close",
    "",
    "a\r\n b",
    "a\nContent-Length: 3",
    "100-continue",
)
FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4)
BODIES = st.sampled_from([b"", b"{}", b"{}\r\n", b"{} ", b"2\r\n{}\r\n0\r\n\r\n", b"{}POST /v1/tasks HTTP/1.1\r\n"])


@given(FIELDS, BODIES)
def test_what_is_seen_is_what_the_parser_sees(fields: list[tuple[str, str]], body: bytes) -> None:
    data = HEAD + "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n" + body
    seen = glance(data)
    if seen is None:
        return
    next_one = HEAD + b"Content-Length: 0\r\n\r\n"
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 16)
        try:
            messages, upgraded, tail = parser.feed_data(data + next_one)
        except HttpProcessingError:
            return  # refused either way
        assert not upgraded
        assert tail == b""
        assert [f"{message.method} {message.path}".encode() for message, _ in messages] == [b"POST /v1/tasks"] * 2
        (_, content), (_, empty) = messages
        assert content.is_eof()
        assert empty.is_eof()
        assert len(content.read_nowait()) == seen.length
    finally:
        loop.close()
