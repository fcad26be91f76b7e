"""Bytes of a NATS server, in any portions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.nats.message import Message, decode_headers, encode_headers
from bus.nats.wire.parser import MAX_LINE_BYTES, Parser, ProtocolError


class Heard:
    def __init__(self) -> None:
        self.messages: list[tuple[int, Message]] = []
        self.controls: list[tuple[bytes, bytes]] = []
        self.parser = Parser(lambda sid, message: self.messages.append((sid, message)), self._control)

    def _control(self, verb: bytes, rest: bytes) -> None:
        self.controls.append((verb, rest))


def test_messages_and_control_lines_come_out_in_order() -> None:
    heard = Heard()
    heard.parser.feed(b'INFO {"a":1}\r\nMSG a.b 7 5\r\nhello\r\nPING\r\nMSG c 8 re.ply 0\r\n\r\n+OK\r\n')
    (first_sid, first), (second_sid, second) = heard.messages
    assert (first_sid, first.subject, first.reply, first.data) == (7, "a.b", "", b"hello")
    assert (second_sid, second.subject, second.reply, second.data) == (8, "c", "re.ply", b"")
    assert heard.controls == [(b"INFO", b'{"a":1}'), (b"PING", b""), (b"+OK", b"")]


def test_headers_and_payload_of_hmsg_are_told_apart() -> None:
    heard = Heard()
    head = encode_headers({"Nats-Sequence": "12", "X": "a: b"})
    heard.parser.feed(b"HMSG s 1 r %d %d\r\n%b%b\r\n" % (len(head), len(head) + 2, head, b"ok"))
    message = heard.messages[0][1]
    assert (message.data, message.reply) == (b"ok", "r")
    assert message.headers == {"Nats-Sequence": "12", "X": "a: b"}
    assert message.status is None


def test_a_subject_that_is_no_text_ends_no_connection() -> None:
    heard = Heard()
    heard.parser.feed(b"MSG aion.task.\xff 7 2\r\nhi\r\nMSG a 7 2\r\nho\r\n")
    assert [(message.subject, message.data) for _, message in heard.messages] == [
        ("aion.task.\N{REPLACEMENT CHARACTER}", b"hi"),
        ("a", b"ho"),
    ]


def test_a_status_without_payload_is_a_status() -> None:
    message = Message("s", "", b"", b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n")
    assert message.status == "408"
    assert message.headers["Description"] == "Request Timeout"
    assert message.headers["Nats-Pending-Messages"] == "3"
    assert Message("s", "", b"", b"").status is None


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=12), st.data())
def test_how_the_bytes_are_cut_makes_no_difference(sent: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    stream = b""
    for payload, headed in sent:
        head = encode_headers({"Length": str(len(payload))}) if headed else b""
        line = (
            b"HMSG s.t 3 r %d %d" % (len(head), len(head) + len(payload)) if headed else b"MSG s.t 3 %d" % len(payload)
        )
        stream += line + b"\r\n" + head + payload + b"\r\nPING\r\n"
    heard = Heard()
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        heard.parser.feed(stream[at : at + step])
        at += step
    assert [message.data for _, message in heard.messages] == [payload for payload, _ in sent]
    assert [bool(message.headers) for _, message in heard.messages] == [headed for _, headed in sent]
    assert heard.controls == [(b"PING", b"")] * len(sent)


@pytest.mark.parametrize("garbage", [b"MSG a\r\n", b"MSG a x 5\r\n", b"HMSG a 1 zz 9\r\n", b"MSG\r\n"])
def test_a_message_line_that_is_none_is_refused(garbage: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message line"):
        Heard().parser.feed(garbage)


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ProtocolError, match="a line of more than"):
        Heard().parser.feed(b"I" * (MAX_LINE_BYTES + 2))


def test_header_lines_without_a_colon_are_skipped() -> None:
    assert decode_headers(b"NATS/1.0\r\nodd\r\nA: 1\r\n\r\n") == {"A": "1"}
