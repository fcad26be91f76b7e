"""What aiohttp's WebSocket reader (3.14) lets pass: frames of a client without a mask."""

from typing import Final, Protocol

_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_KEY_BYTES: Final = 4
_REFUSED: Final = b"\xf0\x80"
"""A head with all reserved bits: the reader fails the connection with 1002 for it."""


class Reader(Protocol):
    """Takes the bytes of a connection; true: it failed."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """The next of them."""
        ...

    def feed_eof(self) -> None:
        """There are no more."""
        ...


class Masks:
    """A reader in front of `reader`: a frame without a mask (RFC 6455 section 5.1) becomes one that it refuses.

    Heads are handed on whole, so that they can be replaced; payloads pass as they come.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._held = b""
        self._to_skip = 0

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """See `Reader`."""
        data = self._held + data
        at, size = self._to_skip, len(data)
        while at + 2 <= size:
            second = data[at + 1]
            if not second & _MASKED:
                return self._reader.feed_data(data[:at] + _REFUSED)
            extra = _LENGTH_BYTES.get(second & _LENGTH, 0)
            body = at + 2 + extra
            if body > size:
                break
            at = body + _KEY_BYTES + (int.from_bytes(data[at + 2 : body], "big") if extra else second & _LENGTH)
        self._held, self._to_skip = data[at:], max(0, at - size)
        return self._reader.feed_data(data[:at])

    def feed_eof(self) -> None:
        """See `Reader`."""
        self._reader.feed_eof()
