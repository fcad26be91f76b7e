"""Which requests ask for more work, and what they are told when this process has no time for it (ADR 0020)."""

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from edge.http.answer import SERVER, Answer
from edge.http.problems import Wording
from edge.http.wire.glance import Glance, glance
from edge.tasks.turns import Turns, refusal

_ID: Final = "{request_id}"


class Turnstile:
    """Which requests are submissions, and what those are told that may not begin, made once for each path.

    `name` makes an id; requests that ask for none get that one, and their number behind it.
    """

    def __init__(self, turns: Turns, wordings: Mapping[str, Wording], name: Callable[[], str]) -> None:
        self.take = turns.take
        self.pace = turns.pace
        self._name = name
        self._named = 0
        self._prefix = b""
        self._answers = {f"POST {path} HTTP/1.1".encode(): _Refusal(wording) for path, wording in wordings.items()}

    def meets(self, data: bytes) -> Glance | None:
        """The submission that `data` is, None when it is anything else."""
        seen = glance(data) if data.startswith(b"POST ") else None
        return seen if seen is not None and seen.line in self._answers else None

    def refusal(self, seen: Glance) -> bytes:
        """The whole answer to it."""
        answer, retry_after_s = self._answers[seen.line], self.pace.retry_after_s()
        return answer.of(seen.request_id or self._next_id(), retry_after_s)

    def _next_id(self) -> bytes:
        if not self._prefix:
            self._prefix = self._name().encode()
        self._named += 1
        return b"%b-%08x" % (self._prefix, self._named)


class _Refusal:
    """The answer of one path; made once for every length of a request's id."""

    def __init__(self, wording: Wording) -> None:
        response = wording.refused(refusal(1), _ID)
        if isinstance(response, Answer):
            self._kind, self._body = response.kind, response.body
        else:
            assert isinstance(response, web.Response)  # noqa: S101  # no wording makes anything else
            assert isinstance(response.body, bytes)  # noqa: S101
            self._kind, self._body = response.content_type, response.body
        self._made: dict[int, bytes] = {}

    def of(self, request_id: bytes, retry_after_s: int) -> bytes:
        """The answer to the request with this id."""
        size = len(request_id)
        if size not in self._made:
            self._made[size] = self._make(size)
        return self._made[size] % {b"id": request_id, b"later_s": retry_after_s}

    def _make(self, id_size: int) -> bytes:
        length = len(self._body.replace(_ID.encode(), bytes(id_size)))
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {self._kind}\r\nContent-Length: {length}\r\n"
            f"Server: {SERVER}\r\nCache-Control: no-store\r\nRetry-After: %(later_s)d\r\nX-Request-Id: %(id)b\r\n\r\n"
        )
        return head.encode() + self._body.replace(b"%", b"%%").replace(_ID.encode(), b"%(id)b")
