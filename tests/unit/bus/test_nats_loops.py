"""What the bus does when one of its own loops breaks."""

import asyncio
from typing import Any

import pytest

from bus.nats.queue import NatsQueue
from bus.subjects import Cursor


class Broken:
    """A connection that answers the API and cannot subscribe."""

    connected = True

    async def api(self, _verb: str, body: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        return {"config": body["config"]}

    async def subscribe(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("no subscription today")

    def inbox(self) -> str:
        return "_INBOX.x"


async def test_a_taker_whose_pull_loop_broke_says_so_instead_of_waiting_for_ever() -> None:
    async with NatsQueue(Broken()).take(Cursor("c", "f.>"), slots=1) as taker:  # type: ignore[arg-type]
        async with asyncio.timeout(1):
            with pytest.raises(RuntimeError, match="no subscription today"):
                await taker.get()
