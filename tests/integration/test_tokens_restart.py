"""nats-server killed and started again under running actors: the token stream, in its memory, comes back empty."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from natsd import Natsd

from bus import Bus, open_bus
from edge.tasks.bookmark import START, Bookmark
from edge.tasks.following import Following, follow
from edge.tasks.items import Finished, Happened, Item, Missed, Said
from schemas.delta import Delta
from schemas.errors import Unavailable
from schemas.events import Accepted, Brief, Ended, Outcome, Routed, following
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.message import encode
from schemas.result import Engine, Usage
from schemas.task import Priority, Privacy

ACME, TASK = TenantId("acme"), TaskId("t-1")
LOCAL = Engine(route="local", chosen_by="ai-router", reason="the only one")
AGAIN_S = 20.0


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
async def buses(nats: Natsd) -> AsyncIterator[tuple[Bus, Bus]]:
    """Of an executor and of an edge."""
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(open_bus(nats.settings())),
            await stack.enter_async_context(open_bus(nats.settings())),
        )


async def begin(bus: Bus) -> tuple[Routed, int]:
    """A task that an engine has; the event and its sequence."""
    now_ms = time.time_ns() // 1_000_000
    brief = Brief(
        intent="greet", priority=Priority.NORMAL, privacy=Privacy.LOCAL_ONLY, accepted_at_ms=now_ms,
        deadline_ms=now_ms + 60_000,
    )  # fmt: skip
    accepted = Accepted(
        event_id=EventId(uuid7(now_ms)), tenant_id=ACME, task_id=TASK, at_ms=now_ms, brief=brief, params={},
        fingerprint="",
    )  # fmt: skip
    after = await bus.log.append(accepted, after=0)
    routed = Routed(
        **following(accepted, EventId(uuid7(now_ms + 1)), now_ms), brief=brief, params={}, engine="echo", decision=LOCAL
    )
    return routed, await bus.log.append(routed, after=after)


async def say(bus: Bus, lease: int, *numbers: int) -> None:
    for number in numbers:
        await bus.tokens.publish(ACME, TASK, encode(Delta(lease=lease, number=number, text=f"<{number}>")))


async def until_kept(bus: Bus, count: int) -> None:
    """Return once the token stream holds so many deltas of the task."""
    async with asyncio.timeout(AGAIN_S):
        while True:
            try:
                if bus.connected and len(await bus.tokens.kept(ACME, TASK)) >= count:
                    return
            except Unavailable:
                pass
            await asyncio.sleep(0.05)


async def items(stream: Following, last: type[Item], count: int = 1) -> list[Item]:
    """What comes, up to so many of `last`."""
    found: list[Item] = []
    async with asyncio.timeout(AGAIN_S):
        while sum(isinstance(item, last) for item in found) < count:
            item = await stream.next(1.0)
            if item is not None:
                found.append(item)
    return found


def text(found: list[Item]) -> str:
    return "".join(item.text for item in found if isinstance(item, Said))


async def test_text_flows_again_after_the_server_was_restarted_and_what_it_lost_is_a_gap(
    nats: Natsd, buses: tuple[Bus, Bus]
) -> None:
    engine, edge = buses
    routed, lease = await begin(engine)
    async with follow(edge, ACME, TASK, START) as stream:
        await say(engine, lease, 1, 2)
        seen = await items(stream, Said)
        while text(seen) != "<1><2>":
            seen += await items(stream, Said)
        nats.kill()
        nats.start()
        await until_kept(edge, 0)
        await until_kept(engine, 0)
        await say(engine, lease, 4, 5)  # 3 was said to nobody
        await until_kept(engine, 2)
        after = await items(stream, Said)
        while not text(after).endswith("<5>"):
            after += await items(stream, Said)
        assert isinstance(after[0], Missed)
        assert text(after) == "<4><5>"
        async with follow(edge, ACME, TASK, Bookmark(lease, 4)) as resumed:
            assert text(await items(resumed, Said)) == "<5>", "what was said since then is kept"
        async with follow(edge, ACME, TASK, START) as late:
            told = await items(late, Said)
            assert [type(item) for item in told] == [Happened, Happened, Missed, Said]
            ended = Ended(
                **following(routed, EventId(uuid7(1)), routed.at_ms), outcome=Outcome.COMPLETED, intent="greet",
                engine=LOCAL, usage=Usage(latency_ms=1),
            )  # fmt: skip
            await engine.log.append(ended, after=lease)
            assert isinstance((await items(late, Finished))[-1], Finished)
        assert isinstance((await items(stream, Finished))[-1], Finished)
