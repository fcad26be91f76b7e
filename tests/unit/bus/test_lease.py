"""Whether a delivery's work is still to be done, by what stands in the log."""

from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from bus.lease import FRESH_S, still_due
from bus.port import Delivery, Entry, Log
from schemas.ids import TaskId, TenantId

NOW_NS = 10**18
YOUNG_NS = NOW_NS - round(FRESH_S * 1e9) + 1
OLD_NS = YOUNG_NS - 2


class Given:
    """A delivery of the event at sequence 9."""

    def __init__(self, at_ns: int, delivered: int) -> None:
        self.entry = Entry(9, at_ns, "aion.task.routed.wasm-normal.acme.t", b"")
        self.delivered = delivered


@pytest.mark.parametrize(
    ("at_ns", "delivered", "last", "due"),
    [
        (YOUNG_NS, 1, 12, True),
        (YOUNG_NS, 2, 9, True),
        (OLD_NS, 1, 9, True),
        (OLD_NS, 1, 12, False),
        (YOUNG_NS, 2, 12, False),
        (YOUNG_NS, 2, 5, True),
        (YOUNG_NS, 2, None, True),
    ],
    ids=["young", "again", "old", "old, answered", "again, answered", "a replica lags", "a replica knows nothing yet"],
)
async def test_only_what_was_answered_is_due_no_more(at_ns: int, delivered: int, last: int | None, due: bool) -> None:
    stands = None if last is None else Entry(last, at_ns, "aion.task.ended.completed.acme.t", b"")
    log: Any = AsyncMock(spec=Log)
    log.last.return_value = stands
    delivery = cast("Delivery", Given(at_ns, delivered))
    assert await still_due(log, delivery, TenantId("acme"), TaskId("t"), NOW_NS) is due
