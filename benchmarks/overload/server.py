"""`python -m benchmarks.overload.server`: an edge over the twin of the bus, and who answers its tasks, in one process.

So nothing but this process's one core is scarce. It says its port and a key on standard output, as JSON on one line.
"""

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Sequence
from contextlib import suppress

import structlog
import uvloop

from actors.runtime import Context
from actors.runtime.process import settle_memory
from benchmarks.system.start import HOST
from benchmarks.workload import INTENT
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from bus.port import Bus, Delivery
from edge.actor import Edge
from edge.settings import EdgeSettings
from schemas.errors import WrongSequence
from schemas.events import Accepted, Ended, Outcome, following
from schemas.ids import EventId, TenantId, uuid7
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode
from schemas.registry import EngineAdvert
from schemas.result import Engine, Usage
from schemas.task import Priority

LOCAL = Engine(route="local", chosen_by="ai-router", reason="the only one")
SLOTS = 4096
KEEP_S = 60.0
"""The log's window: a long run must not fill the memory."""


async def serve(settings: EdgeSettings) -> None:
    """Until the process is ended."""
    server = MemoryServer(max_age_s=KEEP_S)
    bus = MemoryBus(server)
    advert = EngineAdvert(engine="echo", instance="1", route="local", intents=(INTENT,), slots=SLOTS, free_slots=SLOTS)
    await bus.kv.put(subjects.ENGINES, "echo.1", encode(advert))
    text, record = mint(TenantId("bench"), server.now_ms(), random.randbytes(RANDOM_BYTES))
    await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
    context = Context(MemoryBus(server), "edge-1", structlog.get_logger(), server.now_ms, keep_s=3600.0)
    edge = Edge(context, settings)
    async with edge.lifespan(), asyncio.TaskGroup() as group:
        for priority in Priority:
            group.create_task(_answer(bus, priority))
        settle_memory()
        sys.stdout.write(json.dumps({"port": edge.port, "key": text}) + "\n")
        sys.stdout.flush()


async def _answer(bus: Bus, priority: Priority) -> None:
    """All that is there at once: nothing may wait for anything but this process."""
    async with bus.queue.take(subjects.accepted(priority), slots=SLOTS) as taker, asyncio.TaskGroup() as group:
        while True:
            group.create_task(_end(bus, await taker.get()))


async def _end(bus: Bus, delivery: Delivery) -> None:
    event = delivery.entry.event()
    assert isinstance(event, Accepted)
    with suppress(WrongSequence):
        await bus.log.append(_ended(event), after=delivery.entry.sequence)
    await delivery.done()


def _ended(event: Accepted) -> Ended:
    return Ended(
        **following(event, EventId(uuid7(event.at_ms)), event.at_ms + 1),
        outcome=Outcome.COMPLETED,
        intent=event.brief.intent,
        engine=LOCAL,
        result={"summary": "done"},
        usage=Usage(latency_ms=1),
    )


def main(arguments: Sequence[str]) -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload.server", description=__doc__)
    parser.add_argument("--settings", default="{}", help="of the edge, as JSON")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    settings = EdgeSettings(**({"host": HOST, "port": 0} | json.loads(options.settings)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main(sys.argv[1:])
