"""What aiohttp's WebSocket reader (3.14) lets pass: frames without a mask, and as much as a stranger likes."""

from typing import Final, Protocol

_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_KEY_BYTES: Final = 4
_REFUSED: Final = b"\xf0\x80"
"""A head with all reserved bits: the reader fails the connection with 1002 for it."""
_TOO_LARGE: Final = b"\xff" + (1 << 62).to_bytes(8, "big")
"""The rest of a head that announces more than there is: the reader fails the connection with 1009 for it."""
STRANGER_BYTES: Final = 16 * 1024
"""Of payload, in all frames together, until somebody has said who comes: a hello has room in it."""


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

    So does one that would be more than `STRANGER_BYTES`, until `known` is set. Heads are handed on whole, so that they
    can be replaced; payloads pass as they come.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._announced = 0
        self.known = False
        """Whether it is known who comes: then the reader's own bound holds."""
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
            length = int.from_bytes(data[at + 2 : body], "big") if extra else second & _LENGTH
            self._announced += length
            if self._announced > STRANGER_BYTES and not self.known:
                return self._reader.feed_data(data[: at + 1] + _TOO_LARGE)
            at = body + _KEY_BYTES + length
        self._held, self._to_skip = data[at:], max(0, at - size)
        return self._reader.feed_data(data[:at])

    def feed_eof(self) -> None:
        """See `Reader`."""
        self._reader.feed_eof()
