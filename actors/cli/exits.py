"""Exit codes, the same for every command."""

from enum import IntEnum
from typing import Final

from schemas.errors import AionError, Misconfigured


class Exit(IntEnum):
    """What a command's exit status means."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    CONFLICT = 5
    UNAVAILABLE = 6
    TIMEOUT = 7
    INTERRUPTED = 130


_BY_STATUS: Final = {
    400: Exit.USAGE,
    401: Exit.DENIED,
    403: Exit.DENIED,
    404: Exit.NOT_FOUND,
    408: Exit.TIMEOUT,
    409: Exit.CONFLICT,
    413: Exit.USAGE,
    415: Exit.USAGE,
    422: Exit.CONFLICT,
    429: Exit.UNAVAILABLE,
    502: Exit.UNAVAILABLE,
    503: Exit.UNAVAILABLE,
    504: Exit.TIMEOUT,
}


def of_status(http_status: int) -> Exit:
    """The exit code for an HTTP status of the edge."""
    return Exit.OK if http_status < 400 else _BY_STATUS.get(http_status, Exit.FAILURE)


def of_error(error: AionError) -> Exit:
    """The exit code for one of our errors: what its HTTP status says, and usage for a wrong setting."""
    return Exit.USAGE if isinstance(error, Misconfigured) else of_status(error.http_status)
