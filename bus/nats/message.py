"""A message as the server delivers it; its headers are parsed only when somebody looks at them."""

from collections.abc import Mapping
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})
_VERSION = "NATS/1.0"
_VERSION_LINE = _VERSION.encode()


class Message:
    """Subject, reply subject (empty without one), payload, and headers (ADR-4) as a mapping.

    The status line of a message that the server made itself stands under `Status` and `Description`.
    """

    __slots__ = ("_head", "_headers", "data", "reply", "subject")

    def __init__(
        self, subject: str, reply: str, data: bytes, head: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self._head = head
        self._headers = headers

    @property
    def headers(self) -> Mapping[str, str]:
        """Empty when there are none; of a repeated key the last value."""
        if self._headers is None:
            self._headers = decode_headers(self._head) if self._head else _NONE
        return self._headers

    @property
    def status(self) -> str | None:
        """`100`, `404`, `408`, `409`, `503` ... of a message that carries no entry, else None."""
        if self.data or not (self._head or self._headers):
            return None
        return self.headers.get("Status")


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """The header block, its version line and closing empty line included."""
    return head_of("".join([f"{key}: {value}\r\n" for key, value in headers.items()]).encode())


def head_of(lines: bytes) -> bytes:
    """The header block of fields that each stand in a line of their own, CRLF included."""
    return b"%b\r\n%b\r\n" % (_VERSION_LINE, lines)


def decode_headers(head: bytes) -> Mapping[str, str]:
    """What `encode_headers` or the server wrote; lines without a colon are skipped."""
    first, *lines = head.decode(errors="replace").split("\r\n")
    headers: dict[str, str] = {}
    status = first[len(_VERSION) :].strip()
    if status:
        headers["Status"], _, headers["Description"] = status.partition(" ")
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            headers[key] = value.strip()
    return headers
