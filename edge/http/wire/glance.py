"""A request seen whole in the bytes of one read, without parsing it.

RFC 9112 leaves ways to say where a request ends; of all but the plainest nothing is concluded here.
"""

import re
from typing import Final, NamedTuple

from edge.tasks.trace import is_request_id

_TELLING: Final = re.compile(
    rb"\r\n(content-length|connection|x-request-id|transfer-encoding|expect|upgrade|origin|[ \t])([^\r]*)"
)
"""Fields that say how a request goes on or how it is answered, and whatever begins as they do; fields of many lines."""
_LENGTH: Final = re.compile(rb": ([0-9]{1,9})")
_KEPT: Final = b": keep-alive"


class Glance(NamedTuple):
    """The request's first line, the length of its body in bytes, and the id that it asks for (empty: none)."""

    line: bytes
    length: int
    request_id: bytes


def glance(data: bytes) -> Glance | None:
    """The one HTTP/1.1 request that `data` is, if it begins there, ends there, and leaves the connection open.

    None as well for what is one, but says so in any other way, holds its body back, becomes another protocol, or comes
    from a web page of elsewhere.
    """
    line_end, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
    head = data[line_end : end + 2].lower()
    bare = head.replace(b"\r\n", b"")
    if end < 0 or b"\r" in bare or b"\n" in bare:
        return None
    telling = _TELLING.findall(head)
    fields = dict(telling)
    length = _LENGTH.fullmatch(fields.pop(b"content-length", b""))
    said = len(fields)
    if length is None or fields.pop(b"connection", _KEPT) != _KEPT or said + 1 != len(telling):
        return None
    asked = fields.pop(b"x-request-id", b"")
    size = int(length[1])
    if fields or len(data) != end + 4 + size:
        return None
    return Glance(data[:line_end], size, _id(data[line_end:end], asked) if asked else b"")


def _id(head: bytes, asked: bytes) -> bytes:
    """As the client wrote it, if it is harmless to repeat."""
    at = head.lower().find(b"x-request-id" + asked) + len(b"x-request-id: ")
    text = head[at : at + len(asked) - 2]
    return text if is_request_id(text.decode("latin-1")) else b""
