"""Submissions that this process has no time for, refused before anything is done for them.

On aiohttp's way to a handler a refusal costs a third of what an accepted task does; then refusing is what a process is
busy with (ADR 0020). Here it costs about as much as reading and sending do.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from edge.http.turnstile import Turnstile
from edge.http.wire.glance import Glance

Found: TypeAlias = tuple[Sequence[tuple[Any, Any]], bool, bytes]
"""What aiohttp's parser makes of bytes: requests with their bodies, whether the protocol changes, and what is left."""
_NOTHING: Final[Found] = ((), False, b"")


class Asked(Protocol):
    """The connection that requests come over."""

    @property
    def idle(self) -> bool:
        """Whether all that came was answered, so that another answer can be sent at once."""
        ...

    def admit(self) -> None:
        """The request that comes was counted."""
        ...

    def turn_away(self, answer: bytes) -> None:
        """The request that came goes no further: this is its answer."""
        ...


class Sieve:
    """aiohttp's parser (3.14), but for submissions that may not begin: of those nobody hears.

    What the parser holds of a request that is not whole must never be overtaken. So it is passed by only after it was
    given one whole request and no byte more, and none but such since.
    """

    def __init__(self, parser: Any, connection: Asked, turnstile: Turnstile) -> None:
        self._parser = parser
        self._connection = connection
        self._turnstile = turnstile
        self._clean = False
        """Whether the parser holds nothing, for sure."""

    def feed_data(self, data: bytes) -> Found:
        """The requests in the next bytes that may begin."""
        was_clean, self._clean = self._clean, False
        turnstile, connection = self._turnstile, self._connection
        seen = turnstile.meets(data) if turnstile.pace.bounded and connection.idle else None
        if seen is None:
            return self._parsed(data)
        if not was_clean:
            return self._first(data, seen)
        self._clean = True
        if turnstile.take():
            connection.admit()
            return self._parsed(data)
        connection.turn_away(turnstile.refusal(seen))
        return _NOTHING

    def __getattr__(self, name: str) -> Any:
        """All else is the parser's."""
        return getattr(self._parser, name)

    def _first(self, data: bytes, seen: Glance) -> Found:
        """It looks like one whole request: whether it is one, the parser says."""
        found = self._parsed(data)
        self._clean = _is_one(found, seen)
        if not self._clean:
            return found
        if self._turnstile.take():
            self._connection.admit()
            return found
        self._parser.message_consumed()
        self._connection.turn_away(self._turnstile.refusal(seen))
        return _NOTHING

    def _parsed(self, data: bytes) -> Found:
        found: Found = self._parser.feed_data(data)
        return found


def _is_one(found: Found, seen: Glance) -> bool:
    """Whether the parser saw the same: then the last byte of one was the last byte of the other."""
    messages, upgraded, _ = found
    if upgraded or len(messages) != 1:
        return False
    message, body = messages[0]
    line = f"{message.method} {message.path} HTTP/1.1".encode()
    lengths = message.headers.getall("Content-Length", ())
    return line == seen.line and not message.chunked and [*lengths] == [str(seen.length)] and bool(body.is_eof())
