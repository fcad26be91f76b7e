"""How far projections are behind, as it is asked of them."""

import json
from typing import Any, cast

from benchmarks.floor.wire import Wire
from benchmarks.system.lag import LagWatch


class ScriptedWire:
    """A log that ends at `last`, and projections that say where they are."""

    def __init__(self) -> None:
        self.last = 0
        self.at: dict[str, int | None] = {"kafka": 0, "ledger": 0}

    async def api(self, _subject: str) -> dict[str, Any]:
        return {"state": {"last_seq": self.last}}

    async def ask(self, subject: str) -> bytes:
        at = self.at[subject.rpartition(".")[2]]
        return json.dumps({"data": {"sequence": at, "waiting": at is None}}).encode()


async def test_each_look_is_answered_once_by_the_first_that_finds_its_events_projected() -> None:
    wire = ScriptedWire()
    watch = LagWatch(cast("Wire", wire), ("kafka", "ledger"))
    wire.last = 10
    await watch.look()
    wire.last, wire.at = 20, {"kafka": 10, "ledger": None}
    await watch.look()
    assert {name: len(found) for name, found in watch.lags_ms.items()} == {"kafka": 1, "ledger": 0}
    wire.at = {"kafka": 20, "ledger": 20}
    await watch.look()
    assert {name: len(found) for name, found in watch.lags_ms.items()} == {"kafka": 3, "ledger": 3}
    assert all(list(found) == sorted(found) and found[0] > 0 for found in watch.lags_ms.values())
