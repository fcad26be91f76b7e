"""As much of Kafka's framing as the proxy must understand: where a request begins, and which one it is."""

import struct
from collections.abc import Iterator

END_TXN = 26
_HEAD = 6


class Requests:
    """Cuts a client's bytes where requests begin; a request's bytes come as they arrive, its first piece with its key.

    A request is `int32 size, int16 api_key, ...` (Kafka protocol guide, request header). One object per connection.
    """

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def cut(self, data: bytes) -> Iterator[tuple[bytes, int | None]]:
        """Pieces in order: (bytes, api key) where a request begins, (bytes, None) where one goes on."""
        data = self._head + data
        self._head = b""
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                yield piece, None
            elif len(data) < _HEAD:
                self._head, data = data, b""
            else:
                size, key = struct.unpack_from(">ih", data)
                self._left = max(4 + size - _HEAD, 0)
                piece, data = data[:_HEAD], data[_HEAD:]
                yield piece, key
