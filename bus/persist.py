"""Appends that outlive a short absence of the bus."""

import asyncio

from bus.port import Log
from schemas.errors import LogFull, Unavailable
from schemas.events import TaskEvent

PAUSE_S = 0.2
RETRY_AFTER_S = 2.0
_ATTEMPT_MIN_S = 0.05
_ATTEMPT_MAX_S = 5.0
_ATTEMPTS = 3


async def persist(log: Log, event: TaskEvent, *, after: int, give_up_s: float) -> int:
    """The sequence of the stored event, tried again while its outcome is unknown and `give_up_s` is not over.

    Safe to repeat: the log recognises an event it already holds. Raises `WrongSequence` when something else came
    first, `PayloadTooLarge`, `LogFull` at once (waiting makes no room), and `Unavailable` when time ran out: whether
    the event is stored is then unknown. Both of the last two say when to come back.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + give_up_s
    while True:
        try:
            return await log.append(event, after=after, timeout_s=_attempt_s(end_s - loop.time(), give_up_s))
        except LogFull as error:
            raise LogFull(error.message, retry_after_s=error.retry_after_s or RETRY_AFTER_S) from error
        except Unavailable as error:
            if loop.time() + PAUSE_S >= end_s:
                message = "the log did not confirm in time: send the same request again"
                raise Unavailable(message, retry_after_s=error.retry_after_s or RETRY_AFTER_S) from error
        await asyncio.sleep(PAUSE_S)


def _attempt_s(left_s: float, give_up_s: float) -> float:
    """One attempt never takes all the time, so that a lost acknowledgement can be asked for again."""
    return max(_ATTEMPT_MIN_S, min(_ATTEMPT_MAX_S, left_s, give_up_s / _ATTEMPTS))
