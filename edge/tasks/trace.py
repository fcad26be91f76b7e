"""Request ids and the W3C trace context (Trace Context level 1, section 3.2)."""

import re
from itertools import count
from random import Random
from typing import Final

from schemas.ids import uuid7

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]*)?")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def read_traceparent(text: str | None, random_bytes: bytes) -> str:
    """The client's trace context if it is valid, else a fresh, unsampled one from 24 random bytes."""
    found = _TRACEPARENT.fullmatch(text) if text and len(text) <= 128 else None
    if text and found and (found[1] is None or not text.startswith("00")):
        return text
    value = random_bytes[:24].hex()
    return f"00-{value[:32]}-{value[32:]}-00"


class RequestIds:
    """What requests are called. Fresh ids are one UUID for all, and a number behind it."""

    def __init__(self, now_ms: int, rng: Random) -> None:
        self._prefix = uuid7(now_ms, rng.randbytes(10))
        self._numbers = count(1)

    def read(self, text: str | None) -> str:
        """The client's `X-Request-Id` when it is harmless to repeat, else a fresh one."""
        return text if text and is_request_id(text) else f"{self._prefix}-{next(self._numbers):x}"


def is_request_id(text: str) -> bool:
    """Whether it is harmless to repeat."""
    return _REQUEST_ID.fullmatch(text) is not None


def place_of(error: BaseException) -> str:
    """Where it was raised, for a log: the message itself could hold a client's words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else "unknown"
