"""Why a socket ends, and the close code that says so (RFC 6455 section 7.4)."""

from typing import Final, NamedTuple

from edge.ws.frames import NotJson
from schemas.errors import AionError, DeadlineExceeded, InvalidRequest, Unauthenticated, Unavailable

NORMAL: Final = 1000
NOT_TEXT: Final = 1003
NOT_JSON: Final = 1007
POLICY: Final = 1008
CRASHED: Final = 1011
RESTART: Final = 1012
TRY_LATER: Final = 1013
UNAUTHENTICATED: Final = 4401
FORBIDDEN: Final = 4403
NOT_FOUND: Final = 4404
TIMED_OUT: Final = 4408
TOO_MANY: Final = 4429

_CODES: Final = {401: UNAUTHENTICATED, 403: FORBIDDEN, 404: NOT_FOUND, 429: TOO_MANY, 503: TRY_LATER}


class NoHello(Unauthenticated):
    """Nobody said in time who it is."""


class Quiet(DeadlineExceeded):
    """Nothing was heard, or nothing was asked, for too long."""


class Draining(Unavailable):
    """The edge goes, the tasks do not."""


class NotText(InvalidRequest):
    """A binary frame came."""


class TooManyFaults(InvalidRequest):
    """What cannot be read came again and again."""


class Ending(NamedTuple):
    """How a socket is closed, and what is said before."""

    code: int
    error: AionError | None = None

    @property
    def reason(self) -> str:
        """For the close frame: at most 123 bytes, and a name rather than a sentence."""
        return self.error.code if self.error is not None else ""


GONE: Final = Ending(NORMAL)
"""The client left, or all was said."""


def ending_of(error: AionError) -> Ending:
    """How a socket ends that cannot go on for this error."""
    match error:
        case NoHello() | Quiet():
            code = TIMED_OUT
        case Draining():
            code = RESTART
        case NotText():
            code = NOT_TEXT
        case NotJson():
            code = NOT_JSON
        case _:
            code = _CODES.get(error.http_status, POLICY if error.http_status < 500 else CRASHED)
    return Ending(code, error)
